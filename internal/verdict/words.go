package verdict

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

func (f *Facts) outside() bool { return f.Worker == "" }

// words is a time as people say it: 850 ms, 42 s, 95 s, 2.5 min, 12 min, 3.5 h, 2 days.
// A limit of 90 s is told of as 91 s, and not as 2 min.
func words(d time.Duration) string {
	switch d = d.Abs(); {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute-time.Second/2:
		return fmt.Sprintf("%d s", int(math.Round(d.Seconds())))
	case d < 10*time.Minute:
		return tenths(d.Minutes()) + " min"
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", int(math.Round(d.Minutes())))
	case d < 48*time.Hour:
		return tenths(d.Hours()) + " h"
	}
	return fmt.Sprintf("%d days", int(math.Round(d.Hours()/24)))
}

func tenths(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// figure is a number without digits that say nothing.
func figure(v float64) string {
	if v < 10 && v != math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(math.Round(v), 'f', 0, 64)
}

// percent keeps a share below all of it below 100 %.
func percent(share float64) string {
	p := share * 100
	switch {
	case share >= 1:
		return "100 %"
	case p > 99:
		return ">99 %"
	case p < 10:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
	return strconv.FormatFloat(math.Round(p), 'f', 0, 64) + " %"
}

// sentence begins with a capital, unless it begins with a name.
func sentence(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if strings.ContainsFunc(first, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return s
	}
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[size:]
}
