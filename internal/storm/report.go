package storm

import (
	"math"
	"slices"
	"time"
)

// Report is what a storm was asked for and what became of it. Times are in
// seconds, shares in percent.
type Report struct {
	Completed bool    `json:"completed"` // it ran its full time
	Asked     Asked   `json:"asked"`
	Seconds   float64 `json:"seconds"`

	CPU        CPUReport      `json:"cpu"`
	Queries    Counts         `json:"queries"`
	AtOnce     int            `json:"queries_at_once"`           // the most in flight
	QuotaFound int            `json:"quota_found"`               // active statements at which the service took no more; 0 = it never refused
	NotEnded   int            `json:"not_ended"`                 // queries that could not be cancelled
	NotEndedBy string         `json:"not_ended_error,omitempty"` // the last error of trying, which is Trouble
	Trouble    error          `json:"-"`
	QueueP50   float64        `json:"queue_p50"`
	QueueP95   float64        `json:"queue_p95"`
	RunP50     float64        `json:"run_p50"`
	RunP95     float64        `json:"run_p95"`
	Slowest    []Ran          `json:"slowest"`
	Errors     map[string]int `json:"errors,omitempty"`
	Work       WorkReport     `json:"work"`
	Figures    FigureReport   `json:"figures"`
	// Checksum is over the results of the first ChecksumOf queries, which is 16 as
	// soon as those have finished: two storms of a seed over the same data have the
	// same one. Checksums are those over the first 1, 2, 4, 8 and so on: storms that
	// got further can be compared by more.
	Checksum   string          `json:"checksum"`
	ChecksumOf int             `json:"checksum_queries"`
	Checksums  []Prefix        `json:"checksums"`
	Lost       []int           `json:"lost,omitempty"` // queries that were given up after some tries; what is behind them is in no checksum
	Unread     int             `json:"unread_pages"`   // of results that waited to be read at the end
	Freshness  FreshnessReport `json:"freshness"`
	Alarms     []Alarm         `json:"alarms"`
	PerSecond  []Second        `json:"per_second"`
}

// Asked is what the storm was asked for.
type Asked struct {
	Seconds     float64 `json:"seconds"`
	CPU         float64 `json:"cpu"`
	Concurrency int     `json:"concurrency"`
	Seed        uint64  `json:"seed"`
	// MaxRows and Until decide, with the seed, what is asked: storms that differ in
	// one of them have other checksums. Until is the day before which the quarter ends.
	MaxRows int    `json:"max_rows"`
	Until   string `json:"until"`
}

// CPUReport is how the CPU was held, after the first 15 s. A storm that was not
// longer is reported whole.
type CPUReport struct {
	Of     string  `json:"of"` // what was measured
	Mean   float64 `json:"mean"`
	Own    float64 `json:"own"`     // of it this process's; the rest is the warehouse's, where it is on this machine, and everybody else's
	Worst  float64 `json:"off_10s"` // the largest deviation of a mean over 10 s from the target
	Judged bool    `json:"judged"`  // it was long enough for one such mean
}

// WorkReport is what the processors did.
type WorkReport struct {
	RealPages int64   `json:"real_pages"`
	MadePages int64   `json:"made_pages"`
	RealShare float64 `json:"real_share"` // of their time
	SHA256    string  `json:"last_sha256"`
	MD5       string  `json:"last_md5"`
}

// FigureReport are the revenue metrics over all results.
type FigureReport struct {
	Amounts int     `json:"amounts"`
	Sum     float64 `json:"sum"`
	Mean    float64 `json:"mean"`
	Spread  float64 `json:"standard_deviation"`
	Growth  float64 `json:"compound_growth"`
	Largest float64 `json:"largest"`
}

// FreshnessReport is the age of the pipeline's completeness watermark; -1 = not
// known.
type FreshnessReport struct {
	Before float64 `json:"before"`
	P50    float64 `json:"p50"`
	P99    float64 `json:"p99"`
	Most   float64 `json:"most"`
	After  float64 `json:"after"`
}

