package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/admin"
)

// member is one of the demo's workers.
type member struct {
	*process
	pages  string       // URL of its pages
	last   admin.Status // what it said last
	killed bool
}

// startWorker starts another worker, with pages of its own.
func (d *demo) startWorker(ctx context.Context) (*member, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("worker-%d", len(d.workers)+1)
	p, err := startAs(ctx, name, d.env.with("HTTP_ADDR", addr), d.dir, d.worker)
	if err != nil {
		return nil, err
	}
	m := &member{process: p, pages: "http://" + addr}
	d.workers = append(d.workers, m)
	return m, nil
}

// workersEnded is how a worker ended that nobody killed, nil while none has.
func (d *demo) workersEnded() error {
	for _, m := range d.workers {
		select {
		case <-m.ended:
			if !m.killed {
				return m.failed()
			}
		default:
		}
	}
	return nil
}

// statusTime bounds a question to a worker's pages.
const statusTime = time.Second

// ask asks every worker that lives how it goes. One that does not answer is starting.
func (d *demo) ask(ctx context.Context) {
	for _, m := range d.workers {
		if m.killed {
			continue
		}
		var st admin.Status
		if getJSON(ctx, m.pages+"/status", &st) == nil {
			m.last = st
		}
	}
}

func getJSON(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	return json.NewDecoder(response.Body).Decode(into)
}

// owned are the shards that workers read that live, and open those that are not
// loaded to their ends.
func (d *demo) owned() (owned, open map[string]bool) {
	owned, open = make(map[string]bool), make(map[string]bool)
	for _, m := range d.workers {
		if m.killed {
			continue
		}
		for _, s := range m.last.Shards {
			owned[s.ID] = true
		}
		for _, s := range m.last.Fleet {
			open[s.ID] = true
		}
	}
	return owned, open
}

// processed is how many records all workers have said to have settled.
func (d *demo) processed() (n int64) {
	for _, m := range d.workers {
		n += m.last.Processed
	}
	return n
}

func (d *demo) stopWorkers() {
	for _, m := range d.workers {
		m.stop()
	}
}
