package redshift

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/copyload"
	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// maxManifest bounds the manifest of a COPY, which is read into memory.
const maxManifest = 16 << 20

// target is a column of the table that COPY loads.
type target struct {
	copyload.Column
	identity bool // numbered by the engine
}

// fill gives every row of a COPY to add. A row is valid during the call only.
type fill func(add func(row []copyload.Field) error) error

// file is an object that COPY reads.
type file struct {
	bucket, key string
	mandatory   bool
}

func (f file) url() string { return "s3://" + f.bucket + "/" + f.key }

// copy runs COPY: every row of every file goes into the table, or none does.
func (b *backend) copy(ctx context.Context, c *dialect.Copy) (int64, error) {
	targets, err := b.targets(ctx, c)
	if err != nil {
		return -1, err
	}
	files, err := b.files(ctx, c)
	if err != nil {
		return -1, err
	}
	l := &loading{b: b, c: c, targets: targets, started: time.Now()}
	for _, t := range targets {
		l.names = append(l.names, t.Name)
	}
	n, err := b.conn.load(ctx, c.Table, targets, func(add func([]copyload.Field) error) error {
		for _, f := range files {
			if err := l.file(ctx, f, add); err != nil {
				return err
			}
		}
		return nil
	})
	if len(l.bad) > 0 {
		// The errors stay although the load is undone, so they go another way.
		if recErr := b.record(ctx, l.errors()); recErr != nil {
			err = errors.Join(err, recErr)
		}
	}
	if err != nil {
		return -1, err
	}
	if l.blanks {
		b.mayHaveBlanks(c.Table)
	}
	b.asks.LastCopyID, b.asks.LastCopied = b.query, n
	return n, nil
}

// targets are the columns that the COPY loads, in the order of its fields.
func (b *backend) targets(ctx context.Context, c *dialect.Copy) ([]target, error) {
	all, err := b.conn.targets(ctx, c.Table)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, refusal("Cannot COPY into nonexistent table %s", c.Table)
	}
	if len(c.Columns) == 0 {
		return slices.DeleteFunc(all, func(t target) bool { return t.identity && !c.ExplicitIDs }), nil
	}
	var out []target
	for _, name := range c.Columns {
		i := slices.IndexFunc(all, func(t target) bool { return t.Name == name })
		if i < 0 {
			return nil, refusal("column %q of relation %q does not exist", name, c.Table)
		}
		if slices.ContainsFunc(out, func(t target) bool { return t.Name == name }) {
			return nil, refusal("column %q specified more than once", name)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// files finds what FROM names: the entries of a manifest, or every key that
// starts with it.
func (b *backend) files(ctx context.Context, c *dialect.Copy) ([]file, error) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(c.From, "s3://"), "/")
	if b.objects == nil {
		return nil, refusal("S3ServiceException:The specified bucket does not exist,Status 404,Error NoSuchBucket,Bucket %s", bucket)
	}
	if c.Manifest {
		return b.manifest(ctx, file{bucket: bucket, key: key})
	}
	keys, err := b.objects.List(ctx, bucket, key)
	if err != nil {
		return nil, missing(ctx, err, bucket)
	}
	if len(keys) == 0 {
		return nil, refusal("The specified S3 prefix '%s' does not exist", key)
	}
	var out []file
	for _, k := range keys {
		if !strings.HasSuffix(k, "/") { // consoles make such keys to show a folder
			out = append(out, file{bucket: bucket, key: k, mandatory: true})
		}
	}
	return out, nil
}

func (b *backend) manifest(ctx context.Context, m file) ([]file, error) {
	r, err := b.objects.Open(ctx, m.bucket, m.key)
	if err != nil {
		return nil, missing(ctx, err, m.url())
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, missing(ctx, err, m.url())
	}
	if len(data) > maxManifest {
		return nil, refusal("Problem reading manifest file - %s is larger than %d MB", m.url(), maxManifest>>20)
	}
	entries, err := copyload.Manifest(data)
	if err != nil {
		return nil, refusal("Problem reading manifest file - %s: %v", m.url(), err)
	}
	out := make([]file, len(entries))
	for i, e := range entries {
		bucket, key, _ := strings.Cut(strings.TrimPrefix(e.URL, "s3://"), "/")
		out[i] = file{bucket: bucket, key: key, mandatory: e.Mandatory}
	}
	return out, nil
}

// missing is the error for an object that cannot be read.
func missing(ctx context.Context, err error, what string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return refusal("S3ServiceException:The specified key or bucket does not exist,Status 404,Error NoSuchKey, %s: %v", what, err)
}

// loading is one COPY while it runs.
type loading struct {
	b       *backend
	c       *dialect.Copy
	targets []target
	names   []string
	started time.Time
	row     []copyload.Field
	blanks  bool                  // a text ends in a blank
	bad     []*copyload.LoadError // the first maxRecorded of them
	count   int                   // of all bad rows
}

// maxRecorded bounds the errors that one COPY leaves behind.
const maxRecorded = 1000

