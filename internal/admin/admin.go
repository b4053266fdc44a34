// Package admin serves what a worker is doing over HTTP: for health checks, for
// scrapers and scripts, and for people, as a dashboard.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// Config is what the pages show. What is optional may be nil or empty: the pages
// then do without.
type Config struct {
	Version     string
	Worker      string // name of this worker
	Stream      string
	Environment string // optional
	MemoryLimit int64  // bytes that the process keeps to; optional
	Status      func() worker.Status
	Metrics     *metrics.Metrics
	Leases      func() Leases                            // all shards of the stream; optional
	Sales       func(ctx context.Context) (Sales, error) // asks the warehouse; optional
	Recent      *Recent                                  // problems that were logged; optional
	Gatherer    prometheus.Gatherer                      // what /metrics shows; optional
	Log         *slog.Logger
}

// Leases is who has which shard of the stream, as this worker last saw it.
type Leases struct {
	Seen    time.Time // when the lease table was last read; zero = never
	Shards  []Lease
	Failing error    // of the last look at the leases and shards; nil = none
	Alarms  []string // what is wrong with them and does not mend itself, each with the next step
}

// Lease is one shard of the stream.
type Lease struct {
	Shard    string
	Owner    string // name of a worker; empty = nobody
	Term     int64
	Position string
	Ended    bool // read to its end
}

// Site is the pages of one worker.
type Site struct {
	c    Config
	page page
	feed feed
	past past
}

// New returns the pages. They show something once Serve runs.
func New(c Config) (*Site, error) {
	p, err := newPage()
	if err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Recent == nil {
		c.Recent = NewRecent()
	}
	s := &Site{c: c, page: p, feed: feed{patience: writeTime, viewers: make(map[*viewer]struct{})}}
	s.past.sample(time.Now(), c)
	return s, nil
}

// Limits on a client. None of them knows what we serve, so they are the least
// that a slow network needs.
const (
	headerTime     = 5 * time.Second
	writeTime      = 15 * time.Second // of a whole reply, and of one event of a stream of them
	idleTime       = time.Minute
	maxHeader      = 16 << 10
	scrapesAtOnce  = 4
	scrapeTime     = 10 * time.Second
	leasesStaleFor = time.Minute // after which they say nothing about now
)

// Serve answers on the listener until ctx ends. It closes the listener.
func (s *Site) Serve(ctx context.Context, l net.Listener) error {
	handler := s.Handler()
	if onLoopback(l.Addr().String()) {
		handler = namedLocally(handler)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeader, ConnState: new(connections).watch, ErrorLog: slog.NewLogLogger(s.c.Log.Handler(), slog.LevelDebug),
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.run(ctx)
	}()
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.Serve(l)
	stopping := ctx.Err() != nil
	cancel()
	<-ended
	if stopping || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the HTTP pages on %s: %w", l.Addr(), err)
}

// Handler serves the pages.
func (s *Site) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := s.notReady(time.Now()); why != "" {
			answer(w, http.StatusServiceUnavailable, "not ready: "+why)
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(s.status(time.Now()))
	})
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /{$}", s.page.serve)
	if s.c.Gatherer != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.c.Gatherer, promhttp.HandlerOpts{
			ErrorLog: scrapeLog{s.c.Log}, ErrorHandling: promhttp.ContinueOnError,
			MaxRequestsInFlight: scrapesAtOnce, Timeout: scrapeTime,
		}))
	}
	return guarded(mux)
}

// scrapeLog logs what goes wrong with a scrape under one message. As it comes, the
// text names the connection: no two would be the same, and none would be counted
// as the repeat of another.
type scrapeLog struct{ log *slog.Logger }

func (s scrapeLog) Println(v ...any) {
	s.log.Warn("answering a scrape of /metrics failed", "error", strings.TrimSpace(fmt.Sprintln(v...)))
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}

