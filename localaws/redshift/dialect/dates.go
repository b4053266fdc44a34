package dialect

import "strings"

// datePart returns the main name of a part of a date; Redshift takes many
// spellings, written bare or as a literal.
func datePart(s string) (string, bool) {
	switch lower(s) {
	case "millennium", "millennia", "mil", "mils":
		return "millennium", true
	case "century", "centuries", "c", "cent", "cents":
		return "century", true
	case "decade", "decades", "dec", "decs":
		return "decade", true
	case "epoch":
		return "epoch", true
	case "year", "years", "y", "yr", "yrs":
		return "year", true
	case "quarter", "quarters", "qtr", "qtrs":
		return "quarter", true
	case "month", "months", "mon", "mons":
		return "month", true
	case "week", "weeks", "w":
		return "week", true
	case "dayofweek", "dow", "dw", "weekday":
		return "dow", true
	case "dayofyear", "doy", "dy", "yearday":
		return "doy", true
	case "day", "days", "d":
		return "day", true
	case "hour", "hours", "h", "hr", "hrs":
		return "hour", true
	case "minute", "minutes", "m", "min", "mins":
		return "minute", true
	case "second", "seconds", "s", "sec", "secs":
		return "second", true
	case "millisecond", "milliseconds", "ms", "msec", "msecs", "msecond", "mseconds", "millisec", "millisecs":
		return "millisecond", true
	case "microsecond", "microseconds", "us", "usec", "usecs", "usecond", "useconds", "microsec", "microsecs":
		return "microsecond", true
	}
	return "", false
}

// part reads the date part that an argument names.
func (t *translation) part(a span) (string, bool) {
	k := t.at(a.lo)
	if a.hi != a.lo+1 || k.kind != word && k.kind != text && k.kind != quoted {
		return "", false
	}
	p, ok := datePart(k.text)
	if !ok && t.err == nil {
		t.err = fail(`timestamp units "%s" not recognized`, excerpt(k.text))
	}
	return p, ok
}

// dates rewrites the date functions whose first argument is a date part.
func (t *translation) dates(dst []token, name string, args []span) ([]token, bool) {
	switch {
	case (name == "datediff" || name == "date_diff") && len(args) == 3:
		if p, ok := t.part(args[0]); ok {
			return t.dateDiff(dst, p, args[1], args[2]), true
		}
	case (name == "dateadd" || name == "date_add") && len(args) == 3:
		if p, ok := t.part(args[0]); ok {
			return t.dateAdd(dst, p, args[1], args[2]), true
		}
	case (name == "date_part" || name == "pgdate_part") && len(args) == 2:
		if p, ok := t.part(args[0]); ok {
			return t.add(dst, "CAST( date_part(", quotedText(p), ", CAST(", args[1], "AS timestamp ) ) AS double precision )"), true
		}
	case name == "date_trunc" && len(args) == 2:
		// The cast settles the type: engines take a bare literal for a TIMESTAMPTZ
		// and keep a DATE, where Redshift returns a TIMESTAMP.
		if p, ok := t.part(args[0]); ok {
			return t.add(dst, "date_trunc(", quotedText(p), ", CAST(", args[1], "AS timestamp ) )"), true
		}
	case name == "extract" && len(args) == 1:
		return t.extract(dst, args[0])
	}
	return dst, false
}

// extract rewrites EXTRACT(part FROM x), which returns an integer in Redshift.
func (t *translation) extract(dst []token, a span) ([]token, bool) {
	if !t.at(a.lo + 1).is("from") {
		return dst, false
	}
	p, ok := t.part(span{a.lo, a.lo + 1})
	if !ok {
		return dst, false
	}
	lo := a.lo + 2
	if t.at(lo).is("timestamp", "date") && t.at(lo+1).kind == text {
		lo++ // the cast below says the type
	}
	return t.add(dst, "CAST( floor( date_part(", quotedText(p), ", CAST(", span{lo, a.hi}, "AS timestamp ) ) ) AS bigint )"), true
}

