package simulation

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/redrive"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// ofEach makes n events of each family, one after another, whose keys begin with a
// name. The customer is that of all of them; a level has it as its type.
func ofEach(name, customer string, n int) []aws.Entry {
	var out []aws.Entry
	at := time.Now().UTC().Add(-time.Hour).Format("2006-01-02T15:04:05")
	for i := range n {
		for _, data := range []string{
			`{"order_id":"%[1]s-%[2]d","customer_id":%[3]q,"store_id":1,"total_amount":%[2]d,"timestamp":%[4]q}`,
			`{"sku":"%[1]s-%[2]d","store_id":1,"quantity":%[2]d,"event_type":%[3]q,"timestamp":%[4]q}`,
			`{"payment_id":"%[1]s-%[2]d","order_id":"o","customer_id":%[3]q,"amount":%[2]d,"payment_method":"card","timestamp":%[4]q}`,
		} {
			out = append(out, aws.Entry{PartitionKey: fmt.Sprint(name, i), Data: fmt.Appendf(nil, data, name, i, customer, at)})
		}
	}
	return out
}

// TestG1_ATableThatRefusesAllRejectsNoneOfItsRows: what is wrong with one table is
// no fault of its rows, nor of the others'. They wait, as their shards' positions
// are before those rows, and all go in when the table takes them.
func TestG1_ATableThatRefusesAllRejectsNoneOfItsRows(t *testing.T) {
	t.Parallel()
	denied := fault.Fault{
		Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.StatementFailed, Match: "INTO fact_inventory",
		Error: "ERROR: permission denied for relation fact_inventory",
	}
	for name, c := range map[string]struct {
		spoil, mend string
		faults      []fault.Fault
		says        string
	}{
		"permission": {"", "", []fault.Fault{denied}, "permission denied"},
		"constraint": {
			"ALTER TABLE fact_payments ADD CONSTRAINT full_to_the_brim CHECK (false) NOT VALID",
			"ALTER TABLE fact_payments DROP CONSTRAINT full_to_the_brim", nil, "full_to_the_brim",
		},
		"column": {"ALTER TABLE fact_inventory RENAME COLUMN quantity TO pieces", "ALTER TABLE fact_inventory RENAME COLUMN pieces TO quantity", nil, "quantity"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Start(t)
			w := newWorld(t, Options{Warehouse: url, Shards: 2})
			exec := warehouseDB(t, url)
			put(t, w, ofEach("before", "c", 5))
			r := start(t, w, Worker{RetryAfter: []time.Duration{time.Second, time.Second, time.Second}})
			await(t, "what came before is in", func() bool { return r.Metrics.RecordsProcessed.Value() == 15 })
			if c.spoil != "" {
				exec(c.spoil)
			}
			setFaults(t, w, c.faults...)
			put(t, w, ofEach("after", "c", 20))
			await(t, "the worker says that it waits", func() bool {
				f := r.Worker.Status().Writes.Failing
				return f != nil && strings.Contains(f.Error(), c.says)
			})
			refused := r.Metrics.WriteErrors.Value()
			await(t, "it has tried some more", func() bool { return r.Metrics.WriteErrors.Value() > refused+3 })
			if got := fates(t, w); len(got) != 0 {
				t.Errorf("letters %v, want none", got)
			}
			if c.mend != "" {
				exec(c.mend)
			}
			setFaults(t, w)
			// The table may be mended between a row's refusal and the probe that judges it:
			// that one row is parked then, and goes in by itself.
			await(t, "all is in", func() bool {
				return r.Metrics.RecordsProcessed.Value() == 75 && r.Metrics.RecordsRecovered.Value() == r.Metrics.RecordsRejected.Value()
			})
			if report := checkOK(t, w); report.Facts != 75 || report.Letters > 1 {
				t.Errorf("%d facts and %d letters, want 75 and none", report.Facts, report.Letters)
			}
		})
	}
}

