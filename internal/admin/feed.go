package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

const (
	// tickEvery is how often a dashboard hears of its worker. To gather and encode
	// the state is most of what observing costs, so it is not oftener.
	tickEvery  = 2 * time.Second
	maxViewers = 500
	// salesEvery is the least time between questions to the warehouse; a slow one
	// is asked for no more than a tenth of the time. Each question keeps a
	// Serverless workgroup awake, and is paid for as a minute of it.
	salesEvery = 30 * time.Second
	salesShare = 10
	salesTime  = 30 * time.Second
)

// Sales is what the warehouse says of the last hour, from its rollups.
type Sales struct {
	At      time.Time `json:"at"`      // when the warehouse was asked
	Minutes []Minute  `json:"minutes"` // those with orders, oldest first
	Stores  []Store   `json:"stores"`  // by revenue, highest first
	// ArrivedUntil is the completeness watermark over all shards of the stream,
	// whoever loads them. Null = not known.
	ArrivedUntil *time.Time `json:"arrived_until"`
	// Shards is the same of each shard, as of its last load; without those of which it is not known.
	Shards map[string]time.Time `json:"-"`
}

// Minute is the orders of one minute, by event time.
type Minute struct {
	At      time.Time `json:"at"`
	Orders  int64     `json:"orders"`
	Revenue float64   `json:"revenue"`
}

// Store is the orders of one store.
type Store struct {
	ID      string  `json:"id"`
	Orders  int64   `json:"orders"`
	Revenue float64 `json:"revenue"`
}

// feed passes the same state on to all viewers, encoded once.
type feed struct {
	patience time.Duration // with a client that does not take an event

	mu      sync.Mutex // guards what follows
	viewers map[*viewer]struct{}
	sales   json.RawMessage      // of a Sales, encoded once: it is most of a state; nil = not known
	loaded  map[string]time.Time // its Shards
	failed  string               // why sales are old; empty = they are not
	nextAsk time.Time
	asking  bool
}

// viewer is one open dashboard. next holds the newest event that it has not
// taken: a slow one misses events rather than queue them.
type viewer struct{ next chan []byte }

// state is one event of the dashboard's stream.
type state struct {
	Status
	Sales      json.RawMessage `json:"sales"` // null = not known yet, or not available
	SalesError string          `json:"sales_error,omitempty"`
	// Docs are sections of the handbook about what the verdict found, by cause.
	Docs map[verdict.Cause]string `json:"docs"`
}

// run keeps the past and feeds the viewers until ctx ends. While nobody watches
// it counts, and asks the warehouse nothing.
func (s *Site) run(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	sampled, keeping := time.Now(), keeper{site: s, last: time.Now()}
	defer func() { keeping.write(time.Now()) }()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if now.Sub(keeping.last) >= keepEvery {
				keeping.write(now)
			}
			if now.Sub(sampled) >= sampleEvery {
				sampled = now
				s.past.sample(now, s.c)
			}
			if s.feed.watched() {
				if s.c.Sales != nil && s.feed.mayAsk(now) {
					asking.Go(func() { s.askSales(ctx) })
				}
				s.feed.tell(s.event(now))
			}
		}
	}
}

// event is the present state as an event of the stream.
func (s *Site) event(now time.Time) []byte {
	st := state{Status: s.status(now)}
	st.Docs = docs(st.Verdict)
	s.feed.mu.Lock()
	st.Sales, st.SalesError = s.feed.sales, s.feed.failed
	s.feed.mu.Unlock()
	return encode("state", st)
}

// loadedUntil is how far the warehouse says that each shard is loaded, as it was last
// asked; nil = it was not.
func (f *feed) loadedUntil() map[string]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loaded
}

func encode(name string, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil { // a float that JSON cannot write
		text = []byte("{}")
	}
	return append(append([]byte("event: "+name+"\ndata: "), text...), "\n\n"...)
}

func (s *Site) askSales(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, salesTime)
	defer cancel()
	began := time.Now()
	var text []byte
	sales, err := s.c.Sales(ctx)
	if err == nil {
		text, err = json.Marshal(sales)
	}
	f := &s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asking = false
	f.nextAsk = began.Add(max(salesEvery, salesShare*time.Since(began)))
	if err != nil { // it took as long as the patience, which says nothing of the cost
		f.nextAsk = time.Now().Add(salesEvery)
		f.failed = clip(err.Error())
		return
	}
	f.sales, f.loaded, f.failed = text, sales.Shards, ""
}

// mayAsk reports whether it is time to ask the warehouse, and takes the turn.
func (f *feed) mayAsk(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asking || now.Before(f.nextAsk) {
		return false
	}
	f.asking = true
	return true
}

func (f *feed) watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.viewers) > 0
}

// tell hands an event to every viewer without waiting for any.
func (f *feed) tell(event []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for v := range f.viewers {
		select {
		case v.next <- event:
		default: // it has not taken the last one: replace it
			select {
			case <-v.next:
			default:
			}
			v.next <- event // only we send, so there is room now
		}
	}
}

func (f *feed) join() *viewer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.viewers) >= maxViewers {
		return nil
	}
	v := &viewer{next: make(chan []byte, 1)}
	f.viewers[v] = struct{}{}
	return v
}

func (f *feed) leave(v *viewer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.viewers, v)
}

// events streams the state, beginning with the past, until the client goes or
// does not take an event in time.
func (s *Site) events(w http.ResponseWriter, r *http.Request) {
	v := s.feed.join()
	if v == nil {
		w.Header().Set("Retry-After", "30")
		answer(w, http.StatusServiceUnavailable, "too many dashboards are open")
		return
	}
	defer s.feed.leave(v)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // the server's would end the stream
	send := func(event []byte) bool {
		if control.SetWriteDeadline(time.Now().Add(s.feed.patience)) != nil {
			return false
		}
		_, err := w.Write(event)
		return err == nil && control.Flush() == nil
	}
	first := append([]byte("retry: 2000\n"), encode("history", s.past.history())...)
	if !send(append(first, s.event(time.Now())...)) {
		return
	}
	for {
		select {
		case <-r.Context().Done():
			return
		case event := <-v.next:
			if !send(event) {
				return
			}
		}
	}
}
