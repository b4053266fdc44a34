package simulation

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// spoiler bends the worker's transactions on their way to the warehouse: each
// of its kinds is a worker that breaks one promise.
type spoiler struct {
	next http.RoundTripper
	bend func(sqls []string) []string
}

func (s spoiler) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), "ExecuteStatement") {
		return s.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, err
	}
	if sql, one := members["Sql"].(string); one {
		members["Sql"] = s.bend([]string{sql})[0]
	} else {
		var sqls []string
		for _, s := range members["Sqls"].([]any) {
			sqls = append(sqls, s.(string))
		}
		members["Sqls"] = s.bend(sqls)
	}
	if body, err = json.Marshal(members); err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return s.next.RoundTrip(r)
}

// replaced bends each statement of a batch in which it finds old.
func replaced(old, with string) func([]string) []string {
	return func(sqls []string) []string {
		for i := range sqls {
			sqls[i] = strings.ReplaceAll(sqls[i], old, with)
		}
		return sqls
	}
}

// within bends the statements of a batch that hold a text.
func within(text string, bend func([]string) []string) func([]string) []string {
	return func(sqls []string) []string {
		var out []string
		for _, s := range sqls {
			if strings.Contains(s, text) {
				out = append(out, bend([]string{s})...)
			} else {
				out = append(out, s)
			}
		}
		return out
	}
}

// TestTheOracleFindsEachBrokenPromise breaks one promise at a time. An oracle
// that lets any of these workers pass would prove nothing by passing ours.
func TestTheOracleFindsEachBrokenPromise(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bend func([]string) []string
		want string
	}{
		"nothing is bent": {func(s []string) []string { return s }, ""},
		"G1 a row is dropped": {
			within("TABLE load_orders_changes", replaced(") ranked\n WHERE recency = 1", ") ranked\n WHERE recency = 1 AND order_id <> 'order-0'")),
			"order missing",
		},
		"G2 rows go in twice": {func(sqls []string) []string {
			var out []string
			for _, s := range sqls {
				if out = append(out, s); strings.HasPrefix(s, "INSERT INTO fact_orders") {
					out = append(out, s)
				}
			}
			return out
		}, "order twice"},
		"G3 a checkpoint moves without its rows": {
			replaced("FROM load_orders_changes WHERE minute IS NULL", "FROM load_orders_changes WHERE 1 = 0"),
			"order missing",
		},
		"G6 a late event wins": {
			replaced("n.event_timestamp > h.event_timestamp", "n.event_timestamp <> h.event_timestamp"),
			"order differs",
		},
		"G5 of equal events the first wins": {
			replaced("orders_event_timestamp DESC, ordinal DESC", "orders_event_timestamp DESC, ordinal ASC"),
			"order differs",
		},
		"G7 rollups forget what is replaced": {
			replaced("-1, -held_item_count, -held_total_amount", "0, 0, 0"),
			"rollup differs",
		},
		"G1 rows of one family are dropped": {
			replaced("event_type, event_timestamp FROM load_inventory_changes", "event_type, event_timestamp FROM load_inventory_changes WHERE 1 = 0"),
			"level missing",
		},
		"G1 what is not there becomes an empty text": {
			within("INSERT INTO fact_payments", replaced("customer_id, transaction_id, amount, payment_method, status, fraud_score, event_type, event_timestamp FROM",
				"customer_id, COALESCE(transaction_id, ''), amount, payment_method, status, fraud_score, event_type, event_timestamp FROM")),
			"payment differs",
		},
		"G2 a payment is an order too": {
			within("INSERT INTO fact_orders", replaced("FROM load_orders_changes WHERE minute IS NULL",
				"FROM load_orders_changes WHERE minute IS NULL UNION ALL SELECT payments_order_id, payments_customer_id, 1, payments_amount, 1, payments_event_type, payments_event_timestamp FROM load_incoming WHERE family = 'payments'")),
			"order twice",
		},
		"G6 a late level wins": {
			within("TABLE load_inventory_changes", replaced("n.event_timestamp > h.event_timestamp", "n.event_timestamp <> h.event_timestamp")),
			"level differs",
		},
		"G7 the rollups of payments forget what is replaced": {replaced("-1, -held_amount", "0, 0"), "rollup differs"},
		"G8 a rejected record is not kept":                   {nil, "dead letter missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				// What is bent shows only where a load happens to hold what it is about.
				err := bentRun(t, c.bend, 1)
				for seed := uint64(2); err == nil && c.want != "" && seed <= 4; seed++ {
					err = bentRun(t, c.bend, seed)
				}
				switch {
				case c.want == "" && err != nil:
					t.Errorf("the oracle says: %v", err)
				case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
					t.Errorf("the oracle says %v, want %q", err, c.want)
				}
			})
		})
	}
}

