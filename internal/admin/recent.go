package admin

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

const (
	maxProblems = 25
	maxText     = 600 // bytes of one text of a Problem
)

// Recent keeps the last warnings and errors that were logged, each message once.
type Recent struct {
	mu   sync.Mutex // guards list
	list []Problem  // newest last
}

// Problem is a warning or an error, with what is known of its last occurrence.
type Problem struct {
	At      time.Time `json:"at"`
	First   time.Time `json:"first"`
	Times   int       `json:"times"`
	Level   string    `json:"level"` // WARN or ERROR
	Message string    `json:"message"`
	Error   string    `json:"error,omitempty"`
	Hint    string    `json:"hint,omitempty"`
	Fields  string    `json:"fields,omitempty"`
	Before  bool      `json:"before_start,omitempty"` // of the process that this one replaced

	err error // that Error is the text of; nil = not known
}

// NewRecent returns an empty Recent.
func NewRecent() *Recent { return &Recent{} }

// Wrap returns a handler that notes warnings and errors and passes everything on.
func (r *Recent) Wrap(next slog.Handler) slog.Handler { return &noting{to: r, next: next} }

// Problems are those kept, newest first.
func (r *Recent) Problems() []Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := slices.Clone(r.list)
	slices.Reverse(out)
	if out == nil {
		out = []Problem{}
	}
	return out
}

// Since are the problems of a time on as the verdict takes them, newest first.
func (r *Recent) Since(at time.Time) (out []verdict.Problem) {
	for _, p := range r.Problems() {
		if p.Before || p.At.Before(at) {
			continue
		}
		out = append(out, verdict.Problem{At: p.At, Error: p.Level == slog.LevelError.String(), Message: p.Message, Cause: p.Error, Hint: p.Hint, Err: p.err})
	}
	return out
}

func (r *Recent) note(p Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.IndexFunc(r.list, func(o Problem) bool { return o.Message == p.Message }); i >= 0 {
		if !r.list[i].Before {
			p.First = r.list[i].First
			p.Times += r.list[i].Times
		}
		r.list = slices.Delete(r.list, i, i+1)
	}
	r.list = append(r.list, p)
	if len(r.list) > maxProblems {
		r.list = slices.Delete(r.list, 0, 1)
	}
}

// noting is a handler between a logger and its handler.
type noting struct {
	to    *Recent
	next  slog.Handler
	attrs []slog.Attr
}

func (n *noting) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || n.next.Enabled(ctx, l)
}

func (n *noting) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &noting{n.to, n.next.WithAttrs(attrs), append(slices.Clip(n.attrs), attrs...)}
}

func (n *noting) WithGroup(name string) slog.Handler {
	return &noting{n.to, n.next.WithGroup(name), n.attrs}
}

func (n *noting) Handle(ctx context.Context, record slog.Record) error {
	if record.Level >= slog.LevelWarn {
		p := Problem{
			At: record.Time.UTC(), First: record.Time.UTC(), Times: 1, Level: record.Level.String(), Message: clip(record.Message),
		}
		for _, a := range n.attrs {
			p.add(a)
		}
		record.Attrs(func(a slog.Attr) bool { p.add(a); return true })
		p.Fields = clip(strings.TrimSpace(p.Fields))
		n.to.note(p)
	}
	if !n.next.Enabled(ctx, record.Level) {
		return nil
	}
	return n.next.Handle(ctx, record)
}

// add takes in a field of the log line.
func (p *Problem) add(a slog.Attr) {
	switch v := a.Value.Resolve(); a.Key {
	case "error":
		p.Error = clip(v.String())
		p.err, _ = v.Any().(error)
	case "hint":
		p.Hint = clip(v.String())
	default:
		p.Fields += a.Key + "=" + v.String() + " "
	}
}

// clip bounds a text that may come from anywhere.
func clip(s string) string {
	if len(s) <= maxText {
		return strings.ToValidUTF8(s, "\ufffd")
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.ToValidUTF8(s[:end], "\ufffd") + "…"
}
