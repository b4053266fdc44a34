package deadletter_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
)

// hostile is text that means something to a shell, a terminal, a log, JSON or SQL.
var hostile = []string{
	"", "\x00", "\n{\"reason\":\"forged\"}\n", "'; DROP TABLE fact_orders; --", `\`, `"`, "\r", "\t",
	"\x1b[2J\x1b]0;owned\x07", "\u009b31m", "\x7f", "\u202egnp.exe", "\u2028\u2029", "\ufeff", "</script>",
	"日本語 café 🛒", "../../etc/passwd", "%2e%2e", "$(reboot)", "\U0010ffff",
}

func TestG8_BytesIntact(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	bodies := [][]byte{{}, every, {0xff, 0xfe, 0xed}, []byte("\n"), []byte("{}\n{}\n"), bytes.Repeat([]byte{0}, 1<<20)}
	for _, body := range hostile {
		bodies = append(bodies, []byte(body))
	}
	rng := rand.NewChaCha8([32]byte{8})
	for n := range 64 {
		body := make([]byte, n*n)
		_, _ = rng.Read(body) // never fails
		bodies = append(bodies, body)
	}
	bucket := openDir(t, t.TempDir())
	s := deadletter.New(bucket, streamName)
	var want []deadletter.Letter
	for i, body := range bodies {
		l := letter("1000", int64(i), morning.Add(123*time.Millisecond))
		l.Data = body
		l.Reason, l.Detail, l.PartitionKey = hostile[i%len(hostile)], hostile[(i+1)%len(hostile)], hostile[(i+2)%len(hostile)]
		want = append(want, l)
	}
	mustPut(t, s, trimHorizon, want...)
	got := all(t, deadletter.New(bucket, streamName))
	if len(got) != len(want) {
		t.Fatalf("%d letters, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("letter %d reads back as %.200s, want %.200s", i, text(got[i]), text(want[i]))
		}
	}
}

// The names and formats that readers outside rely on.
func TestLineFormat(t *testing.T) {
	l := letter("4965", 7, time.Date(2026, 3, 4, 5, 6, 7, 89_900_000, time.FixedZone("", 3600)))
	l.Data = []byte{0, 1, 0xfe, 0xff}
	got, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"reason":"bad json","detail":"at offset 3","stream":"order-events","shard_id":"shardId-000000000000",` +
		`"sequence_number":"4965","sub_sequence_number":7,"partition_key":"store-1",` +
		`"arrived_at":"2026-03-04T04:06:07.089Z","rejected_at":"2026-03-04T04:06:08.089Z","data_base64":"AAH+/w=="}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// text shows letters in a message.
func text(letters ...deadletter.Letter) string { return fmt.Sprintf("%+v", letters) }

func TestG10_NoLineOrNameCanBeForged(t *testing.T) {
	for _, hostileText := range hostile {
		path := t.TempDir()
		name := hostileText
		if name == "" {
			name = "." // no stream is called "", and ".." is a legal name of a stream
		}
		l := letter("10", 0, morning)
		l.Reason, l.Detail, l.PartitionKey, l.Data = hostileText, hostileText, hostileText, []byte(hostileText)
		l.Stream, l.ShardID = "."+name, name
		s := deadletter.New(openDir(t, path), l.Stream)
		mustPut(t, s, trimHorizon, l)
		if got := all(t, s); len(got) != 1 || !reflect.DeepEqual(got[0], l) {
			t.Errorf("%q reads back as %d letters: %s", hostileText, len(got), text(got...))
		}
		files, _ := filepath.Glob(filepath.Join(path, "*", "*", "2026-03-04T05", "10-0.ndjson"))
		if len(files) != 1 {
			t.Fatalf("%q: files %q, want one at its depth", hostileText, files)
		}
		if strings.ContainsFunc(files[0], unprintable) {
			t.Errorf("%q: file name %q is not plain", hostileText, files[0])
		}
		body, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		line, ok := strings.CutSuffix(string(body), "\n")
		if !ok || strings.ContainsFunc(line, unprintable) {
			t.Errorf("%q: the line is not plain ASCII: %q", hostileText, line)
		}
	}
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }

func TestTimesOutOfRangeAreKeptReadable(t *testing.T) {
	s := deadletter.New(openDir(t, t.TempDir()), streamName)
	for i, at := range []time.Time{{}, time.Unix(1<<40, 0), time.Unix(-1<<40, 0), time.Unix(1<<62, 0)} {
		l := letter("10", int64(i), at)
		mustPut(t, s, trimHorizon, l)
	}
	if got := all(t, s); len(got) != 4 {
		t.Errorf("%d letters, want 4", len(got))
	}
}

// FuzzObject reads anything as an object: no panic, and whatever is accepted
// means the same once written again.
func FuzzObject(f *testing.F) {
	good, err := letter("10", 3, morning).MarshalJSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(good, '\n'))
	f.Fuzz(func(t *testing.T, object []byte) {
		var first, second deadletter.Letter
		if first.UnmarshalJSON(object) != nil {
			return
		}
		again, err := first.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsFunc(string(again), unprintable) {
			t.Fatalf("not plain ASCII: %q", again)
		}
		if err := second.UnmarshalJSON(again); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		// Lines may be written by hand, with finer times than ours.
		first.ArrivedAt, first.RejectedAt = first.ArrivedAt.Truncate(time.Millisecond), first.RejectedAt.Truncate(time.Millisecond)
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("%s became %s", text(first), text(second))
		}
	})
}

// FuzzLetter writes a letter made of anything as one line and reads it back.
func FuzzLetter(f *testing.F) {
	f.Add("bad json", "shardId-000000000000", "k", []byte{0xff, 0x00}, int64(0))
	f.Fuzz(func(t *testing.T, reason, shard, key string, data []byte, millis int64) {
		l := deadletter.Letter{
			Reason: reason, Detail: reason, Stream: key, ShardID: "s" + shard, SequenceNumber: "1",
			PartitionKey: key, ArrivedAt: time.UnixMilli(millis), Data: data,
		}
		line, err := l.MarshalJSON()
		if err != nil || strings.ContainsFunc(string(line), unprintable) {
			t.Fatalf("%s becomes %q, %v", text(l), line, err)
		}
		var got deadletter.Letter
		if err := got.UnmarshalJSON(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		valid := func(s string) string { return string([]rune(s)) } // each bad byte as U+FFFD
		if !bytes.Equal(got.Data, data) || got.Reason != valid(reason) || got.ShardID != valid("s"+shard) || got.PartitionKey != valid(key) {
			t.Fatalf("%s reads back as %s", text(l), text(got))
		}
	})
}
