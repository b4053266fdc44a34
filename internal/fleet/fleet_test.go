package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits, on a loaded machine.
const patience = time.Minute

// ground is a local AWS with a bucket and a warehouse, and what workers share there.
type ground struct {
	t      *testing.T
	local  *localaws.Running
	bucket *aws.Bucket
	db     *aws.Redshift
	house  *warehouse.Warehouse
	copy   *warehouse.Copy
}

var identity = stream.Identity{ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/order-events", Created: time.UnixMilli(1_795_000_000_000).UTC()}

const streamName = "order-events"

func start(t *testing.T) *ground {
	t.Helper()
	g := &ground{t: t, local: localaws.Start(t, func(c *localaws.Config) { c.Limits, c.Tiny = false, true })}
	for name, value := range g.local.Env() {
		t.Setenv(name, value)
	}
	log := slog.New(slog.DiscardHandler)
	account, err := aws.Open(t.Context(), aws.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	if g.bucket, err = account.Bucket("s3://staging/orders"); err == nil {
		err = g.bucket.EnsureBucket(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	g.db = account.Redshift(aws.RedshiftConfig{ClusterID: "cluster", Database: "analytics", DBUser: "admin"})
	g.copy = &warehouse.Copy{Staging: g.bucket, Log: log}
	g.house = warehouse.New(g.db, g.copy)
	t.Cleanup(func() { g.house.Close(context.WithoutCancel(t.Context())) })
	var sql []string
	for _, s := range warehouse.Schema(warehouse.Redshift) {
		sql = append(sql, s.SQL)
	}
	g.sql(sql...)
	return g
}

func (g *ground) sql(statements ...string) [][]warehouse.Value {
	g.t.Helper()
	out, err := g.db.Run(g.t.Context(), warehouse.Token(), statements)
	if err != nil {
		g.t.Fatal(err)
	}
	return out[len(out)-1].Rows
}

// has fails the test unless these orders are in the warehouse, each once, and no others.
func (g *ground) has(orders ...string) {
	g.t.Helper()
	var got []string
	for _, row := range g.sql("SELECT order_id FROM fact_orders ORDER BY order_id") {
		got = append(got, row[0].Text)
	}
	slices.Sort(orders)
	if !slices.Equal(got, orders) {
		g.t.Errorf("the warehouse has %v, want %v", got, orders)
	}
}

// worker is a worker's Fleet that does not run: tests make its rounds.
func (g *ground) worker(self string, owners ...string) *Fleet {
	return New(Config{
		Warehouse: g.house, Copy: g.copy, Bucket: g.bucket, Self: self, Stream: streamName, Place: []string{"leases"},
		Owners:     func() ([]string, stream.Identity) { return owners, identity },
		Quiet:      func() []warehouse.Move { return nil },
		Advanced:   func([]warehouse.Move) {},
		Misled:     func(string, int64) { g.t.Error("misled") },
		Duplicates: func(int) {},
		Patience:   300 * time.Millisecond, PollInterval: time.Second, Log: slog.New(slog.DiscardHandler),
	})
}

func (g *ground) claim(term int64, shards ...string) {
	g.t.Helper()
	var claims []warehouse.Claim
	for _, s := range shards {
		claims = append(claims, warehouse.Claim{Shard: s, Term: term, Start: stream.Position{Sequence: stream.TrimHorizon}, Stream: identity})
	}
	claimed, err := g.house.Claim(g.t.Context(), streamName, claims)
	if err != nil || slices.ContainsFunc(claimed, func(c warehouse.Claimed) bool { return !c.Granted }) {
		g.t.Fatalf("claim: %+v, %v", claimed, err)
	}
}

// batch moves a shard from its beginning to a place, with an order.
func (g *ground) batch(shard string, term int64, to, orderID string) warehouse.Batch {
	plain := event.Plain(event.Orders, time.Now())
	plain.Row.(*event.Order).OrderID = orderID
	return warehouse.Batch{
		Stream: streamName,
		Moves:  []warehouse.Move{{Shard: shard, Term: term, From: stream.Position{Sequence: stream.TrimHorizon}, To: stream.Position{Sequence: to}, ArrivedUntil: time.Now().UTC()}},
		Rows:   []warehouse.Row{{Family: event.Orders, Line: g.house.Encoder().Append(nil, &plain)}},
	}
}

// stage has a worker stage a batch, and returns it.
func (g *ground) stage(f *Fleet, b warehouse.Batch) batch {
	g.t.Helper()
	staged, err := f.stage(g.t.Context(), f.folder(identity), b)
	if err != nil {
		g.t.Fatal(err)
	}
	return staged
}

// swept makes rounds until none of the fleet's batches is in the bucket any more.
func (g *ground) swept(f *Fleet) {
	g.t.Helper()
	g.emptied(f, func() { f.round(g.t.Context()) })
}

// emptied does something until none of the fleet's batches is in the bucket any more.
func (g *ground) emptied(f *Fleet, by func()) {
	g.t.Helper()
	g.untilStaged(f, func(names []string) bool {
		if len(names) > 0 {
			by()
		}
		return len(names) == 0
	})
}

// untilStaged waits until what is staged is as it should be.
func (g *ground) untilStaged(f *Fleet, is func(names []string) bool) {
	g.t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for {
		names, err := g.bucket.List(g.t.Context(), f.folder(identity)+stagedFolder)
		if err != nil {
			g.t.Fatal(err)
		}
		if is(names) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			g.t.Fatalf("waited in vain; staged: %v", names)
		}
	}
}

// What a worker stages is what another one reads of it.
func TestABatchIsReadAsItWasStaged(t *testing.T) {
	g := start(t)
	a, b := g.worker("a", "b", "a"), g.worker("b", "b", "a")
	rows := g.batch("shard-1", 3, "500", "order-1")
	rows.Moves = append(rows.Moves, warehouse.Move{
		Shard: "shard-2", Term: 1 << 40, From: stream.Position{Sequence: "12345678901234567890123456789012345678901234567890123456", Sub: 7},
		To: stream.Position{Sequence: stream.ShardEnd}, ArrivedUntil: time.Date(2026, 11, 26, 1, 2, 3, 4000, time.UTC),
	})
	want := map[string]warehouse.Staged{}
	for _, one := range []warehouse.Batch{rows, {Stream: streamName, Moves: []warehouse.Move{{Shard: "shard-3", From: stream.Position{Sequence: "1"}, To: stream.Position{Sequence: "1", Sub: 2}}}}} {
		s := g.stage(a, one)
		want[s.ID] = s.staged()
		if got := s.staged(); !slices.Equal(got.Moves, one.Moves) || got.Total() != len(one.Rows) || (got.File == "") != (len(one.Rows) == 0) {
			t.Errorf("staged %+v of %+v", got, one)
		}
	}
	b.loader.folder = b.folder(identity)
	if err := b.list(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.loader.batches) != 2 {
		t.Errorf("%d batches are seen, want 2", len(b.loader.batches))
	}
	for id, got := range b.loader.batches {
		w := want[id]
		if s := got.staged(); got.Worker != "a" || s.File != w.File || s.Name != w.Name || s.First != w.First || s.Rows != w.Rows || s.Stream != w.Stream || !slices.Equal(s.Moves, w.Moves) {
			t.Errorf("read %+v of %s, want %+v", s, got.Worker, w)
		}
	}
}

// What lies among the staged batches and is none is removed, and keeps no batch from
// being loaded. What lies elsewhere is another fleet's.
func TestWhatIsNoBatchIsRemoved(t *testing.T) {
	g := start(t)
	f := g.worker("a", "a")
	g.claim(1, "shard-1")
	good := g.stage(g.worker("b", "a", "b"), g.batch("shard-1", 1, "500", "order-1"))
	text, err := g.bucket.Get(t.Context(), good.names()[0])
	if err != nil {
		t.Fatal(err)
	}
	bend := func(old, with string) string {
		if !strings.Contains(string(text), old) {
			t.Fatalf("%s has no %s", text, old)
		}
		return strings.ReplaceAll(string(text), old, with)
	}
	for name, body := range map[string]string{
		"": "", "not-json": "{", "another-id": string(text), "null": "null",
		"no-moves":          bend(`"Moves":[`, `"Moved":[`),
		"of-another-stream": bend(`"Stream":"`+streamName, `"Stream":"another`),
		"no-number":         bend(`"First":`, `"First":-`),
		"two-files":         bend(`"Name":"`, `"Name":"other/`),
		"no-file":           bend(`"File":"`, `"Field":"`),
		"no-rows":           bend(`"Rows":[1`, `"Rows":[0`),
	} {
		name := "20260101T000000.000Z-" + name
		body = strings.ReplaceAll(body, good.ID, name)
		if strings.HasSuffix(name, "another-id") {
			body = string(text)
		}
		object := f.folder(identity) + stagedFolder + name + ".json"
		if _, err := readBatch(f.folder(identity), object, streamName, []byte(body)); !errors.Is(err, errBadBatch) {
			t.Errorf("%s is read with %v", name, err)
		}
		if _, err := g.bucket.Put(t.Context(), object, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	for _, other := range []*Fleet{
		func() *Fleet { o := g.worker("b"); o.c.Place = []string{"other leases"}; return o }(),
		func() *Fleet { o := g.worker("b"); o.c.Stream = "another"; return o }(),
	} {
		if other.folder(identity) == f.folder(identity) {
			t.Errorf("workers of %v and %s see what those of %v and %s stage", other.c.Place, other.c.Stream, f.c.Place, f.c.Stream)
		}
	}
	if f.folder(identity) == f.folder(stream.Identity{ARN: identity.ARN, Created: identity.Created.Add(time.Second)}) {
		t.Error("workers see what was staged of a stream of this name that was deleted")
	}
	g.swept(f)
	g.has("order-1")
}

// Two files whose rows name their moves by one number are loaded one after the other.
func TestBatchesWhoseNumbersClashAreLoadedInTurn(t *testing.T) {
	g := start(t)
	a, f := g.worker("a", "b", "a"), g.worker("b", "b", "a")
	g.claim(1, "shard-1", "shard-2")
	first := g.stage(a, g.batch("shard-1", 1, "500", "order-1"))
	rows, err := g.bucket.Get(t.Context(), first.Name)
	if err != nil {
		t.Fatal(err)
	}
	second := first
	second.ID, second.Name, second.Moves = first.ID+"-2", "2"+first.Name, slices.Clone(first.Moves)
	second.Moves[0].Shard = "shard-2"
	if second.File, err = g.bucket.Put(t.Context(), second.Name, renamed(t, rows)); err == nil {
		err = a.put(t.Context(), second)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.round(t.Context())
	g.has("order-1")
	g.swept(f)
	g.has("order-1", "order-2")
	if got := g.sql("SELECT COUNT(*) FROM worker_checkpoints WHERE sequence_number = '500'")[0][0].Text; got != "2" {
		t.Errorf("%s shards have moved, want 2", got)
	}
}

// renamed is a file of shard-1 and order-1 as one of shard-2 and order-2.
func renamed(t *testing.T, file []byte) []byte {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zipped)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write([]byte(strings.NewReplacer("shard-1", "shard-2", "order-1", "order-2").Replace(string(text)))); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// What the dead have left is loaded where the warehouse stands at its beginning, under
// its term. Where it does not, the warehouse has the last word, and the batch goes.
func TestTheSweepGoesByTheCheckpoints(t *testing.T) {
	g := start(t)
	dead, f := g.worker("dead", "a", "dead"), g.worker("a", "a")
	g.claim(1, "to-do", "claimed-since", "in-already")
	g.stage(dead, g.batch("to-do", 1, "500", "to-do"))
	g.stage(dead, g.batch("claimed-since", 1, "500", "stale"))
	g.stage(dead, g.batch("never-claimed", 1, "500", "unheard-of"))
	in := g.batch("in-already", 1, "500", "in-already")
	g.stage(dead, in)
	if _, err := g.house.Load(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	g.claim(2, "claimed-since")
	g.swept(f)
	g.has("in-already", "to-do")
	for _, row := range g.sql("SELECT shard_id, term, sequence_number FROM worker_checkpoints WHERE stream_name <> '*' ORDER BY shard_id") {
		got := fmt.Sprint(row[0].Text, " ", row[1].Text, " ", row[2].Text)
		if !slices.Contains([]string{"claimed-since 2 " + stream.TrimHorizon, "in-already 1 500", "to-do 1 500"}, got) {
			t.Errorf("the warehouse stands at %s", got)
		}
	}
	verdicts := map[bool]int{}
	for _, o := range f.loader.done {
		verdicts[o.In]++
	}
	if verdicts[true] != 2 || verdicts[false] != 2 {
		t.Errorf("%d batches are told to be in, and %d not, want two of each", verdicts[true], verdicts[false])
	}
}

// What the dead have left of shards that others have claimed since keeps nobody from the
// next load, however much it is.
func TestWhatIsStaleHoldsNobodyUp(t *testing.T) {
	g := start(t)
	dead, live, f := g.worker("dead", "a", "live"), g.worker("live", "a", "live"), g.worker("a", "a", "live")
	g.claim(1, "shard-1", "shard-2")
	const left = 1001 // more than a page of the listing
	for range left {
		b := dead.newBatch(dead.folder(identity), warehouse.Staged{Stream: streamName, Moves: g.batch("shard-1", 1, "500", "").Moves})
		if err := dead.put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	both := g.batch("shard-1", 1, "500", "still-good")
	both.Moves = append(both.Moves, g.batch("shard-2", 1, "500", "").Moves...)
	both.Rows = nil
	g.claim(2, "shard-1")
	g.stage(live, g.batch("shard-1", 2, "600", "order-1"))
	f.round(t.Context())
	g.has("order-1")
	if f.loader.loads != 1 {
		t.Errorf("%d loads were made, want 1", f.loader.loads)
	}
	told := 0
	for _, o := range f.loader.done {
		got, err := o.of(warehouse.Batch{Moves: both.Moves[:1]})
		if err == nil && got.Outcomes[0] == (warehouse.Outcome{Verdict: warehouse.Refused, Term: 2, Position: stream.Position{Sequence: stream.TrimHorizon}}) {
			told++
		}
	}
	if told != left {
		t.Errorf("%d of %d batches are told to be stale", told, left)
	}

	// Where one of its shards is not claimed, the load decides.
	g.stage(dead, both)
	next := g.batch("shard-1", 2, "700", "order-2")
	next.Moves[0].From.Sequence = "600"
	g.stage(live, next)
	g.swept(f)
	g.has("order-1", "order-2")
	if got := g.sql("SELECT sequence_number FROM worker_checkpoints WHERE shard_id = 'shard-2'")[0][0].Text; got != "500" {
		t.Errorf("shard-2 is at %s, want 500", got)
	}
}

// The word tells outcomes of the last half minute. One that is heard again is no sign
// of life, and a worker that gives none is passed over, for a while.
func TestAWordDoesNotLastForEver(t *testing.T) {
	g := start(t)
	a, b := g.worker("a", "a", "c", "b"), g.worker("b", "a", "c", "b")
	folder, now := a.folder(identity), time.Now()
	a.loader.folder = folder
	a.loader.done = []outcome{{ID: "old", In: true, at: now.Add(-keepWords - time.Second)}, {ID: "new", In: true, at: now}}
	a.say(t.Context())
	b.look(t.Context(), folder)
	if d := b.word.Done; len(d) != 1 || d[0].ID != "new" || !d[0].In {
		t.Errorf("the word tells %+v, want that of the new one", d)
	}
	heard := b.heard
	if b.look(t.Context(), folder); b.heard != heard {
		t.Error("a word that was heard before counts as a sign")
	}
	a.say(t.Context())
	if b.look(t.Context(), folder); !b.heard.After(heard) {
		t.Error("another word does not count as a sign")
	}
	b.loader.folder = folder
	if b.inherit(t.Context()); !b.loader.isOver("new") || b.loader.isOver("old") {
		t.Errorf("who loads next takes %v for told", b.loader.over)
	}

	staged := g.stage(b, g.batch("shard-1", 1, "500", "order-1"))
	if _, _, err := b.await(t.Context(), staged); !errors.Is(err, errSilent) {
		t.Errorf("the wait for a worker that says no more ended with %v", err)
	}
	if p := b.place(); p.loader != "b" {
		t.Errorf("%s loads, although it gave no sign", p.loader)
	}
	passed := func(d time.Duration) string {
		b.silent["a"] = silence{time.Now().Add(-d), b.silent["a"].over}
		return b.place().loader
	}
	if loader := passed(passedOver); loader != "a" {
		t.Errorf("%s loads, although it is long ago that a gave no sign", loader)
	}

	// Who never gives one is waited for less and less often, and who gives one again is
	// not passed over for long.
	for over := 2 * passedOver; over < 2*longestPassed; over *= 2 {
		b.miss("a")
		b.miss("a") // by another one who has waited for it
		want := min(over, longestPassed)
		if before, after := passed(want-passedOver/2), passed(want); before != "b" || after != "a" {
			t.Errorf("%s loads before %v have passed, and %s then", before, want, after)
		}
	}
	b.miss("a")
	a.say(t.Context())
	b.look(t.Context(), folder)
	if before, after := passed(passedOver/2), passed(passedOver); before != "b" || after != "a" {
		t.Errorf("a has spoken again: %s loads before %v have passed, and %s then", before, passedOver, after)
	}
}

// What was staged of a stream that is not read any more is in a folder that nobody looks
// into: it is not waited for.
func TestAStreamMadeAnewIsNotWaitedFor(t *testing.T) {
	g := start(t)
	f, id := g.worker("a", "a", "b"), identity
	f.c.Owners = func() ([]string, stream.Identity) { return []string{"a", "b"}, id }
	staged := g.stage(f, g.batch("shard-1", 1, "500", "order-1"))
	id.Created = id.Created.Add(time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), longestWait/2)
	defer cancel()
	if _, _, err := f.await(ctx, staged); !errors.Is(err, errSilent) {
		t.Errorf("the wait ended with %v", err)
	}
}
