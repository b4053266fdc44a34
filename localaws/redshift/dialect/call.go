package dialect

import (
	"strconv"
	"strings"
)

// rule rewrites a call by template: $1 to $9 are the arguments, $@ all of them.
type rule struct {
	args   int // exact count; -1 = any
	duckDB string
	pg     string // empty: as duckDB; "=": left as it is
}

// ruleFor returns the template for a function of Redshift that the engines
// call otherwise.
func ruleFor(name string, args int) (rule, bool) {
	var r rule
	switch name {
	case "nvl":
		r = rule{-1, "coalesce( $@ )", ""}
	case "isnull":
		r = rule{2, "coalesce( $1 , $2 )", ""}
	case "nvl2":
		r = rule{3, "( CASE WHEN ( $1 ) IS NOT NULL THEN $2 ELSE $3 END )", ""}
	case "len":
		r = rule{1, "length( $1 )", ""}
	case "charindex":
		r = rule{2, "strpos( $2 , $1 )", ""}
	case "regexp_replace":
		switch args { // every match is replaced, where engines replace the first
		case 2:
			r = rule{2, "regexp_replace( $1 , $2 , '' , 'g' )", ""}
		case 3:
			r = rule{3, "regexp_replace( $1 , $2 , $3 , 'g' )", ""}
		}
	case "octet_length":
		r = rule{1, "strlen( CAST( $1 AS varchar ) )", "="}
	case "concat":
		r = rule{2, "( CAST( $1 AS varchar ) || CAST( $2 AS varchar ) )", ""}
	case "btrim":
		r = rule{-1, "trim( $@ )", "="}
	case "date":
		r = rule{1, "CAST( $1 AS date )", ""}
	case "date_part_year":
		r = rule{1, "CAST( extract( year FROM CAST( $1 AS timestamp ) ) AS integer )", ""}
	case "add_months":
		r = rule{2, "( CAST( $1 AS timestamp ) + ( $2 ) * INTERVAL '1 month' )", ""}
	case "last_day":
		r = rule{
			1, "last_day( CAST( $1 AS date ) )",
			"CAST( date_trunc( 'month' , CAST( $1 AS timestamp ) ) + INTERVAL '1 month' - INTERVAL '1 day' AS date )",
		}
	case "convert_timezone":
		if args == 2 {
			r = rule{2, "( ( CAST( $2 AS timestamp ) AT TIME ZONE 'UTC' ) AT TIME ZONE $1 )", ""}
		} else {
			r = rule{3, "( ( CAST( $3 AS timestamp ) AT TIME ZONE $1 ) AT TIME ZONE $2 )", ""}
		}
	case "median":
		r = rule{1, "median( $1 )", "percentile_cont( 0.5 ) WITHIN GROUP ( ORDER BY $1 )"}
	case "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop":
		r = rule{1, "=", name + "( CAST( $1 AS double precision ) )"}
	case "any_value":
		r = rule{1, "any_value( $1 )", "min( $1 )"}
	case "json_parse":
		r = rule{1, "CAST( $1 AS json )", "CAST( $1 AS jsonb )"}
	case "json_serialize":
		r = rule{1, "CAST( $1 AS varchar )", ""}
	case "is_valid_json":
		r = rule{1, "json_valid( $1 )", "="}
	default:
		return rule{}, false
	}
	return r, r.args < 0 || r.args == args
}

// call rewrites the function call whose name stands at i and returns the index
// after it.
func (t *translation) call(dst []token, i int) ([]token, int) {
	name, open := t.toks[i].text, i+1
	end := t.match[open] + 1
	args := t.arguments(open)
	switch name {
	case "listagg":
		if out, next, ok := t.listAgg(dst, open, args); ok {
			return out, next
		}
	case "sum", "avg":
		if len(args) == 1 {
			return t.mean(dst, name, open, args[0])
		}
	case "generate_series":
		return t.series(dst, i, args), end
	}
	if out, ok := t.special(dst, name, i, args); ok {
		return out, end
	}
	if r, ok := ruleFor(name, len(args)); ok && !t.at(open+1).is("distinct") {
		tmpl := r.duckDB
		if t.engine == Postgres && r.pg != "" {
			tmpl = r.pg
		}
		if tmpl != "=" {
			return t.fill(dst, tmpl, args), end
		}
	}
	dst = append(dst, t.toks[i], t.toks[open])
	dst = t.expr(dst, open+1, end-1)
	return append(dst, t.toks[end-1]), end
}

