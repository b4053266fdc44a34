package copyload

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// errTimestamp and errDate are in the words of stl_load_errors.
var (
	errTimestamp = errors.New("Invalid timestamp format or value [YYYY-MM-DD HH24:MI:SS]")           //nolint:staticcheck // Redshift's own words
	errDate      = errors.New("Invalid date format - length must be 10 or more")                     //nolint:staticcheck // Redshift's own words
	errEpoch     = errors.New("Invalid timestamp format or value: expected an epoch number")         //nolint:staticcheck // in Redshift's style
	errZone      = errors.New("Invalid timestamp format or value: the time zone cannot be resolved") //nolint:staticcheck // in Redshift's style
)

const (
	stored     = "2006-01-02 15:04:05.000000"
	storedDate = "2006-01-02"
)

// Timestamp reads a moment by TIMEFORMAT and returns it as
// 'YYYY-MM-DD HH:MI:SS.ffffff'. A TIMESTAMP ignores a time zone in the input; a
// TIMESTAMPTZ (zoned) is brought to UTC by it.
func Timestamp(s, format string, zoned bool) (string, error) {
	s = strings.TrimSpace(s)
	switch format {
	case "epochsecs":
		return epoch(s, 1_000_000)
	case "epochmillisecs":
		return epoch(s, 1_000)
	case "", "auto":
		return iso(s, format == "auto", zoned)
	}
	layout, err := Layout(format)
	if err != nil {
		return "", err
	}
	t, err := time.Parse(layout, s)
	if err != nil {
		return "", fmt.Errorf("Invalid timestamp format or value [%s]", format) //nolint:staticcheck // Redshift's own words
	}
	return store(t, zoned)
}

// Date reads a date by DATEFORMAT and returns it as 'YYYY-MM-DD'.
func Date(s, format string) (string, error) {
	s = strings.TrimSpace(s)
	if format == "" || format == "auto" {
		full, err := iso(s, true, false)
		if err != nil {
			return "", errDate
		}
		return full[:len(storedDate)], nil
	}
	layout, err := Layout(format)
	if err != nil {
		return "", err
	}
	t, err := time.Parse(layout, s)
	if err != nil {
		return "", fmt.Errorf("Invalid date format - expected %s", format) //nolint:staticcheck // Redshift's style
	}
	return t.Format(storedDate), nil
}

func store(t time.Time, zoned bool) (string, error) {
	if zoned {
		t = t.UTC()
	}
	if y := t.Year(); y < 1 || y > 9999 {
		return "", errTimestamp
	}
	return t.Format(stored), nil // cuts beyond microseconds
}

// epoch reads a number of units since 1970; unit is its length in microseconds.
func epoch(s string, unit int64) (string, error) {
	if _, _, bad := badDigit(s, true); bad || strings.ContainsAny(s, "eE") || len(s) > 30 {
		return "", errEpoch
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return "", errEpoch
	}
	r.Mul(r, new(big.Rat).SetInt64(unit))
	// Div rounds down for a positive divisor, moments before 1970 included.
	micros := new(big.Int).Div(r.Num(), r.Denom())
	if !micros.IsInt64() {
		return "", errTimestamp
	}
	return store(time.UnixMicro(micros.Int64()).UTC(), false)
}

// iso reads YYYY-MM-DD, with a time after a blank (or, with auto, a T) and a
// zone after that.
func iso(s string, auto, zoned bool) (string, error) {
	const dateLength = len(storedDate)
	if auto {
		s = isoDate(s)
	}
	if len(s) < dateLength {
		return "", errTimestamp
	}
	date, rest := s[:dateLength], s[dateLength:]
	if rest != "" && rest[0] != ' ' && !(auto && rest[0] == 'T') {
		return "", errTimestamp
	}
	clock, zone := "00:00:00", ""
	if rest != "" {
		clock, zone = cutZone(rest[1:])
	}
	layout := "2006-01-02 15:04:05" // takes a fraction of any length too
	if strings.Count(clock, ":") == 1 {
		layout = "2006-01-02 15:04"
	}
	t, err := time.Parse(layout, date+" "+clock)
	if err != nil {
		return "", errTimestamp
	}
	if zone != "" && zoned {
		offset, err := zoneOffset(zone)
		if err != nil {
			return "", err
		}
		t = t.Add(-offset)
	}
	return store(t, false)
}

// isoDate writes the date that s starts with as YYYY-MM-DD, where it is in one of
// the forms that 'auto' recognizes.
func isoDate(s string) string {
	end := strings.IndexAny(s, "T ")
	if end == 3 || end == 4 { // Jan 2, 2026
		if comma := strings.IndexByte(s, ','); comma > 0 {
			if n := strings.IndexAny(s[min(comma+2, len(s)):], "T "); n >= 0 {
				end = comma + 2 + n
			} else {
				end = len(s)
			}
		}
	}
	if end < 0 {
		end = len(s)
	}
	for _, layout := range []string{"2006/01/02", "2006.01.02", "20060102", "01/02/2006", "01-02-2006", "01.02.2006", "Jan-02-2006", "02-Jan-2006", "2006-Jan-02", "Jan 2, 2006"} {
		if t, err := time.Parse(layout, s[:end]); err == nil {
			return t.Format(storedDate) + s[end:]
		}
	}
	return s
}

// cutZone splits a time of day from the zone after it.
func cutZone(s string) (clock, zone string) {
	i := 0
	for i < len(s) && (s[i] == ':' || s[i] == '.' || '0' <= s[i] && s[i] <= '9') {
		i++
	}
	return s[:i], strings.TrimSpace(s[i:])
}

// zoneOffset reads Z, UTC, +HH, +HHMM, +HH:MM or the name of a zone that has
// one offset only.
func zoneOffset(zone string) (time.Duration, error) {
	switch strings.ToUpper(zone) {
	case "Z", "UTC", "GMT":
		return 0, nil
	}
	for _, layout := range []string{"-07", "-0700", "-07:00"} {
		if t, err := time.Parse(layout, zone); err == nil {
			_, seconds := t.Zone()
			return time.Duration(seconds) * time.Second, nil
		}
	}
	return 0, errZone
}

// Layout turns a pattern of TIMEFORMAT or DATEFORMAT into one of package time.
func Layout(format string) (string, error) {
	elements := []struct{ from, to string }{
		{"YYYY", "2006"},
		{"YY", "06"},
		{"MONTH", "January"},
		{"MON", "Jan"},
		{"MM", "01"},
		{"DD", "02"},
		{"HH24", "15"},
		{"HH12", "03"},
		{"HH", "15"},
		{"MI", "04"},
		{"SS", "05"},
		{"AM", "PM"},
		{"PM", "PM"},
		{"OF", "Z07:00"},
	}
	var b strings.Builder
next:
	for i := 0; i < len(format); {
		for _, e := range elements {
			if len(format)-i >= len(e.from) && strings.EqualFold(format[i:i+len(e.from)], e.from) {
				b.WriteString(e.to)
				i += len(e.from)
				continue next
			}
		}
		c := format[i]
		if c != 'T' && c != 'Z' && ('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80) {
			return "", fmt.Errorf("Invalid format pattern %q", format) //nolint:staticcheck // Redshift's style
		}
		b.WriteByte(c)
		i++
	}
	// A 12-hour clock is meant where the pattern has a meridian.
	layout := b.String()
	if strings.Contains(layout, "PM") {
		layout = strings.Replace(layout, "15", "03", 1)
	}
	// Package time takes a fraction of a second after the seconds by itself.
	return strings.Replace(layout, "05.05", "05", 1), nil
}
