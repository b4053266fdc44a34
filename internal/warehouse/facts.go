package warehouse

import (
	"slices"
	"strings"
)

// The statements that a load has for each table of facts. Their text is the same
// for every load: a warehouse compiles it once.

// load are the statements of a load for the table. anew says that the rollup's groups are
// made anew from the facts, and not counted on.
func (f *Facts) load(in Names, anew bool) transaction {
	counted := f.Rollup != nil && !anew
	changes, rows := f.temp("changes"), ""
	if counted {
		rows = " WHERE " + minuteColumn + " IS NULL"
	}
	t := transaction{
		f.changes(in, counted),
		{sql: `DELETE FROM ` + in.Of(f.Name) + ` USING ` + changes + `
WHERE ` + changes + `.held_` + f.Time + ` IS NOT NULL AND ` + same(f.Key, f.Name, changes) +
			` AND ` + f.Name + `.` + f.Time + ` = ` + changes + `.held_` + f.Time},
		{name: f.insertStep(), sql: `INSERT INTO ` + in.Of(f.Name) + ` (` + list("", f.Names()) + `)
SELECT ` + list("", f.Names()) + ` FROM ` + changes + rows},
	}
	switch {
	case counted:
		return append(t, f.roll(in)...)
	case anew:
		return append(t, f.rollAnew(in)...)
	}
	return t
}

// changes is the table of all that a load changes: rows of facts, each beside the event
// time of the row that it replaces, and, where the rollup is counted on, its groups as
// they come to be. A group has a minute, a row has none. It is one statement, as each
// costs a warehouse its time. Within it a planner can only guess how many rows come out
// of a part, wrong by a thousand times: so what is joined to a part is a table that has
// an index where engines have any, and no part is joined to another.
func (f *Facts) changes(in Names, counted bool) step {
	sql := `CREATE TEMP TABLE ` + f.temp("changes") + ` AS
WITH newest AS (` + f.newest(in) + `),
staged AS (` + f.stage(in) + `)
SELECT ` + list("", f.Names()) + `, held_` + f.Time
	if counted {
		none := []string{nothing(minuteColumn, "TIMESTAMP")}
		for _, s := range f.Rollup.Sums {
			none = append(none, nothing("total_"+s.Column, f.Rollup.column(s.Column).Type))
		}
		sql += `, ` + strings.Join(none, ", ") + ` FROM staged
UNION ALL
` + f.groups(in)
	} else {
		sql += ` FROM staged`
	}
	return step{name: f.changesStep(), sql: sql}
}

// nothing is a NULL of that type as a column.
func nothing(column, kind string) string { return "CAST(NULL AS " + kind + ") AS " + column }

// newest are the newest events of each key, over all accepted shards: a key that
// moved to another shard may be in two. At equal event times the later one in the
// stream wins.
//
// Rows learn from their move whether it is accepted by a window over both, and not by a
// join of load_incoming with itself: a planner without statistics of it takes one side
// for a single row, and goes through all of it again for each row.
func (f *Facts) newest(in Names) string {
	key, columns, named := make([]string, len(f.Key)), make([]string, len(f.Columns)), make([]string, len(f.Columns))
	for i, k := range f.Key {
		key[i] = f.staged(k)
	}
	for i, c := range f.Columns {
		columns[i] = f.staged(c.Name)
		named[i] = columns[i] + " AS " + c.Name
		if c.isText() && c.Null { // COPY leaves an empty text, and no row has one
			named[i] = "NULLIF(" + columns[i] + ", '') AS " + c.Name
		}
	}
	family := "family = " + Quote(f.Family.String())
	return `SELECT ordinal, ` + list("", f.Names()) + `
 FROM (SELECT ordinal, ` + strings.Join(named, ", ") + `,
   ROW_NUMBER() OVER (PARTITION BY ` + list("", key) + ` ORDER BY ` + f.staged(f.Time) + ` DESC, ordinal DESC) AS recency
  FROM (SELECT p.family, p.ordinal, ` + list("p.", columns) + `, MAX(c.term) OVER (PARTITION BY p.move) AS accepted_term
   FROM load_incoming p LEFT JOIN ` + in.Of(CheckpointTable) + ` c ON ` + accepts("c") + `
   WHERE p.` + family + ` OR p.shard_id <> '') fenced
  WHERE ` + family + ` AND accepted_term IS NOT NULL) ranked
 WHERE recency = 1`
}

// stage looks the keys up in the whole of the table, and is what changes it: new keys,
// and events that are not older than what is held and say something else. Beside them
// what goes. A row that comes again after its position has moved on (its ordinal is
// negative) must not replace what is equally old: that came later in the stream.
func (f *Facts) stage(in Names) string {
	var differs []string
	for _, n := range f.rest() {
		differs = append(differs, strings.ReplaceAll("n.@ <> h.@", "@", n))
		if f.column(n).Null {
			differs = append(differs, strings.ReplaceAll("(n.@ IS NULL AND h.@ IS NOT NULL) OR (n.@ IS NOT NULL AND h.@ IS NULL)", "@", n))
		}
	}
	return `SELECT ` + list("n.", f.Names()) + `,
  ` + each(f.held(), ", ", "h.@ AS held_@") + `
 FROM newest n LEFT JOIN ` + in.Of(f.Name) + ` h ON ` + same(f.Key, "h", "n") + `
 WHERE h.` + f.Time + ` IS NULL OR n.` + f.Time + ` > h.` + f.Time + `
  OR (n.ordinal >= 0 AND n.` + f.Time + ` = h.` + f.Time + ` AND (` + strings.Join(differs, " OR ") + `))`
}