// guarded sets the headers of every answer. Nothing is for other sites, so there
// is no CORS, and nothing may be framed.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func onLoopback(addr string) bool {
	a, err := netip.ParseAddrPort(addr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// namedLocally refuses requests for a host that is not this machine: a page
// anywhere on the web can point a name of its own at 127.0.0.1 (DNS rebinding)
// and would otherwise read ours with the browser of whoever looks at it.
func namedLocally(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if a, err := netip.ParseAddr(host); host == "localhost" || err == nil && a.Unmap().IsLoopback() {
			next.ServeHTTP(w, r)
			return
		}
		answer(w, http.StatusMisdirectedRequest, "this server answers for 127.0.0.1 and localhost alone; set HTTP_ADDR to serve others")
	})
}

// warehouseWaitTime is after how long an answer of the warehouse, or of the
// dead-letter store, counts as missing: a paused cluster takes statements and does
// not start them.
const warehouseWaitTime = time.Minute

// readsFailFor is after how long a stream that no read comes through from counts
// as not read: a throttle or a broken connection passes sooner.
const readsFailFor = time.Minute

func (s *Site) notReady(now time.Time) string {
	if s.c.Leases == nil {
		return NotReady(s.c.Status(), nil, now)
	}
	leases := s.c.Leases()
	return NotReady(s.c.Status(), &leases, now)
}

// NotReady says why a worker does not do its work, or nothing. One that owns no
// shard is ready if it can see that there is none to have. Without leases (nil) it
// goes by the status alone.
func NotReady(st worker.Status, leases *Leases, now time.Time) string {
	why := slices.Concat(notWriting(st, now), notKeeping(st.Letters, now), notReading(st, now))
	if leases != nil {
		why = append(why, notOwning(st, *leases, now)...)
	}
	return strings.Join(why, "; ")
}

// notWriting, notKeeping, notReading and notOwning are the reasons that a part of the work has.

func notWriting(st worker.Status, now time.Time) []string {
	switch waited := now.Sub(st.Writes.Waiting); {
	case st.Writes.Failing != nil:
		return []string{"the warehouse refuses or cannot be reached: " + st.Writes.Failing.Error()}
	case !st.Writes.Waiting.IsZero() && waited > warehouseWaitTime:
		return []string{fmt.Sprintf("the warehouse has not answered for %v; is the cluster paused, resizing or overloaded, or does a session hold worker_load_lock? analytics-worker doctor tells", waited.Round(time.Second))}
	}
	return nil
}

func notKeeping(letters worker.WriteStatus, now time.Time) []string {
	const stops = "and nothing is loaded before it has what was rejected"
	switch waited := now.Sub(letters.Waiting); {
	case letters.Failing != nil:
		return []string{"the dead-letter store refuses or cannot be reached, " + stops + ": " + letters.Failing.Error()}
	case !letters.Waiting.IsZero() && waited > warehouseWaitTime:
		return []string{fmt.Sprintf("the dead-letter store has not answered for %v, %s", waited.Round(time.Second), stops)}
	}
	return nil
}

func notReading(st worker.Status, now time.Time) []string {
	if failed := now.Sub(st.Reads.Since); st.Reads.Failing != nil && failed > readsFailFor {
		return []string{fmt.Sprintf("no shard could be read for %v: %v", failed.Round(time.Second), st.Reads.Failing)}
	}
	return nil
}

func notOwning(st worker.Status, leases Leases, now time.Time) []string {
	switch {
	case len(leases.Alarms) > 0:
		return leases.Alarms[:1]
	case len(st.Shards) > 0:
	case leases.Seen.IsZero() && leases.Failing == nil:
		return []string{"the leases were not read yet"}
	case leases.Failing != nil && len(leases.Shards) == 0:
		return []string{"the leases cannot be looked after: " + leases.Failing.Error()}
	case now.Sub(leases.Seen) > leasesStaleFor:
		return []string{fmt.Sprintf("the leases could not be read for %v; see the log", now.Sub(leases.Seen).Round(time.Second))}
	}
	return nil
}
