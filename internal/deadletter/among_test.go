package deadletter_test

import (
	"context"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
)

// counting counts the objects that are read.
type counting struct {
	deadletter.Bucket
	gets atomic.Int64
}

func (c *counting) Get(ctx context.Context, name string) ([]byte, error) {
	c.gets.Add(1)
	return c.Bucket.Get(ctx, name)
}

func sequences(t *testing.T, letters iter.Seq2[deadletter.Letter, error], most int) (out []string) {
	t.Helper()
	for l, err := range letters {
		if err != nil {
			t.Fatal(err)
		}
		if out = append(out, l.ShardID[len(l.ShardID)-1:]+"/"+l.SequenceNumber); len(out) == most {
			break
		}
	}
	return out
}

// What a filter leaves out by hour or shard is not read, and what it lets through is
// told to the millisecond.
func TestAmongReadsOnlyWhatMayMatch(t *testing.T) {
	path := t.TempDir()
	b := &counting{Bucket: openDir(t, path)}
	s := deadletter.New(b, streamName)
	for hour := range 4 {
		at := morning.Add(time.Duration(hour) * time.Hour) // two seconds before the full hour
		for i, shard := range []string{"shardId-000000000000", "shardId-000000000001"} {
			one, two := letter(string(rune('1'+hour))+"0", int64(i), at), letter(string(rune('1'+hour))+"5", int64(i), at.Add(time.Second))
			one.ShardID, two.ShardID = shard, shard
			mustPut(t, s, trimHorizon, one, two)
		}
	}
	for _, c := range []struct {
		name   string
		filter deadletter.Filter
		want   []string
		gets   int64
	}{
		{"all", deadletter.Filter{}, []string{"0/10", "0/15", "0/20", "0/25", "0/30", "0/35", "0/40", "0/45", "1/10", "1/15", "1/20", "1/25", "1/30", "1/35", "1/40", "1/45"}, 8},
		{"a shard", deadletter.Filter{Shards: []string{"shardId-000000000001"}, Until: morning.Add(time.Hour)}, []string{"1/10", "1/15"}, 2},
		{"since", deadletter.Filter{Since: morning.Add(3*time.Hour + time.Second)}, []string{"0/45", "1/45"}, 2},
		{"between", deadletter.Filter{Since: morning.Add(time.Second), Until: morning.Add(time.Hour + time.Second)}, []string{"0/15", "0/20", "1/15", "1/20"}, 4},
		{"no such shard", deadletter.Filter{Shards: []string{"shardId-000000000009"}}, nil, 0},
	} {
		b.gets.Store(0)
		if got := sequences(t, s.Among(t.Context(), c.filter), -1); !slices.Equal(got, c.want) || b.gets.Load() != c.gets {
			t.Errorf("%s: %q with %d objects read, want %q with %d", c.name, got, b.gets.Load(), c.want, c.gets)
		}
	}
	b.gets.Store(0)
	if got := sequences(t, s.Newest(t.Context(), deadletter.Filter{}), 5); !slices.Equal(got, []string{"0/40", "0/45", "1/40", "1/45", "0/30"}) || b.gets.Load() != 3 {
		t.Errorf("the newest are %q, with %d objects read", got, b.gets.Load())
	}
}

// Looking makes no folder.
func TestDirAsItIsMakesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "letters")
	if _, err := deadletter.DirAsItIs(path); err == nil {
		t.Fatal("a folder that is not there was opened")
	}
	mustPut(t, deadletter.New(openDir(t, path), streamName), trimHorizon, letter("1", 0, morning))
	d, err := deadletter.DirAsItIs(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if got := sequences(t, deadletter.New(d, streamName).All(t.Context()), -1); len(got) != 1 {
		t.Errorf("found %q", got)
	}
}

// distant is a bucket that takes S3's time for an object.
type distant struct{ deadletter.Bucket }

func (d distant) Get(ctx context.Context, name string) ([]byte, error) {
	select {
	case <-time.After(50 * time.Millisecond):
		return d.Bucket.Get(ctx, name)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Many small objects, as a worker leaves that rejects a little with each load, are read
// side by side: one after the other, those of an hour took minutes. They keep their order.
func TestManyObjectsAreReadSideBySide(t *testing.T) {
	here := openDir(t, t.TempDir())
	near := deadletter.New(here, streamName)
	var want []string
	from := trimHorizon
	for i := range 200 {
		l := letter(strconv.Itoa(1000+i), 0, morning)
		mustPut(t, near, from, l)
		from = l.Place()
		want = append(want, "0/"+l.SequenceNumber)
	}
	synctest.Test(t, func(t *testing.T) {
		far, began := deadletter.New(distant{here}, streamName), time.Now()
		if got := sequences(t, far.All(t.Context()), -1); !slices.Equal(got, want) {
			t.Errorf("read %q", got)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("200 objects took %v", took)
		}
		began = time.Now()
		if got := sequences(t, far.Newest(t.Context(), deadletter.Filter{}), 3); !slices.Equal(got, want[:3]) || time.Since(began) > 200*time.Millisecond {
			t.Errorf("three letters took %v: %q", time.Since(began), got)
		}
	})
}
