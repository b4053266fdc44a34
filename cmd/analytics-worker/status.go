package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// statusOptions are the flags of status.
type statusOptions struct {
	format string
	watch  bool
	wide   bool
	every  time.Duration
	maxLag time.Duration
}

func (a *app) statusCommand() *cobra.Command {
	o := statusOptions{format: "table"}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show shards, owners, lag and how far everything is loaded",
		Long: `status asks the stream, the lease table and the warehouse, not the workers: it works from any machine with
credentials, and with the workers down. It looks at each shard where its loading stands, which takes one of
the five reads a second that a shard grants.

It begins with how it goes: fine, look or act, a sentence and the next step, from what it found and from what
each worker says of itself in the lease table. The dashboard, /readyz and the log say the same.

The workers tell their rate, what they read and have not loaded, their version and the address of their page in
the lease table, with each renewal; of a version that says less, a dash stands there. One without a shard is not
listed. Where they load together, loads says which of them loads for all, how many batches wait for it, and since
when the oldest does.

complete until is the time before which every record that arrived is queryable. An owner counts as alive when
it is seen to renew a lease, which takes up to 7 seconds to find out. The warehouse has 8 seconds to start a
statement and 30 to answer; everything else has 8. While it does not answer, the lease table tells the positions.

Times are UTC. With --format json they are RFC 3339, numbers are numbers, a null is what is not known, and the keys
stay: at, stream, stream_status, retention_hours, warehouse, complete_until, lag_millis, headroom_millis,
last_update, problems, verdict, and shards with id, state, owner, owner_alive, term, position, complete_until,
lag_millis and updated_at. With --watch each report is an object on a line of its own.

Status 0 means that all is well; 1 that something was found that needs a look, or could not be asked.`,
		Example: `  analytics-worker status
  analytics-worker status --watch
  analytics-worker status --format json --max-lag 5m | jq .lag_millis`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case !slices.Contains([]string{"table", "json"}, o.format):
				return usagef("--format %s: must be table or json", o.format)
			case o.every < time.Second:
				return usagef("--every %v: must be at least 1s", o.every)
			case o.maxLag < 0:
				return usagef("--max-lag %v: must not be negative", o.maxLag)
			}
			return a.status(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", o.format, "table or json")
	f.BoolVar(&o.watch, "watch", false, "show it again and again until Ctrl-C, in place on a terminal")
	f.BoolVar(&o.wide, "wide", false, "show terms, positions and versions, and the ids of shards in full")
	f.DurationVar(&o.every, "every", 5*time.Second, "how often with --watch")
	f.DurationVar(&o.maxLag, "max-lag", 0, "a lag above this needs a look; 0 = no bound")
	return cmd
}

