package warehouse

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// ReplayBytes bounds the rows of one Replay, counted by RowBytes, for a fill by INSERT:
// the statements that make rollups anew take room from those of the rows. See
// ReplayGroup.
const ReplayBytes = 600_000

// ReplayGroup is the group of a family, from 0 on: a Replay may carry the rows of all
// families of one group, which fit the statements of a transaction.
func ReplayGroup(f event.Family) int { return replayGroups[f] }

// ReplayGroups is how many groups there are.
var ReplayGroups = 1 + slices.Max(replayGroups)

var replayGroups = func() []int {
	const ofRows = ReplayBytes/maxStatementBytes + 1 // and one more a family, that is not full
	var costs []int
	for _, f := range factTables {
		costs = append(costs, 1+len(f.load(Names{}, true)))
	}
	return grouped(costs, maxStatements-statementsShared-1-ofRows) // one is that of the moves
}()

// grouped puts what costs so much into as few groups of at most room as its order allows.
func grouped(costs []int, room int) []int {
	out, group, used := make([]int, len(costs)), 0, 0
	for i, cost := range costs {
		if used > 0 && used+cost > room {
			group, used = group+1, 0
		}
		out[i], used = group, used+cost
	}
	return out
}

// RowBytes is what a row counts: its line, and what stands around it in a statement.
func RowBytes(r Row) int { return len(r.Line) + 64 }

// Replay loads rows that were loaded before, and changes only what is not there or
// older than a row, as Retry does. The groups of the rollups that it changes are made
// anew from the facts rather than counted on: whoever changed the one by hand did not
// change the other. It returns how many rows it wrote. Errors are as those of Load.
func (w *Warehouse) Replay(ctx context.Context, rows []Row) (Written, error) {
	b := lateBatch(rows)
	b.anew = true
	return w.loadLate(ctx, b)
}

// Missing counts the rows of each table that Replay would write, and changes nothing.
func (w *Warehouse) Missing(ctx context.Context, rows []Row) (out Written, err error) {
	b, in := lateBatch(rows), w.db.Names()
	fill, err := w.fill.Prepare(ctx, b)
	if err != nil {
		return out, fmt.Errorf("prepare to look for %s: %w", plural.Of(len(rows), "row"), err)
	}
	defer fill.Done()
	// Who writes nothing that stays needs neither the lock nor the shared row.
	t := transaction{{sql: createIncoming()}}
	for _, s := range fill.Statements {
		t = append(t, step{sql: s})
	}
	for i, carried := range b.families() {
		if !carried {
			continue
		}
		f := factTables[i]
		t = append(t, f.changes(in, false), step{name: f.insertStep(), sql: "SELECT COUNT(*) FROM " + f.temp("changes")})
	}
	results, err := w.db.Run(ctx, Token(), t.sql())
	if err != nil {
		return out, fmt.Errorf("look for %s: %w", plural.Of(len(rows), "row"), err)
	}
	for i, f := range factTables {
		at := t.index(f.insertStep())
		if at < 0 {
			continue
		}
		if out[i], err = strconv.ParseInt(results[at].Rows[0][0].Text, 10, 64); err != nil {
			return out, fmt.Errorf("count rows of %s: %w", f.Name, err)
		}
	}
	return out, nil
}

// RebuildRollups makes the rollups of the minutes from one time to before another what
// the facts add up to, in one transaction behind the lock of loads. It returns how
// many groups it wrote or removed. Groups that are right are not touched.
func (w *Warehouse) RebuildRollups(ctx context.Context, from, to time.Time) (int64, error) {
	t := rebuild(w.db.Names(), from, to, time.Now())
	results, err := w.db.Run(ctx, Token(), t.sql())
	if err != nil {
		return 0, fmt.Errorf("make rollups anew from %s to %s: %w", from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339), err)
	}
	changed := int64(0)
	for i, s := range t {
		if strings.HasPrefix(s.name, anewStep) {
			changed += max(0, results[i].Affected)
		}
	}
	return changed, nil
}

