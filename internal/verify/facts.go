package verify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// factsPage is how many rows one query returns: up to 310 bytes each, so some
// 10 MB of Redshift's 500 MB a result, and 60 MB of our memory.
const factsPage = 100_000

// doubledKept bounds the keys that are reported as standing twice.
const doubledKept = 1000

// span is a range of event times, from one hour to before another. The zero time
// is no bound.
type span struct{ from, to time.Time }

// readFacts reads all of a table, by ranges of the sort key: a page by key would
// have the warehouse sort the rest of the table each time, and Redshift skips
// blocks by comparing times with literals.
//
// Each page is a snapshot of its own. Workers that load meanwhile replace rows by
// later ones only, and the ranges are read in the order of time: a row that
// moves is read twice, and never missed. Whether a key stands twice is therefore
// asked in one statement, which looks at keys as the warehouse compares them: on
// Redshift blanks at the end do not count.
func (v *verifier) readFacts(ctx context.Context, r *rowReader) error {
	spans, err := v.spans(ctx, r.facts)
	if errors.Is(err, warehouse.ErrNoTable) && !v.loads(r.facts.Family) {
		v.absent[r.facts.Family] = true
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range spans {
		if err := v.readSpan(ctx, r, s); err != nil {
			return err
		}
	}
	return v.readDoubled(ctx, r)
}

// table is how statements name the table of facts.
func (v *verifier) table(f *warehouse.Facts) string { return v.DB.Names().Of(f.Name) }

// spans packs hours into ranges of at most a page's rows, as far as hours allow.
// The first and the last are open: what is loaded meanwhile may lie beyond.
func (v *verifier) spans(ctx context.Context, f *warehouse.Facts) ([]span, error) {
	v.Tell("counting rows of " + f.Name)
	r, err := v.query(ctx, "facts", "SELECT DATE_TRUNC('hour', "+f.Time+") AS hour_of, COUNT(*) AS held FROM "+v.table(f)+" GROUP BY 1 ORDER BY 1")
	if err != nil {
		return nil, err
	}
	out, held := []span{{}}, 0
	for _, row := range r.Rows {
		if row[0].Null {
			return nil, fmt.Errorf("%s holds %s rows without an %s, which no worker writes", f.Name, row[1].Text, f.Time)
		}
		hour, err := warehouse.ParseTimestamp(row[0].Text)
		if err != nil {
			return nil, fmt.Errorf("an hour of %s: %w", f.Name, err)
		}
		n, err := strconv.Atoi(row[1].Text)
		if err != nil {
			return nil, fmt.Errorf("rows of an hour of %s: %w", f.Name, err)
		}
		if held > 0 && held+n > v.page {
			out[len(out)-1].to = hour
			out, held = append(out, span{from: hour}), 0
		}
		held += n
	}
	return out, nil
}

// readSpan reads the rows of a range. A range of more than a page is read in the
// order of the key. The last key of a full page may go on behind it, so its rows
// are left to the next page.
func (v *verifier) readSpan(ctx context.Context, r *rowReader, s span) error {
	var begin []warehouse.Value // the first row of the page
	for {
		got, err := v.query(ctx, "facts", factsSQL(v.table(r.facts), r, s, begin, v.page))
		if err != nil {
			return err
		}
		rows, full := got.Rows, len(got.Rows) == v.page
		if full {
			n := len(rows) - 1
			for n > 0 && r.sameKey(rows[n-1], rows[len(rows)-1]) {
				n--
			}
			if n == 0 {
				return fmt.Errorf("%s holds %q at least %d times", r.facts.Name, r.spelt(rows[0]), len(rows))
			}
			rows, begin = rows[:n], rows[n]
		}
		if err := v.addFacts(r, rows); err != nil {
			return err
		}
		v.Tell(fmt.Sprintf("read %s of %s", plural.Of(v.report.Tables[r.facts.Family].Facts, "row"), r.facts.Name))
		if !full {
			return nil
		}
	}
}

func factsSQL(table string, r *rowReader, s span, begin []warehouse.Value, limit int) string {
	f := r.facts
	var where []string
	if !s.from.IsZero() {
		where = append(where, f.Time+" >= "+hourLiteral(s.from))
	}
	if !s.to.IsZero() {
		where = append(where, f.Time+" < "+hourLiteral(s.to))
	}
	if begin != nil {
		where = append(where, r.from(begin))
	}
	sql := "SELECT " + strings.Join(f.Names(), ", ") + " FROM " + table
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	return sql + " ORDER BY " + strings.Join(f.Key, ", ") + " LIMIT " + strconv.Itoa(limit)
}

// from is true of the rows whose keys are that of the given row or come after it.
func (r *rowReader) from(begin []warehouse.Value) string {
	condition := ""
	for i := len(r.keys) - 1; i >= 0; i-- {
		c := r.facts.Columns[r.keys[i]]
		literal := begin[r.keys[i]].Text
		if strings.HasPrefix(c.Type, "VARCHAR") {
			literal = warehouse.Quote(literal)
		}
		if condition == "" {
			condition = c.Name + " >= " + literal
			continue
		}
		condition = fmt.Sprintf("(%s > %s OR %s = %s AND %s)", c.Name, literal, c.Name, literal, condition)
	}
	return condition
}

// sameKey reports whether two rows have one key, as Redshift compares.
func (r *rowReader) sameKey(a, b []warehouse.Value) bool {
	for _, k := range r.keys {
		if strings.TrimRight(a[k].Text, " ") != strings.TrimRight(b[k].Text, " ") {
			return false
		}
	}
	return true
}

func hourLiteral(t time.Time) string { return "'" + t.UTC().Format(time.DateTime) + "'" }

func (v *verifier) addFacts(r *rowReader, rows [][]warehouse.Value) error {
	for _, values := range rows {
		row, spelt, err := r.fact(values)
		if err != nil {
			return fmt.Errorf("%s, %q: %w", r.facts.Name, r.spelt(values), err)
		}
		if err := v.spool.add(row.hashed(), entry{kind: kindFact, row: row, spelt: spelt}); err != nil {
			return err
		}
		v.report.Tables[r.facts.Family].Facts++
	}
	return nil
}

// readDoubled asks which keys stand more than once.
func (v *verifier) readDoubled(ctx context.Context, r *rowReader) error {
	f := r.facts
	names := strings.Join(f.Key, ", ")
	v.Tell("looking for keys that stand twice in " + f.Name)
	got, err := v.query(ctx, "keys that stand twice", "SELECT "+names+", COUNT(*) AS copies FROM "+v.table(f)+" GROUP BY "+names+
		" HAVING COUNT(*) > 1\nORDER BY "+strconv.Itoa(len(f.Key)+1)+" DESC, 1 LIMIT "+strconv.Itoa(doubledKept))
	if err != nil {
		return err
	}
	for _, row := range got.Rows {
		last := len(row) - 1
		parts := make([]string, last)
		for i := range parts {
			parts[i] = strings.TrimRight(row[i].Text, " ")
		}
		text := strings.Join(parts, "/")
		n, err := strconv.ParseInt(row[last].Text, 10, 64)
		if err != nil {
			return fmt.Errorf("copies of %q: %w", text, err)
		}
		v.doubled[key{f.Family, text}] = true
		v.report.Tables[f.Family].Surplus += n - 1
		v.report.note(Difference{Kind: noun(f.Family) + " twice", Key: text, Warehouse: fmt.Sprintf("%d rows of %s", n, f.Name)})
	}
	return nil
}
