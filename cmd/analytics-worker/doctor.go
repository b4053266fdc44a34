package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// level is how a check came out.
type level string

const (
	levelOK   level = "OK"
	levelWarn level = "WARN" // works and needs a look, or could not be found out
	levelFail level = "FAIL"
)

// finding is what one check found.
type finding struct {
	Check  string `json:"check"`          // what was looked at: settings, credentials, clock, stream, shards, leases, warehouse, tables, staging and so on
	Level  level  `json:"level"`          // OK, WARN (works and needs a look, or could not be found out) or FAIL
	Detail string `json:"detail"`         // what was found and what it means
	Next   string `json:"next,omitempty"` // the one next step
}

func (a *app) doctorCommand() *cobra.Command {
	format := "table"
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a worker needs, and say what to do",
		Long: `doctor checks settings, credentials, clock, stream, shards, leases, warehouse, tables, staging, dead letters
and metrics, side by side. The warehouse has 8 seconds to start a statement and 30 to answer, as a cold one takes its
time; everything else has 8. Each line is OK, WARN or FAIL with what it means and the next step. The last one is the
verdict on all of it, and on what the workers say of themselves: the dashboard, status and /readyz say the same.

It changes nothing. Whether it may write is found out by calls that are refused in any case: an update whose
condition no row meets, an object with a wrong checksum, the removal of one that is not there, a metric without a value.

Status 0 means that nothing failed, 1 that something did.`,
		Example: "  analytics-worker doctor\n  analytics-worker doctor --format json | jq -r '.[] | select(.level == \"FAIL\") | .next'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"table", "json"}, format) {
				return usagef("--format %s: must be table or json", format)
			}
			findings := a.runChecks(cmd.Context())
			if err := writeFindings(a.reporting(format), format, findings); err != nil {
				return err
			}
			if ctx := cmd.Context(); ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if slices.ContainsFunc(findings, func(f finding) bool { return f.Level == levelFail }) {
				return errSilent
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "table or json")
	return cmd
}

// How long a check waits for an answer. The first statements of a workgroup that
// slept, or of a shape that was never compiled, take a warehouse many seconds.
const (
	quickTime     = 8 * time.Second
	warehouseTime = 30 * time.Second
)

var (
	errQuickTime     = outOfTime(quickTime)
	errWarehouseTime = outOfTime(warehouseTime)
)

// outOfTime is the end of a question that nobody answered.
type outOfTime time.Duration

func (d outOfTime) Error() string { return "no answer within " + time.Duration(d).String() }

func (outOfTime) Is(target error) bool { return target == context.DeadlineExceeded }

// quick bounds a check of anything but the warehouse.
func quick(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, quickTime, errQuickTime)
}

// runChecks runs every check. Without settings or credentials there is nothing
// else to ask.
func (a *app) runChecks(ctx context.Context) []finding {
	c, err := loadConfig(a.lookup)
	var bad *configError
	if errors.As(err, &bad) {
		var out []finding
		for _, w := range bad.wrong {
			out = append(out, finding{"settings", levelFail, w.Error(), "correct the environment variable; analytics-worker help settings says what each takes"})
		}
		return out
	}
	settings := fmt.Sprintf("%s into %s by %s", c.Stream, c.warehouseName(), c.fillName())
	account, err := a.quietAccount(ctx, c)
	if err != nil && ctx.Err() != nil {
		return []finding{{"settings", levelOK, settings, ""}, {"others", levelWarn, "not found out: credentials, and all that is asked with them", ""}}
	}
	if err != nil {
		return []finding{
			{"settings", levelOK, settings, ""},
			{"credentials", levelFail, err.Error(), "give this machine credentials; nothing else can be checked without"},
		}
	}
	defer account.Close()
	region, found := account.Region()
	out := []finding{{"settings", levelOK, fmt.Sprintf("%s, region %s (%s)", settings, region, found), ""}}
	progress := newLine(ctx, a.stderr)
	defer progress.done()
	d := &doctor{config: c, account: account, survey: newSurvey(c, account, 0), tell: progress.say}
	return append(out, d.run(ctx)...)
}

// doctor is what the checks have in common.
type doctor struct {
	config  config
	account *aws.Account
	survey  *survey
	tell    func(waitingFor string)
}

// check is one of the things that are looked at side by side.
type check struct {
	name string
	time time.Duration // 0 = it bounds its parts itself
	why  error         // what is said once the time is up
	run  func(context.Context) []finding
}

