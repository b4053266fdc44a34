package warehouse

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// Staged is a batch that another process can load: its moves, and where its rows
// lie.
type Staged struct {
	Stream string
	Moves  []Move
	// File is the URL of a file of the moves and rows, s3://bucket/key, and Name its
	// name within the bucket; empty = the batch has no rows, and whoever loads it
	// writes the moves down.
	File, Name string
	First      int // by which number the file's rows name the first move; those behind it follow
	Rows       [event.MaxFamilies]int
}

// Total is the number of rows.
func (s Staged) Total() (n int) {
	for _, rows := range s.Rows {
		n += rows
	}
	return n
}

// ErrApart says that two of the batches cannot be in one load.
var ErrApart = errors.New("warehouse: two batches cannot be in one load")

// Apart says why a batch cannot be in one load with others, or nil: rows name their
// moves by numbers, and one number must not name two; and of two moves of a shard
// that the warehouse accepts, which one its position follows would be left to
// chance.
func (s Staged) Apart(others []Staged) error {
	for _, o := range others {
		if s.File != "" && o.File != "" && s.First < o.First+len(o.Moves) && o.First < s.First+len(s.Moves) {
			return fmt.Errorf("%w: both have a move %d", ErrApart, max(s.First, o.First))
		}
		for _, m := range s.Moves {
			if s.Stream == o.Stream && slices.ContainsFunc(o.Moves, func(n Move) bool { return n.Shard == m.Shard }) {
				return fmt.Errorf("%w: both move %s", ErrApart, m.Shard)
			}
		}
	}
	return nil
}

// mostMoveNumber bounds the numbers of moves: the column is a 32-bit INTEGER.
const mostMoveNumber = 1<<31 - 1

// Format names what the files of staged batches look like: two processes whose
// formats are one can load for each other.
func Format() string { return formatOf(incoming().Columns) }

func formatOf(columns []Column) string {
	h := sha256.New()
	for _, c := range columns {
		fmt.Fprintln(h, c.Name, c.Type)
	}
	return "csv1-" + hex.EncodeToString(h.Sum(nil)[:6])
}

// Stage uploads a batch's moves and rows for LoadStaged. A batch without rows is not
// uploaded.
func (c *Copy) Stage(ctx context.Context, b Batch) (Staged, error) {
	s := Staged{Stream: b.Stream, Moves: b.Moves}
	if len(b.Rows) == 0 {
		return s, nil
	}
	s.First = rand.IntN(mostMoveNumber - len(b.Moves))
	for _, r := range b.Rows {
		s.Rows[r.Family]++
	}
	buf := c.takeBuffer()
	defer c.putBuffer(buf)
	if err := writeCSV(buf, b, b.moves(s.First), s.First); err != nil {
		return s, err
	}
	s.Name = fileID() + "/rows.csv.gz"
	var err error
	if s.File, err = c.Staging.Put(ctx, s.Name, buf.Bytes()); err != nil {
		return s, &StagingError{fmt.Errorf("stage %s: %w", plural.Of(len(b.Rows), "row"), err)}
	}
	return s, nil
}

// Remove has staged objects removed, and does not wait for it.
func (c *Copy) Remove(ctx context.Context, names ...string) {
	c.open()
	if len(names) > 0 {
		c.removal.later(ctx, names...)
	}
}

// MayNotRemove is why staged objects cannot be removed, as far as was last seen: the
// bucket does not let this caller. It is nil where it does, and while that is not known.
func (c *Copy) MayNotRemove() error {
	c.open()
	c.removal.mu.Lock()
	defer c.removal.mu.Unlock()
	return c.removal.denied
}

// BatchesError is the refusal of a load of staged batches of which something tells
// which of them it is about. It is a hint. It wraps the *StatementError.
type BatchesError struct {
	Batches []int // indices in what was to be loaded
	Err     error
}

func (e *BatchesError) Error() string { return e.Err.Error() }

// Unwrap gives the refusal.
func (e *BatchesError) Unwrap() error { return e.Err }

// LoadStaged loads batches of which none is apart from the others (ErrApart), in one
// transaction, and returns what became of the moves of each. Written is of all of
// them together.
//
// It does not matter who stages a batch, who loads it, or how often: the fence takes
// each move once. Errors are as those of Load, with a *BatchesError in the place of a
// *RowsError; the batches' files stay.
func (w *Warehouse) LoadStaged(ctx context.Context, c *Copy, all []Staged) (outcomes [][]Outcome, written Written, err error) {
	for i, s := range all {
		if err := s.Apart(all[:i]); err != nil {
			return nil, written, err
		}
	}
	l := newStagedLoad(all)
	files, err := c.manifest(ctx, l)
	if err != nil {
		return nil, written, fmt.Errorf("prepare a load of %s: %w", plural.Either(len(all), "batch", "batches"), err)
	}
	defer files.Done()
	t := loadTransaction(w.db.Names(), l.families, files.Statements, time.Now(), false)
	results, err := w.db.Run(ctx, Token(), t.sql())
	if err != nil {
		err = fmt.Errorf("load %s of %s: %w", plural.Either(len(all), "batch", "batches"), plural.Of(len(l.batch.Moves), "shard"), err)
		return nil, written, w.blameBatches(ctx, files, all, err)
	}
	answer, err := l.renumbered(results[t.index(answerStep)])
	if err != nil {
		return nil, written, err
	}
	out, err := loaded(l.batch, answer, t.written(results))
	if err != nil {
		return nil, written, err
	}
	rest := out.Outcomes
	for _, s := range all {
		outcomes, rest = append(outcomes, rest[:len(s.Moves)]), rest[len(s.Moves):]
	}
	return outcomes, out.Written, nil
}

