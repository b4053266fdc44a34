package warehouse

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// told is a row as its Fields say it, in the notation of CSV without its quotes.
type told struct {
	values []string
	clock  clock
}

func (t *told) add(s string)      { t.values = append(t.values, s) }
func (t *told) Text(s string)     { t.add(s) }
func (t *told) Int(n int64)       { t.add(strconv.FormatInt(n, 10)) }
func (t *told) Cents(n int64)     { t.add(string(appendCents(nil, n))) }
func (t *told) Time(micros int64) { t.add(string(t.clock.append(nil, micros))) }
func (t *told) Null()             { t.add("") }

func rowsOf(to Encoder, events []event.Event) []Row {
	rows := make([]Row, len(events))
	for i := range events {
		rows[i] = Row{Move: i % 4, Family: events[i].Family(), Line: to.Append(nil, &events[i])}
	}
	return rows
}

func hostileRows(to Encoder, seed uint64, n int) []Row { return rowsOf(to, hostileEvents(seed, n)) }

// hostileEvents are events of all families whose strings are as long and as full
// of characters with a meaning as the decoder lets through.
func hostileEvents(seed uint64, n int) []event.Event {
	rng := rand.New(rand.NewPCG(seed, 9))
	text := func(most int) string {
		const alphabet = `'\",` + "\n\r\x01ax,;名"
		runes := []rune(alphabet)
		var b strings.Builder
		for {
			r := runes[rng.IntN(len(runes))]
			if b.Len()+len(string(r)) > most || b.Len() > 0 && rng.IntN(most) == 0 {
				return b.String()
			}
			b.WriteRune(r)
		}
	}
	events := make([]event.Event, n)
	for i := range events {
		at := 1_795_163_730_000_000 + rng.Int64N(1e12)
		switch rng.IntN(3) {
		case 0:
			events[i].Row = &event.Order{
				OrderID: text(100), CustomerID: text(100), EventType: text(50),
				StoreID: rng.Int32() - 1<<30, ItemCount: rng.Int32(), AmountCents: rng.Int64N(2e10-1) - 1e10 + 1, EventTime: at,
			}
		case 1:
			events[i].Row = &event.Level{SKU: text(100), EventType: text(50), StoreID: rng.Int32() - 1<<30, Quantity: rng.Int32(), EventTime: at}
		case 2:
			p := &event.Payment{
				PaymentID: text(100), OrderID: text(100), CustomerID: text(100), Method: text(50), Status: text(50), EventType: text(50),
				AmountCents: rng.Int64N(2e10-1) - 1e10 + 1, EventTime: at, FraudScore: rng.Int32(), Scored: rng.IntN(2) == 0,
			}
			if rng.IntN(2) == 0 {
				p.TransactionID = text(100)
			}
			events[i].Row = p
		}
	}
	return events
}

func TestInsertKeepsToTheLimits(t *testing.T) {
	for seed := range uint64(5) {
		rows := hostileRows(Insert{}.Encoder(), seed, 30_000)
		fits := Insert{}.Fits(rows)
		if fits < 1000 || fits == len(rows) {
			t.Fatalf("seed %d: %d of %d rows fit: the test is to pass the limit", seed, fits, len(rows))
		}
		fill, err := Insert{}.Prepare(context.Background(), Batch{Stream: "s", Moves: make([]Move, 250), Rows: rows[:fits]})
		if err != nil {
			t.Fatalf("seed %d: %d rows fit, but: %v", seed, fits, err)
		}
		fill.Done()
		whole := loadTransaction(Names{}, Batch{Rows: rows[:fits]}.families(), fill.Statements, time.Now(), false).sql()
		if len(whole) > maxStatements {
			t.Errorf("seed %d: %d statements", seed, len(whole))
		}
		for i, s := range whole {
			if len(s) > 100_000 {
				t.Errorf("seed %d: statement %d has %d bytes", seed, i, len(s))
			}
		}
	}
}

// Families whose rows come mixed have to fit one load: where they did not, each load
// would end at the first row of the family that is one too many.
func TestInsertHasRoomForAllFamilies(t *testing.T) {
	if n, most := len(event.Families()), allFamilies.fillStatements(); most < n {
		t.Errorf("a load of all families has %d statements for rows, and needs %d at the least: a family needs fewer of its own, or a bucket and COPY", most, n)
	}
	rows := hostileRows(Insert{}.Encoder(), 3, 2000)
	if fits := (Insert{}).Fits(rows); fits < 1000 {
		t.Errorf("%d mixed rows fit", fits)
	}
}

