package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestJournalLinesBeginWithTheirPriority(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "journal")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	lookup := func(stream string) func(string) (string, bool) {
		return func(name string) (string, bool) { return stream, name == "JOURNAL_STREAM" && stream != "" }
	}
	a := &app{stderr: f, verbose: true, lookup: lookup(fmt.Sprintf("%d:%d", st.Dev, st.Ino))}
	log := a.logger().With("shard", "s")
	log.Debug("d")
	log.Info("i")
	log.Warn("w")
	log.Error("e")
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, want := range []string{"<7>{", "<6>{", "<4>{", "<3>{"} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Fatalf("line %d does not begin with %s:\n%s", i, want, text)
		}
	}
	// Sent elsewhere by the shell, the stream is no longer the journal's.
	if isJournal(f, lookup("1:2")) || isJournal(f, lookup("")) || isJournal(new(bytes.Buffer), lookup("1:2")) {
		t.Error("something else is taken for the journal")
	}
}

func TestRepeatsAreCountedNotWritten(t *testing.T) {
	var out bytes.Buffer
	d := &damper{state: &damperState{seen: make(map[string]*repeats)}, next: slog.NewTextHandler(&out, nil)}
	start := time.Unix(1_800_000_000, 0)
	say := func(h slog.Handler, level slog.Level, message string, at time.Duration) {
		if err := h.Handle(context.Background(), slog.NewRecord(start.Add(at), level, message, 0)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		say(d.WithAttrs([]slog.Attr{slog.Int("shard", i)}), slog.LevelError, "it failed", time.Duration(i)*time.Millisecond)
		say(d, slog.LevelInfo, "all is well", time.Duration(i)*time.Millisecond)
	}
	say(d, slog.LevelError, "another thing", time.Second)
	say(d, slog.LevelError, "it failed", damperWindow+time.Second)
	if n := strings.Count(out.String(), "it failed"); n != damperPasses+1 {
		t.Errorf("the message is written %d times, want %d and the one that tells", n, damperPasses)
	}
	if !strings.Contains(out.String(), fmt.Sprintf("left_out_before=%d", 200-damperPasses)) {
		t.Errorf("the count is not told:\n%s", out.String()[max(0, out.Len()-300):])
	}
	if strings.Count(out.String(), "all is well") != 200 || !strings.Contains(out.String(), "another thing") {
		t.Error("what does not repeat, or is no warning, was left out")
	}
}

// A line of the log for people has no more than they need, in one line whatever is in
// it, and is coloured by its level alone.
func TestTheLogOnATerminal(t *testing.T) {
	var out bytes.Buffer
	h := (&readable{w: &out, level: slog.LevelInfo}).WithAttrs([]slog.Attr{slog.String("shard", "shardId-000000000001")})
	say := func(level slog.Level, message string, attrs ...slog.Attr) {
		t.Helper()
		r := slog.NewRecord(time.Date(2026, 11, 20, 9, 16, 37, 5e8, time.FixedZone("", 2*3600)), level, message, 0)
		r.AddAttrs(attrs...)
		if !h.Enabled(context.Background(), level) {
			return
		}
		if err := h.Handle(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	say(slog.LevelDebug, "left out")
	say(slog.LevelInfo, "reading shard", slog.String("from", "TRIM_HORIZON"), slog.Int64("memory_limit", 256<<20), slog.String("http", "127.0.0.1:8099"), slog.Any("error", nil))
	say(slog.LevelWarn, "load failed", slog.Any("error", fmt.Errorf("line one\n00:00:00Z ERROR line \"two\"")), slog.Group("of", slog.Int("rows", 1)), slog.String("hint", ""))
	want := `07:16:37Z INFO  reading shard  shard=shardId-000000000001  from=TRIM_HORIZON  memory_limit=256MiB  http=http://127.0.0.1:8099/  error=<nil>
07:16:37Z WARN  load failed  shard=shardId-000000000001  error="line one 00:00:00Z ERROR line \"two\""  of.rows=1  hint=""
`
	if out.String() != want {
		t.Errorf("the log is\n%s\nwant\n%s", out.String(), want)
	}
	if got := tint("07:16:37Z ERROR no"); got != dim.on("07:16:37Z")+" "+red.on("ERROR")+" no" {
		t.Errorf("an error is painted %q", got)
	}
	if got := sizeText(100_000_000); got != "100000000" {
		t.Errorf("an odd number of bytes is %s", got)
	}
}

// What goes to two places stands in the same order in both, whoever logs at once.
func TestTheLogIsTheSameInBothPlaces(t *testing.T) {
	var one, other bytes.Buffer
	a := &app{stderr: &one, lookup: func(string) (string, bool) { return "", false }}
	log := a.logger(&other)
	var all sync.WaitGroup
	for w := range 8 {
		log := log.With("writer", w).WithGroup("of")
		all.Go(func() {
			for n := range 500 {
				log.Info("said", "n", n)
			}
		})
	}
	all.Wait()
	if !bytes.Equal(one.Bytes(), other.Bytes()) || one.Len() == 0 {
		t.Errorf("%d bytes here and %d there, or in another order", one.Len(), other.Len())
	}
}