// checksumOf is over how many queries the storm's checksum is: few enough for any
// storm that lasts some seconds.
const checksumOf = 16

// settling is how long the loop has before it is judged, and window over what.
const (
	settling = 15
	window   = 10
)

func (s *storm) report(took time.Duration, whole bool, left int) *Report {
	m, l := s.c.Metrics, s.launcher.limit.state()
	after := s.freshAge()
	unread, _ := s.launcher.shelf.state()
	_, highest := s.launcher.state()
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.stats.figures
	r := &Report{
		Completed: whole, Seconds: took.Seconds(),
		Asked: Asked{
			Seconds: s.c.Duration.Seconds(), CPU: 100 * s.c.Target, Concurrency: s.c.Concurrency, Seed: s.c.Seed,
			MaxRows: s.c.Sequence.Rows(), Until: s.c.Sequence.Until().Format(time.DateOnly),
		},
		CPU:     cpuReport(s.meter.About(), 100*s.c.Target, s.seconds),
		Queries: s.stats.counts, AtOnce: highest, QuotaFound: l.found, NotEnded: left,
		QueueP50: m.QueueTime.Quantile(0.5).Seconds(), QueueP95: m.QueueTime.Quantile(0.95).Seconds(),
		RunP50: m.ExecutionTime.Quantile(0.5).Seconds(), RunP95: m.ExecutionTime.Quantile(0.95).Seconds(),
		Slowest: append([]Ran{}, s.stats.slowest...), Errors: s.stats.errors,
		Work: WorkReport{
			RealPages: s.pool.real.pages.Load(), MadePages: s.pool.made.pages.Load(), RealShare: 100 * (1 - s.madeShare()),
			SHA256: s.stats.lastSHA, MD5: s.stats.lastMD5,
		},
		Figures: figureReport(f), Checksums: append([]Prefix{}, s.stats.marks...), Lost: s.stats.lost, Unread: unread,
		Freshness: freshnessReport(s.before, after, s.seconds),
		Alarms:    judge(Alarms(), s.began, s.seconds), PerSecond: append([]Second{}, s.seconds...),
	}
	if left > 0 && s.launcher.trouble != nil {
		r.Trouble, r.NotEndedBy = s.launcher.trouble, s.launcher.trouble.Error()
	}
	for _, c := range r.Checksums {
		if c.Queries <= checksumOf {
			r.Checksum, r.ChecksumOf = c.Checksum, c.Queries
		}
	}
	return r
}

func figureReport(f figures) FigureReport {
	if f.n == 0 {
		return FigureReport{}
	}
	n := float64(f.n)
	mean := f.sum / n
	return FigureReport{
		Amounts: f.n, Sum: f.sum, Mean: mean, Spread: math.Sqrt(max(0, f.squares/n-mean*mean)),
		Growth: math.Expm1(f.growth / n), Largest: f.largest,
	}
}

func cpuReport(about string, target float64, seconds []Second) CPUReport {
	out := CPUReport{Of: about}
	settled := seconds
	if len(seconds) > settling {
		settled = seconds[settling:]
	}
	sum := 0.0
	for i, s := range settled {
		out.Mean += s.CPU / float64(len(settled))
		out.Own += s.Own / float64(len(settled))
		sum += s.CPU
		if i >= window {
			sum -= settled[i-window].CPU
		}
		if i >= window-1 && len(seconds) > settling {
			out.Judged = true
			out.Worst = max(out.Worst, math.Abs(sum/window-target))
		}
	}
	return out
}

func freshnessReport(before, after float64, seconds []Second) FreshnessReport {
	out := FreshnessReport{Before: before, P50: -1, P99: -1, Most: -1, After: after}
	var known []float64
	for _, s := range seconds {
		if s.Freshness >= 0 {
			known = append(known, s.Freshness)
		}
	}
	if len(known) == 0 {
		return out
	}
	slices.Sort(known)
	at := func(q float64) float64 { return known[min(len(known)-1, int(q*float64(len(known))))] }
	out.P50, out.P99, out.Most = at(0.5), at(0.99), known[len(known)-1]
	return out
}
