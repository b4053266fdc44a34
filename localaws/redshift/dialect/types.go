package dialect

import (
	"fmt"
	"strconv"
)

// dataType is a column type of Redshift.
type dataType struct {
	name   string // Redshift's main spelling, e.g. "varchar"
	length int    // of varchar, char and varbyte, in bytes; 0 = not given
	prec   int    // of decimal
	scale  int
}

// Defaults and limits of Redshift's types.
const (
	defaultVarchar   = 256
	maxVarchar       = 65535
	maxChar          = 4096
	maxPrecision     = 38
	defaultPrecision = 18
)

// typeNames maps each spelling to the main one. Names of two words are joined.
func typeName(s string) (string, bool) {
	switch s {
	case "smallint", "int2":
		return "smallint", true
	case "integer", "int", "int4":
		return "integer", true
	case "bigint", "int8":
		return "bigint", true
	case "decimal", "numeric":
		return "decimal", true
	case "real", "float4":
		return "real", true
	case "double precision", "float8", "float", "double":
		return "double precision", true
	case "boolean", "bool":
		return "boolean", true
	case "char", "character", "nchar", "bpchar":
		return "char", true
	case "varchar", "character varying", "nvarchar", "text":
		return "varchar", true
	case "varbyte", "varbinary", "binary varying":
		return "varbyte", true
	case "date", "timestamp", "timestamptz", "time", "timetz", "super", "interval":
		return s, true
	}
	return "", false
}

// refusedType reports types that PostgreSQL has and Redshift knows only enough
// of to refuse them.
func refusedType(s string) bool {
	switch s {
	case "uuid", "json", "jsonb", "bytea", "serial", "bigserial", "smallserial", "serial4", "serial8",
		"money", "xml", "inet", "cidr", "macaddr", "bit", "point", "line", "path", "polygon", "circle", "box",
		"tsvector", "tsquery":
		return true
	}
	return false
}

// dataType reads a type at i and returns the index after it. column is
// "table.column" where a column is declared, else empty.
func (t *translation) dataType(i int, column string) (dataType, int, error) {
	k := t.at(i)
	if k.kind != word && k.kind != quoted {
		return dataType{}, 0, t.unexpected(i)
	}
	name := k.text
	i++
	if next := t.at(i); next.is("varying") || name == "double" && next.is("precision") {
		name += " " + next.text
		i++
	}
	main, ok := typeName(name)
	switch {
	case ok:
	case name == "geometry" || name == "geography" || name == "hllsketch":
		return dataType{}, 0, unsupported("type " + name)
	case refusedType(name) && column != "":
		return dataType{}, 0, fail(`Column "%s" has unsupported type "%s".`, column, name)
	default:
		return dataType{}, 0, fail(`type "%s" does not exist`, excerpt(name))
	}
	d := dataType{name: main}
	if main == "decimal" {
		d.prec = defaultPrecision
	}
	if name == "text" {
		d.length = defaultVarchar
	}
	i, err := t.typeArguments(&d, i)
	if err != nil {
		return dataType{}, 0, err
	}
	if t.at(i).is("with", "without") && t.at(i+1).is("time") && t.at(i+2).is("zone") {
		if t.at(i).text == "with" && (main == "timestamp" || main == "time") {
			d.name += "tz"
		}
		i += 3
	}
	if t.at(i).is("[") || t.at(i).is("array") {
		if column != "" {
			return dataType{}, 0, fail(`Column "%s" has unsupported type "%s[]".`, column, name)
		}
		return dataType{}, 0, fail(`type "%s[]" does not exist`, name)
	}
	return d, i, nil
}

// typeArguments reads (n), (max) or (p,s) at i, if there.
func (t *translation) typeArguments(d *dataType, i int) (int, error) {
	if !t.at(i).is("(") {
		return i, nil
	}
	end := t.match[i]
	var values []int
	for j := i + 1; j < end; j += 2 {
		k := t.at(j)
		n, err := strconv.Atoi(k.text)
		if k.is("max") {
			n, err = maxVarchar, nil
		}
		if err != nil || j+1 < end && !t.at(j+1).is(",") {
			return 0, t.unexpected(j)
		}
		values = append(values, n)
	}
	if len(values) == 0 || len(values) > 2 || len(values) == 2 && d.name != "decimal" {
		return 0, t.unexpected(end)
	}
	n := values[0]
	switch d.name {
	case "varchar", "varbyte":
		if n < 1 || n > maxVarchar && d.name == "varchar" {
			return 0, fail("length for type varchar must be between 1 and %d", maxVarchar)
		}
		d.length = n
	case "char":
		if n < 1 || n > maxChar {
			return 0, fail("length for type char must be between 1 and %d", maxChar)
		}
		d.length = n
	case "decimal":
		if n < 1 || n > maxPrecision {
			return 0, fail("DECIMAL precision %d must be between 1 and %d", n, maxPrecision)
		}
		d.prec = n
		if len(values) == 2 {
			d.scale = values[1]
		}
		if d.scale > d.prec {
			return 0, fail("DECIMAL scale %d must be between 0 and precision %d", d.scale, d.prec)
		}
	}
	return end + 1, nil
}

// spell writes the type for the engine.
func (d dataType) spell(e Engine) string {
	switch {
	case d.name == "decimal":
		return fmt.Sprintf("decimal(%d,%d)", d.prec, d.scale)
	case d.name == "varchar" || d.name == "char":
		if e == Postgres && d.length > 0 {
			return fmt.Sprintf("%s(%d)", d.name, d.length)
		}
		return "varchar" // DuckDB reads a length and does not keep it
	case d.name == "super":
		if e == Postgres {
			return "jsonb"
		}
		return "json"
	case d.name == "varbyte":
		if e == Postgres {
			return "bytea"
		}
		return "blob"
	}
	return d.name
}

// internal is the name that the system catalog has for the type.
func (d dataType) internal() string {
	switch d.name {
	case "smallint":
		return "int2"
	case "integer":
		return "int4"
	case "bigint":
		return "int8"
	case "decimal":
		return "numeric"
	case "real":
		return "float4"
	case "double precision":
		return "float8"
	case "boolean":
		return "bool"
	case "char":
		return "bpchar"
	}
	return d.name
}
