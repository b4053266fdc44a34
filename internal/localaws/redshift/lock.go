package redshift

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// tableLocks lends tables to transactions, one at a time and in order of asking.
// DuckDB has no LOCK, and there the second writer of a table fails where that
// of Redshift waits.
type tableLocks struct {
	mu   sync.Mutex // guards what follows, and the fields of holders
	held map[string]*tableLock
}

// tableLock exists while someone holds the table.
type tableLock struct {
	holder *holder
	queue  []*waiter
}

type waiter struct {
	who   *holder
	ready chan struct{} // closed once who holds the table
}

// holder is a transaction that holds tables.
type holder struct {
	pid      int64
	tables   []string
	waitsFor *tableLock // what it waits for, nil while it runs
}

func newTableLocks() *tableLocks { return &tableLocks{held: make(map[string]*tableLock)} }

// acquire waits until h holds the table. A wait that could never end is
// refused at once, in Redshift's words for a deadlock.
func (l *tableLocks) acquire(ctx context.Context, h *holder, table string) error {
	l.mu.Lock()
	if slices.Contains(h.tables, table) {
		l.mu.Unlock()
		return nil
	}
	t := l.held[table]
	if t == nil {
		l.held[table] = &tableLock{holder: h}
		h.tables = append(h.tables, table)
		l.mu.Unlock()
		return nil
	}
	if cycle(h, t) {
		blocker := t.holder.pid
		l.mu.Unlock()
		return deadlock(h.pid, blocker, table)
	}
	w := &waiter{who: h, ready: make(chan struct{})}
	t.queue = append(t.queue, w)
	h.waitsFor = t
	l.mu.Unlock()

	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h.waitsFor = nil
	// The table may have come in the same moment: then it is let go of with
	// the others, at the end of the transaction.
	t.queue = slices.DeleteFunc(t.queue, func(o *waiter) bool { return o == w })
	return context.Cause(ctx)
}

// cycle reports whether the holder of t waits, through others, for h. Each
// waits for those before it in the queue too, but they all wait for the
// same holder, so following holders finds every cycle.
func cycle(h *holder, t *tableLock) bool {
	for t != nil {
		if t.holder == h {
			return true
		}
		t = t.holder.waitsFor
	}
	return false
}

// release gives each of h's tables to the next in line.
func (l *tableLocks) release(h *holder) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range h.tables {
		t := l.held[name]
		if len(t.queue) == 0 {
			delete(l.held, name)
			continue
		}
		next := t.queue[0]
		t.queue = t.queue[1:]
		t.holder, next.who.waitsFor = next.who, nil
		next.who.tables = append(next.who.tables, name)
		close(next.ready)
	}
	h.tables = nil
}

func deadlock(waiting, blocking int64, table string) error {
	return &sqlError{
		message: fmt.Sprintf("ERROR: deadlock detected\n  Detail: Process %d waits for AccessExclusiveLock on relation %s; blocked by process %d.", waiting, table, blocking),
	}
}