// TestPoisonOfOneFamilyStopsNoOther: more refused levels side by side than a
// probe's word counts for, among orders and payments that go in. One level that
// went in before shows that it is not their table; where there is none, as all
// levels are poison, that the others go in does for a while.
func TestPoisonOfOneFamilyStopsNoOther(t *testing.T) {
	t.Parallel()
	for name, goodLevels := range map[string]int{"among one that is good": 1, "and has no other rows": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Options{Shards: 1})
			poison := forGood
			poison.Match = "'" + poisonCustomer + "'"
			setFaults(t, w, poison)
			bad := ofEach("bad", poisonCustomer, 8)
			good := ofEach("good", "c", 8)
			var entries []aws.Entry
			for i := range good {
				if i%3 != 1 || i/3 < goodLevels {
					entries = append(entries, good[i])
				}
				if i%3 == 1 {
					entries = append(entries, bad[i])
				}
			}
			put(t, w, entries)
			start(t, w, Worker{})
			if r := settle(t, w, len(entries)); r.Letters != 8 || int(r.Facts) != len(entries)-8 || int(r.Tables[event.Inventory].Facts) != goodLevels {
				t.Errorf("%d facts and %d letters, want %d and 8: %+v", r.Facts, r.Letters, len(entries)-8, r.Tables)
			}
		})
	}
}

// TestPoisonAloneInItsLoadStopsNoOther: nothing else is in the load that is refused,
// and the orders come later.
func TestPoisonAloneInItsLoadStopsNoOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 1})
	poison := forGood
	poison.Match = "'" + poisonCustomer + "'"
	setFaults(t, w, poison)
	var bad, good []aws.Entry
	for i, e := range ofEach("bad", poisonCustomer, 5) {
		if i%3 == 1 {
			bad = append(bad, e)
		}
	}
	for i, e := range ofEach("good", "c", 5) {
		if i%3 == 0 {
			good = append(good, e)
		}
	}
	put(t, w, bad)
	r := start(t, w, Worker{})
	await(t, "the worker waits, as nothing shows that it is not the warehouse", func() bool {
		return r.Worker.Status().Writes.Failing != nil && fates(t, w)[deadletter.Parked] == 3
	})
	put(t, w, good)
	if report := settle(t, w, len(bad)+len(good)); report.Letters != 5 || report.Facts != 5 {
		t.Errorf("%d facts and %d letters, want 5 of each", report.Facts, report.Letters)
	}
}

// TestATableThatTakesNoneOfItsRowsDoesNotEmptyTheStream: others going in has its
// bound. From there on the table's rows wait, and with them what is behind them.
func TestATableThatTakesNoneOfItsRowsDoesNotEmptyTheStream(t *testing.T) {
	t.Parallel()
	const bound, rows = 25, 29
	w := newWorld(t, Options{Shards: 1})
	poison := forGood
	poison.Match = "'" + poisonCustomer + "'"
	setFaults(t, w, poison)
	var entries []aws.Entry
	for i, e := range ofEach("bad", poisonCustomer, rows) {
		if i%3 == 1 {
			entries = append(entries, e)
		}
	}
	entries = append(entries, ofEach("good", "c", 1)[0])
	put(t, w, entries)
	r := start(t, w, Worker{RetryAfter: []time.Duration{time.Hour}})
	await(t, "the worker waits", func() bool { return fates(t, w)[deadletter.Parked] >= bound && r.Worker.Status().Writes.Failing != nil })
	refused := r.Metrics.WriteErrors.Value()
	await(t, "it has tried some more", func() bool { return r.Metrics.WriteErrors.Value() > refused+3 })
	if got := fates(t, w); got[deadletter.Parked] != bound {
		t.Errorf("letters %v, want %d", got, bound)
	}
	setFaults(t, w)
	await(t, "all is settled once the table takes them", func() bool { return r.Metrics.RecordsProcessed.Value() == rows+1 })
	if report := checkOK(t, w); report.Letters != bound || report.Facts != rows+1-bound {
		t.Errorf("%d letters and %d facts, want %d and %d", report.Letters, report.Facts, bound, rows+1-bound)
	}
}

