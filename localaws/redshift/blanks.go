package redshift

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// blanks knows tables without texts that end in a blank, which are nearly all:
// only where there may be such texts does it matter how they are compared.
type blanks struct {
	mu    sync.Mutex     // guards what follows
	age   int            // how often a table may have got some
	clean map[string]int // tables that had none, and at what age
}

func newBlanks() *blanks { return &blanks{clean: make(map[string]int)} }

// without reports whether the table is known to have none, and the age at which
// that is asked.
func (k *blanks) without(table string) (bool, int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at, ok := k.clean[table]
	return ok && at == k.age, k.age
}

// note makes it known that the table had none at the age.
func (k *blanks) note(table string, age int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clean[table] = age
}

// doubt is called once some table may have got one: a view may show it, too.
func (k *blanks) doubt() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.age++
	clear(k.clean)
}

// known is what is known of the table, which may be temporary.
func (b *backend) known(table string) *blanks {
	if b.temporary[table] {
		return b.ownBlanks
	}
	return b.blanks
}

// respectBlanks translates the statement again where it compares texts of tables
// that hold some that end in a blank; see package dialect.
func (b *backend) respectBlanks(ctx context.Context, sql string, params map[string]string, st dialect.Statement) (dialect.Statement, error) {
	if !st.Compares || b.failed {
		return st, nil
	}
	tables := st.Reads
	if st.Verb != "INSERT" { // an UPDATE reads what it writes
		tables = append(st.Writes[:len(st.Writes):len(st.Writes)], tables...)
	}
	trim := make(map[string][]dialect.TextColumn)
	for _, table := range tables {
		columns, err := b.textsWithBlanks(ctx, table)
		if err != nil {
			return st, err
		}
		if columns != nil {
			trim[table] = columns
		}
	}
	if len(trim) == 0 {
		return st, nil
	}
	again := b.asks
	again.Trim = trim
	return again.Translate(sql, b.conn.dialect(), params)
}

// textsWithBlanks returns all columns of a table that holds a text that ends in a
// blank, nil for any other.
func (b *backend) textsWithBlanks(ctx context.Context, table string) (columns []dialect.TextColumn, err error) {
	known := b.known(table)
	ok, age := known.without(table)
	if ok {
		return nil, nil
	}
	c := b.conn
	if b.block && !b.touched && !b.temporary[table] {
		// The transaction has no snapshot yet, and is to take it only when its own
		// statement has the table.
		if c, err = b.engine.connect(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, c.close()) }()
	}
	targets, err := c.targets(ctx, table)
	if err != nil {
		return nil, err
	}
	columns = make([]dialect.TextColumn, len(targets))
	var some []string
	for i, t := range targets {
		columns[i] = dialect.TextColumn{Name: t.Name, Text: t.Type == "varchar" || t.Type == "char"}
		if columns[i].Text {
			some = append(some, quoteName(t.Name)+" LIKE '% '")
		}
	}
	if len(some) > 0 {
		var t textSink
		if _, err := c.run(ctx, fmt.Sprintf("SELECT 1 FROM %s WHERE %s LIMIT 1", quoteName(table), strings.Join(some, " OR ")), &t); err != nil {
			return nil, err
		}
		if len(t.rows) > 0 {
			return columns, nil
		}
	}
	if !b.block || age == b.began || b.temporary[table] { // else the snapshot may be older than what is there
		known.note(table, age)
	}
	return nil, nil
}

// noteWritten is called once the statement has run.
func (b *backend) noteWritten(st dialect.Statement) {
	b.touched = true
	if st.Makes != "" && st.Temporary {
		b.temporary[st.Makes] = true
	}
	writes := st.Writes
	if st.Makes != "" {
		writes = []string{st.Makes}
	}
	if len(writes) == 0 {
		return
	}
	may := st.Blanks
	for _, table := range st.Reads {
		ok, _ := b.known(table).without(table)
		may = may || !ok
	}
	for _, table := range writes {
		known := b.known(table)
		switch {
		case known == b.blanks: // a name may mean another table now, too
			if may || st.Makes != "" || !counts(st.Verb) {
				b.mayHaveBlanks(table)
			}
		case may:
			known.doubt()
		case st.Makes != "":
			_, age := known.without(table)
			known.note(table, age)
		}
	}
}

// mayHaveBlanks says that a text that ends in a blank may be in the table now, for
// this transaction, and for others once it has ended.
func (b *backend) mayHaveBlanks(table string) {
	b.known(table).doubt()
	b.unsure = b.unsure || !b.temporary[table]
}

// transactionEnded is called after its end, in whatever way.
func (b *backend) transactionEnded(committed bool) {
	if b.unsure {
		b.blanks.doubt()
		b.unsure = false
	}
	if !committed { // temporary tables may have gone, and no longer hide others
		b.ownBlanks.doubt()
		clear(b.temporary)
	}
}
