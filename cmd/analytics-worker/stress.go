package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/storm"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// stressOptions are the flags and arguments of stress.
type stressOptions struct {
	format      string
	concurrency int
	leave       int
	maxRows     int
	seed        uint64
	nice        int
	dryRun      bool
	production  bool

	duration time.Duration
	target   float64 // percent
}

func (a *app) stressCommand() *cobra.Command {
	o := stressOptions{format: "table", concurrency: 500, leave: 20, maxRows: 100_000, nice: 10}
	cmd := &cobra.Command{
		Use:   "stress [SECONDS [CPU]]",
		Short: "Query Storm: many warehouse queries, and the CPU held at a target",
		Long: `stress is the end of a quarter on demand: Finance runs 500 queries for revenue reports at once, and every
result is turned into a report. It is for seeing alarms, scaling and dashboards react before the real day comes.

For SECONDS (600) it keeps as many analytical queries in flight as the Data API and the target allow, reads
every result page by page, and holds the CPU of this machine at CPU percent (90). Where results do not bring
it there, reports are made of made-up rows, and counted apart. It only reads; at the end, and on Ctrl-C, it
cancels what is still in flight. Its own priority is lowered, so that a worker on the same machine goes on.

What is measured goes to CloudWatch with the dimension Scenario=QueryStorm, and into a report at the end.`,
		Example: `  analytics-worker stress 60 50
  analytics-worker stress 600 90 --concurrency 200 --seed 7
  analytics-worker stress --dry-run
  analytics-worker stress 600 90 --format json > drill.json`,
		Args: func(_ *cobra.Command, args []string) error { return o.arguments(args) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			if !cmd.Flags().Changed("seed") {
				o.seed = drawSeed()
			}
			return a.stress(cmd.Context(), o)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if negative.MatchString(err.Error()) {
			return usagef("SECONDS and CPU must not be negative (%w); see %s --help", err, cmd.CommandPath())
		}
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	f := cmd.Flags()
	f.StringVar(&o.format, "format", o.format, "of the report: table or json")
	f.IntVar(&o.concurrency, "concurrency", o.concurrency, "queries in flight at most")
	f.IntVar(&o.leave, "leave-statements", o.leave, "active statements to leave to others once the account's limit is met")
	f.IntVar(&o.maxRows, "max-rows", o.maxRows, "rows of one result at most")
	f.Uint64Var(&o.seed, "seed", 0, "of the queries: the same seed over the same data gives the same checksum (default drawn)")
	f.IntVar(&o.nice, "nice", o.nice, "by how much to lower the priority of this process, 0 to 19")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the queries and what they would use, and send none")
	f.BoolVar(&o.production, "yes-in-production", false, "run although ENVIRONMENT says production")
	return cmd
}

// negative is what a negative number among the arguments makes: it looks like a flag.
var negative = regexp.MustCompile(`^unknown shorthand flag: .* in -[0-9.]`)

func drawSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:]) >> 32
}

// mostStress bounds a storm: a typing error must not load a warehouse for weeks.
const mostStress = 24 * time.Hour

func (o *stressOptions) arguments(args []string) error {
	o.duration, o.target = 600*time.Second, 90
	if len(args) > 2 {
		return usagef("stress takes SECONDS and CPU, and %d arguments were given; see analytics-worker stress --help", len(args))
	}
	if len(args) > 0 {
		n, err := strconv.ParseFloat(args[0], 64)
		if err != nil || !(n >= 1 && n <= mostStress.Seconds()) {
			return usagef("SECONDS %q: must be a number from 1 to %.0f", args[0], mostStress.Seconds())
		}
		o.duration = time.Duration(n * float64(time.Second))
	}
	if len(args) > 1 {
		n, err := strconv.ParseFloat(strings.TrimSuffix(args[1], "%"), 64)
		if err != nil || !(n >= 10 && n <= 100) {
			return usagef("CPU %q: must be a number of percent from 10 to 100", args[1])
		}
		o.target = n
	}
	return nil
}

func (o *stressOptions) check() error {
	switch {
	case !slices.Contains([]string{"table", "json"}, o.format):
		return usagef("--format %s: must be table or json", o.format)
	case o.concurrency < 1 || o.concurrency > 500:
		return usagef("--concurrency %d: must be from 1 to 500, which is what the Data API takes of an account at most", o.concurrency)
	case o.leave < 0:
		return usagef("--leave-statements %d: must not be negative", o.leave)
	case o.maxRows < 1 || o.maxRows > 10_000_000:
		return usagef("--max-rows %d: must be from 1 to 10000000", o.maxRows)
	case o.nice < 0 || o.nice > 19:
		return usagef("--nice %d: must be from 0 to 19", o.nice)
	}
	return nil
}

