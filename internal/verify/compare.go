package verify

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// standing is what the stream says of one key: how its row may stand in the
// warehouse. There is more than one way while workers load, and where events of
// the same instant lie in different shards.
type standing struct {
	settled bool            // it must be in the warehouse
	letter  bool            // a dead letter has one of its records
	newest  map[uint32]told // of the events before the earlier checkpoint, the newest instant's last one in each shard
	later   []row           // events between the checkpoints
}

// told is an event's row, and when the event arrived.
type told struct {
	row
	arrived int64
}

func (s *standing) add(e entry) {
	s.letter = s.letter || e.letter
	if !e.settled {
		s.later = append(s.later, e.row)
		return
	}
	s.settled = true
	at := s.newestTime()
	switch {
	case len(s.newest) == 0 || e.row.Time > at:
		s.newest = map[uint32]told{e.shard: {e.row, e.arrived}}
	case e.row.Time == at:
		s.newest[e.shard] = told{e.row, e.arrived}
	}
}

func (s *standing) newestTime() int64 {
	for _, r := range s.newest {
		return r.Time
	}
	return 0
}

func (s *standing) allows(fact row) bool {
	for _, r := range s.newest {
		if r.row == fact {
			return true
		}
	}
	for _, r := range s.later {
		if r == fact && r.Time >= s.newestTime() {
			return true
		}
	}
	return false
}

func (s *standing) example() row {
	for _, r := range s.newest {
		return r.row
	}
	if len(s.later) > 0 {
		return s.later[len(s.later)-1]
	}
	return row{}
}

