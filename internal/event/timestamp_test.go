package event

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func TestTimestamp(t *testing.T) {
	for _, c := range []struct {
		json   string
		want   string // RFC 3339
		reason Reason
	}{
		{`"2026-11-20T08:15:30"`, "2026-11-20T08:15:30Z", ""},
		{`"2026-11-20 08:15:30"`, "2026-11-20T08:15:30Z", ""},
		{`"2026-11-20t08:15:30z"`, "2026-11-20T08:15:30Z", ""},
		{`"2026-11-20T08:15"`, "2026-11-20T08:15:00Z", ""},
		{`"2026-11-20T08:15Z"`, "2026-11-20T08:15:00Z", ""},
		{`"2026-11-20T08:15+01:00"`, "2026-11-20T07:15:00Z", ""},
		{`"2026-11-20"`, "2026-11-20T00:00:00Z", ""},
		{`"2026-11-20T08:15:30.1"`, "2026-11-20T08:15:30.1Z", ""},
		{`"2026-11-20T08:15:30,25Z"`, "2026-11-20T08:15:30.25Z", ""},
		{`"2026-11-20T08:15:30.123456999Z"`, "2026-11-20T08:15:30.123456Z", ""},
		{`"2026-11-20T08:15:59.9999999999999999999999Z"`, "2026-11-20T08:15:59.999999Z", ""},
		{`"2026-11-20T08:15:30+09"`, "2026-11-19T23:15:30Z", ""},
		{`"2026-11-20T08:15:30+0930"`, "2026-11-19T22:45:30Z", ""},
		{`"2026-11-20T08:15:30-09:30"`, "2026-11-20T17:45:30Z", ""},
		{`"2026-11-20T08:15:30-00:00"`, "2026-11-20T08:15:30Z", ""},
		{`"2026-11-20T08:15:30.5-03"`, "2026-11-20T11:15:30.5Z", ""},
		{`"2026\u002d11-20"`, "2026-11-20T00:00:00Z", ""},
		{`"2024-02-29T23:59:59Z"`, "2024-02-29T23:59:59Z", ""},
		{`"2000-02-29"`, "2000-02-29T00:00:00Z", ""},
		{`"2000-01-01T00:00:00Z"`, "2000-01-01T00:00:00Z", ""},
		{`"2000-01-01T09:00:00+09:00"`, "2000-01-01T00:00:00Z", ""},
		{`"1999-12-31T23:00:00-01:00"`, "2000-01-01T00:00:00Z", ""},
		{`"2026-11-21T18:00:00Z"`, "2026-11-21T18:00:00Z", ""}, // a day after arrival

		{`1795163730`, "2026-11-20T08:35:30Z", ""},
		{`1795163730.25`, "2026-11-20T08:35:30.25Z", ""},
		{`1795163730.1234567`, "2026-11-20T08:35:30.123456Z", ""},
		{`1.79516373e9`, "2026-11-20T08:35:30Z", ""},
		{`1795163730123`, "2026-11-20T08:35:30.123Z", ""},
		{`1795163730123.4567`, "2026-11-20T08:35:30.123456Z", ""},
		{`946684800`, "2000-01-01T00:00:00Z", ""},
		{`"1795163730"`, "2026-11-20T08:35:30Z", ""},
		{`"1795163730123"`, "2026-11-20T08:35:30.123Z", ""},
		{`1795163730123456`, "2026-11-20T08:35:30.123456Z", ""},
		{`1795163730123456.789`, "2026-11-20T08:35:30.123456Z", ""},
		{`1795163730123456789`, "2026-11-20T08:35:30.123456Z", ""},
		{`1.795163730123456789e18`, "2026-11-20T08:35:30.123456Z", ""},
		{`946684800000000`, "2000-01-01T00:00:00Z", ""},
		{`946684800000000000`, "2000-01-01T00:00:00Z", ""},
		{`1795284000000000000`, "2026-11-21T18:00:00Z", ""},
		{`"1795163730.5"`, "2026-11-20T08:35:30.5Z", ""},
		{`"1795163730123456"`, "2026-11-20T08:35:30.123456Z", ""},
		{`"1795163730123456789"`, "2026-11-20T08:35:30.123456Z", ""},
		{`"1.79516373e9"`, "2026-11-20T08:35:30Z", ""},
		{`"179516373\u0030.25"`, "2026-11-20T08:35:30.25Z", ""},

		{`"2026-11-20 08:15:30 UTC"`, "2026-11-20T08:15:30Z", ""},
		{`"2026-11-20 08:15:30.123456 UTC"`, "2026-11-20T08:15:30.123456Z", ""},
		{`"2026-11-20T08:15UTC"`, "2026-11-20T08:15:00Z", ""},
		{`"2026-11-20 08:15:30 +0000"`, "2026-11-20T08:15:30Z", ""},
		{`"2026-11-20 08:15:30 -07:00"`, "2026-11-20T15:15:30Z", ""},
		{`"2026-11-20 08:15:30.000 -0700"`, "2026-11-20T15:15:30Z", ""},
		{`"2026-11-20 08:15 +09"`, "2026-11-19T23:15:00Z", ""},

		{`"1999-12-31T23:59:59.999999Z"`, "", TimestampOutOfRange},
		{`"2000-01-01T00:00:00+00:01"`, "", TimestampOutOfRange},
		{`"2026-11-21T18:00:00.000001Z"`, "", TimestampOutOfRange},
		{`"0000-01-01"`, "", TimestampOutOfRange},
		{`"9999-12-31"`, "", TimestampOutOfRange},
		{`0`, "", TimestampOutOfRange},
		{`-1795163730`, "", TimestampOutOfRange},
		{`946684799.999999`, "", TimestampOutOfRange},
		{`99999999999`, "", TimestampOutOfRange},     // seconds of the year 5138
		{`100000000000`, "", TimestampOutOfRange},    // milliseconds of 1973
		{`99999999999999`, "", TimestampOutOfRange},  // milliseconds of the year 5138
		{`100000000000000`, "", TimestampOutOfRange}, // microseconds of 1973
		{`99999999999999999`, "", TimestampOutOfRange},
		{`100000000000000000`, "", TimestampOutOfRange},
		{`99999999999999999999`, "", TimestampOutOfRange},
		{`100000000000000000000000`, "", TimestampOutOfRange},
		{`946684799999999`, "", TimestampOutOfRange},
		{`946684799999999999`, "", TimestampOutOfRange},
		{`1795284000000001`, "", TimestampOutOfRange},
		{`1795284000000001000`, "", TimestampOutOfRange},
		{`-1795163730123456`, "", TimestampOutOfRange},
		{`1e400`, "", TimestampOutOfRange},
		{`-1e400`, "", TimestampOutOfRange},
		{`1e-400`, "", TimestampOutOfRange},
		{`"0000000000"`, "", TimestampOutOfRange},
		{`"179516373"`, "", TimestampOutOfRange}, // a number like any other
		{`"17951637301"`, "", TimestampOutOfRange},
		{`"-795163730"`, "", TimestampOutOfRange},
		{`"20261120"`, "", TimestampOutOfRange},
		{`"20261120081530"`, "", TimestampOutOfRange},

		{`""`, "", TimestampNotTime},
		{`"now"`, "", TimestampNotTime},
		{`true`, "", TimestampNotTime},
		{`[]`, "", TimestampNotTime},
		{`{}`, "", TimestampNotTime},
		{`"20261120T081530Z"`, "", TimestampNotTime},
		{`"2026-1-02"`, "", TimestampNotTime},
		{`"26-11-20"`, "", TimestampNotTime},
		{`"+2026-11-20"`, "", TimestampNotTime},
		{`"2026/11/20"`, "", TimestampNotTime},
		{`"2026-11-20T"`, "", TimestampNotTime},
		{`"2026-11-20Z"`, "", TimestampNotTime},
		{`"2026-11-20T08"`, "", TimestampNotTime},
		{`"2026-11-20T08:1"`, "", TimestampNotTime},
		{`"2026-11-20T8:15:30"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:3"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:"`, "", TimestampNotTime},
		{`"2026-11-20T08:15.5"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30."`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30.Z"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30 Z"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30 "`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30  UTC"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30 UTC "`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30 utc"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30 EST"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30 +"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30 UTC+1"`, "", TimestampNotTime},
		{`"2026-11-20 UTC"`, "", TimestampNotTime},
		{`"1795163730 "`, "", TimestampNotTime},
		{`"1795163730."`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30ZZ"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30+"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30+9"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30+090"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30+09:0"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30+09-00"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30+24:00"`, "", TimestampNotTime},
		{`"2026-11-20T08:15:30+09:60"`, "", TimestampNotTime},
		{`"2026-11-20_08:15:30"`, "", TimestampNotTime},
		{`"2026-11-20\u000008:15:30"`, "", TimestampNotTime},
		{`"2026-11-20T24:00:00"`, "", TimestampNotTime},
		{`"2026-11-20T23:60:00"`, "", TimestampNotTime},
		{`"2026-11-20T23:59:60Z"`, "", TimestampNotTime},
		{`"2026-00-20"`, "", TimestampNotTime},
		{`"2026-13-20"`, "", TimestampNotTime},
		{`"2026-11-00"`, "", TimestampNotTime},
		{`"2026-11-31"`, "", TimestampNotTime},
		{`"2026-02-29"`, "", TimestampNotTime},
		{`"2100-02-29"`, "", TimestampNotTime},
		{`"yyyy-mm-dd"`, "", TimestampNotTime},
	} {
		for _, key := range []string{"event_timestamp", "timestamp", "created_at"} {
			record := with("timestamp", "", key, c.json)
			if c.reason != "" {
				wantRejected(t, record, c.reason, "%s", record)
			} else if o, ok := decoded(t, record); ok && o.EventTime != at(t, c.want) {
				t.Errorf("%s: %v, want %s", record, time.UnixMicro(o.EventTime).UTC(), c.want)
			}
		}
	}
}

func TestTimestampKeys(t *testing.T) {
	const first, second, third = `"2026-11-20T01:00:00Z"`, `"2026-11-20T02:00:00Z"`, `"2026-11-20T03:00:00Z"`
	for _, c := range []struct{ eventTimestamp, timestamp, createdAt, want string }{
		{first, second, third, "2026-11-20T01:00:00Z"},
		{"", second, third, "2026-11-20T02:00:00Z"},
		{"null", second, third, "2026-11-20T02:00:00Z"},
		{"null", "null", third, "2026-11-20T03:00:00Z"},
		{"", "", third, "2026-11-20T03:00:00Z"},
		{"null", "null", "null", "2026-11-20T18:00:00Z"},
		{"", "", "", "2026-11-20T18:00:00Z"},
		{first, `"bad"`, "[]", "2026-11-20T01:00:00Z"}, // a key that is not used is not judged
	} {
		record := with("created_at", c.createdAt, "timestamp", c.timestamp, "event_timestamp", c.eventTimestamp)
		if o, ok := decoded(t, record); ok && o.EventTime != at(t, c.want) {
			t.Errorf("%s: %v, want %s", record, time.UnixMicro(o.EventTime).UTC(), c.want)
		}
	}
	wantRejected(t, with("event_timestamp", `"bad"`), TimestampNotTime, "no second choice for a bad time")
}

// Every day from 1890 to 2110 is counted as package time counts it.
func TestCalendarAgainstTime(t *testing.T) {
	day := time.Date(1890, 1, 1, 0, 0, 0, 0, time.UTC)
	for ; day.Year() < 2110; day = day.AddDate(0, 0, 1) {
		micros, ok := parseTime([]byte(day.Format(time.DateOnly)))
		if !ok || micros != day.UnixMicro() {
			t.Fatalf("%s: %d %v, want %d", day.Format(time.DateOnly), micros, ok, day.UnixMicro())
		}
	}
	for year := range 3_000 {
		for month := 1; month <= 12; month++ {
			last := time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
			if got := daysIn(year, month); got != last {
				t.Fatalf("%d-%d has %d days, want %d", year, month, got, last)
			}
		}
	}
}

// Times in every accepted form mean what package time says they mean.
func TestClockAgainstTime(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	zones := []string{"Z07:00", "Z0700", "-07", "-07:00", " -0700", " -07:00"}
	for range 8_000 {
		east := 0
		if r.IntN(3) > 0 {
			east = (r.IntN(28*4) - 14*4) * 900 // quarters of an hour, as zones have
		}
		zone := zones[r.IntN(len(zones))]
		if zone == "-07" {
			east = east / 3600 * 3600
		}
		when := time.Unix(946684800+r.Int64N(800_000_000), r.Int64N(1e9)).In(time.FixedZone("", east))
		places := r.IntN(10)
		layout := "2006-01-02" + []string{"T", " "}[r.IntN(2)] + "15:04:05"
		if places > 0 {
			layout += "." + "000000000"[:places]
		}
		text := when.Format(layout + zone)
		kept := time.Duration(1)
		for range 9 - min(places, 6) {
			kept *= 10
		}
		want := when.Truncate(kept).UnixMicro()
		if o, ok := decoded(t, with("timestamp", fmt.Sprintf("%q", text))); ok && o.EventTime != want {
			t.Errorf("%s: %d, want %d", text, o.EventTime, want)
		}
	}
}
