package redshift

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// tableLocks lends tables to transactions, in order of asking. DuckDB has no LOCK,
// and there the second writer of a table fails where that of Redshift waits.
type tableLocks struct {
	mu   sync.Mutex // guards what follows, and the fields of holders
	held map[string]*tableLock
}

// tableLock exists while someone holds the table.
type tableLock struct {
	holders map[*holder]lockMode
	queue   []*waiter
}

// waiter is a request that waits for its turn.
type waiter struct {
	who   *holder
	mode  lockMode
	name  string
	table *tableLock
	ready chan struct{} // closed once who holds the table
}

// holder is a transaction that holds tables.
type holder struct {
	pid      int64
	tables   []string
	waitsFor *waiter // nil while it runs
}

func newTableLocks() *tableLocks { return &tableLocks{held: make(map[string]*tableLock)} }

// conflict reports whether two transactions cannot hold a table in these modes.
func conflict(a, b lockMode) bool {
	return a == lockAll || b == lockAll || a == lockWrite && b == lockWrite
}

// acquire waits until h holds the table in the mode. A wait that could never end
// is refused at once, in Redshift's words for a deadlock.
func (l *tableLocks) acquire(ctx context.Context, h *holder, table string, mode lockMode) error {
	l.mu.Lock()
	t := l.held[table]
	if t == nil {
		t = &tableLock{holders: make(map[*holder]lockMode)}
		l.held[table] = t
	}
	has, holds := t.holders[h]
	if holds && has >= mode {
		l.mu.Unlock()
		return nil
	}
	w := &waiter{who: h, mode: mode, name: table, table: t, ready: make(chan struct{})}
	if holds { // those in the queue may wait for h itself
		t.queue = slices.Insert(t.queue, 0, w)
	} else {
		t.queue = append(t.queue, w)
	}
	ahead := blockers(w)
	if len(ahead) == 0 {
		t.take(w)
		l.mu.Unlock()
		return nil
	}
	if cycle(h, ahead, make(map[*holder]bool)) {
		t.drop(w)
		l.mu.Unlock()
		return deadlock(h.pid, ahead[0].pid, table)
	}
	h.waitsFor = w
	l.mu.Unlock()

	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// The table may have come in the same moment: then it is let go of with
	// the others, at the end of the transaction.
	h.waitsFor = nil
	t.drop(w)
	t.wake()
	return context.Cause(ctx)
}

// take gives the table to w, who is in the queue and need not wait.
func (t *tableLock) take(w *waiter) {
	t.drop(w)
	if _, holds := t.holders[w.who]; !holds {
		w.who.tables = append(w.who.tables, w.name)
	}
	t.holders[w.who] = w.mode
	w.who.waitsFor = nil
	close(w.ready)
}

func (t *tableLock) drop(w *waiter) {
	t.queue = slices.DeleteFunc(t.queue, func(o *waiter) bool { return o == w })
}

// wake gives the table to all who need not wait any more.
func (t *tableLock) wake() {
	for _, w := range slices.Clone(t.queue) {
		if len(blockers(w)) == 0 {
			t.take(w)
		}
	}
}

// blockers are those whom w has to wait for: who holds the table, and who came
// before it, in a mode that its own conflicts with.
func blockers(w *waiter) []*holder {
	var out []*holder
	for h, mode := range w.table.holders {
		if h != w.who && conflict(mode, w.mode) {
			out = append(out, h)
		}
	}
	for _, o := range w.table.queue {
		if o == w {
			break
		}
		if conflict(o.mode, w.mode) {
			out = append(out, o.who)
		}
	}
	return out
}

// cycle reports whether one of the holders waits, through others, for h.
func cycle(h *holder, ahead []*holder, seen map[*holder]bool) bool {
	for _, a := range ahead {
		if a == h {
			return true
		}
		if seen[a] || a.waitsFor == nil {
			continue
		}
		seen[a] = true
		if cycle(h, blockers(a.waitsFor), seen) {
			return true
		}
	}
	return false
}

// release gives each of h's tables to the next in line.
func (l *tableLocks) release(h *holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range h.tables {
		t := l.held[name]
		delete(t.holders, h)
		if t.wake(); len(t.holders) == 0 && len(t.queue) == 0 {
			delete(l.held, name)
		}
	}
	h.tables = nil
}

func deadlock(waiting, blocking int64, table string) error {
	return &sqlError{
		message: fmt.Sprintf("ERROR: deadlock detected\n  Detail: Process %d waits for AccessExclusiveLock on relation %s; blocked by process %d.", waiting, table, blocking),
	}
}
