package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// stormReads runs what a storm asks the warehouse for itself, as the age of the
// watermark: under the storm's name, so that its end, and the next storm, find it,
// and no longer than the context says. Where the warehouse is full, a question that
// nobody waits for any more would queue behind the one before, and so would the
// next.
type stormReads struct {
	db     *aws.Redshift
	prefix string // of the statements' names
}

// Waits between looks at a question, and how long its cancelling may take.
const (
	lookAgain  = 200 * time.Millisecond
	cancelRead = 5 * time.Second
)

// Run implements warehouse.DB for single statements that read. Nothing runs twice,
// so the token is not needed.
func (r stormReads) Run(ctx context.Context, _ string, statements []string) ([]warehouse.Result, error) {
	var out []warehouse.Result
	for _, sql := range statements {
		result, err := r.read(ctx, sql)
		if err != nil {
			return nil, err
		}
		out = append(out, result)
	}
	return out, nil
}

// Names implements warehouse.DB.
func (r stormReads) Names() warehouse.Names { return r.db.Names() }

func (r stormReads) read(ctx context.Context, sql string) (out warehouse.Result, err error) {
	if err := ctx.Err(); err != nil {
		return out, fmt.Errorf("ask the warehouse: %w", context.Cause(ctx))
	}
	// Seen to its end: of a call that is broken off, nobody knows whether it started something.
	var id string
	if err := again(ctx, func() (err error) {
		id, err = r.db.Submit(context.WithoutCancel(ctx), r.prefix+"-watch", sql)
		return err
	}); err != nil {
		return out, err
	}
	ended := false
	defer func() {
		if !ended {
			ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelRead)
			defer stop()
			_ = r.db.Cancel(ctx, id) // what it leaves is found by its name at the storm's end
		}
	}()
	for !ended {
		if err := waitFor(ctx, lookAgain); err != nil {
			return out, fmt.Errorf("wait for what the warehouse was asked: %w", err)
		}
		q, err := r.db.Query(ctx, id)
		switch {
		case ctx.Err() != nil || err != nil: // a look that fails says nothing of the statement
		case q.Ended && q.Err != nil:
			ended = true
			return out, q.Err
		default:
			ended = q.Ended
		}
	}
	for token := ""; ; {
		var page warehouse.Result
		var next string
		if err := again(ctx, func() (err error) {
			page, _, next, err = r.db.Page(ctx, id, token)
			return err
		}); err != nil {
			return out, err
		}
		out.Columns = page.Columns
		out.Rows = append(out.Rows, page.Rows...)
		if token = next; token == "" {
			return out, nil
		}
	}
}

// A call that is throttled, or gets no answer, is made so often, with twice the wait
// each time. One refused call must not change what a storm of a seed asks, nor make the
// pipeline's state unknown while the storm itself takes its share of the rates.
const (
	mostAsks  = 5
	firstWait = 300 * time.Millisecond
)

func again(ctx context.Context, call func() error) error {
	wait := firstWait
	for n := 1; ; n++ {
		err := call()
		passing := errors.Is(err, warehouse.ErrThrottled) || errors.Is(err, warehouse.ErrUnavailable)
		if !passing || n == mostAsks || waitFor(ctx, wait) != nil {
			return err
		}
		wait *= 2
	}
}

// newestOrder is when the newest order was, or now where the warehouse does not
// tell. One from the future, by a producer's clock, does not count: a quarter before
// it is empty.
func (a *app) newestOrder(ctx context.Context, db warehouse.DB) time.Time {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	orders, _ := db.Names().Orders()
	until := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateTime)
	r, err := db.Run(ctx, warehouse.Token(), []string{"SELECT MAX(event_timestamp) FROM " + orders + " WHERE event_timestamp < " + warehouse.Quote(until)})
	if err != nil {
		fmt.Fprintln(a.stderr, "the warehouse does not say until when there are orders; the storm looks back from today:", err)
		return time.Now()
	}
	if len(r[0].Rows) == 0 || r[0].Rows[0][0].Null {
		fmt.Fprintln(a.stderr, orders, "is empty: results will be too")
		return time.Now()
	}
	at, err := warehouse.ParseTimestamp(r[0].Rows[0][0].Text)
	if err != nil {
		return time.Now()
	}
	return at
}