// arguments splits the call at its commas.
func (t *translation) arguments(open int) []span {
	end := t.match[open]
	if end == open+1 {
		return nil
	}
	var args []span
	lo := open + 1
	for i := lo; i < end; i++ {
		if t.match[i] > 0 {
			i = t.match[i]
		} else if t.toks[i].is(",") {
			args = append(args, span{lo, i})
			lo = i + 1
		}
	}
	return append(args, span{lo, end})
}

// fill writes a template with the call's arguments in it.
func (t *translation) fill(dst []token, template string, args []span) []token {
	for _, part := range strings.Split(template, " ") {
		switch {
		case part == "$@":
			for i, a := range args {
				if i > 0 {
					dst = t.add(dst, ",")
				}
				dst = t.add(dst, a)
			}
		case strings.HasPrefix(part, "$"):
			n, _ := strconv.Atoi(part[1:])
			dst = t.add(dst, args[n-1])
		default:
			dst = t.add(dst, part)
		}
	}
	return dst
}

// special rewrites the calls that need more than a template.
func (t *translation) special(dst []token, name string, i int, args []span) ([]token, bool) {
	switch name {
	case "datediff", "date_diff", "dateadd", "date_add", "date_part", "pgdate_part", "date_trunc", "extract":
		return t.dates(dst, name, args)
	case "to_char", "to_date", "to_timestamp":
		return t.formatted(dst, name, args)
	case "cast", "try_cast":
		return t.cast(dst, name, args)
	case "convert":
		if len(args) == 2 {
			return t.convert(dst, args)
		}
	case "decode":
		if len(args) >= 3 {
			return t.decode(dst, args), true
		}
	case "json_extract_path_text":
		return t.jsonPath(dst, args)
	case "now":
		if len(args) == 0 {
			t.leaderOnly()
		}
	case "age":
		t.leaderOnly()
	}
	if len(args) == 0 {
		return t.constant(dst, name)
	}
	return dst, false
}

// constant rewrites the functions without arguments.
func (t *translation) constant(dst []token, name string) ([]token, bool) {
	switch name {
	case "getdate":
		return t.add(dst, t.now(getdate)), true
	case "version":
		return t.add(dst, "CAST(", quotedText(version), "AS varchar )"), true
	case "pg_last_copy_id":
		return t.add(dst, "CAST( "+strconv.FormatInt(t.session.LastCopyID, 10)+" AS integer )"), true
	case "pg_last_copy_count":
		return t.add(dst, "CAST( "+strconv.FormatInt(t.session.LastCopied, 10)+" AS bigint )"), true
	case "pg_backend_pid":
		return t.add(dst, "CAST( "+strconv.FormatInt(t.session.PID, 10)+" AS integer )"), true
	case "current_schema":
		if t.engine == DuckDB { // it calls public main
			return t.add(dst, "replace( current_schema() , 'main' , 'public' )"), true
		}
	case "current_database":
		return t.add(dst, "CAST(", quotedText(t.session.Database), "AS varchar )"), true
	}
	return dst, false
}

// cast rewrites CAST(x AS type). A length cuts the value, as in Redshift.
func (t *translation) cast(dst []token, name string, args []span) ([]token, bool) {
	if len(args) == 0 {
		return dst, false
	}
	whole := span{args[0].lo, args[len(args)-1].hi}
	at := whole.lo
	for at < whole.hi && !t.at(at).is("as") {
		if t.match[at] > 0 {
			at = t.match[at]
		}
		at++
	}
	d, end, err := t.dataType(at+1, "")
	if err == nil && end != whole.hi {
		err = t.unexpected(end)
	}
	if err != nil {
		if t.err == nil {
			t.err = err
		}
		return dst, true
	}
	return t.castTo(dst, strings.ToUpper(name), span{whole.lo, at}, d), true
}

