// Package deadlettertest checks that a Bucket keeps its contract.
package deadlettertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
)

// Run runs the checks, each on an empty bucket made by open.
func Run(t *testing.T, open func(*testing.T) deadletter.Bucket) {
	t.Helper()
	checks := []struct {
		name  string
		check func(*testing.T, deadletter.Bucket)
	}{
		{"Bodies", bodies},
		{"PutLeavesWhatIsThere", putLeavesWhatIsThere},
		{"OnePutWins", onePutWins},
		{"GetAbsent", getAbsent},
		{"ListByPrefix", listByPrefix},
		{"ListMany", listMany},
		{"Names", names},
		{"EndedContext", endedContext},
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.check(t, open(t)) })
	}
}

func put(t *testing.T, b deadletter.Bucket, name string, body []byte) {
	t.Helper()
	created, err := b.PutIfAbsent(t.Context(), name, body)
	if err != nil || !created {
		t.Fatalf("PutIfAbsent(%q) = %v, %v, want true, nil", name, created, err)
	}
}

func wantBody(t *testing.T, b deadletter.Bucket, name string, want []byte) {
	t.Helper()
	got, err := b.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("Get(%q): %v", name, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("Get(%q) returned %d bytes that differ from the %d put", name, len(got), len(want))
	}
}

func bodies(t *testing.T, b deadletter.Bucket) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := make([]byte, 5<<20) // above the part size of common S3 clients
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(large) // never fails
	for name, body := range map[string][]byte{
		"s/empty.ndjson": {}, "s/every-byte.ndjson": every, "s/large.ndjson": large, "s/newlines.ndjson": []byte("\r\n\n\r"),
	} {
		given := bytes.Clone(body)
		put(t, b, name, given)
		clear(given) // the caller may use its bytes again
		wantBody(t, b, name, body)
	}
}

func putLeavesWhatIsThere(t *testing.T, b deadletter.Bucket) {
	put(t, b, "s/a/1.ndjson", []byte("first"))
	for _, body := range []string{"second", "first", ""} {
		created, err := b.PutIfAbsent(t.Context(), "s/a/1.ndjson", []byte(body))
		if created || err != nil {
			t.Fatalf("PutIfAbsent of a name that exists = %v, %v, want false, nil", created, err)
		}
	}
	wantBody(t, b, "s/a/1.ndjson", []byte("first"))
}

func onePutWins(t *testing.T, b deadletter.Bucket) {
	const rounds, writers = 8, 8
	for round := range rounds {
		name := fmt.Sprintf("s/race/%d.ndjson", round)
		body := func(w int) []byte { return bytes.Repeat([]byte{byte('a' + w)}, 10_000+w) }
		var (
			mu      sync.Mutex // guards winners
			winners []int
			writing sync.WaitGroup
			start   = make(chan struct{})
		)
		for w := range writers {
			writing.Go(func() {
				<-start
				created, err := b.PutIfAbsent(t.Context(), name, body(w))
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
				if !created && err == nil {
					// Whoever is told that the name exists must find it whole.
					if got, err := b.Get(t.Context(), name); err != nil || len(got) < 10_000 {
						t.Errorf("Get after a lost race: %d bytes, %v", len(got), err)
					}
				}
				if created {
					mu.Lock()
					defer mu.Unlock()
					winners = append(winners, w)
				}
			})
		}
		close(start)
		writing.Wait()
		if len(winners) != 1 {
			t.Fatalf("round %d: writers %v all created %s", round, winners, name)
		}
		wantBody(t, b, name, body(winners[0]))
	}
}

func getAbsent(t *testing.T, b deadletter.Bucket) {
	put(t, b, "s/there.ndjson", []byte("x"))
	for _, name := range []string{"s/not-there.ndjson", "no/such/place.ndjson"} {
		body, err := b.Get(t.Context(), name)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get(%q) = %q, %v, want an error that is fs.ErrNotExist", name, body, err)
		}
	}
}

func listByPrefix(t *testing.T, b deadletter.Bucket) {
	all := []string{ // in byte order, which is not the order of a walk
		"orders-eu/shard-1/1.ndjson",
		"orders/shard-1/10.ndjson",
		"orders/shard-1/9.ndjson",
		"orders/shard-10/1.ndjson",
		"orders/shard-2/deep/er/1.ndjson",
	}
	for _, i := range []int{3, 0, 4, 2, 1} {
		put(t, b, all[i], []byte("x"))
	}
	for prefix, want := range map[string][]string{
		"":                  all,
		"orders":            all,
		"orders/":           all[1:],
		"orders/shard-1":    all[1:4],
		"orders/shard-1/":   all[1:3],
		"orders/shard-1/9":  all[2:3],
		"orders/shard-2/d":  all[4:],
		"orders/shard-3/":   nil,
		"payments/shard-1/": nil,
	} {
		got, err := b.List(t.Context(), prefix)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("List(%q) = %q, %v, want %q", prefix, got, err, want)
		}
	}
}

// listMany puts more names than S3 lists in one reply (1000).
func listMany(t *testing.T, b deadletter.Bucket) {
	const n, writers = 1_050, 16
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := w; i < n; i += writers {
				if _, err := b.PutIfAbsent(t.Context(), fmt.Sprintf("s/many/%04d.ndjson", i), nil); err != nil {
					t.Errorf("PutIfAbsent: %v", err)
					return
				}
			}
		})
	}
	writing.Wait()
	got, err := b.List(t.Context(), "s/many/")
	if err != nil || len(got) != n || !slices.IsSorted(got) {
		t.Fatalf("List: %d names (sorted: %v), %v, want %d", len(got), slices.IsSorted(got), err, n)
	}
}

// names tries those that a Store makes from hostile or unusual parts.
func names(t *testing.T, b deadletter.Bucket) {
	want := []string{
		"%2E./%2Fetc%2Fpasswd/2026-01-02T03/1-0_2-0.ndjson",
		"Stream.With_all-chars/shardId-000000000000/2026-01-02T03/" + strings.Repeat("9", 129) + "-9223372036854775807.ndjson",
		"plus%2Band%20space/%25/2026-01-02T03/1--1.ndjson",
	}
	for _, name := range want {
		put(t, b, name, []byte(name))
	}
	got, err := b.List(t.Context(), "")
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("List = %q, %v, want %q", got, err, want)
	}
	for _, name := range want {
		wantBody(t, b, name, []byte(name))
	}
}

func endedContext(t *testing.T, b deadletter.Bucket) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.PutIfAbsent(ctx, "s/1.ndjson", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("PutIfAbsent: %v, want context.Canceled", err)
	}
	if _, err := b.Get(ctx, "s/1.ndjson"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get: %v, want context.Canceled", err)
	}
	if _, err := b.List(ctx, "s/"); !errors.Is(err, context.Canceled) {
		t.Errorf("List: %v, want context.Canceled", err)
	}
	if got, err := b.List(t.Context(), ""); err != nil || len(got) != 0 {
		t.Errorf("List = %q, %v: something was put under an ended context", got, err)
	}
}
