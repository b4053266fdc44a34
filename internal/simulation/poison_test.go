package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// warehouseDB is a connection to the warehouse beside the local AWS, for what
// its owner does to the tables.
func warehouseDB(t testing.TB, url string) (exec func(sql string)) {
	t.Helper()
	db, err := pgx.Connect(deadline(t), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	return func(sql string) {
		t.Helper()
		if _, err := db.Exec(deadline(t), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// forbidden is a constraint that the worker knows nothing of.
const (
	forbid = `ALTER TABLE fact_orders ADD CONSTRAINT nobody_wants_him CHECK (customer_id <> 'poison') NOT VALID`
	allow  = `ALTER TABLE fact_orders DROP CONSTRAINT nobody_wants_him`
)

// order is an event of an order at a second of the present hour.
func order(id, customer string, second int) aws.Entry {
	at := time.Now().UTC().Truncate(time.Hour).Add(time.Duration(second) * time.Second)
	return aws.Entry{PartitionKey: "k", Data: fmt.Appendf(nil,
		`{"order_id":%q,"customer_id":%q,"store_id":1,"total_amount":%d,"item_count":1,"event_type":"order_made","timestamp":%q}`,
		id, customer, second, at.Format("2006-01-02T15:04:05"))}
}

// fates are the letters of a world by what became of their rows.
func fates(t testing.TB, w *World) map[deadletter.Fate]int {
	t.Helper()
	known, err := w.Letters().Fates(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[deadletter.Fate]int)
	for l, err := range w.Letters().All(deadline(t)) {
		if err != nil {
			t.Fatal(err)
		}
		out[known.Of(l)]++
	}
	return out
}

// TestG1_ARowThatTheWarehouseRefusesIsFoundAndKept forbids one customer by a
// constraint: the row is found among its neighbours, which load, and is kept with
// the warehouse's own words.
func TestG1_ARowThatTheWarehouseRefusesIsFoundAndKept(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t)
	w := newWorld(t, Options{Warehouse: url, Shards: 1})
	warehouseDB(t, url)(forbid)
	entries := made(51, 12, 0)
	entries[7] = order("o-poison", "poison", 1)
	put(t, w, entries)
	r := start(t, w, Worker{})
	report := settle(t, w, len(entries))
	if err := r.Drain(); err != nil {
		t.Error(err)
	}
	if report.Rejected != 1 || report.Letters != 1 || r.Metrics.RecordsRejected.Value() != 1 {
		t.Errorf("%d records rejected, %d letters, %d counted; want the one", report.Rejected, report.Letters, r.Metrics.RecordsRejected.Value())
	}
	for l, err := range w.Letters().All(deadline(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Reason != deadletter.RefusedByWarehouse || !strings.Contains(l.Detail, "nobody_wants_him") || string(l.Data) != string(entries[7].Data) {
			t.Errorf("the letter is %+v", l)
		}
	}
	if got := fates(t, w); got[deadletter.Parked] != 1 {
		t.Errorf("the letter says %v; its row was being tried when the worker stopped", got)
	}
}

// TestG6_G7_AParkedRowChangesNothingNewer: of three orders whose events the
// warehouse refuses for a while, one has no other event, one has a newer one and
// one has another of the same instant behind it. When the warehouse takes the
// rows after all, only what is older or not there changes, and rollups follow.
func TestG6_G7_AParkedRowChangesNothingNewer(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t)
	w := newWorld(t, Options{Warehouse: url, Shards: 1})
	exec := warehouseDB(t, url)
	exec(forbid)
	put(t, w, []aws.Entry{
		order("old", "before", 1), order("alone", "poison", 5), order("old", "poison", 5), order("newer", "poison", 5),
		order("same", "poison", 5),
	})
	r := start(t, w, Worker{RetryAfter: slices.Repeat([]time.Duration{2 * time.Second}, 300)})
	settle(t, w, 5)
	if got := fates(t, w); got[deadletter.Parked] != 4 {
		t.Fatalf("letters: %v, want four parked", got)
	}
	if err := Await(deadline(t), "the status tells of four parked rows", func() (bool, error) { return r.Worker.Status().Parked == 4, nil }); err != nil {
		t.Fatal(err)
	}
	put(t, w, []aws.Entry{order("newer", "after", 9), order("same", "after", 5)})
	settle(t, w, 7)
	exec(allow)
	if err := Await(deadline(t), "the rows are in", func() (bool, error) { return r.Metrics.RecordsRecovered.Value() == 4, nil }); err != nil {
		t.Fatal(err)
	}
	if err := Await(deadline(t), "the letters are marked", func() (bool, error) { return fates(t, w)[deadletter.Loaded] == 4, nil }); err != nil {
		t.Fatal(err)
	}
	if r := checkOK(t, w); r.Rejected != 0 || r.LettersLoaded != 4 || r.LettersParked != 0 { // and facts, rollups, each order's newest event
		t.Errorf("the checker counts %d rejected, %d loaded later, %d parked; want 0, 4, 0", r.Rejected, r.LettersLoaded, r.LettersParked)
	}
	for id, want := range map[string]string{"alone": "poison", "old": "poison", "newer": "after", "same": "after"} {
		if got := scalar(t, w, "SELECT customer_id FROM fact_orders WHERE order_id = '"+id+"'"); got != want {
			t.Errorf("order %s stands as its event of %q, want %q", id, got, want)
		}
	}
	m := r.Metrics
	if m.RecordsProcessed.Value() != 7 || m.RecordsRejected.Value() != 4 || m.EventsWritten.Value() != 3 {
		t.Errorf("%d processed, %d rejected, %d written; each record counts once, as what it was when its position moved on",
			m.RecordsProcessed.Value(), m.RecordsRejected.Value(), m.EventsWritten.Value())
	}
}

// TestG8_ARowThatIsRefusedToTheLastTryIsFinal: and then it is not tried again.
func TestG8_ARowThatIsRefusedToTheLastTryIsFinal(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t)
	w := newWorld(t, Options{Warehouse: url, Shards: 1})
	warehouseDB(t, url)(forbid)
	put(t, w, []aws.Entry{order("good", "c", 1), order("bad", "poison", 2), order("bad too", "poison", 3), order("better", "c", 4)})
	r := start(t, w, Worker{RetryAfter: []time.Duration{50 * time.Millisecond, 50 * time.Millisecond}})
	settle(t, w, 4)
	if err := Await(deadline(t), "the letters are final", func() (bool, error) { return fates(t, w)[deadletter.Final] == 2, nil }); err != nil {
		t.Fatal(err)
	}
	if n := r.Worker.Status().Parked; n != 0 {
		t.Errorf("%d rows are still parked", n)
	}
	checkOK(t, w)
}

// TestG1_AWarehouseThatRefusesEveryRowRejectsNone: whatever it carries, a load
// is refused, with one message. At most a few rows are parked before that shows;
// then the worker waits, says so, and goes on by itself.
func TestG1_AWarehouseThatRefusesEveryRowRejectsNone(t *testing.T) {
	t.Parallel()
	for name, constraint := range map[string]string{
		"of all":           `CHECK (false)`,
		"of all but plain": `CHECK (customer_id = 'probe')`, // the probe's own row goes in
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Start(t)
			w := newWorld(t, Options{Warehouse: url, Shards: 2})
			exec := warehouseDB(t, url)
			put(t, w, made(61, 20, 0))
			r := start(t, w, Worker{RetryAfter: []time.Duration{time.Second, time.Second, time.Second}})
			settle(t, w, 20)
			exec(`ALTER TABLE fact_orders ADD CONSTRAINT nobody_wants_him ` + constraint + ` NOT VALID`)
			put(t, w, made(62, 60, 0))
			if err := Await(deadline(t), "the worker says that it waits", func() (bool, error) {
				f := r.Worker.Status().Writes.Failing
				return f != nil && strings.Contains(f.Error(), "nobody_wants_him"), nil
			}); err != nil {
				t.Fatal(err)
			}
			refused := r.Metrics.WriteErrors.Value()
			if err := Await(deadline(t), "it has tried some more", func() (bool, error) { return r.Metrics.WriteErrors.Value() > refused+3, nil }); err != nil {
				t.Fatal(err)
			}
			parked := fates(t, w)[deadletter.Parked]
			if most := map[bool]int{true: 0, false: 3}[name == "of all"]; parked > most {
				t.Errorf("%d good rows are parked, want at most %d", parked, most)
			}
			exec(allow)
			settle(t, w, 80)
			// A row that was refused just before the constraint went, with a probe that
			// went in just after, is one more.
			if err := Await(deadline(t), "what was parked is in", func() (bool, error) {
				got := fates(t, w)
				return got[deadletter.Loaded] <= parked+1 && got[deadletter.Parked]+got[deadletter.Final] == 0, nil
			}); err != nil {
				t.Fatal(err)
			}
			checkOK(t, w)
			if got := scalar(t, w, "SELECT COUNT(DISTINCT order_id) FROM fact_orders WHERE order_id LIKE 'probe%'"); got != "0" {
				t.Errorf("%s rows of probes are left", got)
			}
		})
	}
}

