package verify_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/verify"
)

// clock puts AWS's clock ahead of this machine's.
func (r *rig) clock(ahead time.Duration) {
	r.Helper()
	ask := httptest.NewRequest(http.MethodPut, "http://127.0.0.1/_localaws/clock", strings.NewReader(fmt.Sprintf(`{"offset":%q}`, ahead)))
	answer := httptest.NewRecorder()
	r.Local.Handler().ServeHTTP(answer, ask)
	if answer.Code != http.StatusOK {
		r.Fatalf("the clock: %d %s", answer.Code, answer.Body)
	}
}

// TestWhatIsPastTheRetentionIsNotCalledWrong: the newest event of a row is gone from
// the stream, which has another of its key: one that says less and arrived later, one
// that is loaded while the comparison goes on, one that the warehouse refused.
func TestWhatIsPastTheRetentionIsNotCalledWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulation.Options{Shards: 1})
	r.shard = "shardId-000000000000"
	began := time.Now().UTC()
	at := func(hours float64) time.Time { return began.Add(time.Duration(hours * float64(time.Hour))) }
	r.put(order("late", at(-1)), order("waits", at(-1)), order("refused", at(-1)), order("fast", at(23.9)), order("alone", at(-1)), order("older", at(-1)), order("newer", at(-1)))
	r.load(7)
	r.clock(23*time.Hour + 30*time.Minute)
	r.put(order("late", at(-2)), order("fast", at(-2)), order("older", at(23)), order("newer", at(23)))
	r.load(4)
	r.clock(24*time.Hour + 30*time.Minute)

	verifyNow := func(c verify.Config) *verify.Report {
		t.Helper()
		return r.verifyAt(c, largePage, at(24.6))
	}
	got := verifyNow(r.config())
	// Within a day of the oldest record a row may look younger than it is. Nothing on the
	// stream shows such a clock, so it is told, and not offered for removal.
	r.only(got, "order differs")
	if d := r.difference(got, "order differs"); d.Key != "fast" || !strings.Contains(d.Warehouse, "clock ran ahead") || got.Differing != 1 || got.Mend != nil {
		t.Errorf("%+v, %d differ, to mend: %+v", d, got.Differing, got.Mend)
	}
	if got.Records != 4 || got.Unverifiable != 4 {
		t.Errorf("of %d records, %d rows are past the retention, want 4 and 4", got.Records, got.Unverifiable)
	}

	r.put(order("ahead", at(47))) // shows a clock that runs that far ahead
	r.load(1)
	if got = verifyNow(r.config()); !got.OK || got.Unverifiable != 5 {
		t.Errorf("%d rows are past the retention: %+v", got.Unverifiable, got)
	}

	// Loaded behind the facts, and before the later checkpoints.
	r.put(order("waits", at(24)))
	c, db := r.config(), &recorder{DB: r.DB}
	db.before = func(sql string) {
		if strings.Contains(sql, "HAVING") {
			db.before = nil
			r.load(1)
		}
	}
	c.DB = db
	if got = verifyNow(c); !got.OK || got.Unverifiable != 5 {
		t.Errorf("%d rows are past the retention: %+v", got.Unverifiable, got)
	}

	r.keep()
	r.put(order("refused", at(24)))
	r.load(1)
	places := r.places()
	r.store(letterAt(r.shard, places[len(places)-1], "refused by the warehouse"))
	for _, table := range []string{"fact_orders", "agg_orders_minute"} {
		r.sql("DELETE FROM "+table, "INSERT INTO "+table+" SELECT * FROM kept_"+table)
	}
	if got = verifyNow(r.config()); !got.OK || got.Unverifiable != 4 || got.Rejected != 1 {
		t.Errorf("%d rows are past the retention, %d rejected: %+v", got.Unverifiable, got.Rejected, got)
	}

	// What no event can have said is still found, and removed.
	stamp := func(hours float64) string { return "'" + at(hours).Format("2006-01-02 15:04:05") + "'" }
	r.sql("UPDATE fact_orders SET event_timestamp = "+stamp(22)+" WHERE order_id = 'older'", "UPDATE fact_orders SET event_timestamp = "+stamp(49)+" WHERE order_id = 'newer'")
	got = verifyNow(r.config())
	r.only(got, "order differs")
	if got.Differing != 2 || got.Mend == nil || len(got.Mend.Remove) != 1 || !strings.HasSuffix(got.Mend.Remove[0], "order_id = 'newer'") {
		t.Errorf("%d differ, to mend: %+v; %+v", got.Differing, got.Mend, got.Differences)
	}
}

// TestARowOfAShardThatWasNotReadIsNotCalledWrong: its newest event lies in that shard,
// and an older one in another.
func TestARowOfAShardThatWasNotReadIsNotCalledWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulation.Options{Shards: 2})
	const events = 8
	for i := range events {
		e := order("moved", hour.Add(time.Duration(i)*time.Second))
		e.PartitionKey = fmt.Sprint("key-", i)
		r.put(e)
	}
	r.load(events)
	for _, shard := range []string{"shardId-000000000000", "shardId-000000000001"} {
		position := r.text("SELECT sequence_number FROM worker_checkpoints WHERE shard_id = '" + shard + "'")
		r.sql("UPDATE worker_checkpoints SET sequence_number = 'garbage' WHERE shard_id = '" + shard + "'")
		got := r.verify(largePage)
		r.only(got, "checkpoint is no position")
		if got.Mend != nil {
			t.Errorf("without %s: %+v", shard, got.Mend)
		}
		r.sql("UPDATE worker_checkpoints SET sequence_number = '" + position + "' WHERE shard_id = '" + shard + "'")
	}
	r.agrees(r.verify(largePage))
}