// Every row stands in a statement of its family, and a reader of SQL that comes to
// its end is where the next one begins.
func TestInsertWritesEveryRow(t *testing.T) {
	rows := hostileRows(Insert{}.Encoder(), 7, 300)
	fill, err := Insert{}.Prepare(context.Background(), Batch{Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Done()
	seen := make([]bool, len(rows))
	for _, s := range fill.Statements[1:] { // the first is that of the moves
		family := slices.IndexFunc(insertHeads, func(head string) bool { return strings.HasPrefix(s, head) })
		if family < 0 {
			t.Fatalf("%.80q begins as no INSERT does", s)
		}
		for s = strings.TrimPrefix(s, insertHeads[family]); s != ""; s = strings.TrimPrefix(s, ",") {
			var n int
			if _, err := fmt.Sscanf(s[strings.IndexByte(s, ',')+1:], "%d", &n); err != nil || seen[n] {
				t.Fatalf("%.60q: %v", s, err)
			}
			seen[n] = true
			want := "(" + strconv.Itoa(rows[n].Move) + "," + strconv.Itoa(n) + ",'" + event.Family(family).String() + "'," + string(rows[n].Line) + ")"
			if int(rows[n].Family) != family || !strings.HasPrefix(s, want) {
				t.Fatalf("row %d of %v: %.300q does not start with %s", n, rows[n].Family, s, want)
			}
			s = s[len(want):]
		}
	}
	if slices.Contains(seen, false) {
		t.Error("not every row was written")
	}
}

// shelf keeps staged objects in memory, and can fail.
type shelf struct {
	mu      sync.Mutex // guards objects and puts
	objects map[string][]byte
	failAt  int // Put number that fails; 0 = none
	puts    int
}

func (s *shelf) Put(_ context.Context, name string, body []byte) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.puts++; s.puts == s.failAt {
		return "", errors.New("no room")
	}
	s.objects[name] = bytes.Clone(body)
	return s.URL(name), nil
}

func (s *shelf) URL(name string) string { return "s3://bucket/" + name }

func (s *shelf) Delete(_ context.Context, names ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range names {
		delete(s.objects, n)
	}
	return nil
}

func TestCopyStagesEveryRowAndCleansUp(t *testing.T) {
	s := &shelf{objects: map[string][]byte{}}
	fill := &Copy{Staging: s, IAMRole: `arn:aws:iam::1:role/o'copy`, Log: slog.New(slog.DiscardHandler)}
	events := hostileEvents(11, 5000)
	rows := rowsOf(fill.Encoder(), events)
	for range 2 { // the second time the buffer is used again
		filling, err := fill.Prepare(context.Background(), Batch{Stream: "s", Moves: make([]Move, 2), Rows: rows})
		if err != nil || len(filling.Statements) != 1 {
			t.Fatalf("%d statements, %v", len(filling.Statements), err)
		}
		if !strings.Contains(filling.Statements[0], `IAM_ROLE 'arn:aws:iam::1:role/o''copy'`) {
			t.Errorf("role not quoted: %s", filling.Statements[0])
		}
		checkStaged(t, s.objects, events)
		filling.Done()
		<-fill.removal.idle
		if len(s.objects) != 0 {
			t.Errorf("%d objects left after the load", len(s.objects))
		}
	}
}

func checkStaged(t *testing.T, objects map[string][]byte, events []event.Event) {
	t.Helper()
	for name, body := range objects {
		if strings.HasSuffix(name, "manifest.json") {
			var m struct {
				Entries []struct {
					URL       string
					Mandatory bool
				}
			}
			if err := json.Unmarshal(body, &m); err != nil || len(m.Entries) != 1 || !m.Entries[0].Mandatory {
				t.Errorf("manifest %s: %v", body, err)
			} else if _, there := objects[strings.TrimPrefix(m.Entries[0].URL, "s3://bucket/")]; !there {
				t.Errorf("manifest names %s, which is not there", m.Entries[0].URL)
			}
			continue
		}
		zip, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(zip)
		if err != nil {
			t.Fatal(err)
		}
		// encoding/csv folds \r\n inside quotes: carriage returns are left out of the comparison.
		text = bytes.ReplaceAll(text, []byte("\r"), nil)
		records, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
		const moves = 3 // two, and the shared row's
		if err != nil || len(records) != moves+len(events) {
			t.Fatalf("%d of %d lines read back: %v", len(records), moves+len(events), err)
		}
		columns := incoming().Names()
		if r := records[moves-1]; r[0] != "2" || r[slices.Index(columns, "stream_name")] != SharedRow || r[slices.Index(columns, "shard_id")] != SharedRow {
			t.Errorf("the line of the shared row reads %q", r)
		}
		for i, r := range records[moves:] {
			want := map[string]string{"move": r[0], "ordinal": strconv.Itoa(i), "family": events[i].Family().String()}
			var row told
			events[i].Fields(&row)
			for n, c := range FactsOf(events[i].Family()).Columns {
				want[events[i].Family().String()+"_"+c.Name] = strings.ReplaceAll(row.values[n], "\r", "")
			}
			for n, column := range columns {
				if r[n] != want[column] {
					t.Fatalf("row %d: %s reads %q, want %q", i, column, r[n], want[column])
				}
			}
		}
	}
}

func TestCopyLeavesNothingBehindWhenStagingFails(t *testing.T) {
	s := &shelf{objects: map[string][]byte{}, failAt: 2}
	fill := &Copy{Staging: s, Log: slog.New(slog.DiscardHandler)}
	if _, err := fill.Prepare(context.Background(), Batch{Rows: hostileRows(fill.Encoder(), 1, 10)}); !errors.As(err, new(*StagingError)) {
		t.Fatalf("%v although the manifest could not be staged", err)
	}
	fill.Close(context.Background())
	if len(s.objects) != 0 {
		t.Errorf("%d objects left", len(s.objects))
	}
}
