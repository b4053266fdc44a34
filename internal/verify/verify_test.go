package verify_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verify"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

const january = "'2026-01-10 09:30:00'"

// insertOrders names the columns, as every INSERT does that shall survive one more.
const insertOrders = "INSERT INTO fact_orders (order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp) VALUES "

// TestEachDifferenceIsFound spoils a sound warehouse in one way after another.
func TestEachDifferenceIsFound(t *testing.T) {
	// What differs is found in Go, from what the same statements return: one engine
	// will do. Others of these tests have both.
	t.Run("DuckDB", func(t *testing.T) {
		t.Parallel()
		r := loadedRig(t, "")
		r.agrees(r.verify(largePage))
		for _, c := range []struct {
			name  string
			spoil []string
			want  []string
			check func(r *rig, report *verify.Report)
		}{
			{"an order stands twice", []string{
				"INSERT INTO fact_orders SELECT * FROM kept_fact_orders WHERE order_id = 'order-03'",
			}, []string{"order twice"}, func(r *rig, report *verify.Report) {
				if d := r.difference(report, "order twice"); d.Key != "order-03" || report.Surplus != 1 {
					r.Errorf("%+v, surplus %d", d, report.Surplus)
				}
			}},
			{"an order past the retention stands twice", []string{
				insertOrders + "('old-1','c',1,2.50,1,'order_created'," + january + "), ('old-1','c',1,2.50,1,'order_created'," + january + "), ('old-2','c',1,2.50,1,'order_created'," + january + ")",
				"INSERT INTO agg_orders_minute VALUES (" + january + ",1,'order_created',3,3,7.50)",
			}, []string{"order twice"}, func(r *rig, report *verify.Report) {
				if d := r.difference(report, "order twice"); d.Key != "old-1" || report.Unverifiable != 3 || report.RollupsDiffering != 0 {
					r.Errorf("%+v, %d past the retention, %d rollups differ", d, report.Unverifiable, report.RollupsDiffering)
				}
			}},
			{"an order is missing", []string{"DELETE FROM fact_orders WHERE order_id = 'order-05'"}, []string{"order missing"}, nil},
			{"an order is not its newest event", []string{"UPDATE fact_orders SET store_id = 8 WHERE order_id = 'order-05'"}, []string{"order differs"}, nil},
			{"an order was never on the stream", []string{
				insertOrders + "('new-1','c',1,2.50,1,'order_created',GETDATE())",
			}, []string{"order not on the stream"}, func(r *rig, report *verify.Report) {
				if report.Surplus != 1 || report.Unverifiable != 0 {
					r.Errorf("surplus %d, unverifiable %d", report.Surplus, report.Unverifiable)
				}
			}},
			{"a rollup is wrong", []string{"UPDATE agg_orders_minute SET revenue = revenue + 1"}, []string{"rollup differs"}, nil},
			{"a rollup is missing", []string{"DELETE FROM agg_orders_minute"}, []string{"rollup differs"}, nil},
			{"a checkpoint is of no shard", []string{
				"INSERT INTO worker_checkpoints SELECT * FROM kept_worker_checkpoints WHERE shard_id = '" + r.shard + "'",
				"UPDATE worker_checkpoints SET shard_id = 'shardId-000000000099' WHERE shard_id = '" + r.shard + "'",
				"INSERT INTO worker_checkpoints SELECT * FROM kept_worker_checkpoints WHERE shard_id = '" + r.shard + "'",
			}, []string{"checkpoint of a shard that is not listed", "checkpoint twice"}, nil},
			{"a checkpoint is there twice", []string{
				"INSERT INTO worker_checkpoints SELECT * FROM kept_worker_checkpoints WHERE shard_id = '" + r.shard + "'",
			}, []string{"checkpoint twice"}, nil},
			{"an open shard counts as ended", []string{
				"UPDATE worker_checkpoints SET sequence_number = 'SHARD_END' WHERE shard_id = '" + r.shard + "'",
			}, []string{"open shard at its end"}, nil},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := &rig{t, r.World, r.shard}
				r.sql(c.spoil...)
				report := r.verify(largePage)
				r.only(report, c.want...)
				if c.check != nil {
					c.check(r, report)
				}
				r.restore()
				r.agrees(r.verify(largePage))
			})
		}
	})
}