// run runs the checks side by side and returns what they found in the order
// of the list.
func (d *doctor) run(ctx context.Context) []finding {
	checks := []check{
		{"credentials", quickTime, errQuickTime, d.checkCaller},
		{"the stream", 0, nil, d.checkStream},
		{"the leases", quickTime, errQuickTime, d.checkLeases},
		{"the warehouse", 0, nil, d.checkWarehouse},
		{"the tables", 0, nil, d.checkTables},
		{"staging", quickTime, errQuickTime, d.checkStaging},
		{"the copy role", 0, nil, d.checkCopyRole},
		{"dead letters", quickTime, errQuickTime, d.checkLetters},
		{"metrics", quickTime, errQuickTime, d.checkMetrics},
	}
	found := make([][]finding, len(checks))
	var mu sync.Mutex // guards waiting
	var waiting []string
	for _, c := range checks {
		waiting = append(waiting, c.name)
	}
	var all sync.WaitGroup
	for i, c := range checks {
		all.Go(func() {
			cctx, cancel := ctx, context.CancelFunc(func() {})
			if c.time > 0 {
				cctx, cancel = context.WithTimeoutCause(ctx, c.time, c.why)
			}
			found[i] = c.run(cctx)
			cancel()
			mu.Lock()
			defer mu.Unlock()
			if ctx.Err() != nil {
				found[i] = nil // doctor was ended, and nothing failed
				return
			}
			waiting = slices.DeleteFunc(waiting, func(name string) bool { return name == c.name })
			if len(waiting) > 0 {
				d.tell("waiting for " + strings.Join(waiting, ", "))
			}
		})
	}
	all.Wait()
	if len(waiting) > 0 {
		return append(slices.Concat(found...), finding{"others", levelWarn, "not found out: " + strings.Join(waiting, ", "), ""})
	}
	checked, r := slices.Concat(found...), d.survey.report(time.Now())
	if r.Verdict.Cause == verdict.EndpointDown {
		checked = d.reachable(checked)
	}
	return append(checked, d.checkTogether(r, checked)...)
}

// reachable are the findings without what nobody answered where nothing listens, and
// one that says so of all of these.
func (d *doctor) reachable(checked []finding) []finding {
	var out []finding
	var others []string
	for _, f := range checked {
		local := f.Check == "dead letters" && !strings.HasPrefix(d.config.DeadLetterURL, "s3://")
		if f.Level == levelOK || local {
			out = append(out, f)
		} else if !slices.Contains(others, f.Check) {
			others = append(others, f.Check)
		}
	}
	return append(out, finding{"others", levelWarn, "cannot be asked: " + strings.Join(others, ", "), ""})
}

// Signatures are refused beyond five minutes.
const (
	skewWarn = time.Minute
	skewFail = 5 * time.Minute
)

func (d *doctor) checkCaller(ctx context.Context) []finding {
	asked := time.Now()
	caller, err := d.account.Caller(ctx)
	took := time.Since(asked)
	out := []finding{{"credentials", levelOK, "taken for " + caller.ARN, ""}}
	if err != nil {
		out[0] = finding{
			"credentials", levelFail, err.Error(),
			nextStepAt("STS", err, "check the credentials: analytics-worker takes them where every AWS program does"),
		}
	}
	if caller.Clock.IsZero() {
		return append(out, finding{"clock", levelWarn, "not known: AWS did not answer", "check that the machine keeps its time (chronyc tracking)"})
	}
	// The answer's clock has whole seconds, and may be as old as the answer took.
	skew := asked.Add(took / 2).Sub(caller.Clock).Round(time.Second)
	f := finding{"clock", levelOK, fmt.Sprintf("within %v of AWS's", skew.Abs()+time.Second), ""}
	const next = "let the machine keep its time: enable chrony or systemd-timesyncd"
	switch {
	case skew.Abs() > skewFail:
		f = finding{"clock", levelFail, fmt.Sprintf("%v off AWS's: signatures are refused beyond %v", skew, skewFail), next}
	case skew.Abs() > skewWarn:
		f = finding{"clock", levelWarn, fmt.Sprintf("%v off AWS's", skew), next}
	}
	return append(out, f)
}

func (d *doctor) checkMetrics(ctx context.Context) []finding {
	if d.config.MetricsInterval == 0 {
		return []finding{{"metrics", levelOK, "not published: METRICS_INTERVAL is 0", ""}}
	}
	if err := d.account.Metrics(metricsNamespace).Probe(ctx); err != nil {
		return []finding{{
			"metrics", levelFail, err.Error() + " (orders are loaded all the same; alarms and scaling see nothing)",
			nextStepAt("CloudWatch", err, "check AWS_REGION"),
		}}
	}
	return []finding{{"metrics", levelOK, "CloudWatch lets this caller publish in " + metricsNamespace, ""}}
}

func writeFindings(w io.Writer, format string, findings []finding) error {
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(findings)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	count := map[level]int{}
	for _, f := range findings {
		count[f.Level]++
		fmt.Fprintf(tw, "%s\t%s\t%s\n", f.Level, f.Check, printable(f.Detail))
		if f.Next != "" {
			fmt.Fprintf(tw, "\t\t  -> %s\n", printable(f.Next))
		}
	}
	fmt.Fprintf(tw, "%s: %d OK, %d WARN, %d FAIL\n", plural.Of(len(findings), "check"), count[levelOK], count[levelWarn], count[levelFail])
	return tw.Flush()
}
