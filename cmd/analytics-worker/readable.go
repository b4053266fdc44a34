package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
)

// readable writes log lines for people: the time in UTC to the second, the level, the
// message, and then what belongs to it.
type readable struct {
	w     io.Writer // takes whole lines, from any goroutine
	level slog.Level
	attrs string // of With, as they are written
	group string // before the names of what comes
}

// Enabled implements slog.Handler.
func (h *readable) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

// Handle implements slog.Handler.
func (h *readable) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%sZ %-5s %s%s", r.Time.UTC().Format("15:04:05"), r.Level, oneLine(r.Message), h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(attrText(h.group, a))
		return true
	})
	_, err := io.WriteString(h.w, b.String()+"\n")
	return err
}

// WithAttrs implements slog.Handler.
func (h *readable) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	for _, a := range attrs {
		next.attrs += attrText(h.group, a)
	}
	return &next
}

// WithGroup implements slog.Handler.
func (h *readable) WithGroup(name string) slog.Handler {
	next := *h
	next.group += name + "."
	return &next
}

func attrText(group string, a slog.Attr) string {
	if a.Value.Kind() == slog.KindGroup {
		var b strings.Builder
		for _, inner := range a.Value.Group() {
			b.WriteString(attrText(group+a.Key+".", inner))
		}
		return b.String()
	}
	value := oneLine(a.Value.Resolve().String())
	switch a.Key {
	case "memory_limit":
		if a.Value.Kind() == slog.KindInt64 {
			value = sizeText(a.Value.Int64())
		}
	case "http": // what terminals let one click
		if value != "" && !strings.Contains(value, "://") {
			value = "http://" + value + "/"
		}
	}
	if value == "" || strings.ContainsAny(value, " =\"") {
		value = strconv.Quote(value)
	}
	return "  " + group + a.Key + "=" + value
}

// oneLine is a text that does not end a line before its end.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// sizeText is a number of bytes in the largest unit that it is a whole number of.
func sizeText(n int64) string {
	for shift, unit := range []string{"GiB", "MiB", "KiB"} {
		if size := int64(1) << (30 - 10*shift); n > 0 && n%size == 0 {
			return strconv.FormatInt(n/size, 10) + unit
		}
	}
	return strconv.FormatInt(n, 10)
}