// A checkpoint that is no position covers nothing, and what its shard has loaded
// is not past the retention.
func TestACheckpointThatIsNoPosition(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		r := loadedRig(t, url)
		for _, word := range []string{"garbage", "LATEST", "12x", "99999999999999999999999999999999999999999999999999999999!"} {
			r.sql("UPDATE worker_checkpoints SET sequence_number = " + warehouse.Quote(word) + " WHERE shard_id = '" + r.shard + "'")
			report := r.verify(largePage)
			r.only(report, "checkpoint is no position")
			if d := r.difference(report, "checkpoint is no position"); d.Key != r.shard || !strings.Contains(d.Warehouse, word) {
				t.Errorf("%+v", d)
			}
			if report.Unverifiable != 0 || report.Uncompared == 0 || report.Uncompared+report.Orders != goodOrders {
				t.Errorf("%s: %d of %d orders are compared, %d are not, %d are past the retention", word, report.Orders, goodOrders, report.Uncompared, report.Unverifiable)
			}
		}
	})
}

func TestNothingIsLoaded(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		r := loadedRig(t, url)
		r.sql("DELETE FROM fact_orders", "DELETE FROM agg_orders_minute", "UPDATE worker_checkpoints SET sequence_number = 'TRIM_HORIZON' WHERE stream_name = 'order-events'")
		report := r.verify(largePage)
		r.gap(report, "", "every shard is still at its start")
		if report.OK || len(report.Differences) != 0 || report.Records != 0 {
			t.Errorf("claimed and not loaded: %+v", *report)
		}
		r.sql("DELETE FROM worker_checkpoints WHERE stream_name = 'order-events'")
		// That all arrived just now is no excuse where no shard at all is known.
		report = r.verifyAt(r.config(), largePage, time.Now())
		r.gap(report, "", "no shard has a checkpoint")
		if report.OK || len(report.Differences) != 0 || report.Until == nil {
			t.Errorf("never claimed: %+v", *report)
		}
	})
}

// TestPositionsOfAnotherStream: a stream that was made anew has shards of the same
// names, in which the old positions mean nothing.
func TestPositionsOfAnotherStream(t *testing.T) {
	t.Parallel()
	r := loadedRig(t, "")
	ours, err := r.Stream.Identity(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	c := r.config()
	c.Identity = ours
	r.agrees(r.verifyAt(c, largePage, time.Now()))
	for name, set := range map[string]string{
		"made anew":      "stream_arn = " + warehouse.Quote(ours.ARN) + ", stream_created = '2025-03-04 05:06:07'",
		"another region": "stream_arn = 'arn:aws:kinesis:eu-west-1:000000000000:stream/order-events', stream_created = '" + ours.Created.Format("2006-01-02 15:04:05.000") + "'",
	} {
		r.sql("UPDATE worker_checkpoints SET " + set + " WHERE stream_name = 'order-events'")
		report := r.verifyAt(c, largePage, time.Now())
		r.only(report, "positions of another stream")
		d := r.difference(report, "positions of another stream")
		if !strings.Contains(d.Warehouse, "of 4 shards") || !strings.Contains(d.Warehouse, "positions --start-over") || d.Stream != ours.String() {
			t.Errorf("%s: %+v", name, d)
		}
		r.gap(report, "", "no checkpoint is a position in this stream")
		if report.Unverifiable != 0 || report.Uncompared != goodOrders {
			t.Errorf("%s: %d facts are past the retention, and %d not compared", name, report.Unverifiable, report.Uncompared)
		}
	}
	r.sql("UPDATE worker_checkpoints SET stream_arn = " + warehouse.Quote(ours.ARN) + ", stream_created = '" + ours.Created.Format("2006-01-02 15:04:05.000") + "' WHERE stream_name = 'order-events'")
	r.agrees(r.verifyAt(c, largePage, time.Now()))
}

func TestAnEmptyStreamAgrees(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulation.Options{})
	report := r.verify(largePage)
	r.agrees(report)
	if report.Until == nil || time.Until(*report.Until) < 0 {
		t.Errorf("compared until %v, want the present", report.Until)
	}
}

func TestAShardWithoutACheckpoint(t *testing.T) {
	t.Parallel()
	r := loadedRig(t, "")
	r.sql("DELETE FROM worker_checkpoints WHERE shard_id = '" + r.shard + "'")
	report := r.verify(largePage)
	r.gap(report, r.shard, "it has no checkpoint")
	if report.OK || len(report.Gaps) != 1 || len(report.Differences) != 0 || report.Uncompared == 0 {
		t.Errorf("%+v", *report)
	}
	// Nobody need have claimed it yet where its records have just arrived.
	if report = r.verifyAt(r.config(), largePage, time.Now()); len(report.Gaps) != 0 {
		t.Errorf("gaps %+v though the records are new", report.Gaps)
	}
}

