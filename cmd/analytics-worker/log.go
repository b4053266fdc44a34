package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// logger writes readable text to a terminal and JSON to everything else; under
// systemd each line begins with its priority, which the journal takes off.
// Warnings and errors that repeat are counted, not written again and again. What is
// logged goes to the others too, as JSON. A line with an error says what to do about it.
func (a *app) logger(others ...io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if a.verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	var h slog.Handler
	switch {
	case isTerminal(a.stderr):
		h = &readable{w: a.painted(a.stderr), level: level}
	case isJournal(a.stderr, a.lookup):
		p := &prioritized{out: a.stderr}
		h = &journal{p: p, next: slog.NewJSONHandler(p, options)}
	default:
		h = slog.NewJSONHandler(a.stderr, options)
	}
	for _, w := range others {
		h = &inTurn{new(sync.Mutex), slog.NewMultiHandler(h, slog.NewJSONHandler(w, options))}
	}
	return slog.New(advising{&damper{state: &damperState{seen: make(map[string]*repeats)}, next: h}})
}

// isJournal reports whether w goes to the journal: systemd names the device and
// inode of the stream that it connected, so that a redirected one is not
// mistaken for it (systemd.exec, JOURNAL_STREAM).
func isJournal(w io.Writer, lookup func(string) (string, bool)) bool {
	f, ok := w.(*os.File)
	stream, set := lookup("JOURNAL_STREAM")
	if !ok || !set {
		return false
	}
	var st syscall.Stat_t
	return syscall.Fstat(int(f.Fd()), &st) == nil && stream == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// journal puts the syslog priority of a record before its line.
type journal struct {
	p    *prioritized // shared by all handlers that come from this one
	next slog.Handler
}

// prioritized is where next writes; level is that of the record being written.
type prioritized struct {
	mu    sync.Mutex // guards level, and keeps it until the line is out
	level slog.Level
	out   io.Writer
}

func (p *prioritized) Write(line []byte) (int, error) {
	priority := 7 // debug
	switch {
	case p.level >= slog.LevelError:
		priority = 3
	case p.level >= slog.LevelWarn:
		priority = 4
	case p.level >= slog.LevelInfo:
		priority = 6
	}
	if _, err := p.out.Write(append(fmt.Appendf(nil, "<%d>", priority), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

func (j *journal) Enabled(ctx context.Context, l slog.Level) bool { return j.next.Enabled(ctx, l) }

func (j *journal) Handle(ctx context.Context, r slog.Record) error {
	j.p.mu.Lock()
	defer j.p.mu.Unlock()
	j.p.level = r.Level
	return j.next.Handle(ctx, r)
}

func (j *journal) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journal{j.p, j.next.WithAttrs(attrs)}
}

func (j *journal) WithGroup(name string) slog.Handler { return &journal{j.p, j.next.WithGroup(name)} }

// inTurn writes one record after the other to all of its places, so that the lines stand
// in the same order in each.
type inTurn struct {
	mu   *sync.Mutex // shared by all handlers that come from this one
	next slog.Handler
}

func (t *inTurn) Enabled(ctx context.Context, l slog.Level) bool { return t.next.Enabled(ctx, l) }

func (t *inTurn) Handle(ctx context.Context, r slog.Record) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.next.Handle(ctx, r)
}

func (t *inTurn) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &inTurn{t.mu, t.next.WithAttrs(attrs)}
}

func (t *inTurn) WithGroup(name string) slog.Handler { return &inTurn{t.mu, t.next.WithGroup(name)} }

// damper lets a few warnings or errors of the same message through in a while,
// counts the others, and tells the count with the next one that passes. Two
// hundred shards that fail for one reason are one piece of news.
type damper struct {
	state *damperState
	next  slog.Handler
}

type damperState struct {
	mu   sync.Mutex // guards seen
	seen map[string]*repeats
}

type repeats struct {
	since   time.Time
	passed  int
	dropped int
}

const (
	damperWindow = 10 * time.Second
	damperPasses = 5 // of one message in a window
)

func (d *damper) Enabled(ctx context.Context, l slog.Level) bool { return d.next.Enabled(ctx, l) }

func (d *damper) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return d.next.Handle(ctx, r)
	}
	pass, dropped := d.state.pass(r.Message, r.Time)
	if !pass {
		return nil
	}
	if dropped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("left_out_before", dropped))
	}
	return d.next.Handle(ctx, r)
}

// pass reports whether a message may pass at the time now, and how many were
// left out since the last one that did.
func (s *damperState) pass(message string, now time.Time) (ok bool, dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.seen[message]
	if m == nil {
		m = &repeats{since: now}
		s.seen[message] = m
	}
	if now.Sub(m.since) >= damperWindow {
		m.since, m.passed = now, 0
	}
	if m.passed == damperPasses {
		m.dropped++
		return false, 0
	}
	m.passed++
	dropped, m.dropped = m.dropped, 0
	return true, dropped
}

func (d *damper) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &damper{d.state, d.next.WithAttrs(attrs)}
}

func (d *damper) WithGroup(name string) slog.Handler { return &damper{d.state, d.next.WithGroup(name)} }
