package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/internal/plural"
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
	return &bar{w: screenOf(w), total: total}
}

const barEvery = 100 * time.Millisecond

func (b *bar) show(n int, took time.Duration) {
	if b.w == nil || time.Since(b.last) < barEvery && n != b.total {
		return
	}
	b.last, b.shown = time.Now(), true
	perSecond := float64(n) / max(took.Seconds(), 0.001)
	if b.total == 0 {
		fmt.Fprintf(b.w, "\r%s, %.0f/s ", plural.Of(n, "record"), perSecond)
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

// line is a line of progress without a known end. Where it is not shown on a
// terminal it is written anew at times, for a log. It tells how long it has been
// since its start, also while what is done takes long.
type line struct {
	w        io.Writer
	every    time.Duration
	terminal bool
	began    time.Time
	end      context.CancelFunc
	ended    chan struct{}

	mu    sync.Mutex // guards what follows
	doing string
	last  time.Time
	shown bool
}

// lineEvery is how often a line is written that nobody may be watching.
const lineEvery = 10 * time.Second

// newLine starts a line, until done is called.
func newLine(ctx context.Context, w io.Writer) *line {
	l := &line{w: screenOf(w), every: lineEvery, began: time.Now(), last: time.Now(), ended: make(chan struct{})}
	if steerable(w) {
		l.every, l.terminal = barEvery, true
	}
	ctx, l.end = context.WithCancel(ctx)
	go func() {
		defer close(l.ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.show("")
			case <-ctx.Done():
				return
			}
		}
	}()
	return l
}

// say tells what is being done now.
func (l *line) say(doing string) { l.show(doing) }

// show writes the line, if it is time; doing is empty where nothing is new.
func (l *line) show(doing string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if doing != "" {
		l.doing = doing
	}
	if l.doing == "" || time.Since(l.last) < l.every {
		return
	}
	l.last = time.Now()
	text, took := printable(l.doing), fmt.Sprintf(" (%v)", time.Since(l.began).Round(time.Second))
	if !l.terminal {
		fmt.Fprintln(l.w, text+took)
		return
	}
	// A line that goes on in the next one cannot be written anew in its place.
	columns, _ := terminalSize(l.w)
	if room := columns - len(took) - len("… "); utf8.RuneCountInString(text) > room {
		text = string([]rune(text)[:max(0, room)]) + "…"
	}
	l.shown = true
	fmt.Fprintf(l.w, "\r\033[K%s%s ", text, took)
}

// done ends the line and takes it off the terminal.
func (l *line) done() {
	l.end()
	<-l.ended
	if l.shown {
		fmt.Fprint(l.w, "\r\033[K")
	}
}