// Children have no checkpoint while their parents are being read, and are to have
// one afterwards.
func TestAChildWaitsForItsParents(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulation.Options{Shards: 1})
	r.put(order("order-1", hour))
	r.load(1)
	shards, err := r.Stream.Shards(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Stream.Split(deadline(t), shards[0]); err != nil {
		t.Fatal(err)
	}
	r.put(order("order-2", hour), order("order-3", hour), order("order-4", hour), order("order-5", hour))
	report := r.verify(largePage)
	r.agrees(report)
	if age := time.Since(*report.Until); age < 0 || report.Records != 1 {
		t.Errorf("compared %d records, until %v ahead: the children hold records that are not loaded", report.Records, -age)
	}
	r.sql("UPDATE worker_checkpoints SET sequence_number = 'SHARD_END' WHERE stream_name = 'order-events'")
	if report = r.verify(largePage); len(report.Gaps) == 0 || report.OK {
		t.Errorf("the parent has ended, and nobody reads its children: %+v", *report)
	}
}

// TestUntilIsWhereLoadingStands: the comparison goes up to the first record that
// is not loaded, or up to the present.
func TestUntilIsWhereLoadingStands(t *testing.T) {
	t.Parallel()
	r := loadedRig(t, "")
	now := time.Now()
	if report := r.verifyAt(r.config(), largePage, now); !report.Until.Equal(now) {
		t.Errorf("compared until %v, want %v: everything is loaded", report.Until, now)
	}
	published := time.Now().Truncate(time.Millisecond)
	r.put(order("later", hour))
	report := r.verify(largePage)
	r.agrees(report)
	if report.Until.Before(published) || report.Until.After(time.Now()) {
		t.Errorf("compared until %v, want the arrival of the record that is not loaded, after %v", report.Until, published)
	}
}

// TestWhatLiesBeforeTheStartIsNotMissed: a shard whose checkpoint is a time was
// to begin there.
func TestWhatLiesBeforeTheStartIsNotMissed(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulation.Options{Shards: 1})
	r.put(order("early", hour))
	at := time.Now().Add(time.Hour)
	r.sql(fmt.Sprintf("INSERT INTO worker_checkpoints (stream_name, shard_id, term, sequence_number, sub_sequence_number, updated_at) VALUES ('order-events','shardId-000000000000',1,'AT_TIMESTAMP',%d,GETDATE())", at.UnixMilli()))
	report := r.verify(largePage)
	r.agrees(report)
	if report.Early != 1 || report.Records != 0 {
		t.Errorf("%d early and %d others, want 1 and 0", report.Early, report.Records)
	}
	c := r.config()
	c.Start = func(stream.Shard) stream.Position { return stream.AtTime(at) }
	r.sql("UPDATE worker_checkpoints SET sequence_number = 'TRIM_HORIZON' WHERE stream_name = 'order-events'")
	if report = r.verifyAt(c, largePage, time.Now()); report.OK {
		t.Error("a shard at its oldest record has not loaded it")
	}
}

func letterAt(shard, sequence, reason string) deadletter.Letter {
	return deadletter.Letter{
		Reason: reason, Stream: simulation.StreamName, ShardID: shard, SequenceNumber: sequence,
		ArrivedAt: time.Now().UTC(), RejectedAt: time.Now().UTC(), Data: []byte("x"),
	}
}

func (r *rig) store(l deadletter.Letter) {
	r.Helper()
	if err := r.Letters().Put(deadline(r.T), stream.Position{Sequence: stream.TrimHorizon}, []deadletter.Letter{l}); err != nil {
		r.Fatal(err)
	}
}

// places are the sequence numbers of the rig's shard, oldest first.
func (r *rig) places() (out []string) {
	r.Helper()
	shards, err := r.Stream.Shards(deadline(r.T))
	if err != nil {
		r.Fatal(err)
	}
	for _, s := range shards {
		if s.ID != r.shard {
			continue
		}
		page, err := r.Stream.Reader(s, stream.Position{Sequence: stream.TrimHorizon}).Next(deadline(r.T))
		if err != nil {
			r.Fatal(err)
		}
		for _, record := range page.Records {
			out = append(out, strings.Clone(record.SequenceNumber))
		}
	}
	if len(out) < 2 {
		r.Fatalf("shard %s holds %d records", r.shard, len(out))
	}
	return out
}

