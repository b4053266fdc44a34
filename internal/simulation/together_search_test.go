package simulation

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// countsLines counts the lines of a log that begin with a text, for some texts.
type countsLines map[string]*atomic.Int64

func (c countsLines) Enabled(context.Context, slog.Level) bool { return true }
func (c countsLines) WithAttrs([]slog.Attr) slog.Handler       { return c }
func (c countsLines) WithGroup(string) slog.Handler            { return c }
func (c countsLines) Handle(_ context.Context, r slog.Record) error {
	for text, n := range c {
		if strings.HasPrefix(r.Message, text) {
			n.Add(1)
		}
	}
	return nil
}

// A worker that looks for a refused row loads what it tries by itself: with the others'
// batches each try that is refused would be a load of theirs that is. That matters
// where nothing names the row.
func TestASearchIsNotTheFleetsAffair(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Int64
		f := newCrew(t, Options{Shards: 4, Log: slog.New(countsLines{"the warehouse refuses a load of the fleet": &refused})}, 4,
			Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second, RetryAfter: retryTimes})
		put(t, f.w, spread(500, 40)) // so that all of them are in the last load
		f.settles(40)
		faults := []fault.Fault{forGoodByCopy}
		for _, view := range []string{"sys_load_error_detail", "stl_load_errors"} {
			faults = append(faults, fault.Fault{
				Service: "redshift-data", Operation: "ExecuteStatement", Kind: fault.StatementFailed, Match: view, Error: "ERROR: permission denied for relation " + view,
			})
		}
		strike(t, f.w, faults...)
		put(t, f.w, append(spread(501, 400), order("o-poison", poisonCustomer, 1)))
		total := int64(441)
		for n := range 20 { // others go on meanwhile
			put(t, f.w, spread(510+n, 20))
			total += 20
			<-time.After(time.Second)
		}
		f.settles(total)
		if n := refused.Load(); n != 1 {
			t.Errorf("%d loads of the fleet were refused, want the first one", n)
		}
		if n := f.sum(func(r *Running) int64 { return r.Metrics.RecordsRejected.Value() }); n != 1 {
			t.Errorf("%d rows count as rejected, want the one", n)
		}
	})
}
