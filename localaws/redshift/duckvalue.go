package redshift

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
)

// duckColumn describes a column of DuckDB in Redshift's terms.
func duckColumn(name, kind string) column {
	c := column{name: name, nullable: 2}
	base, args, _ := strings.Cut(strings.TrimSuffix(kind, ")"), "(")
	switch base {
	case "BOOLEAN":
		c.typeName, c.precision = "bool", 1
	case "TINYINT", "SMALLINT", "UTINYINT":
		c.typeName, c.precision = "int2", 5
	case "INTEGER", "USMALLINT":
		c.typeName, c.precision = "int4", 10
	case "BIGINT", "UINTEGER", "HUGEINT", "UBIGINT", "UHUGEINT":
		// Redshift's SUM of integers is a BIGINT, DuckDB's a HUGEINT.
		c.typeName, c.precision = "int8", 19
	case "FLOAT":
		c.typeName, c.precision, c.scale = "float4", 8, 8
	case "DOUBLE":
		c.typeName, c.precision, c.scale = "float8", 17, 17
	case "DECIMAL":
		c.typeName = "numeric"
		if p, s, ok := strings.Cut(args, ","); ok {
			c.precision, c.scale = atoi32(p), atoi32(s)
		}
	case "DATE":
		c.typeName, c.precision = "date", 13
	case "TIME":
		c.typeName, c.precision, c.scale = "time", 15, 6
	case "TIMESTAMPTZ":
		c.typeName, c.precision, c.scale = "timestamptz", 35, 6
	case "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS":
		c.typeName, c.precision, c.scale = "timestamp", 29, 6
	case "BLOB":
		c.typeName = "varbyte"
	case "JSON", "STRUCT", "MAP", "UNION":
		c.typeName = "super"
	default:
		c.typeName, c.precision, c.length = "varchar", 65535, 65535
	}
	return c
}

func atoi32(s string) int32 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

// duckValue turns a value of the driver into one that a sink takes.
func duckValue(kind string, v driver.Value) any {
	if kind == "JSON" && v != nil {
		return superText(v)
	}
	switch v := v.(type) {
	case nil, bool, int64, float64, string, []byte:
		return v
	case int8:
		return int64(v)
	case int16:
		return int64(v)
	case int32:
		return int64(v)
	case uint8:
		return int64(v)
	case uint16:
		return int64(v)
	case uint32:
		return int64(v)
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v)
		}
		return strconv.FormatUint(v, 10)
	case float32:
		// By way of its text: 0.1 must not become 0.10000000149011612.
		f, _ := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
		return f
	case *big.Int:
		if v.IsInt64() {
			return v.Int64()
		}
		return v.String()
	case duckdb.Interval:
		return intervalText(v)
	case duckdb.Decimal:
		return decimalText(v.Value, int(v.Scale))
	case time.Time:
		return timeText(kind, v.UTC())
	default:
		return fmt.Sprint(v)
	}
}

// superText writes a SUPER as JSON, as Redshift does: the driver has taken it apart.
func superText(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// decimalText writes a decimal with all digits of its scale, as Redshift does.
func decimalText(unscaled *big.Int, scale int) string {
	digits := new(big.Int).Abs(unscaled).String()
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale-len(digits)+1) + digits
	}
	if scale > 0 {
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if unscaled.Sign() < 0 {
		return "-" + digits
	}
	return digits
}

// intervalText writes an interval as PostgreSQL does.
func intervalText(v duckdb.Interval) string {
	var parts []string
	for _, p := range []struct {
		n    int32
		unit string
	}{{v.Months / 12, "year"}, {v.Months % 12, "mon"}, {v.Days, "day"}} {
		switch p.n {
		case 0:
		case 1:
			parts = append(parts, "1 "+p.unit)
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", p.n, p.unit))
		}
	}
	if v.Micros != 0 || len(parts) == 0 {
		sign, n := "", v.Micros
		if n < 0 {
			sign, n = "-", -n
		}
		clock := fmt.Sprintf("%s%02d:%02d:%02d", sign, n/3_600_000_000, n/60_000_000%60, n/1_000_000%60)
		if f := n % 1_000_000; f != 0 {
			clock += strings.TrimRight(fmt.Sprintf(".%06d", f), "0")
		}
		parts = append(parts, clock)
	}
	return strings.Join(parts, " ")
}

// timeText writes a time as Redshift does: no fraction where it is zero.
func timeText(kind string, t time.Time) string {
	switch {
	case kind == "DATE":
		return t.Format(time.DateOnly)
	case strings.HasPrefix(kind, "TIMESTAMPTZ"):
		return t.Format("2006-01-02 15:04:05.999999") + "+00"
	case strings.HasPrefix(kind, "TIMESTAMP"):
		return t.Format("2006-01-02 15:04:05.999999")
	default:
		return t.Format("15:04:05.999999")
	}
}
