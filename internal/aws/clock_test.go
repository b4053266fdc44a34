package aws

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// The clock is never ahead of the service's, and a second and the reply's way
// behind it at most, however wrong our own is.
func TestTheClockIsTheServicesAndNeverAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		if now := time.Now(); !c.at(now).Equal(now) {
			t.Error("without a reply it is not our own")
		}
		for _, ahead := range []time.Duration{-30 * time.Second, 0, 4 * time.Minute, time.Hour} {
			service := func() time.Time { return time.Now().Add(ahead).Add(734 * time.Millisecond) }
			asked := time.Now()
			header := http.Header{"Date": {service().UTC().Format(http.TimeFormat)}}
			wait(t, 300*time.Millisecond) // the reply's way
			c.hear(header)
			c.hear(http.Header{})                      // says nothing
			c.hear(http.Header{"Date": {"yesterday"}}) // nor does this
			wait(t, time.Minute)
			for _, ours := range []time.Time{asked, time.Now()} {
				theirs := service().Add(time.Until(ours))
				if behind := theirs.Sub(c.at(ours)); behind < 0 || behind > 1300*time.Millisecond {
					t.Errorf("AWS's clock ahead by %v: the clock is behind it by %v", ahead, behind)
				}
			}
		}
	})
}

// wait lets virtual time pass.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	if err := pause(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

// dated lets replies take their time, and dates them by a clock of its own.
type dated struct {
	next        http.RoundTripper
	ahead, took time.Duration
}

func (d dated) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := pause(r.Context(), d.took); err != nil {
		return nil, err
	}
	response, err := d.next.RoundTrip(r)
	if err == nil {
		response.Header.Set("Date", time.Now().Add(d.ahead).UTC().Format(http.TimeFormat))
	}
	return response, err
}

// A page says of when it is by the clock of who made it, and allows for the reply's
// way: what it holds may have been looked up at the beginning of the call.
func TestAPageTellsTheServicesTime(t *testing.T) {
	for _, spoken := range []int32{1, -1} { // CBOR and JSON
		synctest.Test(t, func(t *testing.T) {
			const ahead, took = -45 * time.Second, 8 * time.Second
			s, a := scripted(t, iterator("i"), records("j", "1"), records("k"))
			a.cfg.HTTPClient = &http.Client{Transport: dated{s, ahead, took}}
			a.openKinesis()
			a.reading.spoken.Store(spoken)
			r := a.Stream("s").Reader(stream.Shard{ID: "shardId-0"}, stream.Position{Sequence: stream.TrimHorizon})
			for range 2 {
				began := time.Now()
				page, err := r.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				// The first call takes an iterator before.
				asked := time.Now().Add(-took)
				if asked.Before(began) {
					t.Fatal("no time passed")
				}
				if early := asked.Add(ahead).Sub(page.AsOf); early < 0 || early > time.Second {
					t.Errorf("language %d: the page is of %v, and was asked for at %v by the service's clock", spoken, page.AsOf, asked.Add(ahead))
				}
			}
		})
	}
}