func (a *app) status(ctx context.Context, o statusOptions) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	account, err := a.quietAccount(ctx, c)
	if err != nil {
		return err
	}
	defer account.Close()
	s, first := newSurvey(c, account, o.maxLag), true
	for {
		progress := newLine(ctx, a.stderr)
		s.tell = progress.say
		report := s.take(ctx)
		progress.done()
		if ctx.Err() != nil && o.watch {
			return nil // Ctrl-C is the way to end one
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := a.showStatus(o, report, first); err != nil {
			return err
		}
		first = false
		if !o.watch && len(report.Problems) > 0 {
			return errSilent
		}
		if !o.watch {
			return nil
		}
		timer := time.NewTimer(o.every)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// showStatus writes a report. With --watch on a terminal it takes the place of the one
// before; elsewhere each begins with its time, and JSON is an object a line.
func (a *app) showStatus(o statusOptions, r statusReport, first bool) error {
	if o.format == "json" {
		e := json.NewEncoder(a.stdout)
		if !o.watch {
			e.SetIndent("", "  ")
		}
		return e.Encode(r)
	}
	w := a.reporting(o.format)
	if t, ok := a.stdout.(*terminal); ok && o.watch && steerable(t) {
		var b bytes.Buffer
		if err := writeStatus(&b, o.wide, r); err != nil {
			return err
		}
		t.keep()
		// From the top left, line by line, and then nothing of the last one below: a
		// screen that is cleared first flickers.
		start := "\033[H"
		if first {
			start = "\033[2J\033[H"
		}
		text := fmt.Sprintf("%s (every %v; Ctrl-C ends it)\n\n%s", moment(&r.At), o.every, b.String())
		columns, lines := a.size(a.stdout)
		var page bytes.Buffer
		fmt.Fprint(&painter{w: &page, plain: !a.colorful(a.stdout)}, clip(text, columns, lines-1))
		_, err := io.WriteString(t.screen, start+strings.ReplaceAll(page.String(), "\n", "\033[K\n")+"\033[J")
		return err
	}
	if o.watch {
		if !first {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, "at "+moment(&r.At))
	}
	return writeStatus(w, o.wide, r)
}

// survey asks the stream, the lease table and the warehouse. What one of them
// does not tell is left out of the report and said in its problems.
type survey struct {
	config  config
	account *aws.Account
	maxLag  time.Duration
	tell    func(doing string) // what is waited for; may be nil

	mu          sync.Mutex // guards what follows
	summary     aws.Summary
	shards      []stream.Shard
	checkpoints map[string]warehouse.Checkpoint
	leases      map[string]lease.Row
	noLeases    bool            // the lease table is not there
	closed      map[string]bool // shards that are listed as open and were seen to be closed
	alive       map[string]bool // owners that were seen to renew a lease
	places      map[string]place
	asked       answers
}

// answers is how the questions ended.
type answers struct {
	stream, leases, warehouse error
	waited                    time.Duration // for the warehouse, where it did not answer in its time
	phase                     verdict.Phase // of the question that it did not answer
	reads                     map[string]error
}

// place is what lies ahead of a shard's position.
type place struct {
	unread time.Time // arrival of the oldest record that is not loaded; zero = there is none
	behind time.Duration
	known  bool
}

func newSurvey(c config, account *aws.Account, maxLag time.Duration) *survey {
	s := &survey{config: c, account: account, maxLag: maxLag}
	s.clear()
	return s
}

// clear forgets the last answers.
func (s *survey) clear() {
	s.summary, s.shards, s.checkpoints, s.leases, s.noLeases = aws.Summary{}, nil, nil, nil, false
	s.alive, s.places, s.closed = make(map[string]bool), make(map[string]place), make(map[string]bool)
	s.asked = answers{reads: make(map[string]error)}
}

// answerTime is when the reads of the shards have to be through, and placesTime what
// they have at least.
const (
	answerTime = quickTime + 3*time.Second/2
	placesTime = 3 * time.Second / 2
)

// take asks all of them side by side. Whatever does not answer in its time is
// reported as that.
func (s *survey) take(ctx context.Context) statusReport {
	s.clear()
	began := time.Now()
	short, cancel := quick(ctx)
	defer cancel()
	var asking, first sync.WaitGroup
	first.Go(func() { s.note(&s.asked.stream, s.askStream(short)) })
	first.Go(func() { s.note(&s.asked.warehouse, s.askWarehouse(ctx)) })
	asking.Go(func() { s.note(&s.asked.leases, s.askLeases(short)) })
	if s.tell != nil {
		s.tell("waiting for the stream and the warehouse")
	}
	first.Wait()
	if s.checkpoints == nil {
		asking.Wait() // the leases have copies of the positions
	}
	// Whoever asks has an answer within ten seconds, also where the warehouse took most of them.
	places, cancelPlaces := context.WithTimeoutCause(ctx, max(placesTime, answerTime-time.Since(began)), errQuickTime)
	defer cancelPlaces()
	s.askPlaces(places) // needs the shards and the positions
	asking.Wait()
	return s.report(time.Now())
}

func (s *survey) note(at *error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*at = err
}

func (s *survey) askStream(ctx context.Context) error {
	source := s.account.Stream(s.config.Stream)
	summary, err := source.Summary(ctx)
	if err != nil {
		return err
	}
	shards, err := source.Shards(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.summary, s.shards = summary, shards
	return err
}

func (s *survey) askWarehouse(ctx context.Context) error {
	ctx, question := ask(ctx)
	defer question.end()
	checkpoints, err := warehouse.Checkpoints(ctx, s.account.Redshift(s.config.Redshift), s.account.Stream(s.config.Stream).Name())
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked.waited, s.asked.phase = question.unanswered(ctx)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkpoints = make(map[string]warehouse.Checkpoint)
	for _, c := range checkpoints {
		s.checkpoints[c.Shard] = c
	}
	return nil
}

// Owners renew each lease every third of the 10 s that it lasts. One renewal may fail,
// or come late on a busy machine, and is no sign of a dead worker.
const (
	renewalSeen = 7 * time.Second
	wordSeen    = 4 * time.Second
	renewalPoll = 500 * time.Millisecond
)

// askLeases reads the leases, and again until every owner was seen to renew one
// or should have been: the table holds no time that would tell.
func (s *survey) askLeases(ctx context.Context) error {
	if s.config.LeaseTable == service.NoLeaseTable {
		return nil
	}
	table := s.account.LeaseTable(s.config.leaseTableName(s.account))
	before, err := table.List(ctx)
	if errors.Is(err, stream.ErrGone) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.noLeases = true // before the first worker came, or deleted; findings knows
		return nil
	}
	if err != nil {
		return err
	}
	owners := make(map[string]bool)
	s.mu.Lock()
	s.leases = make(map[string]lease.Row)
	for _, r := range before {
		s.leases[r.Shard] = r
		if r.Owner != "" {
			owners[r.Owner] = true
		}
	}
	s.mu.Unlock()
	began, deadline := time.Now(), time.NewTimer(renewalSeen)
	defer deadline.Stop()
	poll := time.NewTicker(renewalPoll)
	defer poll.Stop()
	for len(owners) > 0 || time.Since(began) < wordSeen && s.mute() {
		select {
		case <-poll.C:
		case <-deadline.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		rows, err := table.List(ctx)
		if err != nil {
			return err
		}
		s.mu.Lock()
		for _, r := range rows {
			b, known := s.leases[r.Shard]
			if r.Owner != "" && (!known || r.Counter != b.Counter || r.Owner != b.Owner) {
				s.alive[r.Owner] = true
				s.leases[r.Shard] = r
			}
			delete(owners, r.Owner) // once for all of its leases, if it was seen
			if r.Owner != "" && !s.alive[r.Owner] {
				owners[r.Owner] = true
			}
			if known && r.Owner == b.Owner && r.Word != b.Word {
				b.Word = r.Word
				s.leases[r.Shard] = b
			}
		}
		s.mu.Unlock()
	}
	return nil
}

// mute reports whether an owner that lives has not said yet how it is: one that has
// just begun does with its first renewal.
func (s *survey) mute() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := make(map[string]bool)
	for _, r := range s.leases {
		said[r.Owner] = said[r.Owner] || r.Word != ""
	}
	for owner := range s.alive {
		if !said[owner] {
			return true
		}
	}
	return false
}

// position is where a shard is loaded to: by the warehouse, or where that did not
// answer, by the copy that the lease table has of it, which is seconds older.
func (s *survey) position(shard string) (at stream.Position, known bool) {
	if s.checkpoints != nil {
		c, known := s.checkpoints[shard]
		return c.Position, known && !s.foreign(c)
	}
	r, known := s.leases[shard]
	ours := r.Stream.IsZero() || s.identity().IsZero() || r.Stream.Equal(s.identity())
	return r.Checkpoint, known && ours && r.Unreadable == "" && r.Checkpoint.Sequence != stream.Latest && !r.Checkpoint.IsZero()
}

// askPlaces reads a little of each shard from where its loading stands.
func (s *survey) askPlaces(ctx context.Context) {
	var all errgroup.Group
	all.SetLimit(16)
	for _, sh := range s.shards {
		at, known := s.position(sh.ID)
		if !known || at.Sequence == stream.ShardEnd && sh.Closed {
			continue
		}
		all.Go(func() error {
			var p place
			var err error
			if at.Sequence == stream.ShardEnd {
				err = s.askClosed(ctx, sh)
			} else {
				p, err = s.askPlace(ctx, sh, at)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil {
				s.asked.reads[sh.ID] = err
			} else if at.Sequence != stream.ShardEnd {
				s.places[sh.ID] = p
			}
			return nil
		})
	}
	_ = all.Wait() // no shard keeps another from being asked
}

// askClosed finds out whether a shard that was read to its end has one: a listing
// shows it tens of seconds late, and reading shows it at once.
func (s *survey) askClosed(ctx context.Context, sh stream.Shard) error {
	reader := s.account.Stream(s.config.Stream).Reader(sh, stream.Position{Sequence: stream.Latest})
	page, err := reader.Next(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed[sh.ID] = page.Ended
	return nil
}

// age is how long ago something arrived, by the stream's clock where ours is off: that
// one is known to the second or two. What is there has an age.
func (s *survey) age(arrived time.Time) time.Duration {
	now := time.Now()
	if service := s.account.ServiceTime(now); now.Sub(service).Abs() > 2*time.Second {
		now = service
	}
	return max(now.Sub(arrived), time.Millisecond)
}

func (s *survey) askPlace(ctx context.Context, sh stream.Shard, at stream.Position) (place, error) {
	reader := s.account.Stream(s.config.Stream).Reader(sh, at)
	// The record at the position itself comes first, and is left out.
	reader.Limit = 2
	var refused error // the last throttle
	for range 20 {    // pages may be empty while records lie ahead
		page, err := reader.Next(ctx)
		if errors.Is(err, stream.ErrThrottled) {
			refused = err
		} else if ctx.Err() != nil && refused != nil {
			return place{}, refused // time ran out over being throttled: that is the answer
		}
		if err != nil && !errors.Is(err, stream.ErrThrottled) {
			return place{}, err
		}
		if err == nil && len(page.Records) > 0 {
			arrived := page.Records[0].ArrivedAt
			return place{unread: arrived, behind: s.age(arrived), known: true}, nil
		}
		if err == nil && (page.Behind == 0 || page.Ended) {
			return place{known: true}, nil
		}
		timer := time.NewTimer(time.Until(reader.NotBefore()))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if refused != nil {
				return place{}, refused
			}
			return place{}, fmt.Errorf("read shard %s: %w", sh.ID, context.Cause(ctx))
		}
	}
	return place{}, refused
}

// owner is who has the shard's lease, "" for nobody.
func (s *survey) owner(shard string) string {
	if r := s.leases[shard]; r.Stream.IsZero() || s.identity().IsZero() || r.Stream.Equal(s.identity()) {
		return strings.TrimSpace(r.Owner)
	}
	return "" // the lease is of another stream's shard
}