// isProduction tells a name that says production, also as a part, as in prod-eu or
// shop_production; preprod, pre-prod and non-prod do not.
func isProduction(environment string) bool {
	parts := strings.FieldsFunc(strings.ToLower(environment), func(r rune) bool { return !unicode.IsLetter(r) })
	is := slices.ContainsFunc(parts, func(p string) bool { return p == "prod" || p == "production" || p == "prd" })
	return is && !slices.ContainsFunc(parts, func(p string) bool { return p == "pre" || p == "non" || p == "not" })
}

// stormPrefix begins the names of a storm's queries in the Data API.
const stormPrefix = "query-storm-"

// stormName is the name of this storm alone: at its end it cancels whatever has it.
func stormName(seed uint64) string {
	return fmt.Sprintf("%s%d-%06x", stormPrefix, seed, drawSeed()&0xffffff)
}

func (a *app) stress(ctx context.Context, o stressOptions) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	if o.dryRun {
		return a.printStressPlan(o)
	}
	if isProduction(c.Environment) && !o.production {
		return usagef("ENVIRONMENT is %s: a storm would compete with everybody who uses that warehouse; if that is what you want, say --yes-in-production", c.Environment)
	}
	ctx, quit := untilNobodyLooks(ctx)
	defer quit()
	account, err := a.quietAccount(ctx, c)
	if err != nil {
		return err
	}
	defer account.Close()
	if o.nice > 0 {
		if err := lowerPriority(o.nice); err != nil {
			fmt.Fprintln(a.stderr, "the priority of this process could not be lowered:", err)
		}
	}
	if can := 100 * float64(runtime.GOMAXPROCS(0)) / float64(runtime.NumCPU()); can < o.target {
		fmt.Fprintf(a.stderr, "GOMAXPROCS keeps this process to %.0f %% of the CPU; it cannot bring it to %.0f %% by itself\n", can, o.target)
	}
	db := account.Redshift(c.Redshift)
	if err := a.tellLeftovers(ctx, db); err != nil {
		return err
	}
	m := new(metrics.Storm)
	stop, err := a.publishStorm(ctx, c, account, m)
	if err != nil {
		return err
	}
	display := a.newStormDisplay(a.stderr, o)
	display.say("asking the warehouse until when there are orders")
	name := stormName(o.seed)
	reads := stormReads{db, name}
	report, err := storm.Run(ctx, storm.Config{
		Warehouse: stormHouse{db}, Name: name,
		Sequence: storm.NewSequence(o.seed, a.newestOrder(ctx, reads), o.maxRows).In(db.Names()),
		Duration: o.duration, Target: o.target / 100, Concurrency: o.concurrency, Leave: o.leave, Seed: o.seed,
		Freshness: freshnessOf(reads, account.Stream(c.Stream).Name()),
		Show:      display.show, ShowEvery: display.every, Metrics: m, Log: a.logger(),
	})
	display.end()
	stop()
	if err != nil {
		return err
	}
	if err := a.writeStormReport(o.format, report); err != nil {
		return err
	}
	if report.NotEnded > 0 {
		why := ""
		if report.Trouble != nil {
			why = " (" + printable(withNextStep(report.Trouble)) + ")"
		}
		left := plural.Either(report.NotEnded, "query", "queries")
		fmt.Fprintf(a.stderr, "%s could not be cancelled%s; what is left ends by itself, within 24 hours at the latest\n", left, why)
	}
	if !report.Completed || report.NotEnded > 0 {
		return errSilent
	}
	return nil
}

// stormHouse is the warehouse as package storm wants it.
type stormHouse struct{ *aws.Redshift }

// Look tells how a query stands.
func (h stormHouse) Look(ctx context.Context, id string) (storm.Statement, error) {
	q, err := h.Query(ctx, id)
	return storm.Statement{Ended: q.Ended, Err: q.Err, HasResult: q.HasRows, Rows: q.Rows, Waited: q.Waited, Ran: q.Ran}, err
}

// Unended lists the ids of queries of that name that have not ended.
func (h stormHouse) Unended(ctx context.Context, prefix string) ([]string, error) {
	var ids []string
	left, err := h.Redshift.Unended(ctx, prefix)
	for _, q := range left {
		ids = append(ids, q.ID)
	}
	return ids, err
}

// untilNobodyLooks ends ctx also when the terminal is gone or nobody reads the
// output any more. Either would end the process where it is, with its queries in the
// warehouse: a session that drops, or Ctrl-C, which ends the tee behind a pipe too.
// What was started by nohup goes on.
func untilNobodyLooks(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{syscall.SIGPIPE}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signal.NotifyContext(ctx, signals...)
}

