package main

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

const (
	// tellEvery is how often the manager is told how it goes, where that changes.
	tellEvery = time.Second
	// startAlive is for how much longer a start may take that gets on.
	startAlive = 90 * time.Second
	// longestStep is more than any call takes without a word (two minutes, of one that
	// moves megabytes). The watchdog of the unit gives twice that.
	longestStep = 150 * time.Second
	// afterDrain is what ending takes beyond the drain: tidying, the hand-over of the
	// leases, the last metrics.
	afterDrain = service.TidyTime + 15*time.Second
)

// manager is what systemd is told (sd_notify(3), Type=notify): that the worker is
// ready, that it gets on, that it stops, and a line of how it is. Where nothing of
// systemd's is in the environment all of it is nothing.
type manager struct {
	start pulse.Pulse // of what comes before the service has started

	log      *slog.Logger
	watchdog time.Duration // within which systemd wants to hear of us; 0 = it does not
	done     chan struct{} // closed to end telling
	running  sync.WaitGroup

	mu    sync.Mutex       // guards what follows
	s     *service.Service // nil until there is one
	self  string           // its name
	ready bool
	ends  bool   // draining
	last  string // the status told last

	// Of the telling goroutine alone.
	fed time.Time // when the watchdog was
	mum bool      // nothing can be told: said once
}

// tellManager tells systemd how the worker is until the manager's end.
func tellManager(log *slog.Logger) *manager {
	m := &manager{log: log, done: make(chan struct{})}
	m.start.Beat()
	var err error
	if m.watchdog, err = daemon.SdWatchdogEnabled(false); err != nil {
		log.Warn("the watchdog is not fed: what systemd says of it makes no sense", "error", err)
	}
	m.running.Go(func() {
		every := tellEvery
		if m.watchdog > 0 {
			every = min(every, m.watchdog/8)
		}
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			m.tell(time.Now())
			select {
			case <-tick.C:
			case <-m.done:
				return
			}
		}
	})
	return m
}

func (m *manager) end() {
	close(m.done)
	m.running.Wait()
}

// send tells systemd. That it cannot be told stops nothing.
func (m *manager) send(state ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(state, "\n")); err != nil && !m.mum {
		m.mum = true
		m.log.Warn("systemd cannot be told how the worker is", "error", err)
	}
}

// follow tells of the service from now on.
func (m *manager) follow(s *service.Service, self string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.s, m.self = s, self
}

// started reports whether there is a service, and it has started. The caller holds mu.
func (m *manager) started() bool { return m.s != nil && m.s.Started() }

// tell sends what has changed, and feeds the watchdog if the worker gets on.
func (m *manager) tell(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var state []string
	hangs := m.hangs(now)
	line := hangs
	if line == "" {
		line = "starting: waiting for credentials or the lease table; the log says more"
	}
	switch {
	case m.ends:
		line = m.last
	case m.started():
		st := m.s.Worker.Status()
		if !m.ready && settled(st, m.s.Holder.View(), m.self, now) {
			m.ready = true
			state = append(state, daemon.SdNotifyReady)
		}
		line = m.line(st, hangs, now)
	}
	if line != m.last {
		m.last = line
		state = append(state, "STATUS="+line)
	}
	// A drain is bounded by itself, and by what stopping asked for.
	if hangs == "" || m.ends {
		if !m.ready && !m.ends {
			state = append(state, extend(startAlive))
		}
		if m.watchdog > 0 && now.Sub(m.fed) >= m.watchdog/8 {
			m.fed = now
			state = append(state, daemon.SdNotifyWatchdog)
		}
	}
	if len(state) > 0 {
		m.send(state...)
	}
}

// stopping says that the worker drains, for as long as the limit, and what comes
// after takes. What the unit gives it otherwise may be less than a notice leaves.
func (m *manager) stopping(limit time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ends = true
	m.last = "stopping: loading what was read, within " + limit.Round(time.Second).String()
	m.send(daemon.SdNotifyStopping, "STATUS="+m.last, extend(limit+afterDrain))
}

func extend(d time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds())
}

// hanging is hangs, for others.
func (m *manager) hanging(now time.Time) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hangs(now)
}

// hangs names what does not get on, or nothing. Half of the watchdog's time is longer
// than any step takes; the other half is until systemd acts.
func (m *manager) hangs(now time.Time) string {
	pulses := map[string]*pulse.Pulse{"the start": &m.start}
	if m.started() {
		pulses = map[string]*pulse.Pulse{"the loader": &m.s.Loader, "looking after the leases": &m.s.Leases}
	}
	limit := longestStep
	if m.watchdog > 0 {
		limit = m.watchdog / 2
	}
	for name, p := range pulses {
		if silent := p.Silent(now); silent > limit {
			return fmt.Sprintf("%s hangs: it has not got on for %v", name, silent.Round(time.Second))
		}
	}
	return ""
}

// settled reports whether the worker has what it can have: shards, or the knowledge
// that others have all that there are.
func settled(st worker.Status, v lease.View, self string, now time.Time) bool {
	if len(st.Shards) > 0 {
		return true
	}
	for _, r := range v.Rows {
		if !r.Ended() && (r.Owner == self || !r.Live(now, v.TTL)) {
			return false
		}
	}
	return len(v.Rows) > 0
}

// line is the truth in a line: what is wrong first, as systemctl shows the beginning.
func (m *manager) line(st worker.Status, hangs string, now time.Time) string {
	line := plural.Of(len(st.Shards), "shard")
	if st.Behind > 0 {
		line += ", " + st.Behind.Round(time.Second).String() + " behind"
	} else if len(st.Shards) > 0 {
		line += ", caught up"
	}
	if st.Writes.LastSuccess.IsZero() {
		line += ", nothing loaded yet"
	} else {
		line += ", last load or claim at " + st.Writes.LastSuccess.UTC().Format("15:04:05") + " UTC"
	}
	if !st.Writes.Waiting.IsZero() && now.Sub(st.Writes.Waiting) > slowAnswer {
		line += ", the warehouse has not answered since " + st.Writes.Waiting.UTC().Format("15:04:05") + " UTC"
	}
	why := hangs
	if v := m.s.Watch.Verdict(); why == "" && v.State != verdict.Fine {
		why = v.Line()
	}
	if why != "" {
		line = why + " (" + line + ")"
	}
	return printable(line)
}

// slowAnswer is after how long the wait for the warehouse is worth a word.
const slowAnswer = 10 * time.Second