// stagedLoad is staged batches as one load.
type stagedLoad struct {
	batch    Batch // their moves, one batch's behind the other's
	families families
	files    []string
	own      []proposal  // what no file holds: moves of batches without rows, and the shared row's
	index    map[int]int // in batch.Moves, by the number of the move; the shared row's is behind them
}

func newStagedLoad(all []Staged) *stagedLoad {
	l := &stagedLoad{index: make(map[int]int)}
	ownMoves := 1
	for _, s := range all {
		if s.File == "" {
			ownMoves += len(s.Moves)
		}
	}
	next := gap(all, ownMoves)
	for _, s := range all {
		for i, rows := range s.Rows {
			l.families[i] = l.families[i] || rows > 0
		}
		if s.File != "" {
			l.files = append(l.files, s.File)
		}
		for i, m := range s.Moves {
			number := s.First + i
			if s.File == "" {
				number = next
				l.own = append(l.own, proposal{number, s.Stream, m})
				next++
			}
			l.index[number] = len(l.batch.Moves)
			l.batch.Moves = append(l.batch.Moves, m)
		}
	}
	l.own = append(l.own, sharedMove(next))
	l.index[next] = len(l.batch.Moves)
	return l
}

// gap is where so many numbers in a row begin that no file's rows use.
func gap(all []Staged, numbers int) int {
	sorted := slices.DeleteFunc(slices.Clone(all), func(s Staged) bool { return s.File == "" })
	slices.SortFunc(sorted, func(a, b Staged) int { return a.First - b.First })
	at := 0
	for _, s := range sorted {
		if s.First-at >= numbers {
			break
		}
		at = max(at, s.First+len(s.Moves))
	}
	return at
}

// renumbered is the answer with the moves' indices in place of their numbers.
func (l *stagedLoad) renumbered(r Result) (Result, error) {
	rows := make([][]Value, len(r.Rows))
	for i, row := range r.Rows {
		if len(row) == 0 {
			return r, errors.New("load: an answer without columns")
		}
		number, err := strconv.Atoi(row[0].Text)
		index, known := l.index[number]
		if err != nil || !known {
			return r, fmt.Errorf("load of %s: the warehouse answered for move %q", plural.Of(len(l.batch.Moves), "shard"), row[0].Text)
		}
		rows[i] = append([]Value{{Text: strconv.Itoa(index)}}, row[1:]...)
	}
	r.Rows = rows
	return r, nil
}

// manifest uploads what no file holds, and the manifest of all files, at once.
func (c *Copy) manifest(ctx context.Context, l *stagedLoad) (Filling, error) {
	c.open()
	var buf bytes.Buffer
	if err := writeCSV(&buf, Batch{}, l.own, 0); err != nil {
		return Filling{}, err
	}
	id := fileID()
	moves, manifest := id+"/moves.csv.gz", id+"/manifest.json"
	done := func() { c.removal.later(ctx, moves, manifest) }
	url := c.Staging.URL(moves)
	body, err := json.Marshal(manifestOf(append([]string{url}, l.files...)...))
	if err != nil {
		return Filling{}, fmt.Errorf("write manifest: %w", err)
	}
	var manifestURL string
	puts, putting := errgroup.WithContext(ctx)
	puts.Go(func() error {
		if _, err := c.Staging.Put(putting, moves, buf.Bytes()); err != nil {
			return &StagingError{fmt.Errorf("stage %d moves: %w", len(l.own), err)}
		}
		return nil
	})
	puts.Go(func() (err error) {
		if manifestURL, err = c.Staging.Put(putting, manifest, body); err != nil {
			return &StagingError{fmt.Errorf("stage manifest: %w", err)}
		}
		return nil
	})
	if err := puts.Wait(); err != nil {
		done()
		return Filling{}, err
	}
	return Filling{Statements: []string{c.statement(manifestURL)}, Done: done}, nil
}

// blameBatches adds to a refusal of the COPY which batches it is about, if COPY's
// error table tells.
func (w *Warehouse) blameBatches(ctx context.Context, fill Filling, all []Staged, err error) error {
	var refused *StatementError
	if !errors.As(err, &refused) || refused.Kind != nil || refused.Index >= 0 && refused.Index != beforeFill {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, blameTime)
	defer cancel()
	var files []string
	for _, s := range all {
		if s.File != "" {
			files = append(files, Quote(s.File))
		}
	}
	for _, table := range refusedFiles {
		results, failed := w.db.Run(ctx, Token(), []string{strings.ReplaceAll(table, "@", strings.Join(files, ","))})
		if failed != nil || len(results) != 1 {
			continue // not there, denied, too late: the search goes on without
		}
		var out []int
		for _, row := range results[0].Rows {
			if i := slices.IndexFunc(all, func(s Staged) bool { return len(row) == 1 && s.File != "" && s.File == row[0].Text }); i >= 0 {
				out = append(out, i)
			}
		}
		if len(out) > 0 {
			return &BatchesError{out, err}
		}
	}
	return err
}

// refusedFiles ask COPY's error tables which of some files have lines that it
// refused; see loadErrors.
var refusedFiles = []string{
	"SELECT DISTINCT TRIM(file_name) FROM sys_load_error_detail WHERE TRIM(file_name) IN (@)",
	"SELECT DISTINCT TRIM(filename) FROM stl_load_errors WHERE TRIM(filename) IN (@)",
}