// lowerPriority makes every thread of the process nicer by so much, and with them
// those that they start: Linux keeps a priority for each thread. What was lowered
// before, as by nice, is not raised. It looks again until there is no other thread:
// one may have been started meanwhile.
func lowerPriority(by int) error {
	was, err := niceness(0)
	if err != nil {
		return err
	}
	to := min(19, was+by)
	for changed := true; changed; {
		changed = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			if err != nil {
				continue
			}
			if now, err := niceness(id); err != nil || now >= to {
				continue // it has ended
			}
			if err := syscall.Setpriority(syscall.PRIO_PROCESS, id, to); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
			changed = true
		}
	}
	return nil
}

// niceness is that of a thread; 0 stands for the caller's.
func niceness(id int) (int, error) {
	raw, err := syscall.Getpriority(syscall.PRIO_PROCESS, id)
	return 20 - raw, err // the system call counts the other way round
}

// tellLeftovers reports queries of a storm that was killed. It fails where nothing
// listens: a warehouse that is down is part of what a storm may meet, an endpoint that
// was never there is not.
func (a *app) tellLeftovers(ctx context.Context, db *aws.Redshift) error {
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	left, err := db.Unended(ctx, stormPrefix)
	if _, down := a.endpointDown(err); down {
		return err
	}
	if err != nil || len(left) == 0 {
		return nil
	}
	oldest := left[0].Created
	for _, q := range left {
		if q.Created.Before(oldest) {
			oldest = q.Created
		}
	}
	still := plural.Either(len(left), "query of another storm has", "queries of another storm have")
	fmt.Fprintf(a.stderr, "%s not ended (the oldest from %s); if none is running, one that was killed left that, and it ends by itself\n",
		still, oldest.UTC().Format(time.RFC3339))
	return nil
}

// freshnessOf asks how old the completeness watermark of the pipeline is.
func freshnessOf(db warehouse.DB, streamName string) func(context.Context) (time.Duration, bool) {
	return func(ctx context.Context) (time.Duration, bool) {
		checkpoints, err := warehouse.Checkpoints(ctx, db, streamName)
		if err != nil {
			return 0, false
		}
		until := warehouse.CompleteUntil(checkpoints)
		return max(0, time.Since(until)), !until.IsZero()
	}
}

// publishStorm publishes until the returned function is called.
func (a *app) publishStorm(ctx context.Context, c config, account *aws.Account, m *metrics.Storm) (stop func(), err error) {
	if c.MetricsInterval == 0 {
		return func() {}, nil
	}
	p, err := metrics.NewPublisher(cloudWatch{account.Metrics(metricsNamespace), c.MetricsInterval}, c.MetricsInterval, a.logger(),
		metrics.Set{Metrics: m, Dimensions: []metrics.Dimension{{Name: "Scenario", Value: "QueryStorm"}}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	return func() { cancel(); <-done }, nil
}

// stressPlan is what a storm would send.
type stressPlan struct {
	Seconds     float64       `json:"seconds"`
	CPU         float64       `json:"cpu"`
	Seed        uint64        `json:"seed"`
	Concurrency int           `json:"concurrency"`
	Number      int           `json:"number"`  // of queries, about
	Queries     []storm.Query `json:"queries"` // of the first round
	Usage       []string      `json:"usage"`
}

// printStressPlan prints what a storm would send.
func (a *app) printStressPlan(o stressOptions) error {
	names, err := a.names()
	if err != nil {
		return err
	}
	q := storm.NewSequence(o.seed, time.Now(), o.maxRows).In(names)
	plan := stressPlan{o.duration.Seconds(), o.target, o.seed, o.concurrency, q.Number(o.duration), nil, q.Usage(o.duration, o.concurrency)}
	for n := range storm.Round() {
		plan.Queries = append(plan.Queries, q.Query(n))
	}
	if o.format == "json" {
		return a.printJSON(plan)
	}
	fmt.Fprintf(a.stdout, `Query Storm for %v at %.0f %% CPU, seed %d: nothing is sent (--dry-run).

About %d queries, in rounds of %d. The days are those of a storm over orders until today; the first of each kind:
`, o.duration, o.target, o.seed, plan.Number, storm.Round())
	shown := make(map[string]bool)
	for _, query := range plan.Queries {
		if !shown[query.Kind] {
			shown[query.Kind] = true
			fmt.Fprintf(a.stdout, "\n-- %d %s, %s in a round\n%s\n", query.Number, query.Kind, plural.Of(q.Of(query.Kind), "time"), query.SQL)
		}
	}
	fmt.Fprintln(a.stdout, "\nWhat it would use:")
	for _, line := range plan.Usage {
		fmt.Fprintln(a.stdout, " ", line)
	}
	return nil
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