// file loads one file.
func (l *loading) file(ctx context.Context, f file, add func([]copyload.Field) error) error {
	r, err := l.b.objects.Open(ctx, f.bucket, f.key)
	if err != nil {
		if !f.mandatory && ctx.Err() == nil {
			return nil
		}
		return missing(ctx, err, f.url())
	}
	defer r.Close()
	rows := 0
	err = copyload.RowsSkipping(r, l.c, l.names, func(_ int, fields []copyload.Field) error {
		if rows++; rows%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := l.struck(fields); err != nil {
			return err
		}
		l.row = l.row[:0]
		for i, t := range l.targets {
			v, err := t.Convert(fields[i], l.c)
			if err != nil {
				return err
			}
			l.blanks = l.blanks || strings.HasSuffix(v.Text, " ")
			l.row = append(l.row, v)
		}
		if l.c.NoLoad {
			return nil
		}
		return add(l.row)
	}, func(bad *copyload.LoadError) error { return l.reject(f, bad) })
	var own *sqlError
	if err == nil || ctx.Err() != nil || errors.As(err, &own) {
		return err
	}
	return refusal("Load into table '%s' failed: %s: %v", l.c.Table, f.url(), err)
}

// struck is what a fault says to a row: the first of its fields that is meant.
func (l *loading) struck(fields []copyload.Field) error {
	if l.b.refuse == nil {
		return nil
	}
	for i, f := range fields[:len(l.targets)] {
		hit, ok := l.b.refuse([]string{f.Text})
		if !ok {
			continue
		}
		reason := hit.Error
		if reason == "" {
			reason = "Invalid value"
		}
		return &copyload.LoadError{Column: l.names[i], Code: codeUnknown, Reason: reason, Value: f.Text}
	}
	return nil
}

// codeUnknown is Redshift's code of a parse error that is none of the others.
const codeUnknown = 1200

// reject notes a bad row, and ends the COPY at the one beyond MAXERROR.
func (l *loading) reject(f file, bad *copyload.LoadError) error {
	bad.File = f.url()
	if l.count++; l.count <= maxRecorded {
		l.bad = append(l.bad, bad)
	}
	if l.count <= l.c.MaxError || l.c.IgnoreAllErrors {
		return nil
	}
	return refusal("Load into table '%s' failed.  Check 'sys_load_error_detail' system table for details.", l.c.Table)
}

// errors are the bad rows as rows of the error table.
func (l *loading) errors() []string {
	out := make([]string, len(l.bad))
	for i, e := range l.bad {
		var kind string
		var length int
		for _, t := range l.targets {
			if t.Name == e.Column {
				kind, length = t.Type, t.Length
			}
		}
		out[i] = fmt.Sprintf("(%d, %d, %s, %s, TIMESTAMP %s, %s, %d, %s, %s, %d, %d, %s, %s, %s)",
			l.b.query, l.b.asks.PID, quoteText(l.b.asks.Database), quoteText(l.c.Table),
			quoteText(l.started.UTC().Format("2006-01-02 15:04:05.000000")), quoteText(e.File), e.Line,
			quoteText(e.Column), quoteText(kind), length, e.Code, quoteText(clean(e.Reason)), quoteText(clean(e.RawLine)), quoteText(clean(e.Value)))
	}
	return out
}

// clean makes text storable: PostgreSQL takes no NUL.
func clean(s string) string {
	const most = 1024 // of raw_line and raw_field_value
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}

// record writes load errors on a connection of their own.
func (b *backend) record(ctx context.Context, values []string) (err error) {
	c, err := b.engine.connect(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	_, err = c.run(context.WithoutCancel(ctx), "INSERT INTO localaws.load_errors VALUES "+strings.Join(values, ", "), nil)
	return err
}

// loadErrorTable makes the table of load errors and Redshift's two views of it,
// and forgets those of more than seven days ago, as Redshift does.
func loadErrorTable() []string {
	return []string{
		"CREATE SCHEMA IF NOT EXISTS localaws",
		`CREATE TABLE IF NOT EXISTS localaws.load_errors (
			query bigint, pid bigint, database_name varchar, table_name varchar, started timestamp, file varchar, line bigint,
			column_name varchar, column_type varchar, column_length integer, code integer, reason varchar, raw_line varchar, raw_value varchar)`,
		`CREATE OR REPLACE VIEW localaws.stl_load_errors AS SELECT
			100 AS userid, 0 AS slice, 0 AS tbl, table_name, started AS starttime, pid AS session, query, file AS filename, line AS line_number,
			column_name AS colname, column_type AS type, column_length AS col_length, 0 AS position, raw_line,
			raw_value AS raw_field_value, code AS err_code, reason AS err_reason, 0 AS is_partial, 0 AS start_offset
			FROM localaws.load_errors`,
		`CREATE OR REPLACE VIEW localaws.sys_load_error_detail AS SELECT
			100 AS user_id, query AS query_id, 0 AS transaction_id, pid AS session_id, database_name, 0 AS table_id, started AS start_time,
			file AS file_name, line AS line_number, column_name, column_type, column_length, 0 AS position,
			code AS error_code, reason AS error_message FROM localaws.load_errors`,
		"DELETE FROM localaws.load_errors WHERE started < CAST(current_date AS timestamp) - INTERVAL '7 days'",
	}
}
