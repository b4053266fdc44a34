package warehouse

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// hostileRows are rows whose strings are as long and as full of characters with
// a meaning as the decoder lets through.
func hostileRows(seed uint64, n int) []Row {
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
	rows := make([]Row, n)
	for i := range rows {
		rows[i] = Row{Move: rng.IntN(4), Order: &event.Order{
			OrderID: text(100), CustomerID: text(100), EventType: text(50),
			StoreID: rng.Int32() - 1<<30, ItemCount: rng.Int32(), AmountCents: rng.Int64N(2e10-1) - 1e10 + 1,
			EventTime: 1_795_163_730_000_000 + rng.Int64N(1e12),
		}}
	}
	return rows
}

func TestInsertKeepsToTheLimits(t *testing.T) {
	for seed := range uint64(5) {
		rows := hostileRows(seed, 30_000)
		fits := Insert{}.Fits(rows)
		if fits < 1000 || fits == len(rows) {
			t.Fatalf("seed %d: %d of %d rows fit: the test is to pass the limit", seed, fits, len(rows))
		}
		fill, err := Insert{}.Prepare(context.Background(), Batch{Stream: "s", Moves: make([]Move, 250), Rows: rows[:fits]})
		if err != nil {
			t.Fatalf("seed %d: %d rows fit, but: %v", seed, fits, err)
		}
		fill.Done()
		whole := loadTransaction(true, fill.Statements, time.Now()).sql()
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

func TestInsertWritesEveryRow(t *testing.T) {
	rows := hostileRows(7, 300)
	fill, err := Insert{}.Prepare(context.Background(), Batch{Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Done()
	n := 0
	for _, s := range fill.Statements[1:] { // the first is that of the moves
		s = strings.TrimPrefix(s, insertHead)
		for s != "" {
			o := rows[n].Order
			head := "(" + strconv.Itoa(rows[n].Move) + "," + strconv.Itoa(n) + ","
			if !strings.HasPrefix(s, head) {
				t.Fatalf("row %d: %.60q does not start with %s", n, s, head)
			}
			id, rest, ok := readLiteral(s[len(head):])
			if !ok || id != o.OrderID {
				t.Fatalf("row %d: order_id %q, want %q", n, id, o.OrderID)
			}
			customer, rest, ok := readLiteral(rest[1:])
			if !ok || customer != o.CustomerID {
				t.Fatalf("row %d: customer_id %q, want %q", n, customer, o.CustomerID)
			}
			kind, rest, ok := readLiteral(rest[strings.Index(rest, ",'")+1:])
			if !ok || kind != o.EventType {
				t.Fatalf("row %d: event_type %q, want %q", n, kind, o.EventType)
			}
			end := strings.Index(rest, "')") // of the timestamp, the last field
			s = strings.TrimPrefix(rest[end+2:], ",")
			n++
		}
	}
	if n != len(rows) {
		t.Errorf("%d rows written, want %d", n, len(rows))
	}
}

// shelf keeps staged objects in memory, and can fail.
type shelf struct {
	mu      sync.Mutex // guards objects
	objects map[string][]byte
	failAt  int // Put number that fails; 0 = none
	puts    int
}

func (s *shelf) Put(_ context.Context, name string, body []byte) (string, error) {
	if s.puts++; s.puts == s.failAt {
		return "", errors.New("no room")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[name] = bytes.Clone(body)
	return "s3://bucket/" + name, nil
}

func (s *shelf) Delete(_ context.Context, names ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range names {
		delete(s.objects, n)
	}
	return nil
}

func TestCopyStagesEveryRowAndCleansUp(t *testing.T) {
	rows := hostileRows(11, 5000)
	s := &shelf{objects: map[string][]byte{}}
	fill := &Copy{Staging: s, IAMRole: `arn:aws:iam::1:role/o'copy`, Log: slog.New(slog.DiscardHandler)}
	for range 2 { // the second time the buffer is used again
		filling, err := fill.Prepare(context.Background(), Batch{Stream: "s", Moves: make([]Move, 2), Rows: rows})
		if err != nil || len(filling.Statements) != 1 {
			t.Fatalf("%d statements, %v", len(filling.Statements), err)
		}
		if !strings.Contains(filling.Statements[0], `IAM_ROLE 'arn:aws:iam::1:role/o''copy'`) {
			t.Errorf("role not quoted: %s", filling.Statements[0])
		}
		checkStaged(t, s.objects, rows)
		filling.Done()
		<-fill.removal.idle
		if len(s.objects) != 0 {
			t.Errorf("%d objects left after the load", len(s.objects))
		}
	}
}

func checkStaged(t *testing.T, objects map[string][]byte, rows []Row) {
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
		if err != nil || len(records) != moves+len(rows) {
			t.Fatalf("%d of %d lines read back: %v", len(records), moves+len(rows), err)
		}
		if r := records[moves-1]; r[0] != "2" || r[9] != SharedRow || r[10] != SharedRow {
			t.Errorf("the line of the shared row reads %q", r)
		}
		for i, r := range records[moves:] {
			want := strings.ReplaceAll(rows[i].Order.OrderID, "\r", "")
			if r[1] != strconv.Itoa(i) || r[2] != want {
				t.Fatalf("row %d reads %q", i, r)
			}
		}
	}
}

func TestCopyLeavesNothingBehindWhenStagingFails(t *testing.T) {
	s := &shelf{objects: map[string][]byte{}, failAt: 2}
	fill := &Copy{Staging: s, Log: slog.New(slog.DiscardHandler)}
	if _, err := fill.Prepare(context.Background(), Batch{Rows: hostileRows(1, 10)}); err == nil {
		t.Fatal("no error although the manifest could not be staged")
	}
	fill.Close(context.Background())
	if len(s.objects) != 0 {
		t.Errorf("%d objects left", len(s.objects))
	}
}
