package fleet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// batch is what a worker has staged: an object that says what its file is for.
type batch struct {
	ID     string // names are in the order of time
	folder string
	Worker string
	At     time.Time // by AWS's clock; for people
	// News says that the moves change no position: they start no load, and nobody
	// waits for them.
	News bool `json:",omitempty"`
	// Leaves says that the owner was told to stop: there may be no time to wait for
	// the interval between two loads.
	Leaves bool `json:",omitempty"`

	Stream string
	File   string `json:",omitempty"`
	Name   string `json:",omitempty"`
	First  int
	Rows   [event.MaxFamilies]int
	Moves  []move
}

// move is a warehouse.Move as JSON.
type move struct {
	Shard   string
	Term    int64
	From    string
	FromSub int64 `json:",omitempty"`
	To      string
	ToSub   int64      `json:",omitempty"`
	Until   *time.Time `json:",omitempty"`
}

// names are those of the batch's objects.
func (b batch) names() []string {
	var out []string
	if b.folder != "" {
		out = append(out, b.folder+stagedFolder+b.ID+".json")
	}
	if b.Name != "" {
		out = append(out, b.Name)
	}
	return out
}

const stagedFolder = "/staged/"

// staged is the batch as the warehouse loads it.
func (b batch) staged() warehouse.Staged {
	s := warehouse.Staged{Stream: b.Stream, File: b.File, Name: b.Name, First: b.First, Rows: b.Rows}
	for _, m := range b.Moves {
		w := warehouse.Move{
			Shard: m.Shard, Term: m.Term,
			From: stream.Position{Sequence: m.From, Sub: m.FromSub}, To: stream.Position{Sequence: m.To, Sub: m.ToSub},
		}
		if m.Until != nil {
			w.ArrivedUntil = m.Until.UTC()
		}
		s.Moves = append(s.Moves, w)
	}
	return s
}

func (f *Fleet) newBatch(folder string, s warehouse.Staged) batch {
	now := f.c.Time(time.Now()).UTC()
	b := batch{
		ID: now.Format("20060102T150405.000Z-") + rand.Text(), folder: folder, Worker: f.c.Self, At: now,
		Stream: s.Stream, File: s.File, Name: s.Name, First: s.First, Rows: s.Rows,
	}
	for _, m := range s.Moves {
		j := move{Shard: m.Shard, Term: m.Term, From: m.From.Sequence, FromSub: m.From.Sub, To: m.To.Sequence, ToSub: m.To.Sub}
		if !m.ArrivedUntil.IsZero() {
			j.Until = &m.ArrivedUntil
		}
		b.Moves = append(b.Moves, j)
	}
	return b
}

// stage puts a batch where others see it: its rows first, so that whoever sees it
// finds them.
func (f *Fleet) stage(ctx context.Context, folder string, b warehouse.Batch) (batch, error) {
	s, err := f.c.Copy.Stage(ctx, b)
	if err != nil {
		return batch{}, err
	}
	out := f.newBatch(folder, s)
	f.mu.Lock()
	out.Leaves = f.leaving
	f.mu.Unlock()
	if err := f.put(ctx, out); err != nil {
		f.c.Copy.Remove(ctx, out.names()...) // the object, too: its reply may have been lost
		return batch{}, err
	}
	f.mu.Lock()
	f.mine[out.ID] = out
	f.mu.Unlock()
	f.wake()
	return out, nil
}

// put writes a batch's object.
func (f *Fleet) put(ctx context.Context, b batch) error {
	body, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("write down a batch: %w", err)
	}
	if _, err := f.c.Bucket.Put(ctx, b.names()[0], body); err != nil {
		return &warehouse.StagingError{Err: fmt.Errorf("stage a batch of %s: %w", plural.Of(len(b.Moves), "shard"), err)}
	}
	return nil
}

// errBadBatch: an object is no batch.
var errBadBatch = errors.New("fleet: an object is no batch")

// readBatch reads the object of that name, which is to be of the stream.
func readBatch(folder, name, streamName string, body []byte) (batch, error) {
	b := batch{}
	if err := json.Unmarshal(body, &b); err != nil {
		return b, fmt.Errorf("%w: %s: %w", errBadBatch, name, err)
	}
	b.folder = folder
	switch {
	case folder+stagedFolder+b.ID+".json" != name:
		return b, fmt.Errorf("%w: %s says that it is %q", errBadBatch, name, b.ID)
	case b.Stream != streamName:
		return b, fmt.Errorf("%w: %s is of the stream %q", errBadBatch, name, b.Stream)
	case len(b.Moves) == 0 || b.First < 0 || (b.File == "") != (b.staged().Total() == 0) || (b.File == "") != (b.Name == ""):
		return b, fmt.Errorf("%w: %s lacks what it must say", errBadBatch, name)
	case b.File != "" && !strings.HasSuffix(b.File, b.Name):
		return b, fmt.Errorf("%w: %s names two files", errBadBatch, name)
	}
	return b, nil
}
