package warehouse

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"
)

// Removing staged files is worth no load's time: what stays behind costs a
// little money until the bucket's lifecycle rule removes it.
const (
	mostStaged   = 10_000           // names that wait to be removed
	removeTime   = 30 * time.Second // of one call
	removalEvery = 10 * time.Minute // how often trouble with it is logged
)

// remover removes staged files behind the back of the loads, in one goroutine
// that lives while there are some.
type remover struct {
	staging Staging
	log     *slog.Logger

	mu     sync.Mutex         // guards what follows
	names  []string           // that wait
	idle   chan struct{}      // closed when the goroutine has ended; nil = none was started
	stop   context.CancelFunc // ends its calls
	closed bool               // no more are started
	left   int                // files left behind, since the start
	told   time.Time          // when that was last logged
	denied error              // that files may not be removed, as was last seen; nil = they may
}

// later has the files removed. It does not wait, and does not end with ctx.
func (r *remover) later(ctx context.Context, names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		r.leave(len(names), "the worker stops")
		return
	case len(r.names)+len(names) > mostStaged:
		r.leave(len(names), "too many wait to be removed")
		return
	}
	r.names = append(r.names, names...)
	if r.stop != nil {
		return
	}
	ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
	idle := make(chan struct{})
	r.idle = idle
	go func() {
		defer close(idle)
		r.run(ctx)
	}()
}

func (r *remover) run(ctx context.Context) {
	for {
		r.mu.Lock()
		names := r.names
		r.names = nil
		if len(names) == 0 {
			r.stop()
			r.stop = nil
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		err := r.remove(ctx, names)
		r.mu.Lock()
		if err == nil || errors.Is(err, fs.ErrPermission) {
			r.denied = err
		}
		if err != nil {
			r.leave(len(names), err.Error())
		}
		r.mu.Unlock()
	}
}

func (r *remover) remove(ctx context.Context, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, removeTime)
	defer cancel()
	return r.staging.Delete(ctx, names...)
}

// leave counts files that are left to the lifecycle rule, and says so now and
// then. The caller holds mu.
func (r *remover) leave(n int, why string) {
	r.left += n
	if time.Since(r.told) < removalEvery {
		return
	}
	r.told = time.Now()
	r.log.Warn("staged files not removed; the bucket's lifecycle rule will", "left_since_the_start", r.left, "error", why)
}

// close waits until all files are removed, or until ctx ends; then what is left
// is left to the lifecycle rule.
func (r *remover) close(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	idle := r.idle
	r.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
		return
	case <-ctx.Done():
	}
	r.mu.Lock()
	r.leave(len(r.names), "the worker stops")
	r.names = nil
	if r.stop != nil {
		r.stop()
	}
	r.mu.Unlock()
	<-idle
}
