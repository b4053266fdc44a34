package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// What a worker leaves for the one that takes its place, so that whoever opens the
// dashboard after a restart sees what led to it.
const (
	keepEvery = 30 * time.Second
	mostKept  = 1 << 20 // bytes that are read of a file
	keptFor   = maxSamples * sampleEvery
)

// kept is the content of the file.
type kept struct {
	At       time.Time `json:"at"`
	Samples  []sample  `json:"samples"`
	Problems []Problem `json:"problems"` // newest first
}

// keeper writes the file now and then.
type keeper struct {
	site   *Site
	last   time.Time
	failed bool // that is told once
}

func (k *keeper) write(now time.Time) {
	k.last = now
	if k.site.c.Past == "" {
		return
	}
	if err := k.site.keep(now); err != nil && !k.failed {
		k.failed = true
		k.site.c.Log.Info("the dashboard will begin with the next start", "error", err)
	}
}

// keep writes the past into the file, whole or not at all.
func (s *Site) keep(now time.Time) error {
	text, err := json.Marshal(kept{now.UTC(), s.past.history(), s.c.Recent.Problems()})
	if err != nil {
		return fmt.Errorf("keep the dashboard's past: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(s.c.Past), filepath.Base(s.c.Past)+".*") // for the user alone
	if err != nil {
		return fmt.Errorf("keep the dashboard's past: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.c.Past)
	}
	if err != nil {
		return fmt.Errorf("keep the dashboard's past: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// recall takes in what was kept. What cannot be used is as if it were not there: the
// page then begins with the start.
func (s *Site) recall(now time.Time) error {
	f, err := os.Open(s.c.Past)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("recall the dashboard's past: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, mostKept))
	if err != nil {
		return fmt.Errorf("recall the dashboard's past: %w", err)
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil {
		return fmt.Errorf("recall the dashboard's past from %s: %w", s.c.Past, err)
	}
	s.past.recall(k.Samples, now, columns(s.c.Metrics))
	s.c.Recent.recall(k.Problems, now)
	return nil
}

// recall takes in the samples of the last process. It counted on from nothing, and so
// does this one: the old counts are moved below nothing, so that differences stay.
func (p *past) recall(samples []sample, now time.Time, columns int) {
	for _, one := range samples {
		at := time.Time{}
		if len(one) == columns {
			at = time.UnixMilli(one[0])
		}
		if at.After(now) || now.Sub(at) > keptFor || len(p.samples) > 0 && one[0] <= p.samples[len(p.samples)-1][0] {
			continue // of another version, too old, or of a clock that was put back
		}
		p.samples = append(p.samples, one)
	}
	if over := len(p.samples) - maxSamples; over > 0 {
		p.samples = p.samples[over:]
	}
	if len(p.samples) == 0 {
		return
	}
	last := append(sample{}, p.samples[len(p.samples)-1]...)
	for _, one := range p.samples {
		for i := range one {
			if i != atColumn && i != behindColumn {
				one[i] -= last[i]
			}
		}
	}
}

// problemsKept is for how long a problem of the last process is told of.
const problemsKept = time.Hour

// recall takes in the problems of the last process: they are told, and count no more.
func (r *Recent) recall(problems []Problem, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range problems { // newest first
		if now.Sub(p.At) > problemsKept || p.At.After(now) || len(r.list) >= maxProblems {
			continue
		}
		p.Before = true
		p.Level, p.Message, p.Error, p.Hint, p.Fields = clip(p.Level), clip(p.Message), clip(p.Error), clip(p.Hint), clip(p.Fields)
		r.list = append([]Problem{p}, r.list...)
	}
}