// TestPoisonRowsInTurnStopNobody: more of them side by side than a probe's word
// counts for. The values of the rows that wait show that the warehouse is well.
func TestPoisonRowsInTurnStopNobody(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t)
	w := newWorld(t, Options{Warehouse: url, Shards: 1})
	warehouseDB(t, url)(forbid)
	var entries []aws.Entry
	for i := range 60 {
		customer := "c"
		if i >= 20 && i < 32 {
			customer = "poison"
		}
		entries = append(entries, order(fmt.Sprint("o-", i), customer, i))
	}
	put(t, w, entries)
	start(t, w, Worker{})
	if r := settle(t, w, 60); r.Facts != 48 || r.Letters != 12 {
		t.Errorf("%d facts and %d letters, want 48 and 12", r.Facts, r.Letters)
	}
}

// passingErrors are what Redshift told its users of trouble that passes.
var passingErrors = []string{
	"ERROR: abort query", "ERROR: 1020 DETAIL: system requested abort",
	"ERROR: could not open relation with OID 123456789", "ERROR: Relation with OID 15170212 does not exist",
	"ERROR: S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Rid A,CanRetry 1",
	"ERROR: S3ServiceException:Please reduce your request rate.,Status 503,Error SlowDown,Rid A,CanRetry 1",
	"ERROR: Query (28572825) cancelled on user's request", "ERROR: could not complete because of conflict with concurrent transaction",
	"ERROR: Disk Full", "FATAL: IAM Authentication token has expired", "ERROR: Rate exceeded",
}

