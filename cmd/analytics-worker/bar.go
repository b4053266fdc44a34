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