// rebuild is the transaction of RebuildRollups.
func rebuild(in Names, from, to, now time.Time) transaction {
	from, to = from.Truncate(time.Minute), to.Add(time.Minute-1).Truncate(time.Minute)
	t := transaction{{sql: lockTable(in)}, {sql: createIncoming()}}
	for _, s := range insertMoves(Batch{late: true}) {
		t = append(t, step{sql: s})
	}
	for _, f := range factTables {
		if f.Rollup == nil {
			continue
		}
		bounds := func(column string) string {
			return column + " >= " + timestampLiteral(from) + " AND " + column + " < " + timestampLiteral(to)
		}
		t = append(t, step{sql: `CREATE TEMP TABLE ` + f.temp("minutes") + ` AS
SELECT DATE_TRUNC('minute', ` + f.Time + `) AS ` + minuteColumn + ` FROM ` + in.Of(f.Name) + ` WHERE ` + bounds(f.Time) + `
UNION SELECT ` + minuteColumn + ` FROM ` + in.Of(f.Rollup.Name) + ` WHERE ` + bounds(minuteColumn)})
		t = append(t, f.anew(in, " WHERE "+bounds("f."+f.Time))...)
	}
	return append(t, moveStep(in, now))
}

// anewStep begins the names of the steps that change a rollup that is made anew.
const anewStep = "anew "

// rollAnew makes the groups anew of every minute that a row comes to or goes from.
func (f *Facts) rollAnew(in Names) transaction {
	if f.Rollup == nil {
		return nil
	}
	changes := f.temp("changes")
	return append(transaction{{sql: `CREATE TEMP TABLE ` + f.temp("minutes") + ` AS
SELECT DATE_TRUNC('minute', ` + f.Time + `) AS ` + minuteColumn + ` FROM ` + changes + `
UNION SELECT DATE_TRUNC('minute', held_` + f.Time + `) FROM ` + changes + ` WHERE held_` + f.Time + ` IS NOT NULL`}}, f.anew(in, "")...)
}

// anew are the statements that make the groups of the minutes of a temporary table
// what the facts add up to: groups that are not are removed, and those that are not
// there come in. where narrows the facts, by the name f.
func (f *Facts) anew(in Names, where string) transaction {
	r, minutes, sums, wrong := f.Rollup, f.temp("minutes"), f.temp("sums"), f.temp("wrong")
	group := append([]string{"m." + minuteColumn}, strings.Split(list("f.", r.Group), ", ")...)
	columns := slices.Clone(group)
	var added []string
	for _, s := range r.Sums {
		sum := "COUNT(*)"
		if s.Of != "" {
			sum = "SUM(f." + s.Of + ")"
		}
		columns = append(columns, "CAST("+sum+" AS "+r.column(s.Column).Type+") AS "+s.Column)
		added = append(added, s.Column)
	}
	return transaction{
		{sql: `CREATE TEMP TABLE ` + sums + ` AS
SELECT ` + strings.Join(columns, ", ") + `
FROM ` + in.Of(f.Name) + ` f JOIN ` + minutes + ` m ON DATE_TRUNC('minute', f.` + f.Time + `) = m.` + minuteColumn + where + `
GROUP BY ` + strings.Join(group, ", ")},
		{sql: `CREATE TEMP TABLE ` + wrong + ` AS
SELECT ` + list("a.", r.group()) + `
FROM ` + in.Of(r.Name) + ` a JOIN ` + minutes + ` m ON m.` + minuteColumn + ` = a.` + minuteColumn + `
LEFT JOIN ` + sums + ` s ON ` + same(append(r.group(), added...), "s", "a") + `
WHERE s.` + minuteColumn + ` IS NULL`},
		{name: anewStep + "clear " + r.Name, sql: r.clear(in, wrong)},
		{name: anewStep + "insert " + r.Name, sql: `INSERT INTO ` + in.Of(r.Name) + ` (` + list("", r.Names()) + `)
SELECT ` + list("s.", r.Names()) + `
FROM ` + sums + ` s LEFT JOIN ` + in.Of(r.Name) + ` a ON ` + same(r.group(), "a", "s") + `
WHERE a.` + minuteColumn + ` IS NULL`},
	}
}