// TestG1_PassingTroubleMakesNoLetters: each text strikes whatever carries rows, a
// probe's apart, which is all that a rule that ends long statements would spare.
func TestG1_PassingTroubleMakesNoLetters(t *testing.T) {
	t.Parallel()
	for _, text := range ofEachKind(passingErrors, func(text string) string { return strings.Fields(text)[0] }) {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Options{Shards: 1})
			setFaults(t, w, fault.Fault{
				Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.StatementFailed, Count: 3, Match: "'order_made'", Error: text,
			})
			put(t, w, []aws.Entry{order("a", "c", 1), order("b", "c", 2)})
			r := start(t, w, Worker{})
			if report := settle(t, w, 2); report.Letters != 0 {
				t.Errorf("%d good rows are in the dead letters", report.Letters)
			}
			if n := r.Metrics.WriteErrors.Value(); n < 3 {
				t.Errorf("the fault struck %d times", n)
			}
		})
	}
}

// TestAProbeLeavesNothing probes with the values of rows that are there: all
// tables are as before, and a table that takes no rows is told.
func TestAProbeLeavesNothing(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url})
		put(t, w, made(81, 100, 0))
		r := start(t, w, Worker{})
		settle(t, w, 100)
		if err := r.Drain(); err != nil {
			t.Fatal(err)
		}
		tables := func() string {
			all, err := w.DB.Run(deadline(t), warehouse.Token(), []string{
				"SELECT * FROM fact_orders ORDER BY order_id", "SELECT * FROM agg_orders_minute ORDER BY minute, store_id, event_type",
				"SELECT stream_name, shard_id, term, sequence_number, sub_sequence_number, arrived_until FROM worker_checkpoints ORDER BY shard_id",
			})
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(all)
		}
		before := tables()
		held, err := w.DB.Run(deadline(t), warehouse.Token(), []string{"SELECT store_id, event_type, event_timestamp FROM fact_orders LIMIT 1"})
		if err != nil {
			t.Fatal(err)
		}
		at, err := warehouse.ParseTimestamp(held[0].Rows[0][2].Text)
		if err != nil {
			t.Fatal(err)
		}
		same := event.Order{CustomerID: "c", EventType: held[0].Rows[0][1].Text, StoreID: 1, ItemCount: 3, AmountCents: 1234, EventTime: at.UnixMicro()}
		other := event.Order{CustomerID: "c", EventType: "of no other", StoreID: 77, ItemCount: 3, AmountCents: 1234, EventTime: at.UnixMicro()}
		bucket, err := w.Account.Bucket(stagingBucket(t, w))
		if err != nil {
			t.Fatal(err)
		}
		for _, fill := range []warehouse.Fill{warehouse.Insert{}, &warehouse.Copy{Staging: bucket, Log: w.Options.Log}} {
			house := warehouse.New(w.DB, fill)
			for _, o := range []event.Order{same, other} {
				if err := house.Probe(deadline(t), orderRow(fill, 0, o)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if after := tables(); after != before {
			t.Errorf("a probe changed the tables from\n%s\nto\n%s", before, after)
		}
		if url == "" {
			return
		}
		warehouseDB(t, url)(`ALTER TABLE fact_orders ADD CONSTRAINT full_to_the_brim CHECK (false) NOT VALID`)
		if err := warehouse.New(w.DB, warehouse.Insert{}).Probe(deadline(t), orderRow(warehouse.Insert{}, 0, other)); err == nil || !strings.Contains(err.Error(), "full_to_the_brim") {
			t.Errorf("a probe of a table that takes no rows says %v", err)
		}
	})
}