// same is true where two rows, by the names that a statement gives them, agree in
// these columns.
func same(columns []string, a, b string) string {
	return each(columns, " AND ", a+".@ = "+b+".@")
}

// groups are the groups of the rollup that the staged rows change, as they come to be.
func (f *Facts) groups(in Names) string {
	r := f.Rollup
	var columns, comes, adds, come, gone []string
	for _, c := range f.Columns {
		if slices.Contains(r.Group, c.Name) {
			columns = append(columns, "d."+c.Name)
		} else {
			columns = append(columns, nothing(c.Name, c.Type))
		}
	}
	columns = append(columns, nothing("held_"+f.Time, "TIMESTAMP"), "d."+minuteColumn)
	for _, s := range r.Sums {
		kind := r.column(s.Column).Type
		adds = append(adds, "CAST(SUM("+s.Column+") AS "+kind+") AS "+s.Column)
		comes = append(comes, "CAST(d."+s.Column+" + COALESCE(a."+s.Column+", CAST(0 AS "+kind+")) AS "+kind+") AS total_"+s.Column)
		if s.Of == "" {
			come, gone = append(come, "1 AS "+s.Column), append(gone, "-1")
		} else {
			come, gone = append(come, s.Of+" AS "+s.Column), append(gone, "-held_"+s.Of)
		}
	}
	return `SELECT ` + strings.Join(append(columns, comes...), ", ") + `
FROM (SELECT ` + list("", r.group()) + `, ` + strings.Join(adds, ", ") + `
 FROM (SELECT DATE_TRUNC('minute', ` + f.Time + `) AS ` + minuteColumn + `, ` + list("", r.Group) + `, ` + strings.Join(come, ", ") + ` FROM staged
  UNION ALL
  SELECT DATE_TRUNC('minute', held_` + f.Time + `), ` + list("held_", r.Group) + `, ` + strings.Join(gone, ", ") + ` FROM staged WHERE held_` + f.Time + ` IS NOT NULL) changes
 GROUP BY ` + list("", r.group()) + `) d
LEFT JOIN ` + in.Of(r.Name) + ` a ON ` + same(r.group(), "a", "d")
}

// roll are the statements that put the groups in the place of what they were. One that
// comes to no rows is no group of a GROUP BY, and goes.
func (f *Facts) roll(in Names) transaction {
	r, changes := f.Rollup, f.temp("changes")
	var totals []string
	for _, s := range r.Sums {
		totals = append(totals, "total_"+s.Column)
	}
	return transaction{
		{sql: r.clear(in, changes)},
		{sql: `INSERT INTO ` + in.Of(r.Name) + ` (` + list("", r.Names()) + `)
SELECT ` + list("", append(r.group(), totals...)) + ` FROM ` + changes + ` WHERE ` + totals[0] + ` <> 0`},
	}
}

// clear removes the groups that another table has.
func (r *Rollup) clear(in Names, groups string) string {
	return `DELETE FROM ` + in.Of(r.Name) + ` USING ` + groups + `
WHERE ` + same(r.group(), r.Name, groups)
}

// probe turns the statements of a load into ones that undo what they do: the row
// with that text in its probeColumn goes again, and the groups that it touches are
// put back from a copy, as they were to the digit.
func (f *Facts) probe(in Names, t transaction, text string) transaction {
	remove := step{sql: `DELETE FROM ` + in.Of(f.Name) + ` WHERE ` + f.Columns[f.probeColumn()].Name + ` = ` + Quote(text)}
	if f.Rollup == nil {
		return append(t, remove)
	}
	r, changes, kept := f.Rollup, f.temp("changes"), f.temp("kept")
	t = slices.Insert(t, t.index(f.changesStep())+1, step{sql: `CREATE TEMP TABLE ` + kept + ` AS
SELECT ` + list("a.", r.Names()) + ` FROM ` + in.Of(r.Name) + ` a
JOIN ` + changes + ` t ON ` + same(r.group(), "t", "a")})
	return append(t, remove, step{sql: r.clear(in, changes)}, step{sql: `INSERT INTO ` + in.Of(r.Name) + ` (` + list("", r.Names()) + `)
SELECT ` + list("", r.Names()) + ` FROM ` + kept})
}

// insertStep names the step whose count is that of the rows written.
func (f *Facts) insertStep() string { return "insert " + f.Name }

// changesStep names the step behind which a probe goes on.
func (f *Facts) changesStep() string { return "changes of " + f.Name }
