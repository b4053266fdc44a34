package simulation

import (
	"fmt"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

func TestDrainLoadsWhatWasRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	r := start(t, w, Worker{BatchSize: 100_000, PollInterval: time.Minute}) // nothing is due by itself
	put(t, w, made(31, 300, 0))
	if err := Await(deadline(t), "all is read", func() (bool, error) { return r.Worker.Status().Waiting > 0, nil }); err != nil {
		t.Fatal(err)
	}
	read := r.Metrics.RecordsRead.Value()
	if err := r.Drain(); err != nil {
		t.Fatal(err)
	}
	if report := checkOK(t, w); report.Records < read {
		t.Errorf("%d of at least %d records that were read are loaded", report.Records, read)
	}
}

func TestInitialPositions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		initial func(marks []time.Time) func(stream.Shard) stream.Position
		want    int
	}{
		"TRIM_HORIZON": {func([]time.Time) func(stream.Shard) stream.Position {
			return func(stream.Shard) stream.Position { return stream.Position{Sequence: stream.TrimHorizon} }
		}, 30},
		"AT_TIMESTAMP": {func(marks []time.Time) func(stream.Shard) stream.Position {
			return func(stream.Shard) stream.Position { return stream.AtTime(marks[1]) }
		}, 20},
		"LATEST": {func([]time.Time) func(stream.Shard) stream.Position {
			now := time.Now()
			return func(stream.Shard) stream.Position { return stream.AtTime(now) }
		}, 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Options{})
			var marks []time.Time
			for i := range 2 {
				marks = append(marks, time.Now())
				put(t, w, made(uint64(40+i), 10, 0))
				nextMilli(t)
			}
			r := start(t, w, Worker{Initial: c.initial(marks)})
			if err := Await(deadline(t), "all shards are read", func() (bool, error) { return len(r.Worker.Status().Shards) == 4, nil }); err != nil {
				t.Fatal(err)
			}
			put(t, w, made(42, 10, 0))
			if err := Await(deadline(t), "the records are settled", func() (bool, error) { return r.Metrics.RecordsProcessed.Value() >= int64(c.want), nil }); err != nil {
				t.Fatal(err)
			}
			if err := r.Drain(); err != nil {
				t.Error(err)
			}
			if n := r.Metrics.RecordsProcessed.Value(); n != int64(c.want) {
				t.Errorf("%d records settled, want %d", n, c.want)
			}
		})
	}
}

// A worker whose clock is ahead of AWS's, or behind it, promises about arrival
// times by AWS's, and goes on doing so.
func TestTheWatermarkGoesByTheServicesClock(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{-30 * time.Second, 30 * time.Second} {
		t.Run(offset.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Options{ClockOffset: offset})
			r := start(t, w, Worker{})
			first, moved, seed := time.Time{}, time.Time{}, uint64(1000)
			err := Await(deadline(t), "all shards promise anew", func() (bool, error) {
				seed++
				put(t, w, made(seed, 1, 0)) // one shard has news; the others tell that they have none
				earliest := time.Now().Add(offset)
				st := r.Worker.Status()
				for _, s := range st.Shards {
					if now := time.Now().Add(offset); s.ArrivedUntil.After(now) {
						return false, fmt.Errorf("shard %s promises until %v at %v by AWS's clock", s.ID, s.ArrivedUntil, now)
					}
					if s.ArrivedUntil.Before(earliest) {
						earliest = s.ArrivedUntil
					}
				}
				if len(st.Shards) < 4 || earliest.IsZero() {
					return false, nil
				}
				if first.IsZero() {
					first = earliest
				}
				moved = earliest
				return moved.Sub(first) > 2*time.Second, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if late := time.Now().Add(offset).Sub(moved); late > 20*time.Second {
				t.Errorf("the promise is %v late", late)
			}
			if err := r.Drain(); err != nil {
				t.Error(err)
			}
			checkOK(t, w)
		})
	}
}

// nextMilli waits until the clock shows another millisecond: arrival times are
// kept to the millisecond.
func nextMilli(t testing.TB) {
	t.Helper()
	was := time.Now().UnixMilli()
	for time.Now().UnixMilli() == was {
		if t.Context().Err() != nil {
			return
		}
	}
}