// next is the sequence number behind another one.
func next(sequence string) string {
	digits := []byte(sequence)
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i]++; digits[i] <= '9' {
			break
		}
		digits[i] = '0'
	}
	return string(digits)
}

func TestLettersAndRecordsAgree(t *testing.T) {
	t.Parallel()
	r := loadedRig(t, "")
	places := r.places()
	first, last := places[0], places[len(places)-1]
	r.store(letterAt(r.shard, next(last), "not JSON")) // is stored before the load that moves past it
	r.store(letterAt(r.shard, "1", "not JSON"))        // is of a record past the retention
	r.store(letterAt("shardId-000000000077", first, "not JSON"))
	report := r.verify(largePage)
	r.agrees(report)
	if report.Letters != badRecords+3 {
		t.Errorf("%d letters, want %d", report.Letters, badRecords+3)
	}

	r.store(letterAt(r.shard, next(first), "not JSON"))
	report = r.verify(largePage)
	r.only(report, "dead letter of no record")
	if d := r.difference(report, "dead letter of no record"); !strings.Contains(d.Key, next(first)) || report.LettersSurplus != 1 {
		t.Errorf("%+v, %d letters are of no record", d, report.LettersSurplus)
	}

	c := r.config()
	c.Letters = func(yield func(deadletter.Letter, error) bool) {}
	report = r.verifyAt(c, largePage, time.Now())
	r.only(report, "dead letter missing")
	if report.LettersMissing != badRecords {
		t.Errorf("%d letters are missing, want %d", report.LettersMissing, badRecords)
	}
	c.Letters = nil
	r.agrees(r.verifyAt(c, largePage, time.Now()))
}

// TestARefusedRowMayGoInLater: a row that the warehouse refused has its letter,
// and is tried again.
func TestARefusedRowMayGoInLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulation.Options{Shards: 1})
	r.put(order("refused", hour), order("other", hour))
	r.load(2)
	r.shard = "shardId-000000000000"
	r.store(letterAt(r.shard, r.places()[0], "refused by the warehouse"))
	report := r.verify(largePage)
	r.agrees(report)
	if report.Rejected != 1 || report.Orders != 1 {
		t.Errorf("%d rejected and %d orders, want one of each", report.Rejected, report.Orders)
	}
	r.sql("DELETE FROM fact_orders WHERE order_id = 'refused'", "UPDATE agg_orders_minute SET order_count = 1, item_count = 2, revenue = 1.25")
	r.agrees(r.verify(largePage))
	r.sql("UPDATE fact_orders SET order_id = 'refused', store_id = 9 WHERE order_id = 'other'")
	report = r.verify(largePage)
	r.only(report, "order differs", "order missing")

	// A letter that the decoder wrote does not stand for a record that is an order.
	r.sql("DELETE FROM fact_orders", "DELETE FROM agg_orders_minute")
	r.store(letterAt(r.shard, r.places()[1], "total_amount not a number"))
	report = r.verify(largePage)
	r.only(report, "order missing")
	if d := r.difference(report, "order missing"); d.Key != "other" || !strings.Contains(d.Warehouse, "redrive") {
		t.Errorf("%+v does not say that a letter has it", d)
	}
}

func TestWhatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	r := loadedRig(t, "")
	gone := errors.New("gone")
	for name, bend := range map[string]func(*verify.Config){
		"list shards": func(c *verify.Config) { c.Shards = func(context.Context) ([]stream.Shard, error) { return nil, gone } },
		"read dead letters": func(c *verify.Config) {
			c.Letters = func(yield func(deadletter.Letter, error) bool) { yield(deadletter.Letter{}, gone) }
		},
		"temporary files": func(c *verify.Config) { c.Dir = "/dev/null"; c.Letters = many },
	} {
		c := r.config()
		bend(&c)
		if _, err := verify.Run(deadline(t), c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.sql("ALTER TABLE fact_orders RENAME TO fact_orders_away")
	if _, err := verify.Run(deadline(t), r.config()); !errors.Is(err, warehouse.ErrNoTable) {
		t.Errorf("no fact_orders: %v", err)
	}
}

// many are more letters than are held in memory.
func many(yield func(deadletter.Letter, error) bool) {
	for i := range 20_000 {
		if !yield(letterAt("shardId-000000000077", fmt.Sprint(i), "not JSON"), nil) {
			return
		}
	}
}