// TestAFamilyIsSwitchedOffAndOn: what is left out is rejected, whether its table is
// there or not, and nothing else is touched by it. Switched on again and put back
// onto the stream, its rows are in. The verifier agrees at each point.
func TestAFamilyIsSwitchedOffAndOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 2})
	run := func(records int64) {
		t.Helper()
		r := start(t, w, Worker{})
		await(t, "all is settled", func() bool { return r.Metrics.RecordsProcessed.Value() == records })
		if err := r.Drain(); err != nil {
			t.Fatal(err)
		}
		checkOK(t, w)
	}
	put(t, w, ofEach("first", "c", 4))
	run(12)

	w.Options.Families = []event.Family{event.Orders, event.Payments}
	put(t, w, append(ofEach("second", "c", 4), ofEach("first", "again", 2)...))
	run(18)
	for l, err := range w.Letters().All(deadline(t)) {
		if err != nil || l.Reason != string(event.FamilyOff) || !strings.Contains(string(l.Data), "sku") || !strings.Contains(l.Detail, "inventory") {
			t.Errorf("%+v, %v", l, err)
		}
	}
	if got := fates(t, w)[deadletter.Kept]; got != 6 {
		t.Errorf("%d letters, want 6", got)
	}
	if n := scalar(t, w, "SELECT COUNT(*) FROM fact_inventory WHERE event_type = 'c'"); n != "4" {
		t.Errorf("%s levels are there, want the 4 of before", n)
	}

	sql := []string{"DROP TABLE fact_inventory"}
	if _, err := w.DB.Run(deadline(t), warehouse.Token(), sql); err != nil {
		t.Fatal(err)
	}
	put(t, w, ofEach("third", "c", 4))
	run(12)
	if r := checkOK(t, w); r.Tables[event.Inventory].Facts != 0 || r.Facts != 24 || r.Letters != 10 {
		t.Errorf("%+v", r)
	}
	// The levels of the first time went with their table: now they are missed.
	w.Options.Families = nil
	sql = nil
	for _, s := range warehouse.Schema(warehouse.Redshift) {
		sql = append(sql, s.SQL)
	}
	if _, err := w.DB.Run(deadline(t), warehouse.Token(), sql); err != nil {
		t.Fatal(err)
	}
	r, err := w.Verify(deadline(t))
	if err != nil || r.OK || r.Tables[event.Inventory].Missing != 4 || r.Missing != 4 {
		t.Fatalf("a table that was lost and made anew: %+v, %v", r, err)
	}
	redriven(t, w, event.FamilyOff, 10)
	put(t, w, ofEach("first", "c", 4))
	run(10 + 12)
	if n := scalar(t, w, "SELECT COUNT(*) FROM fact_inventory"); n != "12" {
		t.Errorf("%s levels are there, want 12", n)
	}
}

// redriven puts the letters of a reason back onto the stream.
func redriven(t *testing.T, w *World, reason event.Reason, want int) {
	t.Helper()
	s, err := redrive.Run(deadline(t), redrive.Config{
		Letters: w.Letters().All(deadline(t)), Marks: w.Letters(), Run: "run",
		Put: func(ctx context.Context, letters []deadletter.Letter) ([]deadletter.Outcome, error) {
			entries, out := make([]aws.Entry, len(letters)), make([]deadletter.Outcome, len(letters))
			for i, l := range letters {
				entries[i], out[i] = aws.Entry{PartitionKey: l.PartitionKey, Data: l.Data}, deadletter.Placed
			}
			_, err := w.Stream.PutOnce(ctx, entries)
			return out, err
		},
		Match: func(l deadletter.Letter) bool { return l.Reason == string(reason) },
		Tell:  func(redrive.Summary) {},
	})
	if err != nil || s.Placed != want {
		t.Fatalf("%+v, %v; want %d placed", s, err, want)
	}
}
