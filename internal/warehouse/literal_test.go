package warehouse

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// readLiteral reads the literal at the start of sql as Redshift's lexer does:
// backslash escapes on, quotes doubled. It returns what the literal means and
// what follows it.
func readLiteral(sql string) (value, rest string, ok bool) {
	if !strings.HasPrefix(sql, "'") {
		return "", sql, false
	}
	var b strings.Builder
	for i := 1; i < len(sql); i++ {
		switch c := sql[i]; {
		case c == '\\':
			if i++; i == len(sql) {
				return "", "", false
			}
			b.WriteByte(sql[i])
		case c == '\'' && i+1 < len(sql) && sql[i+1] == '\'':
			b.WriteByte('\'')
			i++
		case c == '\'':
			return b.String(), sql[i+1:], true
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

func checkQuote(t *testing.T, s string) {
	t.Helper()
	const after = " OR 1=1 --'"
	value, rest, ok := readLiteral(Quote(s) + after)
	if !ok || value != s || rest != after {
		t.Fatalf("Quote(%q) = %s: read back %q, then %q", s, Quote(s), value, rest)
	}
}

func TestG10_NoStringEscapesItsLiteral(t *testing.T) {
	for _, s := range []string{
		"", "'", "''", `\`, `\\`, `\'`, `'\`, `x\`, "'; DROP TABLE fact_orders; --", `\'; DROP TABLE fact_orders; --`,
		"\n\r\t\b\x01\x7f", "名前-O'Brien\\x", `\u0027`, `\047`, `\x27`, "$$'$$", ":p", "/* ' */",
	} {
		checkQuote(t, s)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune(`'\;-/*$:x0 é名` + "\n\x01")
	for range 50_000 {
		var b strings.Builder
		for range rng.IntN(12) {
			b.WriteRune(alphabet[rng.IntN(len(alphabet))])
		}
		checkQuote(t, b.String())
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "'", `\`, `\'`, "a'b\\c", "\xff\xfe'"} {
		f.Add(s)
	}
	f.Fuzz(checkQuote)
}

func TestAmountsAndTimes(t *testing.T) {
	for cents, want := range map[int64]string{0: "0.00", 5: "0.05", -5: "-0.05", 495: "4.95", -123456: "-1234.56", 9999999999: "99999999.99"} {
		if got := string(appendCents(nil, cents)); got != want {
			t.Errorf("appendCents(%d) = %s, want %s", cents, got, want)
		}
	}
	rng := rand.New(rand.NewPCG(3, 4))
	var c clock
	for range 20_000 {
		micros := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() + rng.Int64N(60*365*24*3600*1_000_000)
		want := time.UnixMicro(micros).UTC().Format("2006-01-02 15:04:05.000000")
		if got := string(c.append(nil, micros)); got != want {
			t.Fatalf("clock.append(%d) = %s, want %s", micros, got, want)
		}
		back, err := ParseTimestamp(want)
		if err != nil || back.UnixMicro() != micros {
			t.Fatalf("ParseTimestamp(%s) = %v, %v", want, back, err)
		}
	}
	for _, s := range []string{"2026-11-20 08:15:30", "2026-11-20 08:15:30.25", "2026-11-20T08:15:30"} {
		if _, err := ParseTimestamp(s); err != nil {
			t.Error(fmt.Errorf("parseTimestamp: %w", err))
		}
	}
}
