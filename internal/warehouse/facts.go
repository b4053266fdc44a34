package warehouse

import (
	"slices"
	"strings"
)

// The statements that a load has for each table of facts. Their text is the same
// for every load: a warehouse compiles it once.

// newest are the newest events of each key, over all accepted shards: a key that
// moved to another shard may be in two. At equal event times the later one in the
// stream wins.
func (f *Facts) newest(in Names) step {
	key := make([]string, len(f.Key))
	for i, k := range f.Key {
		key[i] = f.staged(k)
	}
	columns := make([]string, len(f.Columns))
	for i, c := range f.Columns {
		columns[i] = "i." + f.staged(c.Name) + " AS " + c.Name
		if c.isText() && c.Null { // COPY leaves an empty text, and no row has one
			columns[i] = "NULLIF(i." + f.staged(c.Name) + ", '') AS " + c.Name
		}
	}
	return step{sql: `CREATE TEMP TABLE ` + f.temp("newest") + ` AS
SELECT ordinal, ` + list("", f.Names()) + `
FROM (SELECT i.ordinal, ` + strings.Join(columns, ", ") + `,
  ROW_NUMBER() OVER (PARTITION BY ` + list("i.", key) + ` ORDER BY i.` + f.staged(f.Time) + ` DESC, i.ordinal DESC) AS recency
 FROM load_incoming i JOIN load_incoming p ON p.move = i.move JOIN ` + in.Of(CheckpointTable) + ` c ON ` + accepts("c") + `
 WHERE i.family = ` + Quote(f.Family.String()) + ` AND p.shard_id <> '') ranked
WHERE recency = 1`}
}

// change are the statements that turn the newest events into changes of the facts.
func (f *Facts) change(in Names) transaction {
	staged := f.temp("staged")
	return transaction{
		f.find(in),
		{sql: f.stage(in)},
		{sql: `DELETE FROM ` + in.Of(f.Name) + ` USING ` + staged + `
WHERE ` + staged + `.held_` + f.Time + ` IS NOT NULL AND ` + same(f.Key, f.Name, staged) +
			` AND ` + f.Name + `.` + f.Time + ` = ` + staged + `.held_` + f.Time},
		{name: f.insertStep(), sql: `INSERT INTO ` + in.Of(f.Name) + ` (` + list("", f.Names()) + `)
SELECT ` + list("", f.Names()) + ` FROM ` + staged},
	}
}

// find is the only statement that looks keys up in the whole of the table. It asks for
// few columns, as warehouses store columns apart: what it costs grows with the
// table. The event times that it finds are there to narrow all later searches
// to the blocks that hold them.
func (f *Facts) find(in Names) step {
	return step{sql: `CREATE TEMP TABLE ` + f.temp("found") + ` AS
SELECT ` + list("f.", f.Key) + `, f.` + f.Time + ` FROM ` + in.Of(f.Name) + ` f JOIN ` + f.temp("newest") + ` n ON ` + same(f.Key, "n", "f")}
}

// stage is what changes the warehouse: new keys, and events that are not older
// than what is held and say something else. Beside them what goes. A row that
// comes again after its position has moved on (its ordinal is negative) must not
// replace what is equally old: that came later in the stream.
func (f *Facts) stage(in Names) string {
	var differs []string
	for _, n := range f.rest() {
		differs = append(differs, strings.ReplaceAll("n.@ <> h.@", "@", n))
		if f.column(n).Null {
			differs = append(differs, strings.ReplaceAll("(n.@ IS NULL AND h.@ IS NOT NULL) OR (n.@ IS NOT NULL AND h.@ IS NULL)", "@", n))
		}
	}
	return `CREATE TEMP TABLE ` + f.temp("staged") + ` AS
SELECT ` + list("n.", f.Names()) + `,
 ` + each(f.held(), ", ", "h.@ AS held_@") + `
FROM ` + f.temp("newest") + ` n LEFT JOIN (SELECT ` + list("f.", f.Names()) + `
 FROM ` + in.Of(f.Name) + ` f JOIN ` + f.temp("found") + ` o ON ` + same(f.Key, "o", "f") + ` AND o.` + f.Time + ` = f.` + f.Time + `) h ON ` + same(f.Key, "h", "n") + `
WHERE h.` + f.Time + ` IS NULL OR n.` + f.Time + ` > h.` + f.Time + `
 OR (n.ordinal >= 0 AND n.` + f.Time + ` = h.` + f.Time + ` AND (` + strings.Join(differs, " OR ") + `))`
}

