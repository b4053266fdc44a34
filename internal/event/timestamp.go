package event

import "time"

// MostAhead is how much later than its arrival an event may say that it happened, as a
// producer's clock, or its missing zone, runs ahead.
const MostAhead = 24 * time.Hour

const (
	// earliestMicros is 2000-01-01T00:00:00Z: an older time is a clock that was
	// never set or a unit mixed up, not an order.
	earliestMicros = 946684800 * microsPerSecond
	aheadMicros    = int64(MostAhead / time.Microsecond)

	microsPerSecond = 1_000_000
	// milliSince is the number from which on an epoch is read as milliseconds:
	// as seconds it would be the year 5138, as milliseconds it is 1973. A
	// thousand times that, the same holds of microseconds, and again of
	// nanoseconds. No time that is in range can be read in two units.
	milliSince = 100_000_000_000
	unitStep   = 1000
)

// timestamp reads the event time, UTC microseconds, from the first of the
// three keys that is present, else from the arrival. The last key is its family's
// own.
func (s *scanner) timestamp(arrived time.Time, own field) (int64, *Rejection) {
	t, name := s.at(fieldEventTimestamp), "event_timestamp"
	if !t.present() {
		t, name = s.at(fieldTimestamp), "timestamp"
	}
	if !t.present() {
		t, name = s.at(own), fieldTable.names[own]
	}
	if !t.present() {
		return arrived.UnixMicro(), nil
	}
	var micros int64
	ok := false
	if t.kind == kindString {
		micros, ok = parseTime(s.resolved(t))
	}
	if !ok {
		var text []byte
		if text, ok = s.numeral(t); ok {
			micros = epochMicros(parseDecimal(text))
		}
	}
	switch {
	case !ok:
		return 0, s.reject(TimestampNotTime, name, t)
	case micros < earliestMicros || micros > arrived.UnixMicro()+aheadMicros:
		return 0, s.reject(TimestampOutOfRange, name, t)
	}
	return micros, nil
}

// epochMicros reads seconds, milliseconds, microseconds or nanoseconds since
// 1970, cut to microseconds. A number beyond 64 bits becomes one that is out of
// range as well.
func epochMicros(d decimal) int64 {
	places := int64(6)
	size, _, _ := d.scale(0)
	for limit := uint64(milliSince); size >= limit && places > -3; limit *= unitStep {
		places -= 3
	}
	whole, _, _ := d.scale(places)
	if whole > 1<<62 {
		whole = 1 << 62
	}
	if d.neg {
		return -int64(whole)
	}
	return int64(whole)
}

// parseTime reads a string as a time in ISO 8601: a date, or date and time.
func parseTime(b []byte) (micros int64, ok bool) {
	if len(b) < 10 || b[4] != '-' || b[7] != '-' {
		return 0, false
	}
	century, year, month, day := twoDigits(b), twoDigits(b[2:]), twoDigits(b[5:]), twoDigits(b[8:])
	if century < 0 || year < 0 {
		return 0, false
	}
	year += century * 100
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return 0, false
	}
	micros = daysSince1970(year, month, day) * 86400 * microsPerSecond
	if len(b) == 10 {
		return micros, true
	}
	clock, ok := parseClock(b[10:])
	return micros + clock, ok
}

// parseClock reads the time of day and the zone, from the T on, as
// microseconds to add to midnight UTC. Seconds may be left out.
func parseClock(b []byte) (micros int64, ok bool) {
	if len(b) < 6 || b[0]|' ' != 't' && b[0] != ' ' || b[3] != ':' {
		return 0, false
	}
	hour, minute, second := twoDigits(b[1:]), twoDigits(b[4:]), 0
	b = b[6:]
	if len(b) >= 3 && b[0] == ':' {
		second = twoDigits(b[1:])
		b = b[3:]
		if len(b) > 0 && (b[0] == '.' || b[0] == ',') {
			end := digitsEnd(b, 1)
			if end == 1 {
				return 0, false
			}
			micros = fractionMicros(b[1:end])
			b = b[end:]
		}
	}
	// No 24:00 and no leap second: the warehouse has no such times.
	if hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 {
		return 0, false
	}
	ahead, ok := parseZone(b)
	return micros + int64(hour*3600+minute*60+second-ahead)*microsPerSecond, ok
}

// fractionMicros cuts the digits after the point to microseconds.
func fractionMicros(digits []byte) (micros int64) {
	unit := int64(microsPerSecond)
	for _, c := range digits {
		unit /= 10 // 0 from the seventh digit on
		micros += unit * int64(c-'0')
	}
	return micros
}

// parseZone reads the zone as seconds ahead of UTC; none is UTC. A blank may
// stand before an offset and the word UTC, as databases print them.
func parseZone(b []byte) (seconds int, ok bool) {
	if len(b) == 0 || len(b) == 1 && b[0]|' ' == 'z' {
		return 0, true
	}
	if b[0] == ' ' {
		b = b[1:]
	}
	if string(b) == "UTC" {
		return 0, true
	}
	if len(b) < 3 || b[0] != '+' && b[0] != '-' {
		return 0, false
	}
	hours, minutes := twoDigits(b[1:]), 0
	switch {
	case len(b) == 5:
		minutes = twoDigits(b[3:])
	case len(b) == 6 && b[3] == ':':
		minutes = twoDigits(b[4:])
	case len(b) != 3:
		return 0, false
	}
	if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 {
		return 0, false
	}
	seconds = hours*3600 + minutes*60
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// twoDigits is the number that b begins with, or -1.
func twoDigits(b []byte) int {
	tens, units := b[0]-'0', b[1]-'0'
	if tens > 9 || units > 9 {
		return -1
	}
	return int(tens)*10 + int(units)
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// daysSince1970 counts the days to a date of the Gregorian calendar, from the
// year 0 on. A year is taken to begin in March, which puts the leap day last.
func daysSince1970(year, month, day int) int64 {
	month -= 3
	if month < 0 {
		month += 12
		year--
	}
	const marchOfYear0 = 719468 // days from 0000-03-01 to 1970-01-01
	// Years are made positive by one turn of the calendar, 400 years or 146097 days.
	year += 400
	days := year*365 + year/4 - year/100 + year/400 + (month*153+2)/5 + day - 1
	return int64(days) - 146097 - marchOfYear0
}
