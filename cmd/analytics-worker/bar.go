package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// bar is a progress line on a terminal; elsewhere it is silent.
type bar struct {
	w     io.Writer
	total int // 0 = not known
	last  time.Time
	shown bool
}

func newBar(w io.Writer, total int) *bar {
	if !isTerminal(w) {
		w = nil
	}
	return &bar{w: w, total: total}
}

const barEvery = 100 * time.Millisecond

func (b *bar) show(n int, took time.Duration) {
	if b.w == nil || time.Since(b.last) < barEvery && n != b.total {
		return
	}
	b.last, b.shown = time.Now(), true
	perSecond := float64(n) / max(took.Seconds(), 0.001)
	if b.total == 0 {
		fmt.Fprintf(b.w, "\r%d records, %.0f/s ", n, perSecond)
		return
	}
	const width = 30
	full := min(width, n*width/b.total)
	fmt.Fprintf(b.w, "\r[%s%s] %d/%d, %.0f/s ", strings.Repeat("=", full), strings.Repeat(" ", width-full), n, b.total, perSecond)
}

func (b *bar) done() {
	if b.shown {
		fmt.Fprintln(b.w)
	}
}

// line is a line of progress without a known end.
type line struct {
	w     io.Writer
	last  time.Time
	shown bool
}

func newLine(w io.Writer) *line {
	if !isTerminal(w) {
		w = nil
	}
	return &line{w: w}
}

func (l *line) say(doing string) {
	if l.w == nil || time.Since(l.last) < barEvery {
		return
	}
	l.last, l.shown = time.Now(), true
	fmt.Fprintf(l.w, "\r\033[K%s ", doing)
}

func (l *line) done() {
	if l.shown {
		fmt.Fprint(l.w, "\r\033[K")
	}
}