// same is true where two rows, by the names that a statement gives them, agree in
// these columns.
func same(columns []string, a, b string) string {
	return each(columns, " AND ", a+".@ = "+b+".@")
}

// roll are the statements that change the rollup by what was staged. Groups are
// replaced by what they come to. One that comes to no rows is no group of a GROUP
// BY, and goes.
func (f *Facts) roll(in Names) transaction {
	if f.Rollup == nil {
		return nil
	}
	r, staged, totals := f.Rollup, f.temp("staged"), f.temp("totals")
	var comes, adds, come, gone []string
	for _, s := range r.Sums {
		kind := r.column(s.Column).Type
		adds = append(adds, "CAST(SUM("+s.Column+") AS "+kind+") AS "+s.Column)
		comes = append(comes, "CAST(d."+s.Column+" + COALESCE(a."+s.Column+", CAST(0 AS "+kind+")) AS "+kind+") AS "+s.Column)
		if s.Of == "" {
			come, gone = append(come, "1 AS "+s.Column), append(gone, "-1")
		} else {
			come, gone = append(come, s.Of+" AS "+s.Column), append(gone, "-held_"+s.Of)
		}
	}
	return transaction{
		{name: f.totalsStep(), sql: `CREATE TEMP TABLE ` + totals + ` AS
SELECT ` + list("d.", r.group()) + `, ` + strings.Join(comes, ", ") + `
FROM (SELECT ` + list("", r.group()) + `, ` + strings.Join(adds, ", ") + `
 FROM (SELECT DATE_TRUNC('minute', ` + f.Time + `) AS ` + minuteColumn + `, ` + list("", r.Group) + `, ` + strings.Join(come, ", ") + ` FROM ` + staged + `
  UNION ALL
  SELECT DATE_TRUNC('minute', held_` + f.Time + `), ` + list("held_", r.Group) + `, ` + strings.Join(gone, ", ") + ` FROM ` + staged + ` WHERE held_` + f.Time + ` IS NOT NULL) changes
 GROUP BY ` + list("", r.group()) + `) d
LEFT JOIN ` + in.Of(r.Name) + ` a ON ` + same(r.group(), "a", "d")},
		{sql: r.clear(in, totals)},
		{sql: `INSERT INTO ` + in.Of(r.Name) + ` (` + list("", r.Names()) + `)
SELECT ` + list("", r.Names()) + ` FROM ` + totals + ` WHERE ` + r.Sums[0].Column + ` <> 0`},
	}
}

// clear removes the groups that a table of totals has.
func (r *Rollup) clear(in Names, totals string) string {
	return `DELETE FROM ` + in.Of(r.Name) + ` USING ` + totals + `
WHERE ` + same(r.group(), r.Name, totals)
}

// probe turns the statements of a load into ones that undo what they do: the row
// with that text in its probeColumn goes again, and the groups that it touches are
// put back from a copy, as they were to the digit.
func (f *Facts) probe(in Names, t transaction, text string) transaction {
	remove := step{sql: `DELETE FROM ` + in.Of(f.Name) + ` WHERE ` + f.Columns[f.probeColumn()].Name + ` = ` + Quote(text)}
	if f.Rollup == nil {
		return append(t, remove)
	}
	r, totals, kept := f.Rollup, f.temp("totals"), f.temp("kept")
	t = slices.Insert(t, t.index(f.totalsStep())+1, step{sql: `CREATE TEMP TABLE ` + kept + ` AS
SELECT ` + list("a.", r.Names()) + ` FROM ` + in.Of(r.Name) + ` a
JOIN ` + totals + ` t ON ` + same(r.group(), "t", "a")})
	return append(t, remove, step{sql: r.clear(in, totals)}, step{sql: `INSERT INTO ` + in.Of(r.Name) + ` (` + list("", r.Names()) + `)
SELECT ` + list("", r.Names()) + ` FROM ` + kept})
}

// insertStep names the step whose count is that of the rows written.
func (f *Facts) insertStep() string { return "insert " + f.Name }

// totalsStep names the step behind which a probe goes on.
func (f *Facts) totalsStep() string { return "totals of " + f.Name }
