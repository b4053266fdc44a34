package warehouse

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Redshift reads backslash escapes inside ordinary '…' literals (it comes from
// PostgreSQL 8.0), so both the quote and the backslash are doubled: a trailing
// backslash would otherwise swallow the closing quote. Nothing else is special
// in a literal. A NUL byte, which no literal can hold, never reaches this
// point: the decoder rejects it.

// appendQuoted appends s as a SQL string literal.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '\'')
	for {
		i := strings.IndexAny(s, `'\`)
		if i < 0 {
			break
		}
		b = append(b, s[:i+1]...)
		b = append(b, s[i])
		s = s[i+1:]
	}
	b = append(b, s...)
	return append(b, '\'')
}

// Quote returns s as a SQL string literal of Redshift.
func Quote(s string) string { return string(appendQuoted(make([]byte, 0, len(s)+2), s)) }

// appendCents appends an amount in cents as a decimal with two digits.
func appendCents(b []byte, cents int64) []byte {
	if cents < 0 {
		b = append(b, '-')
		cents = -cents
	}
	b = strconv.AppendInt(b, cents/100, 10)
	return append(b, '.', byte('0'+cents%100/10), byte('0'+cents%10))
}

const microsPerMinute = 60 * 1_000_000

// clock writes times in microseconds since 1970 as YYYY-MM-DD HH:MI:SS.ffffff
// in UTC. It keeps the last minute's text: neighbouring rows are close in time,
// and working out the date costs more than all the rest of a row.
type clock struct {
	minute int64 // since 1970, of text; text is empty at first
	text   []byte
}

func (c *clock) append(b []byte, micros int64) []byte {
	minute, rest := micros/microsPerMinute, int(micros%microsPerMinute) // event times are after 1970: nothing is negative
	if minute != c.minute || len(c.text) == 0 {
		c.minute = minute
		c.text = time.Unix(minute*60, 0).UTC().AppendFormat(c.text[:0], "2006-01-02 15:04:")
	}
	second, micro := rest/1_000_000, rest%1_000_000
	b = append(b, c.text...)
	return append(
		b, digit(second/10), digit(second), '.', digit(micro/100_000), digit(micro/10_000), digit(micro/1000),
		digit(micro/100), digit(micro/10), digit(micro),
	)
}

// digit is the last one of n.
func digit(n int) byte { return byte('0' + n%10) }

// timestampLiteral is t as a quoted literal, or NULL for the zero time.
func timestampLiteral(t time.Time) string {
	if t.IsZero() {
		return "NULL"
	}
	return "'" + string(new(clock).append(nil, t.UnixMicro())) + "'"
}

// timestampLayout reads what a TIMESTAMP column returns as text; the engines
// print between none and six digits of the fraction.
const timestampLayout = "2006-01-02 15:04:05.999999"

// ParseTimestamp reads a TIMESTAMP as the Data API returns it.
func ParseTimestamp(s string) (time.Time, error) {
	return time.Parse(timestampLayout, strings.Replace(s, "T", " ", 1))
}

// ParseCents reads a DECIMAL(10,2) as the Data API returns it. Engines may leave
// trailing zeros out.
func ParseCents(s string) (int64, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	if len(fraction) > 2 {
		return 0, fmt.Errorf("%q is not an amount in cents", s)
	}
	cents, err := strconv.ParseInt(whole+(fraction + "00")[:2], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not an amount", s)
	}
	return cents, nil
}
