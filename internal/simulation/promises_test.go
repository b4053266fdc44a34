package simulation

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

func TestG3_CheckpointFollowsCommit(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url})
		setFaults(t, w, fault.Fault{
			Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.StatementFailed,
			Probability: new(0.4), Seed: 3, Error: "ERROR: 1023 conflict",
		})
		put(t, w, made(2, 1500, 0.02))
		r := start(t, w, Worker{BatchSize: 20})
		await(t, "something is loaded", func() bool { return r.Metrics.RecordsProcessed.Value() > 0 }) // else that is what is wrong
		for r.Metrics.RecordsProcessed.Value() < 1500 {
			checkAgrees(t, w) // at any moment what the checkpoints cover is there, whole
		}
		settle(t, w, 1500)
	})
}

func TestG4_AStaleTermChangesNothing(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url})
		house := warehouse.New(w.DB, warehouse.Insert{})
		ctx := deadline(t)
		horizon := stream.Position{Sequence: stream.TrimHorizon}
		claim := func(term int64) warehouse.Claimed {
			c, err := house.Claim(ctx, StreamName, []warehouse.Claim{{Shard: "shard-a", Term: term, Start: horizon}, {Shard: "shard-b", Term: 1, Start: horizon}})
			if err != nil {
				t.Fatal(err)
			}
			return c[0]
		}
		load := func(term int64, from stream.Position, to string) warehouse.Loaded {
			t.Helper()
			b := warehouse.Batch{Stream: StreamName, Moves: []warehouse.Move{
				{Shard: "shard-a", Term: term, From: from, To: stream.Position{Sequence: to}},
				{Shard: "shard-b", Term: 1, From: stream.Position{Sequence: "9"}, To: stream.Position{Sequence: "10"}}, // stands elsewhere
			}}
			for i := range 2 {
				b.Rows = append(b.Rows, orderRow(warehouse.Insert{}, i, event.Order{OrderID: fmt.Sprint("order-", i, "-term-", term), CustomerID: "c", EventType: "e", EventTime: 1e15}))
			}
			l, err := house.Load(ctx, b)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		if c := claim(1); !c.Granted || c.Position != horizon {
			t.Fatalf("first claim: %+v", c)
		}
		if c := claim(1); c.Granted || c.Term != 1 {
			t.Fatalf("the same term a second time: %+v", c)
		}
		if c := claim(7); !c.Granted {
			t.Fatalf("a later term: %+v", c)
		}
		if l := load(1, horizon, "5"); l.Outcomes[0].Verdict != warehouse.Refused || l.Outcomes[0].Term != 7 || l.Outcomes[0].Position != horizon {
			t.Fatalf("a load under the stale term: %+v", l)
		}
		if n := scalar(t, w, "SELECT COUNT(*) FROM fact_orders"); n != "0" {
			t.Fatalf("%s rows went in under a stale term", n)
		}
		five := stream.Position{Sequence: "5"}
		if l := load(7, horizon, "5"); l.Written.Total() != 1 || l.Outcomes[0] != (warehouse.Outcome{Term: 7, Position: five}) || l.Outcomes[1].Verdict != warehouse.Refused {
			t.Fatalf("a load under the present term: %+v", l)
		}
		if l := load(7, horizon, "5"); l.Written.Total() != -1 || l.Outcomes[0] != (warehouse.Outcome{Term: 7, Position: five}) {
			t.Fatalf("the same load again, as after a lost reply: %+v", l)
		}
		if n := scalar(t, w, "SELECT COUNT(*) FROM fact_orders"); n != "1" {
			t.Fatalf("%s rows, want the one of the accepted shard", n)
		}
	})
}

