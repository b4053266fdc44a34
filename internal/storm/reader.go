package storm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// readers is how many pages are fetched at once.
const readers = 4

// flight is a query from its submission until its result is processed.
type flight struct {
	attempt
	id    string
	began time.Time // when it was submitted
	due   int       // pages that the shelf counts for it; used by who holds the flight
	token string    // of the next page; the same

	mu      sync.Mutex // guards what follows
	sum     Checksum
	err     error // of a page that could not be processed
	pending int   // pages with the processors
	fetched bool  // the last page is with them too
}

// read fetches pages until ctx ends, and hands each to the processors. It fetches
// none before there is room for the one before, so that memory is bounded whatever
// the results are.
func (l *launcher) read(ctx context.Context) {
	for {
		f, err := l.shelf.take(ctx)
		if err != nil {
			return
		}
		rows, bytes, next, err := l.fetch(ctx, f)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.shelf.done(f)
			l.failed(f.attempt, fmt.Errorf("fetch the result of a query (%s): %w", f.Kind, err))
			continue
		}
		f.token = next
		f.mu.Lock()
		f.pending++
		f.fetched = next == ""
		f.mu.Unlock()
		p := page{query: f.Number, columns: rows.Columns, rows: rows.Rows, bytes: bytes, done: func(out processed, err error) { l.processed(ctx, f, out, err) }}
		select {
		case l.pool.pages <- p:
		case <-ctx.Done():
			return
		}
		if next == "" {
			l.shelf.done(f)
		} else {
			l.shelf.put(f)
		}
	}
}

// processed notes what became of a page, and with the last one of the query.
func (l *launcher) processed(ctx context.Context, f *flight, out processed, err error) {
	if err == nil {
		l.stats.processed(out)
	}
	f.mu.Lock()
	f.pending--
	f.sum.add(out.sum)
	f.err = errors.Join(f.err, err)
	over, sum, err := f.fetched && f.pending == 0, f.sum, f.err
	f.mu.Unlock()
	switch {
	case !over || ctx.Err() != nil:
	case err != nil:
		l.failed(f.attempt, err)
	default:
		l.stats.finished(f.Query, sum)
	}
}

// fetch gets one page: again while the service throttles, and some times where it
// does not answer.
func (l *launcher) fetch(ctx context.Context, f *flight) (rows warehouse.Result, bytes int, next string, err error) {
	tries := 0
	for rest := firstRest; ; rest = min(mostRest, 2*rest) {
		if err := turn(ctx, l.page); err != nil {
			return rows, 0, "", err
		}
		rows, bytes, next, err = l.house.Page(ctx, f.id, f.token)
		switch {
		case err == nil:
			l.stats.answered()
			l.pageSpeed(1.01)
			return rows, bytes, next, nil
		case errors.Is(err, warehouse.ErrThrottled):
			l.stats.refused()
			l.pageSpeed(0.7)
		case errors.Is(err, warehouse.ErrUnavailable) && tries < mostTries:
			tries++
			l.stats.unanswered(fmt.Errorf("fetch the result of a query (%s): %w", f.Kind, err))
		default:
			return rows, bytes, next, err
		}
		if pause(ctx, rest/2+rand.N(rest/2)); ctx.Err() != nil {
			return rows, bytes, next, context.Cause(ctx)
		}
	}
}

// leastPages is the rate of pages a second below which throttles do not bring it.
const leastPages = 1

// pageSpeed changes the rate of pages by a factor. The account's rate holds for
// others too, who may read more than half of it.
func (l *launcher) pageSpeed(by float64) {
	l.page.SetLimit(min(pageRate, max(leastPages, l.page.Limit()*rate.Limit(by))))
}
