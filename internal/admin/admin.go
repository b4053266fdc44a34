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
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// Config is what the pages show. What is optional may be nil or empty: the pages
// then do without.
type Config struct {
	Version     string
	Worker      string    // name of this worker
	Since       time.Time // when it started; zero = now
	Past        string    // file that keeps the last minutes over a restart; empty = none
	Stream      string
	Environment string // optional
	MemoryLimit int64  // bytes that the process keeps to; optional
	Status      func() worker.Status
	Verdict     func() verdict.Verdict // how it goes: all that the pages say of that
	Metrics     *metrics.Metrics
	Loads       func() verdict.Staged                    // how the workers load together; optional
	Leases      func() Leases                            // all shards of the stream; optional
	Sales       func(ctx context.Context) (Sales, error) // asks the warehouse; optional
	Recent      *Recent                                  // problems that were logged; optional
	Gatherer    prometheus.Gatherer                      // what /metrics shows; optional
	Log         *slog.Logger
}

// Leases is who has which shard of the stream, as this worker last saw it.
type Leases struct {
	Seen   time.Time // when the lease table was last read; zero = never
	Shards []Lease
	Alarms []string // what is wrong with them and does not mend itself, each with the next step
	// Workers are those that have a shard, by name, with what they say of themselves.
	Workers []verdict.Member
}

// Lease is one shard of the stream.
type Lease struct {
	Shard    string
	Owner    string // name of a worker; empty = nobody
	Term     int64
	Position string
	Ended    bool // read to its end
	// Until is the time before which all that arrived on it can be queried, as its owner
	// wrote, and Seen when that was. Zero = not known.
	Until, Seen time.Time
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
	now := time.Now()
	if c.Since.IsZero() {
		c.Since = now
	}
	s := &Site{c: c, page: p, feed: feed{patience: writeTime, viewers: make(map[*viewer]struct{})}}
	if c.Past != "" {
		if err := s.recall(now); err != nil {
			c.Log.Info("the dashboard begins with this start", "error", err)
		}
	}
	s.past.sample(now, c)
	return s, nil
}

// Limits on a client. None of them knows what we serve, so they are the least
// that a slow network needs.
const (
	headerTime    = 5 * time.Second
	writeTime     = 15 * time.Second // of a whole reply, and of one event of a stream of them
	idleTime      = time.Minute
	maxHeader     = 16 << 10
	scrapesAtOnce = 4
	scrapeTime    = 10 * time.Second
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
		status, text := readiness(s.c.Verdict())
		answer(w, status, text)
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

// readiness is what /readyz answers: 503 while something keeps the worker from its
// work. What else is not well is told beside it, and does not make it unready.
func readiness(v verdict.Verdict) (status int, text string) {
	stopped := v.Stopped()
	lines := make([]string, 0, 1+len(v.Others))
	status = http.StatusOK
	if len(stopped) > 0 {
		status = http.StatusServiceUnavailable
		lines = append(lines, "not ready: "+stopped[0].Line())
	} else {
		lines = append(lines, "ready")
	}
	for i, f := range v.All() {
		if f.State == verdict.Fine && i == 0 || len(stopped) > 0 && f == stopped[0] {
			continue
		}
		lines = append(lines, f.State.String()+": "+f.Line())
	}
	return status, strings.Join(lines, "\n")
}

// notReady says why a worker does not do its work, or nothing.
func (s *Site) notReady() string {
	if stopped := s.c.Verdict().Stopped(); len(stopped) > 0 {
		return stopped[0].Line()
	}
	return ""
}