// unfenced accepts every move, whatever its term and place.
func unfenced(sqls []string) []string {
	sqls = replaced("AND c.term = p.term\n AND c.sequence_number = p.from_sequence AND c.sub_sequence_number = p.from_sub", "")(sqls)
	return replaced("AND worker_checkpoints.term = p.term\n AND worker_checkpoints.sequence_number = p.from_sequence AND worker_checkpoints.sub_sequence_number = p.from_sub", "")(sqls)
}

// TestG4_AFrozenWorkerIsRefused stops a worker between its reading and its
// loading, lets another one take over and load, and has the first one send its
// load then. Without the fence the same events take the checkpoint back, which
// shows that the late load does arrive.
func TestG4_AFrozenWorkerIsRefused(t *testing.T) {
	t.Parallel()
	for name, bend := range map[string]func([]string) []string{"fenced": nil, "unfenced": unfenced} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				switch err := frozenRun(t, bend); {
				case bend == nil && err != nil:
					t.Error(err)
				case bend != nil && err == nil:
					t.Error("without a fence the late load changes nothing that the oracle sees")
				}
			})
		})
	}
}

func frozenRun(t *testing.T, bend func([]string) []string) error {
	t.Helper()
	ctx, f, rng := t.Context(), spoiledFleet(t, 1), rand.New(rand.NewPCG(3, 4))
	if bend != nil {
		f.spoil = func(next http.RoundTripper) http.RoundTripper { return spoiler{next, bend} }
	}
	f.born = 1 // the next one waits for a large batch
	if err := errors.Join(f.start(ctx, 1), f.until(ctx, time.Now().Add(2*leaseTime)), f.publish(ctx, 20, rng)); err != nil {
		t.Fatal(err)
	}
	first := f.live[0]
	if err := Await(ctx, "the burst is read", func() (bool, error) { return first.run.Worker.Status().Waiting == 20, nil }); err != nil {
		t.Fatal(err)
	}
	first.link.freeze()
	if err := errors.Join(f.start(ctx, 1), f.until(ctx, time.Now().Add(leaseTime)), f.publish(ctx, 20, rng), f.until(ctx, time.Now().Add(4*leaseTime))); err != nil {
		t.Fatal(err)
	}
	second := f.live[1]
	if n := second.run.Metrics.RecordsProcessed.Value(); n != 40 {
		t.Fatalf("the second worker has loaded %d of 40 records", n)
	}
	first.link.thaw()
	return f.settle(ctx, true)
}

// spoiledFleet makes a fleet that ends with the test.
func spoiledFleet(t *testing.T, shards int) *Fleet {
	t.Helper()
	f, err := NewFleet(t.Context(), shards, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// bentRun runs a fleet without faults whose transactions are bent; without
// bend, one whose letters are thrown away.
func bentRun(t *testing.T, bend func([]string) []string, seed uint64) error {
	t.Helper()
	f := spoiledFleet(t, 2)
	f.mixed = true
	f.born = 5 // the next ones load a burst at once
	f.spoil = func(next http.RoundTripper) http.RoundTripper {
		if bend == nil {
			return losesLetters{next}
		}
		return spoiler{next, bend}
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	plain := schedule{{verb: doPublish, n: 100}, {wait: 2 * pollTime, verb: doPublish, n: 100}}
	return f.Run(t.Context(), plain, rng, true)
}

// losesLetters answers every put of a letter as if it had been made.
type losesLetters struct{ next http.RoundTripper }

func (l losesLetters) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "letters") && !strings.HasPrefix(r.URL.Host, "letters.") {
		return l.next.RoundTrip(r)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Etag": {`"0"`}}, Body: http.NoBody, Request: r,
	}, nil
}