func (v *verifier) compare(ctx context.Context) error {
	for i := range parts {
		if err := v.comparePart(i); err != nil {
			return err
		}
	}
	v.Tell("comparing rollups")
	for i := range v.rows {
		f := warehouse.FactsOf(event.Family(i))
		if f.Rollup == nil || v.absent[i] {
			continue
		}
		if err := v.compareRollups(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// key names a row of any table.
type key struct {
	family event.Family
	text   string
}

// held is a row that the warehouse holds.
type held struct {
	row
	spelt string
}

func (v *verifier) comparePart(i int) error {
	told := make(map[key]*standing)
	facts := make(map[key][]held)
	letters := make(map[string]*lettered)
	letterAt := func(place string) *lettered {
		l := letters[place]
		if l == nil {
			l = new(lettered)
			letters[place] = l
		}
		return l
	}
	err := v.spool.read(i, func(e entry) {
		k := key{e.row.Family, e.row.Key}
		switch e.kind {
		case kindEvent:
			if told[k] == nil {
				told[k] = new(standing)
			}
			told[k].add(e)
		case kindFact:
			facts[k] = append(facts[k], held{e.row, e.spelt})
		case kindRejected:
			l := letterAt(e.place)
			l.onStream, l.needed, l.shard, l.arrived = true, e.settled, e.shard, e.arrived
		case kindTaken:
			letterAt(e.place).onStream = true
		case kindLetter:
			letterAt(e.place).stored = true
		}
	})
	if err != nil {
		return err
	}
	v.compareRows(told, facts)
	v.compareLetters(letters)
	return nil
}

// lettered is a record that was rejected or has a letter.
type lettered struct {
	onStream bool // the stream has it, before the later checkpoint
	needed   bool // it must have a letter
	stored   bool // it has one
	shard    uint32
	arrived  int64
}

func (v *verifier) compareRows(told map[key]*standing, facts map[key][]held) {
	for k, s := range told {
		t := &v.report.Tables[k.family]
		if s.settled {
			t.Keys++
		}
		rows := facts[k]
		if len(rows) == 0 && s.settled {
			t.Missing++
			d := Difference{Kind: noun(k.family) + " missing", Key: k.text, Stream: s.example().describe()}
			if s.letter {
				d.Warehouse = "not there: its record is in the dead letters, from where redrive takes it"
			}
			v.report.note(d)
			v.mend.row(s, nil)
		}
		// A row that a worker moved while the pages were read comes more than once,
		// and each time it must be as the stream says.
		for _, fact := range rows {
			if !s.allows(fact.row) {
				v.compareOther(k, s, fact)
				break
			}
		}
	}
	for k, rows := range facts {
		if told[k] == nil {
			v.compareUnknown(k, rows)
		}
		if spelt := twoSpellings(k.family, rows); spelt != "" && !v.doubled[k] {
			v.report.Tables[k.family].Surplus++
			v.report.note(Difference{Kind: noun(k.family) + " twice", Key: k.text, Warehouse: spelt})
		}
	}
}

// compareOther judges a row that is none of what the stream says of its key. One that
// is newer than all of that may be of a shard that was not read, or of an event that
// is past the retention while an older one is not: that arrived later. Such a row is
// not offered for removal as long as any producer's clock can explain it.
func (v *verifier) compareOther(k key, s *standing, fact held) {
	t := &v.report.Tables[k.family]
	newer := fact.Time > s.newestTime()
	switch {
	case newer && v.blind:
		t.Uncompared++
		return
	case newer && v.past.mayHold(fact.Time):
		t.Unverifiable++
		return
	}
	t.Differing++
	d := Difference{Kind: noun(k.family) + " differs", Key: k.text, Stream: s.example().describe(), Warehouse: fact.describe()}
	doubtful := newer && v.past.canHold(fact.Time)
	if doubtful {
		d.Warehouse += "; right all the same if its event is past the retention and its producer's clock ran ahead"
	}
	v.report.note(d)
	if !doubtful {
		v.mend.row(s, &fact)
	}
}

// twoSpellings tells of a key whose rows differ in blanks at its end: an engine
// that counts them takes it for two.
func twoSpellings(f event.Family, rows []held) string {
	for _, r := range rows[1:] {
		if r.spelt != rows[0].spelt {
			return fmt.Sprintf("rows of %q and of %q, which Redshift takes for one %s", rows[0].spelt, r.spelt, noun(f))
		}
	}
	return ""
}

// compareUnknown judges rows of which what was read of the stream says nothing.
// They may be of a shard that was not read. Otherwise a key whose events are all
// past the retention cannot be checked, and one that is newer than the oldest
// record was never on the stream.
func (v *verifier) compareUnknown(k key, rows []held) {
	t := &v.report.Tables[k.family]
	switch n := int64(len(rows)); {
	case v.blind:
		t.Uncompared += n
	case v.past.oldest.IsZero() || time.UnixMicro(rows[0].Time).Before(v.past.oldest) || v.past.mayHold(rows[0].Time):
		t.Unverifiable += n
	default:
		t.Surplus += n
		v.report.note(Difference{Kind: noun(k.family) + " not on the stream", Key: k.text, Warehouse: rows[0].describe()})
	}
}

func (v *verifier) compareLetters(letters map[string]*lettered) {
	if v.Letters == nil {
		return
	}
	for p, l := range letters {
		switch {
		case l.needed && !l.stored:
			v.report.LettersMissing++
			v.report.note(Difference{Kind: "dead letter missing", Key: p})
			v.mend.arrived(l.shard, l.arrived)
		case l.stored && !l.onStream && v.wasRead(p):
			v.report.LettersSurplus++
			v.report.note(Difference{Kind: "dead letter of no record", Key: p})
		}
	}
}

// rollupsSQL is one statement, and so one snapshot: rollups that differ from a
// GROUP BY over the facts, in either direction.
func rollupsSQL(in warehouse.Names, f *warehouse.Facts) string {
	r := f.Rollup
	var names, join, differs, sums []string
	group := []string{"DATE_TRUNC('minute', " + f.Time + ") AS minute"}
	group = append(group, r.Group...)
	for _, g := range append([]string{"minute"}, r.Group...) {
		names = append(names, "COALESCE(a."+g+", f."+g+") AS "+g)
		join = append(join, "a."+g+" = f."+g)
	}
	for _, s := range r.Sums {
		names = append(names, "a."+s.Column+", f."+s.Column+" AS fact_"+s.Column)
		differs = append(differs, "a."+s.Column+" <> f."+s.Column)
		if s.Of == "" {
			sums = append(sums, "COUNT(*) AS "+s.Column)
		} else {
			sums = append(sums, "SUM("+s.Of+") AS "+s.Column)
		}
	}
	numbers := make([]string, len(group))
	for i := range group {
		numbers[i] = strconv.Itoa(i + 1)
	}
	return "SELECT " + strings.Join(names, ", ") + "\nFROM " + in.Of(r.Name) + " a FULL OUTER JOIN (\n SELECT " + strings.Join(append(group, sums...), ", ") +
		"\n FROM " + in.Of(f.Name) + " GROUP BY " + strings.Join(numbers, ", ") + ") f\n ON " + strings.Join(join, " AND ") +
		"\nWHERE a.minute IS NULL OR f.minute IS NULL OR " + strings.Join(differs, " OR ") + "\nLIMIT 1000"
}

func (v *verifier) compareRollups(ctx context.Context, f *warehouse.Facts) error {
	t := &v.report.Tables[f.Family]
	r, err := v.query(ctx, "rollups", rollupsSQL(v.DB.Names(), f))
	if err != nil {
		return err
	}
	t.RollupsDiffering = int64(len(r.Rows))
	for _, row := range r.Rows {
		var key, facts, rollup []string
		groups := 1 + len(f.Rollup.Group)
		for i := range groups {
			key = append(key, row[i].Text)
		}
		for i, s := range f.Rollup.Sums {
			rollup = append(rollup, s.Column+" "+row[groups+2*i].Text)
			facts = append(facts, s.Column+" "+row[groups+2*i+1].Text)
		}
		minute, err := warehouse.ParseTimestamp(row[0].Text)
		if err != nil {
			return fmt.Errorf("a minute of %s: %w", f.Rollup.Name, err)
		}
		v.mend.rollup(f.Family, minute)
		v.report.note(Difference{
			Kind: "rollup differs", Key: strings.Join(key, "/"),
			Stream: "facts: " + strings.Join(facts, ", "), Warehouse: f.Rollup.Name + ": " + strings.Join(rollup, ", "),
		})
	}
	count, err := v.query(ctx, "rollups", "SELECT COUNT(*) FROM "+v.DB.Names().Of(f.Rollup.Name))
	if err != nil {
		return err
	}
	t.Rollups, err = strconv.ParseInt(count.Rows[0][0].Text, 10, 64)
	return err
}
