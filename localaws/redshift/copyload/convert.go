package copyload

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// Column is a column of the table that COPY loads.
type Column struct {
	Name string
	// Type is Redshift's main spelling: smallint, integer, bigint, decimal, real,
	// double precision, boolean, char, varchar, date, timestamp, timestamptz, ...
	Type             string
	Length           int // of char and varchar, in bytes; 0 = not checked
	Precision, Scale int // of decimal; precision 0 = not checked
	NotNull          bool
}

// Convert checks a field against its column and writes it as every engine
// reads it.
func (col Column) Convert(f Field, c *dialect.Copy) (Field, error) {
	if !f.Null && f.Text == "" && col.Type != "varchar" && col.Type != "char" {
		f = Field{Null: true} // an empty field is NULL for all but strings
	}
	if f.Null {
		if col.NotNull {
			return f, col.fail("", codeNotNull, "Missing data for not-null field")
		}
		return f, nil
	}
	switch col.Type {
	case "varchar", "char":
		return col.str(f, c)
	case "smallint":
		return col.integer(f, 16, "Short")
	case "integer":
		return col.integer(f, 32, "Integer")
	case "bigint":
		return col.integer(f, 64, "Long")
	case "decimal":
		return col.decimal(f, c)
	case "real", "double precision":
		if _, err := strconv.ParseFloat(strings.TrimSpace(f.Text), 64); err != nil {
			bad, pos, ok := badDigit(strings.TrimSpace(f.Text), true)
			if !ok {
				return f, col.fail(f.Text, codeRange, "Overflow (Double valid range is that of 64 bits)")
			}
			return f, col.fail(f.Text, codeFloat, "Invalid digit, Value '%s', Pos %d, Type: Double", bad, pos)
		}
	case "boolean":
		return col.boolean(f)
	case "date":
		s, err := Date(f.Text, c.DateFormat)
		return col.moment(f, s, err, c)
	case "timestamp", "timestamptz":
		s, err := Timestamp(f.Text, c.TimeFormat, col.Type == "timestamptz")
		return col.moment(f, s, err, c)
	}
	return f, nil
}

func (col Column) fail(value string, code int, format string, args ...any) *LoadError {
	return &LoadError{Column: col.Name, Code: code, Value: value, Reason: fmt.Sprintf(format, args...)}
}

func (col Column) str(f Field, c *dialect.Copy) (Field, error) {
	if col.Length <= 0 || len(f.Text) <= col.Length {
		return f, nil
	}
	if trimmed := strings.TrimRight(f.Text, " "); len(trimmed) <= col.Length {
		return Field{Text: f.Text[:col.Length]}, nil // overlong blanks are cut
	}
	if !c.TruncateColumns {
		return f, col.fail(f.Text, codeRange, "String length exceeds DDL length")
	}
	cut := col.Length
	for cut > 0 && !utf8.RuneStart(f.Text[cut]) {
		cut--
	}
	return Field{Text: f.Text[:cut]}, nil
}

func (col Column) integer(f Field, bits int, typ string) (Field, error) {
	s := strings.TrimSpace(f.Text)
	n, err := strconv.ParseInt(s, 10, bits)
	if err == nil {
		return Field{Text: strconv.FormatInt(n, 10)}, nil
	}
	if bad, pos, ok := badDigit(s, false); ok {
		return f, col.fail(f.Text, codeDigit, "Invalid digit, Value '%s', Pos %d, Type: %s", bad, pos, typ)
	}
	return f, col.fail(f.Text, codeRange, "Overflow (%s valid range is that of %d bits)", typ, bits)
}

// decimal rounds to the column's scale, half away from zero, or cuts unless
// ROUNDEC is given, as Redshift does.
func (col Column) decimal(f Field, c *dialect.Copy) (Field, error) {
	s := strings.TrimSpace(f.Text)
	if bad, pos, ok := badDigit(s, true); ok {
		return f, col.fail(f.Text, codeDecimal, "Invalid digit, Value '%s', Pos %d, Type: Decimal", bad, pos)
	}
	if col.Precision == 0 {
		return Field{Text: s}, nil
	}
	if _, e, found := strings.Cut(lowerE(s), "e"); found {
		// A huge exponent would be computed in full: it cannot fit anyway.
		if n, err := strconv.Atoi(e); err != nil || n > 100 || n < -100 {
			return f, col.fail(f.Text, codeDecimal, "Numeric overflow for Decimal(%d,%d)", col.Precision, col.Scale)
		}
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return f, col.fail(f.Text, codeDecimal, "Invalid digit, Value '%s', Pos 0, Type: Decimal", excerpt(s))
	}
	scaled := r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(col.Scale)), nil)))
	whole, rest := new(big.Int).QuoRem(scaled.Num(), scaled.Denom(), new(big.Int))
	if twice := rest.Abs(rest.Lsh(rest, 1)); c.RoundDecimals && twice.Cmp(scaled.Denom()) >= 0 {
		whole.Add(whole, big.NewInt(int64(scaled.Sign())))
	}
	digits := new(big.Int).Abs(whole).String()
	if len(digits) > col.Precision {
		return f, col.fail(f.Text, codeDecimal, "Numeric overflow for Decimal(%d,%d)", col.Precision, col.Scale)
	}
	if col.Scale > 0 {
		digits = strings.Repeat("0", max(0, col.Scale+1-len(digits))) + digits
		digits = digits[:len(digits)-col.Scale] + "." + digits[len(digits)-col.Scale:]
	}
	if whole.Sign() < 0 {
		digits = "-" + digits
	}
	return Field{Text: digits}, nil
}

func lowerE(s string) string { return strings.ReplaceAll(s, "E", "e") }

func (col Column) boolean(f Field) (Field, error) {
	switch strings.ToLower(strings.TrimSpace(f.Text)) {
	case "t", "true", "y", "yes", "1":
		return Field{Text: "true"}, nil
	case "f", "false", "n", "no", "0":
		return Field{Text: "false"}, nil
	}
	return f, col.fail(f.Text, codeBoolean, "Unknown boolean format")
}

func (col Column) moment(f Field, s string, err error, c *dialect.Copy) (Field, error) {
	if err == nil {
		return Field{Text: s}, nil
	}
	if c.AcceptAnyDate {
		return Field{Null: true}, nil
	}
	code := codeTimestamp
	if col.Type == "date" {
		code = codeDate
	}
	return f, col.fail(f.Text, code, "%s", err.Error())
}

// badDigit finds the first character that cannot stand in a number.
func badDigit(s string, fraction bool) (bad string, pos int, ok bool) {
	digits, point, exponent := 0, false, false
	for i, r := range s {
		switch {
		case '0' <= r && r <= '9':
			digits++
		case (r == '-' || r == '+') && (i == 0 || exponent && (s[i-1] == 'e' || s[i-1] == 'E')):
		case fraction && r == '.' && !point && !exponent:
			point = true
		case fraction && (r == 'e' || r == 'E') && digits > 0 && !exponent:
			exponent, digits = true, 0
		default:
			return string(r), i, true
		}
	}
	return "", len(s), digits == 0
}

func excerpt(s string) string { return s[:min(len(s), 40)] }
