package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// askTimeout is how long a question to the warehouse is waited for, unless --timeout
// says otherwise.
const askTimeout = 5 * time.Minute

// timeoutUsage describes --timeout.
const timeoutUsage = "give up after so long, and cancel what runs in the warehouse; 0 = wait for as long as it takes"

type queryOptions struct {
	format  string
	safe    bool
	timeout time.Duration
}

func (a *app) queryCommand() *cobra.Command {
	o := queryOptions{format: "table", timeout: askTimeout}
	facts, _ := warehouse.Names{}.Orders()
	cmd := &cobra.Command{
		Use:   "query SQL",
		Short: "Ask the warehouse one question in SQL; it only reads",
		Long: `query runs one SQL statement in the warehouse and prints all of its rows, page by page as they come. With - in
place of the statement it is read from standard input.

It only reads: the statement begins with SELECT, WITH, SHOW or EXPLAIN, holds no word outside quotes with which it
could change something, and runs in a transaction that is READ ONLY. A function of your own that has effects is
not recognized; to be safe from those too, use a database user with SELECT alone.

Names are found by the search path of the database user, as in any SQL client: REDSHIFT_SCHEMA is about the
worker's own statements, so write the schema before the table (sales.fact_orders).

In CSV, NULL is an empty field and an empty text is "". In JSON, numbers are numbers with all their digits,
and times are UTC by RFC 3339. A table's columns are as wide as the first page needs. Ctrl-C, SIGTERM and
--timeout cancel the statement.`,
		Example: `  analytics-worker query 'SELECT event_type, COUNT(*) FROM ` + facts + ` GROUP BY 1'
  analytics-worker query --format csv 'SELECT * FROM ` + facts + `' > orders.csv
  analytics-worker query --format json - < question.sql | jq '.[0]'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("query takes one statement, in quotes, or - for standard input; see %s --help", cmd.CommandPath())
			}
			if err := o.check(); err != nil {
				return err
			}
			sql, err := statementOf(args[0], os.Stdin)
			if err != nil {
				return err
			}
			return a.query(cmd.Context(), sql, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", o.format, "table, csv or json")
	f.BoolVar(&o.safe, "safe-cells", false, safeCellsUsage)
	f.DurationVar(&o.timeout, "timeout", o.timeout, timeoutUsage)
	return cmd
}

func (o queryOptions) check() error {
	switch {
	case !slices.Contains(formats, o.format):
		return usagef("--format %s: must be one of %s", o.format, strings.Join(formats, ", "))
	case o.safe && o.format != "csv":
		return usagef("--safe-cells goes with --format csv")
	}
	return checkTimeout(o.timeout)
}

func checkTimeout(d time.Duration) error {
	if d < 0 {
		return usagef("--timeout %v: must be 0 or more", d)
	}
	return nil
}

// mostInput bounds what is read of a statement: the Data API takes 100 KB.
const mostInput = 1 << 20

// statementOf is the argument, or what in holds where it is "-", once it is known to
// only read.
func statementOf(arg string, in io.Reader) (string, error) {
	if arg == "-" {
		text, err := io.ReadAll(io.LimitReader(in, mostInput+1))
		if err != nil {
			return "", fmt.Errorf("read the statement: %w", err)
		}
		if len(text) > mostInput {
			return "", usagef("the statement on standard input is longer than %d bytes", mostInput)
		}
		arg = string(text)
	}
	if err := warehouse.CheckReading(arg); err != nil {
		return "", usagef("query only reads, and this does not surely: %w", err)
	}
	return arg, nil
}

func (a *app) query(ctx context.Context, sql string, o queryOptions) error {
	out := &rowWriter{w: a.stdout, format: o.format, safeCells: o.safe}
	err := a.ask(ctx, o.timeout, func(ctx context.Context, db *aws.Redshift, answered func()) error {
		return db.Read(ctx, sql, func(page warehouse.Result) error {
			answered()
			return out.part(page)
		})
	})
	if err != nil {
		return fmt.Errorf("query: %w", plainRefusal(err))
	}
	return a.ended(out)
}

// plainRefusal is err, with the warehouse's own words where it refused the statement:
// it is the caller's, and its tables need not be the worker's.
func plainRefusal(err error) error {
	var refused *warehouse.StatementError
	if errors.As(err, &refused) {
		return errors.New(refused.Message)
	}
	return err
}

// ask opens the warehouse for a question and shows on standard error how long it has
// been waited for, until answered is called or the question is through. What runs in
// the warehouse is cancelled when ctx ends, or the time.
func (a *app) ask(ctx context.Context, timeout time.Duration, question func(_ context.Context, _ *aws.Redshift, answered func()) error) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	ctx, cancel := within(ctx, timeout)
	defer cancel()
	account, err := a.quietAccount(ctx, c)
	if err != nil {
		return err
	}
	defer account.Close()
	progress := newLine(ctx, a.stderr)
	answered := sync.OnceFunc(progress.done)
	defer answered()
	progress.say("waiting for the warehouse; Ctrl-C gives up")
	return question(overheard(ctx, progress.say), account.Redshift(reading(c.Redshift)), answered)
}

// reading is the warehouse for what only reads: nothing is left running in it.
func reading(c aws.RedshiftConfig) aws.RedshiftConfig {
	c.Cancel = true
	return c
}

// waiting shows on standard error how long the warehouse has been waited for, for what
// asks it by the context that is returned, until answered is called.
func (a *app) waiting(ctx context.Context) (_ context.Context, answered func()) {
	progress := newLine(ctx, a.stderr)
	return overheard(ctx, progress.say), progress.done
}

// within is ctx with an end, if d is not 0.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("no answer within %v (--timeout)", d))
}

// overheard is ctx with somebody to tell how statements in the warehouse stand.
func overheard(ctx context.Context, say func(string)) context.Context {
	return warehouse.Watched(ctx, func(p warehouse.Progress) {
		switch {
		case p.Err != nil:
			say("waiting: how the statement stands cannot be asked at the moment; Ctrl-C cancels it")
		case p.Started:
			say("the warehouse runs the statement; Ctrl-C cancels it")
		default:
			say("the warehouse has not started the statement (is it paused, or busy?); Ctrl-C cancels it")
		}
	})
}
