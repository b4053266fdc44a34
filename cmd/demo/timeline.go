package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// trouble is something that goes wrong on purpose while the demo runs.
type trouble struct {
	at    float64 // share of the time, at the earliest
	begin func(context.Context) (said string, err error)
	over  func(ctx context.Context, share float64) (said string, err error)

	began time.Time
	ended bool
}

// timeline is the troubles of a run, one after another as far as they share the
// local AWS's faults. begin and over say nothing while it is not time yet.
type timeline struct {
	demo     *demo
	span     time.Duration
	started  time.Time
	troubles []*trouble
}

// demoSpan is what the shares of the troubles are of, where the demo has no end.
const demoSpan = 40 * time.Second

func newTimeline(d *demo) *timeline {
	t := &timeline{demo: d, span: time.Duration(d.seconds) * time.Second, started: time.Now()}
	if d.seconds == 0 {
		t.span = demoSpan
	}
	t.troubles = []*trouble{t.kill(), t.split(), t.loseReplies(), t.pause()}
	return t
}

// step begins what it is time for, and tells what is over. last is after the end of
// the time: nothing is left standing then.
func (t *timeline) step(ctx context.Context, say func(string), last bool) error {
	share := float64(time.Since(t.started)) / float64(t.span)
	if last {
		share = 1
	}
	for _, tr := range t.troubles {
		var said string
		var err error
		switch {
		case tr.ended || share < tr.at:
			continue
		case tr.began.IsZero():
			if said, err = tr.begin(ctx); said != "" {
				tr.began = time.Now()
			}
		default:
			if said, err = tr.over(ctx, share); said != "" {
				tr.ended = true
				said = fmt.Sprintf("%s (after %.0fs)", said, time.Since(tr.began).Seconds())
			}
		}
		if err != nil {
			return err
		}
		if said != "" {
			say(said)
		}
	}
	return nil
}

func (t *timeline) done() bool {
	return !slices.ContainsFunc(t.troubles, func(tr *trouble) bool { return !tr.ended })
}

// kill ends the second worker as a crash does.
func (t *timeline) kill() *trouble {
	var shards []string
	return &trouble{
		at: 0.1,
		begin: func(context.Context) (string, error) {
			victim := t.demo.workers[1]
			if len(victim.last.Shards) == 0 {
				return "", nil // it has no shards yet
			}
			for _, s := range victim.last.Shards {
				shards = append(shards, s.ID)
			}
			victim.killed = true
			if err := victim.cmd.Process.Kill(); err != nil {
				return "", err
			}
			return fmt.Sprintf("! worker 2 is killed (kill -9), with %d of the shards", len(shards)), nil
		},
		over: func(context.Context, float64) (string, error) {
			owned, open := t.demo.owned()
			for _, id := range shards {
				if open[id] && !owned[id] {
					return "", nil
				}
			}
			return "ok its shards are read by worker 1", nil
		},
	}
}

// split splits the first shard.
func (t *timeline) split() *trouble {
	s := t.demo.account.Stream("order-events")
	var parent stream.Shard
	return &trouble{
		at: 0.3,
		begin: func(ctx context.Context) (string, error) {
			shards, err := s.Shards(ctx)
			if err != nil || len(shards) == 0 {
				return "", err
			}
			parent = shards[0]
			if err := s.Split(ctx, parent); err != nil {
				return "", err
			}
			return "! shard 0 of the stream is split in two", nil
		},
		over: func(ctx context.Context, _ float64) (string, error) {
			shards, err := s.Shards(ctx)
			if err != nil {
				return "", err
			}
			owned, _ := t.demo.owned()
			children := 0
			for _, sh := range shards {
				if slices.Contains(sh.Parents, parent.ID) && owned[sh.ID] {
					children++
				}
			}
			if children < 2 {
				return "", nil
			}
			return "ok it is read to its end, and then its two children", nil
		},
	}
}

// lostReplies is how many replies of the warehouse get lost.
const lostReplies = 3

// loseReplies lets loads take effect without an answer, which is how rows come to be
// there twice elsewhere.
func (t *timeline) loseReplies() *trouble {
	return &trouble{
		at: 0.4,
		begin: func(ctx context.Context) (string, error) {
			fault := fmt.Sprintf(`[{"service":"redshift-data","operation":"BatchExecuteStatement","fault":"reply-lost","count":%d}]`, lostReplies)
			return fmt.Sprintf("! the next %d replies to loads are lost", lostReplies), t.faults(ctx, fault)
		},
		over: func(ctx context.Context, _ float64) (string, error) {
			if left, err := t.standing(ctx); err != nil || left > 0 {
				return "", err
			}
			return "ok they were lost; the loads were submitted again under the same token", nil
		},
	}
}

// pause pauses the warehouse for a part of the time.
func (t *timeline) pause() *trouble {
	const until = 0.75
	var resumed bool
	var before int64
	return &trouble{
		at: 0.55,
		begin: func(ctx context.Context) (string, error) {
			if !t.troubles[2].ended {
				return "", nil // the faults of both are one list
			}
			return "! the warehouse is paused: no statement starts", t.faults(ctx, `[{"service":"redshift-data","fault":"paused"}]`)
		},
		over: func(ctx context.Context, share float64) (string, error) {
			if !resumed {
				if share < until {
					return "", nil
				}
				resumed, before = true, t.demo.processed()
				return "", t.faults(ctx, `[]`)
			}
			if t.demo.processed() == before {
				return "", nil
			}
			return "ok the warehouse is resumed, and what waited is loaded", nil
		},
	}
}

func (t *timeline) faultsURL() string { return t.demo.env.endpoint() + "/_localaws/faults" }

// faults puts these in place of the local AWS's faults.
func (t *timeline) faults(ctx context.Context, list string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, t.faultsURL(), bytes.NewReader([]byte(list)))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask for a fault: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("ask for the fault %s: %s", list, response.Status)
	}
	return nil
}

// standing is how many faults are left.
func (t *timeline) standing(ctx context.Context) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.faultsURL(), nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("ask what faults stand: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	var list []json.RawMessage
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return 0, fmt.Errorf("read what faults stand: %w", err)
	}
	return len(list), nil
}
