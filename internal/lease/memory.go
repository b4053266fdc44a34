package lease

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Memory is a Table in memory: for one worker that runs without a lease table,
// and for tests.
type Memory struct {
	mu   sync.Mutex // guards rows
	rows map[string]Row
}

// NewMemory returns a Memory that holds the rows. A worker without a lease
// table should give it the positions that the warehouse knows: a child of a
// shard that has a row starts at its oldest record, any other at the
// configured initial position.
func NewMemory(rows ...Row) *Memory {
	m := &Memory{rows: make(map[string]Row, len(rows))}
	for _, r := range rows {
		m.rows[r.Shard] = r.clone()
	}
	return m
}

// List implements Table.
func (m *Memory) List(ctx context.Context) ([]Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Row, 0, len(m.rows))
	for _, k := range slices.Sorted(maps.Keys(m.rows)) {
		out = append(out, m.rows[k].clone())
	}
	return out, ctx.Err()
}

// Create implements Table.
func (m *Memory) Create(ctx context.Context, r Row) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if _, ok := m.rows[r.Shard]; ok {
		return false, nil
	}
	m.rows[r.Shard] = r.clone()
	return true, nil
}

// Update implements Table.
func (m *Memory) Update(ctx context.Context, seen, want Row) (Row, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Row{}, err
	}
	now, ok := m.rows[seen.Shard]
	if !ok || now.Counter != seen.Counter || now.Owner != seen.Owner {
		return Row{}, &ConflictError{Shard: seen.Shard, Found: ok, Now: now.clone()}
	}
	now.Owner = want.Owner
	now.Checkpoint = changed(now.Checkpoint, seen.Checkpoint, want.Checkpoint)
	now.OwnerSwitches = changed(now.OwnerSwitches, seen.OwnerSwitches, want.OwnerSwitches)
	now.Term = changed(now.Term, seen.Term, want.Term)
	now.Stream = changed(now.Stream, seen.Stream, want.Stream)
	now.Word = changed(now.Word, seen.Word, want.Word)
	now.Until = changed(now.Until, seen.Until, want.Until)
	if !slices.Equal(seen.Children, want.Children) {
		now.Children = slices.Clone(want.Children)
	}
	now.Counter++
	m.rows[seen.Shard] = now
	return now.clone(), nil
}

// Delete implements Table.
func (m *Memory) Delete(ctx context.Context, seen Row) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	now, ok := m.rows[seen.Shard]
	if !ok {
		return nil
	}
	if now.Counter != seen.Counter || now.Owner != seen.Owner {
		return &ConflictError{Shard: seen.Shard, Found: true, Now: now.clone()}
	}
	delete(m.rows, seen.Shard)
	return nil
}

// changed is want where it differs from seen, and else what there is now.
func changed[T comparable](now, seen, want T) T {
	if want == seen {
		return now
	}
	return want
}

func (r Row) clone() Row {
	r.Parents, r.Children = slices.Clone(r.Parents), slices.Clone(r.Children)
	return r
}

// Call names one call to a Table: "List", "Create", "Update" or "Delete", and
// the shard it is about.
type Call struct{ Op, Shard string }

// Hook stands between a caller and a Table. It makes the call with do, or
// fails it without (before any effect), or fails it after do (a lost reply).
type Hook func(ctx context.Context, c Call, do func() error) error

// Via returns the table as it looks through the hook, so that tests can cut
// off or slow down one worker of several.
func Via(t Table, hook Hook) Table { return hooked{t, hook} }

type hooked struct {
	t    Table
	hook Hook
}

func (h hooked) List(ctx context.Context) (rows []Row, err error) {
	err = h.hook(ctx, Call{Op: "List"}, func() (err error) { rows, err = h.t.List(ctx); return err })
	return rows, err
}

func (h hooked) Create(ctx context.Context, r Row) (made bool, err error) {
	err = h.hook(ctx, Call{"Create", r.Shard}, func() (err error) { made, err = h.t.Create(ctx, r); return err })
	return made, err
}

func (h hooked) Update(ctx context.Context, seen, want Row) (now Row, err error) {
	err = h.hook(ctx, Call{"Update", seen.Shard}, func() (err error) { now, err = h.t.Update(ctx, seen, want); return err })
	return now, err
}

func (h hooked) Delete(ctx context.Context, seen Row) error {
	return h.hook(ctx, Call{"Delete", seen.Shard}, func() error { return h.t.Delete(ctx, seen) })
}