// dateDiff counts the boundaries of the part between two moments.
func (t *translation) dateDiff(dst []token, part string, a, b span) []token {
	cast := func(dst []token, s span) []token { return t.add(dst, "CAST(", s, "AS timestamp )") }
	months := func(dst []token, s span) []token {
		dst = cast(t.add(dst, "( date_part( 'year' ,"), s)
		dst = cast(t.add(dst, ") * 12 + date_part( 'month' ,"), s)
		return t.add(dst, ") - 1 )")
	}
	truncated := func(dst []token, s span) []token {
		return t.add(cast(t.add(dst, "date_trunc(", quotedText(part), ","), s), ")")
	}
	per := map[string]string{"month": "1", "quarter": "3", "year": "12", "decade": "120", "century": "1200", "millennium": "12000"}
	if n, ok := per[part]; ok {
		dst = months(t.add(dst, "CAST( floor("), b)
		dst = months(t.add(dst, "/ "+n+".0 ) - floor("), a)
		return t.add(dst, "/ "+n+".0 ) AS bigint )")
	}
	// DuckDB's own date_diff differs for weeks only, which start on Monday here.
	if t.engine == DuckDB && part != "week" && part != "epoch" {
		dst = cast(t.add(dst, "date_diff(", quotedText(part), ","), a)
		return t.add(cast(t.add(dst, ","), b), ")")
	}
	seconds := map[string]string{
		"week": "/ 604800", "day": "/ 86400", "hour": "/ 3600", "minute": "/ 60", "second": "* 1",
		"millisecond": "* 1000", "microsecond": "* 1000000",
	}
	scale, ok := seconds[part]
	if !ok {
		if t.err == nil {
			t.err = fail(`timestamp units "%s" not supported`, part)
		}
		return dst
	}
	dst = truncated(t.add(dst, "CAST( date_part( 'epoch' ,"), b)
	dst = truncated(t.add(dst, "-"), a)
	return t.add(dst, ") "+scale+" AS bigint )")
}

func (t *translation) dateAdd(dst []token, part string, n, at span) []token {
	unit := "1 " + part
	switch part {
	case "quarter":
		unit = "3 months"
	case "decade":
		unit = "10 years"
	case "century":
		unit = "100 years"
	case "millennium":
		unit = "1000 years"
	case "dow", "doy", "epoch":
		if t.err == nil {
			t.err = fail(`timestamp units "%s" not supported`, part)
		}
	}
	return t.add(dst, "( CAST(", at, "AS timestamp ) + CAST(", n, "AS integer ) * INTERVAL '"+unit+"' )")
}

// format turns a pattern of TO_CHAR and TO_DATE into one of strftime; false
// where it holds an element that strftime has not.
func format(pattern string) (string, bool) {
	elements := []struct{ from, to string }{
		{"YYYY", "%Y"},
		{"YY", "%y"},
		{"MM", "%m"},
		{"MON", "%b"},
		{"MONTH", "%B"},
		{"DDD", "%j"},
		{"DD", "%d"},
		{"HH24", "%H"},
		{"HH12", "%I"},
		{"HH", "%I"},
		{"MI", "%M"},
		{"SS", "%S"},
		{"MS", "%g"},
		{"US", "%f"},
		{"AM", "%p"},
		{"PM", "%p"},
		{"DAY", "%A"},
		{"DY", "%a"},
		{"D", "%w"},
		{"IW", "%V"},
		{"IYYY", "%G"},
	}
	var b strings.Builder
	for i := 0; i < len(pattern); {
		if pattern[i] == '"' { // quoted text stands for itself
			end := strings.IndexByte(pattern[i+1:], '"')
			if end < 0 {
				return "", false
			}
			b.WriteString(strings.ReplaceAll(pattern[i+1:i+1+end], "%", "%%"))
			i += end + 2
			continue
		}
		best, to := 0, ""
		for _, e := range elements {
			if len(e.from) > best && len(pattern)-i >= len(e.from) && strings.EqualFold(pattern[i:i+len(e.from)], e.from) {
				best, to = len(e.from), e.to
			}
		}
		switch c := pattern[i]; {
		case best > 0:
			b.WriteString(to)
			i += best
		case c == '%':
			b.WriteString("%%")
			i++
		case isNameStart(c) && c != '_' && lower(pattern[i:i+1]) != "t" || isDigit(c):
			return "", false
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String(), true
}

// formatted rewrites TO_CHAR, TO_DATE and TO_TIMESTAMP for DuckDB.
func (t *translation) formatted(dst []token, name string, args []span) ([]token, bool) {
	if t.engine != DuckDB || len(args) != 2 {
		return dst, false
	}
	k := t.at(args[1].lo)
	pattern, ok := "", false
	if k.kind == text && args[1].hi == args[1].lo+1 {
		pattern, ok = format(k.text)
	}
	if !ok {
		if t.err == nil {
			t.err = unsupported(strings.ToUpper(name) + " with the format " + excerpt(k.source))
		}
		return dst, true
	}
	switch name {
	case "to_char":
		return t.add(dst, "strftime( CAST(", args[0], "AS timestamp ) ,", quotedText(pattern), ")"), true
	case "to_date":
		return t.add(dst, "CAST( strptime(", args[0], ",", quotedText(pattern), ") AS date )"), true
	}
	return t.add(dst, "CAST( strptime(", args[0], ",", quotedText(pattern), ") AS timestamptz )"), true
}