func (t *translation) castTo(dst []token, name string, x span, d dataType) []token {
	if t.engine == Postgres {
		name = "CAST" // it has no TRY_CAST
	}
	if t.engine == DuckDB && d.length > 0 && (d.name == "varchar" || d.name == "char") {
		return t.add(dst, "left( "+name+"(", x, "AS varchar ) , "+strconv.Itoa(d.length)+" )")
	}
	return t.add(dst, name+"(", x, "AS "+d.spell(t.engine)+" )")
}

// convert rewrites CONVERT(type, x).
func (t *translation) convert(dst []token, args []span) ([]token, bool) {
	d, end, err := t.dataType(args[0].lo, "")
	if err == nil && end != args[0].hi {
		err = t.unexpected(end)
	}
	if err != nil {
		if t.err == nil {
			t.err = err
		}
		return dst, true
	}
	return t.castTo(dst, "CAST", args[1], d), true
}

// decode rewrites DECODE(x, search, result, ..., default), which takes NULLs for equal.
func (t *translation) decode(dst []token, args []span) []token {
	dst = t.add(dst, "( CASE")
	for i := 1; i+1 < len(args); i += 2 {
		dst = t.add(dst, "WHEN (", args[0], ") IS NOT DISTINCT FROM (", args[i], ") THEN", args[i+1])
	}
	if len(args)%2 == 0 {
		dst = t.add(dst, "ELSE", args[len(args)-1])
	}
	return t.add(dst, "END )")
}

// listAgg rewrites LISTAGG([DISTINCT] x [, separator]) [WITHIN GROUP (ORDER BY ...)]
// and returns the index after it.
func (t *translation) listAgg(dst []token, open int, args []span) ([]token, int, bool) {
	if len(args) == 0 || len(args) > 2 {
		return dst, 0, false
	}
	end := t.match[open] + 1
	x, distinct := args[0], ""
	if t.at(x.lo).is("distinct") {
		x.lo, distinct = x.lo+1, "DISTINCT"
	}
	dst = t.add(dst, "string_agg( "+distinct+" CAST(", x, "AS varchar ) ,")
	if len(args) == 2 {
		dst = t.add(dst, args[1])
	} else {
		dst = t.add(dst, quotedText(""))
	}
	if t.at(end).is("within") && t.at(end+1).is("group") && t.at(end+2).is("(") {
		dst = t.listOrder(dst, x, span{end + 3, t.match[end+2]}, distinct != "")
		end = t.match[end+2] + 1
	}
	return t.add(dst, ")"), end, true
}

// listOrder writes the order of a LISTAGG. With DISTINCT, PostgreSQL wants to sort
// by the very expression that is listed, which here is a cast.
func (t *translation) listOrder(dst []token, x, order span, distinct bool) []token {
	n := x.hi - x.lo
	same := distinct && t.engine == Postgres && order.hi-order.lo >= n+2
	for i := 0; same && i < n; i++ {
		a, b := t.at(x.lo+i), t.at(order.lo+2+i)
		same = a.kind == b.kind && a.text == b.text
	}
	if !same {
		return t.add(dst, order)
	}
	return t.add(dst, "ORDER BY CAST(", x, "AS varchar )", span{order.lo + 2 + n, order.hi})
}

// jsonPath rewrites JSON_EXTRACT_PATH_TEXT(text, 'key', ...).
func (t *translation) jsonPath(dst []token, args []span) ([]token, bool) {
	if len(args) < 2 {
		return dst, false
	}
	if t.engine == Postgres {
		dst = t.add(dst, "json_extract_path_text( CAST(", args[0], "AS json )")
		for _, a := range args[1:] {
			dst = t.add(dst, ",", a)
		}
		return t.add(dst, ")"), true
	}
	var path strings.Builder
	path.WriteByte('$')
	for _, a := range args[1:] {
		k := t.at(a.lo)
		if k.kind != text || a.hi != a.lo+1 || strings.ContainsAny(k.text, `"\`) {
			if t.err == nil {
				t.err = unsupported("JSON_EXTRACT_PATH_TEXT with a path that is not made of plain literals")
			}
			return dst, true
		}
		path.WriteString(`."` + k.text + `"`)
	}
	return t.add(dst, "json_extract_string(", args[0], ",", quotedText(path.String()), ")"), true
}
