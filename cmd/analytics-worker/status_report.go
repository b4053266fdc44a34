package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// statusReport is what status prints. A null means that it is not known.
type statusReport struct {
	At             time.Time     `json:"at"`              // when it was asked
	Stream         string        `json:"stream"`          // its name
	StreamStatus   string        `json:"stream_status"`   // Kinesis's word; empty = not known
	RetentionHours float64       `json:"retention_hours"` // of the stream
	Warehouse      string        `json:"warehouse"`       // cluster or workgroup, and database
	CompleteUntil  *time.Time    `json:"complete_until"`  // every record that arrived before it is queryable
	LagMillis      *int64        `json:"lag_millis"`      // age of the oldest record that is not loaded; 0 = there is none
	HeadroomMillis *int64        `json:"headroom_millis"` // time until the oldest record that is not loaded is trimmed
	LastUpdate     *time.Time    `json:"last_update"`     // of a checkpoint, by a load or a claim
	Shards         []shardStatus `json:"shards"`          // those that the stream lists
	fleetReport
	Problems []string        `json:"problems"` // what needs a look, one line each
	Verdict  verdict.Verdict `json:"verdict"`  // what is worst, and what else was found
}

// shardStatus is one shard of the stream, or one that the warehouse remembers.
type shardStatus struct {
	ID            string     `json:"id"`             // shard id
	State         string     `json:"state"`          // open, closed (being read to its end), loaded (to its end), waiting (for its parents), trimmed
	Owner         string     `json:"owner"`          // worker that has the lease; empty = nobody
	OwnerAlive    *bool      `json:"owner_alive"`    // it was seen to renew
	Term          int64      `json:"term"`           // grows with each owner
	Position      string     `json:"position"`       // up to which it is loaded; empty = not known
	CompleteUntil *time.Time `json:"complete_until"` // what arrived on it before is queryable
	LagMillis     *int64     `json:"lag_millis"`     // age of its oldest record that is not loaded; 0 = there is none
	UpdatedAt     *time.Time `json:"updated_at"`     // when its checkpoint was written
}

func (s *survey) report(now time.Time) statusReport {
	r := statusReport{
		At: now.UTC(), Stream: s.account.Stream(s.config.Stream).Name(), StreamStatus: s.summary.Status,
		RetentionHours: s.summary.Retention.Hours(), Warehouse: s.config.warehouseName(), Shards: []shardStatus{},
		fleetReport: s.fleet(),
	}
	unfinished := make(map[string]bool) // shards that are listed and not loaded to their end
	for _, sh := range s.shards {
		unfinished[sh.ID] = !s.over(sh)
	}
	var complete []time.Time
	measured := len(s.shards) > 0
	for _, sh := range s.shards {
		st := s.shard(sh, unfinished, now)
		r.Shards = append(r.Shards, st)
		if c := s.checkpoints[sh.ID].UpdatedAt; !c.IsZero() && (r.LastUpdate == nil || c.After(*r.LastUpdate)) {
			r.LastUpdate = &c
		}
		if st.State == "loaded" || st.State == "waiting" { // its parents hold the watermark back
			continue
		}
		measured = measured && st.LagMillis != nil
		if st.CompleteUntil == nil {
			complete = append(complete, time.Time{})
		} else {
			complete = append(complete, *st.CompleteUntil)
		}
		if st.LagMillis != nil && (r.LagMillis == nil || *st.LagMillis > *r.LagMillis) {
			r.LagMillis = st.LagMillis
		}
	}
	least := r.LagMillis // of the shards that are known
	if until := stream.Watermark(complete); !until.IsZero() {
		r.CompleteUntil = &until
	}
	if !measured { // one that is not known may be hours behind
		r.LagMillis = nil
	}
	if r.LagMillis != nil && s.summary.Retention > 0 {
		room := s.summary.Retention.Milliseconds() - *r.LagMillis
		r.HeadroomMillis = &room
	}
	r.Verdict = verdict.Of(s.facts(r, least, now))
	r.Problems = []string{}
	for _, f := range r.Verdict.All() {
		if f.State != verdict.Fine {
			r.Problems = append(r.Problems, f.Line())
		}
	}
	if r.LagMillis != nil && s.maxLag > 0 && *r.LagMillis > s.maxLag.Milliseconds() {
		r.Problems = append(r.Problems, fmt.Sprintf("the lag of %s is above %v", millis(r.LagMillis), s.maxLag))
	}
	return r
}

