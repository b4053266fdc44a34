package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// heard is what a place says of how it goes: lines like "look: sentence -> next step".
type heard []string

func (h heard) fine() bool {
	return len(h) > 0 && !slices.ContainsFunc(h, func(line string) bool { return !strings.HasPrefix(line, "fine: ") })
}

// tells reports whether one line has the state and all of the texts.
func (h heard) tells(s verdict.State, texts ...string) bool {
	return slices.ContainsFunc(h, func(line string) bool { return strings.HasPrefix(line, s.String()+": ") && holdsAll(line, texts) })
}

func linesOf(v verdict.Verdict) (out heard) {
	for _, f := range v.All() {
		out = append(out, f.State.String()+": "+f.Line())
	}
	return out
}

// places are all that tells how it goes.
var places = map[string]func(*scene) (heard, error){
	"the dashboard": func(s *scene) (heard, error) {
		var st struct{ Verdict verdict.Verdict }
		response, err := s.http.Get(s.page() + "/events")
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 4<<20)
		for state := false; lines.Scan(); {
			if data, is := strings.CutPrefix(lines.Text(), "data: "); is && state {
				err := json.Unmarshal([]byte(data), &st)
				return linesOf(st.Verdict), err
			}
			state = lines.Text() == "event: state" || state && lines.Text() != ""
		}
		return nil, errors.Join(errors.New("the stream of events ended"), lines.Err())
	},
	"/status": func(s *scene) (heard, error) {
		st, err := s.status(strings.TrimPrefix(s.page(), "http://"))
		return linesOf(st.Verdict), err
	},
	"/readyz": func(s *scene) (heard, error) {
		response, err := s.http.Get(s.page() + "/readyz")
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if why, is := strings.CutPrefix(lines[0], "not ready: "); is {
			lines = append(lines[1:], "act: "+why, "look: "+why)
		} else if lines = lines[1:]; len(lines) == 0 {
			lines = []string{"fine: ready"}
		}
		return lines, err
	},
	"the log": func(s *scene) (heard, error) {
		for _, line := range slices.Backward(strings.Split(s.teller().output(), "\n")) {
			var p struct{ Msg, State, Verdict, Next string }
			if json.Unmarshal([]byte(line), &p) == nil && p.Msg == "progress" {
				return heard{p.State + ": " + p.Verdict + " -> " + p.Next}, nil
			}
		}
		return nil, errors.New("no line of progress")
	},
	"status": func(s *scene) (heard, error) {
		out, _ := s.run("status", "--format", "json")
		var r struct{ Verdict verdict.Verdict }
		err := json.Unmarshal([]byte(out), &r)
		return linesOf(r.Verdict), err
	},
	"doctor": func(s *scene) (heard, error) {
		out, _ := s.run("doctor", "--format", "json")
		var all []finding
		err := json.Unmarshal([]byte(out), &all)
		var h heard
		for _, f := range all {
			if f.Check == "verdict" {
				h = append(h, map[level]string{levelOK: "fine", levelWarn: "look", levelFail: "act"}[f.Level]+": "+f.Detail+" -> "+f.Next)
			}
		}
		return h, err
	},
}

// scene is a stream that orders flow on, and workers that load them.
type scene struct {
	*fleet
	workers  []*member
	settings []string
	flowing  *process // publishes
	mu       sync.Mutex
}

// poor are the settings of a worker that asks often.
var poor = []string{"POLL_INTERVAL=1", "LOAD_INTERVAL=200ms"}

func newScene(t *testing.T, shards, workers int, settings ...string) *scene {
	s := &scene{fleet: newFleetOf(t, shards), settings: append(poor, settings...)}
	s.env = append(s.env, s.settings...)
	for range workers {
		s.workers = append(s.workers, s.join())
	}
	return s
}

// teller is the worker whose places are asked: the last one that was started.
func (s *scene) teller() *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workers[len(s.workers)-1]
}

func (s *scene) page() string { return "http://" + s.teller().address() }

func (s *scene) again() {
	m := s.join()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers = append(s.workers, m)
}

// flow lets orders flow, in place of those that did before; bad is the share that is
// rejected.
func (s *scene) flow(rate int, bad float64) {
	s.t.Helper()
	if s.flowing != nil {
		s.flowing.kill()
	}
	s.flowing = start(s.t, s.env, "analytics-worker", "publish", "--rate", fmt.Sprint(rate), "--count", "1000000", "--bad", fmt.Sprint(bad))
}

// quiet ends the flow of orders, with so many last ones.
func (s *scene) quiet(last int) {
	s.t.Helper()
	s.flowing.kill()
	s.must("publish", "--count", fmt.Sprint(last))
}

// ask asks the places side by side, each again and again, until all of them have
// answered as they should. It returns how long each took. What a place must not say
// any more once it has answered so is an error.
func (s *scene) ask(asked []string, right func(heard) bool, never func(heard) bool) map[string]time.Duration {
	s.t.Helper()
	began, took := time.Now(), make(map[string]time.Duration)
	last := make(map[string]heard)
	var mu sync.Mutex // guards took and last
	var all sync.WaitGroup
	left := func() int { mu.Lock(); defer mu.Unlock(); return len(asked) - len(took) }
	for _, name := range asked {
		all.Go(func() {
			done := false
			for first := true; time.Since(began) < patience && (first || left() > 0); first = false {
				h, err := places[name](s)
				mu.Lock()
				if err != nil {
					h = heard{"error: " + err.Error()}
				}
				last[name] = h
				switch {
				case done && never(h):
					s.t.Errorf("%s had told it, and says now: %q", name, h)
				case !done && right(h):
					done, took[name] = true, time.Since(began)
				}
				mu.Unlock()
				<-time.After(100 * time.Millisecond)
			}
		})
	}
	all.Wait()
	for _, name := range asked {
		if _, ok := took[name]; !ok {
			s.t.Errorf("%s does not say it; it says %q", name, last[name])
		}
	}
	return took
}

// form makes a call of the Query protocol's.
func (m *machine) form(text string) {
	m.t.Helper()
	request, err := http.NewRequest(http.MethodPost, m.url, strings.NewReader(text))
	if err != nil {
		m.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	m.do(request)
}