func TestG5_ChildrenFollowParentsThroughSplitsAndMerges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 2})
	r := start(t, w, Worker{})
	g := made(11, 3000, 0)
	ctx := deadline(t)
	for i := range 6 {
		put(t, w, g[i*500:(i+1)*500])
		open := openShards(t, w)
		var err error
		if i%2 == 0 {
			err = w.Stream.Split(ctx, open[len(open)/2])
		} else {
			err = w.Stream.Merge(ctx, open[0], open[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	settle(t, w, 3000)
	if err := r.Drain(); err != nil {
		t.Error(err)
	}
	// Every closed shard was read to its end, and said so in the warehouse.
	want := 0
	for _, s := range listed(t, w) {
		if s.Closed {
			want++
		}
	}
	if n := scalar(t, w, "SELECT COUNT(*) FROM worker_checkpoints WHERE sequence_number = 'SHARD_END'"); n != strconv.Itoa(want) {
		t.Errorf("%s shards are marked as ended, want %d", n, want)
	}
}

func listed(t testing.TB, w *World) []stream.Shard {
	t.Helper()
	shards, err := w.Stream.Shards(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	return shards
}

// openShards lists the open shards in the order of their hash ranges.
func openShards(t testing.TB, w *World) []stream.Shard {
	t.Helper()
	open := slices.DeleteFunc(listed(t, w), func(s stream.Shard) bool { return s.Closed })
	slices.SortFunc(open, func(a, b stream.Shard) int { return stream.CompareSequence(a.HashStart, b.HashStart) })
	return open
}

func TestG6_OneRowAnOrder(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url})
		for _, staging := range []string{"", stagingBucket(t, w)} {
			prefix := "insert"
			if staging != "" {
				prefix = "copy"
			}
			r := start(t, w, Worker{Staging: staging, BatchSize: 1})
			// Each step is loaded before the next is put, so that both ways are
			// taken: against the warehouse, and within a batch.
			for step, events := range [][]string{
				{"new created 10:00 1", "new created 10:00 1"},                   // a repeat in the batch
				{"new completed 10:05 2", "new ready 10:04 3"},                   // a late one in the batch
				{"new late 09:59 4"},                                             // a late one against the warehouse
				{"new completed 10:05 2"},                                        // a repeat against the warehouse
				{"new corrected 10:05 5"},                                        // the same instant, later in the stream
				{"other created 10:00 6", "new last 11:00 7", "other z 10:00 8"}, // moves to another minute; ties in the batch
			} {
				var entries []aws.Entry
				for _, e := range events {
					entries = append(entries, brief(prefix, e))
				}
				before := r.Metrics.RecordsProcessed.Value()
				put(t, w, entries)
				if err := Await(deadline(t), fmt.Sprint("step ", step), func() (bool, error) {
					return r.Metrics.RecordsProcessed.Value() == before+int64(len(entries)), nil
				}); err != nil {
					t.Fatal(err)
				}
				checkOK(t, w)
			}
			for order, want := range map[string]string{"new": "last 7.00", "other": "z 8.00"} {
				got := scalar(t, w, "SELECT event_type || ' ' || CAST(total_amount AS VARCHAR(20)) FROM fact_orders WHERE order_id = '"+prefix+"-"+order+"'")
				if got != want {
					t.Errorf("%s order %s ends as %s, want %s", prefix, order, got, want)
				}
			}
			if err := r.Drain(); err != nil {
				t.Error(err)
			}
		}
	})
}

// brief writes an event from "order type hh:mm amount".
func brief(prefix, text string) aws.Entry {
	f := strings.Fields(text)
	id := prefix + "-" + f[0]
	return aws.Entry{PartitionKey: id, Data: fmt.Appendf(nil,
		`{"order_id":%q,"customer_id":"c","store_id":1,"total_amount":%s,"item_count":1,"event_type":%q,"timestamp":"2026-11-20T%s:00"}`,
		id, f[3], f[1], f[2])}
}

func TestG7_RollupsEqualFactsAfterEveryCommit(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url})
		r := start(t, w, Worker{BatchSize: 10})
		all := withDetector(1000, 2000)
		entries := made(17, all, 0)
		for len(entries) > 0 {
			n := min(250, len(entries))
			put(t, w, entries[:n])
			entries = entries[n:]
			if report := checkAgrees(t, w); report.Facts > 0 && report.Rollups == 0 {
				t.Fatal("facts without rollups")
			}
		}
		settle(t, w, all)
		if err := r.Drain(); err != nil {
			t.Error(err)
		}
	})
}

func TestG8_BadInputIsKeptWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 1})
	type sample struct {
		Why  string `json:"why"`
		Data string `json:"data_base64"`
	}
	text, err := os.ReadFile(filepath.Join("..", "event", "testdata", "invalid.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	var entries []aws.Entry
	want := make(map[string]int)
	apart := 0 // records of an order and an object that is none
	for i, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		var s sample
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatal(err)
		}
		data, err := base64.StdEncoding.DecodeString(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasSuffix(data, []byte("} {}")) {
			s.Why, s.Data = string(event.UnknownFamily), base64.StdEncoding.EncodeToString([]byte("{}"))
			apart++
		}
		want[s.Why+" "+s.Data]++
		entries = append(entries, aws.Entry{PartitionKey: fmt.Sprint("bad ", i), Data: data},
			brief("good", fmt.Sprintf("%d created 10:00 1", i))) // its neighbour
	}
	put(t, w, entries)
	r := start(t, w, Worker{})
	report := settle(t, w, len(entries)+apart)
	if err := r.Drain(); err != nil {
		t.Error(err)
	}
	if int(report.Rejected) != len(entries)/2 || int(report.Facts) != len(entries)/2+apart || apart != 1 {
		t.Errorf("%d rejected and %d loaded, want %d and %d more", report.Rejected, report.Facts, len(entries)/2, apart)
	}
	for l, err := range w.Letters().All(deadline(t)) {
		if err != nil {
			t.Fatal(err)
		}
		want[l.Reason+" "+base64.StdEncoding.EncodeToString(l.Data)]--
		if l.PartitionKey == "" || l.SequenceNumber == "" || l.ShardID == "" || l.ArrivedAt.IsZero() {
			t.Errorf("a letter without its place: %+v", l)
		}
	}
	for k, n := range want {
		if n != 0 {
			t.Errorf("%s: %d letters too few", k, n)
		}
	}
}

func TestG9_APausedWarehouseStopsReadingAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 4})
	const bound, published = 1 << 20, 6_000
	r := start(t, w, Worker{PageBytes: bound})
	put(t, w, made(23, 100, 0))
	settle(t, w, 100)
	setFaults(t, w, fault.Fault{Service: "redshift-data", Kind: fault.Paused})
	put(t, w, made(29, published, 0))
	if err := Await(deadline(t), "the queue is full", func() (bool, error) {
		return r.Worker.Status().Full, nil
	}); err != nil {
		t.Fatal(err)
	}
	held, calls, still := int64(0), int64(0), time.Now() // since when nothing more is read
	if err := Await(deadline(t), "reading stands still", func() (bool, error) {
		held = max(held, r.Worker.Status().HeldBytes)
		if n := r.Metrics.RecordsRead.Value(); n != calls {
			calls, still = n, time.Now()
		}
		return time.Since(still) > 2*time.Second, nil
	}); err != nil {
		t.Fatal(err)
	}
	setFaults(t, w)
	settle(t, w, 100+published)
	// What a page takes once it is decoded is known a little too late.
	if held > bound+bound/4 {
		t.Errorf("%d bytes held, bound %d", held, bound)
	}
	if calls == 100+published {
		t.Error("everything was read while the warehouse was paused: the bound held nothing back")
	}
}

func TestG10_HostileStringsArriveUnchanged(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url})
		hostile := []string{
			`'; DROP TABLE fact_orders; --`, `\'; DROP TABLE fact_orders; --`, `\`, `\\`, `'`, `''`, `x\'`, `"`, `","`, `\N`, `NULL`,
			"line\nbreak", "carriage\rreturn", "tab\tand\x01control\x7f", "名前-O'Brien\\x", "😀\u200d\U0001F3F4", "$1 :name ?", "{}[]", "a,b|c;d",
			" lead and trail ", "\u202eright to left", strings.Repeat("é", 50), `\u0041`, `\x41`, "%s%d%n", "*/ /* --",
		}
		for _, staging := range []string{"", stagingBucket(t, w)} {
			var entries []aws.Entry
			want := make(map[string]string)
			for i, h := range hostile {
				id := fmt.Sprintf("%d%s-%d", len(want), staging, i)
				want[id] = strings.TrimRight(h, " ") // what Redshift does not see is dropped
				data, err := json.Marshal(map[string]any{"order_id": id, "customer_id": h, "store_id": i, "total_amount": "1.00", "item_count": 1, "event_type": "t"})
				if err != nil {
					t.Fatal(err)
				}
				entries = append(entries, aws.Entry{PartitionKey: id, Data: data})
				if len(h) <= 50 { // as an id and as a type too
					data, _ = json.Marshal(map[string]any{"order_id": h + staging[:min(2, len(staging))], "customer_id": h, "store_id": i, "total_amount": "1.00", "item_count": 1, "event_type": h})
					entries = append(entries, aws.Entry{PartitionKey: id, Data: data})
				}
			}
			put(t, w, entries)
			r := start(t, w, Worker{Staging: staging})
			published := len(entries)
			if staging != "" {
				published *= 2
			}
			settle(t, w, published) // compares every string with the stream's
			if err := r.Drain(); err != nil {
				t.Error(err)
			}
			for id, h := range want {
				rows, err := w.DB.Run(deadline(t), warehouse.Token(), []string{"SELECT customer_id FROM fact_orders WHERE order_id = " + warehouse.Quote(id)})
				if err != nil || len(rows[0].Rows) != 1 || rows[0].Rows[0][0].Text != h {
					t.Errorf("customer %q arrived as %v (%v)", h, rows, err)
				}
			}
		}
	})
}