func (s *survey) shard(sh stream.Shard, unfinished map[string]bool, now time.Time) shardStatus {
	st := shardStatus{ID: sh.ID, State: "open", Owner: s.owner(sh.ID), Term: s.leases[sh.ID].Term}
	if st.Owner != "" {
		alive := s.alive[st.Owner]
		st.OwnerAlive = &alive
	}
	c, claimed := s.checkpoints[sh.ID]
	if claimed {
		st.Position, st.Term, st.UpdatedAt = c.Position.String(), c.Term, &c.UpdatedAt
	} else if at, known := s.position(sh.ID); known {
		st.Position = at.String()
	}
	p := s.places[sh.ID]
	switch {
	case s.over(sh):
		st.State = "loaded"
		return st
	case !claimed && s.checkpoints != nil && slices.ContainsFunc(sh.Parents, func(id string) bool { return unfinished[id] }):
		st.State = "waiting"
		return st
	case sh.Closed:
		st.State = "closed"
	}
	if p.known {
		until, lag := p.unread, p.behind.Milliseconds()
		if until.IsZero() {
			until = now
		}
		until = until.UTC()
		st.CompleteUntil, st.LagMillis = &until, &lag
	} else if !c.ArrivedUntil.IsZero() {
		st.CompleteUntil = &c.ArrivedUntil
	} else if until := s.leases[sh.ID].Until; !until.IsZero() && s.owner(sh.ID) != "" {
		st.CompleteUntil = &until
	}
	return st
}

// writeStatus writes a report for people. wide is with terms, positions and whole ids.
func writeStatus(w io.Writer, wide bool, r statusReport) error {
	fmt.Fprintf(w, "%s: %s\n", strings.ToUpper(r.Verdict.State.String()), printable(r.Verdict.Says))
	if next := r.Verdict.Step(); next != "" {
		fmt.Fprintf(w, "  -> %s\n", printable(next))
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if r.StreamStatus == "" {
		fmt.Fprintf(tw, "stream\t%s, not known\n", r.Stream)
	} else {
		fmt.Fprintf(tw, "stream\t%s %s, %s, %gh retention\n", r.Stream, strings.ToLower(r.StreamStatus), plural.Of(len(r.Shards), "shard"), r.RetentionHours)
	}
	fmt.Fprintf(tw, "warehouse\t%s\n", r.Warehouse)
	fmt.Fprintf(tw, "last update\t%s\n", moment(r.LastUpdate))
	fmt.Fprintf(tw, "complete until\t%s\n", moment(r.CompleteUntil))
	fmt.Fprintf(tw, "lag\t%s\n", millis(r.LagMillis))
	fmt.Fprintf(tw, "loading\t%s\n", r.flow())
	if r.Staged != nil {
		fmt.Fprintf(tw, "loads\t%s\n", printable(r.Staged.Says()))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	if len(r.Shards) > 0 {
		fmt.Fprintln(w)
		head := "SHARD\tSTATE\tLAG\tALIVE\tOWNER"
		if wide {
			head += "\tTERM\tPOSITION"
		}
		fmt.Fprintln(tw, head)
		for _, s := range r.Shards {
			if !wide {
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", printable(shortShard(s.ID)), s.State, millis(s.LagMillis), yesNo(s.OwnerAlive), dash(printable(s.Owner)))
				continue
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", printable(s.ID), s.State, millis(s.LagMillis), yesNo(s.OwnerAlive), dash(printable(s.Owner)),
				s.Term, dash(s.Position))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	if err := r.write(w, wide, r.At); err != nil {
		return err
	}
	for _, p := range r.Problems {
		fmt.Fprintln(w, "! "+printable(p))
	}
	return nil
}

func moment(t *time.Time) string {
	if t == nil {
		return "not known"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func millis(n *int64) string {
	if n == nil {
		return "-"
	}
	d := time.Duration(*n) * time.Millisecond
	if d > 10*time.Second {
		d = d.Round(time.Second)
	}
	return d.String()
}

func yesNo(b *bool) string {
	switch {
	case b == nil:
		return "-"
	case *b:
		return "yes"
	}
	return "no"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
