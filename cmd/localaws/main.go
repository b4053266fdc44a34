// Command localaws is a local AWS: one loopback endpoint for the AWS SDKs and
// the AWS CLI.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/localaws"
	"github.com/cloudcafe/analytics-worker/localaws/redshift"
)

// version is set by the build; empty, it is what Go knows of the module.
var version string

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	// What is kept is of whoever runs this, and DuckDB makes files of its own.
	syscall.Umask(0o077)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal ends the server; with the handling gone, a second one
	// ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	addr      string
	psql      string
	data      string
	warehouse string
	limits    string
	clock     time.Duration
	slots     int
	pace      string
	parts     redshift.Pace
	verbose   bool
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	command := &cobra.Command{
		Use:           "localaws",
		Short:         "A local AWS for laptops and tests: Kinesis, Redshift Data API, S3, CloudWatch, DynamoDB",
		Long:          long,
		Example:       examples,
		Version:       versionText(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          flagsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.settle(cmd.Flags().Changed)
			return serve(cmd.Context(), o, stdout, stderr)
		},
	}
	flags := command.Flags()
	command.PersistentFlags().StringVar(&o.addr, "addr", "127.0.0.1:4566", "loopback address and port to serve on; port 0 takes a free one")
	flags.StringVar(&o.data, "data", "", "directory for streams, objects and SQL tables (default: in memory, gone at exit)")
	flags.StringVar(&o.warehouse, "warehouse", "duckdb", "what runs the SQL: duckdb, or postgres://user:password@host/database")
	flags.StringVar(&o.limits, "limits", "aws", "enforce AWS's documented rates and quotas: aws or off")
	flags.IntVar(&o.slots, "slots", redshift.MostSlots, fmt.Sprintf("statements that the warehouse runs at once; the others wait, as in Redshift's workload management (with --pace redshift: %d)", redshift.QueueSlots))
	flags.StringVar(&o.pace, "pace", "engine", "time that statements take: engine, as little as they need, or redshift, what published figures give")
	flags.DurationVar(&o.parts.Start, "pace-start", 0, paceUsage("of each call, before its first statement", redshift.Published().Start))
	flags.DurationVar(&o.parts.Statement, "pace-statement", 0, paceUsage("of each statement", redshift.Published().Statement))
	flags.DurationVar(&o.parts.Write, "pace-write", 0, paceUsage("more of each that writes rows", redshift.Published().Write))
	flags.DurationVar(&o.parts.Commit, "pace-commit", 0, paceUsage("of each commit, while its locks are held", redshift.Published().Commit))
	flags.StringVar(&o.psql, "psql", "", "loopback address and port to serve the warehouse on to psql and what else speaks PostgreSQL's protocol, such as 127.0.0.1:5439 (default: not served)")
	flags.DurationVar(&o.clock, "clock-offset", 0, "how far AWS's clock is ahead of this machine's; -30s plays a machine that is ahead")
	flags.BoolVar(&o.verbose, "verbose", false, "log every call to standard error")
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	command.SetArgs(args)
	command.SetOut(stdout)
	command.SetErr(stderr)
	command.CompletionOptions.DisableDefaultCmd = true

	command.AddCommand(envCommand(&o.addr, stdout), versionCommand(stdout))

	err := command.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "localaws: %v\n", err)
	if usage := (usageError{}); errors.As(err, &usage) {
		fmt.Fprintln(stderr, "Try: localaws --help")
		return exitUsage
	}
	return exitFailed
}

func paceUsage(what string, published time.Duration) string {
	return fmt.Sprintf("time %s (with --pace redshift: %v)", what, published)
}

// settle puts in what --pace stands for where nothing else was asked for.
func (o *options) settle(asked func(flag string) bool) {
	if o.pace != "redshift" {
		return
	}
	if !asked("slots") {
		o.slots = redshift.QueueSlots
	}
	published := redshift.Published()
	for flag, part := range map[string]struct{ to, from *time.Duration }{
		"pace-start":     {&o.parts.Start, &published.Start},
		"pace-statement": {&o.parts.Statement, &published.Statement},
		"pace-write":     {&o.parts.Write, &published.Write},
		"pace-commit":    {&o.parts.Commit, &published.Commit},
	} {
		if !asked(flag) {
			*part.to = *part.from
		}
	}
}

// check reports everything that is wrong with the flags.
func (o options) check() error {
	var wrong []error
	if err := checkLoopback("--addr", o.addr, "127.0.0.1:4566"); err != nil {
		wrong = append(wrong, err)
	}
	if o.psql != "" {
		if err := checkLoopback("--psql", o.psql, "127.0.0.1:5439"); err != nil {
			wrong = append(wrong, err)
		}
	}
	if o.limits != "aws" && o.limits != "off" {
		wrong = append(wrong, fmt.Errorf("--limits %q: give aws or off", o.limits))
	}
	if o.warehouse != "duckdb" {
		u, err := url.Parse(o.warehouse)
		if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Host == "" {
			wrong = append(wrong, errors.New("--warehouse: give duckdb, or postgres://user:password@host/database"))
		}
	}
	if o.slots < 1 || o.slots > redshift.MostSlots {
		wrong = append(wrong, fmt.Errorf("--slots %d: must be from 1 to %d", o.slots, redshift.MostSlots))
	}
	if o.pace != "engine" && o.pace != "redshift" {
		wrong = append(wrong, fmt.Errorf("--pace %q: give engine or redshift", o.pace))
	}
	if err := o.parts.Check(); err != nil {
		wrong = append(wrong, err)
	}
	if err := errors.Join(wrong...); err != nil {
		return usageError{err}
	}
	return nil
}

// checkLoopback refuses addresses that other machines could reach: nothing here
// checks a credential.
func checkLoopback(flag, addr, example string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s %q: give an address and a port, like %s", flag, addr, example)
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%s %q is not a loopback address: localaws checks no credentials, so it serves this machine only; give one like %s", flag, addr, example)
}

func serve(ctx context.Context, o options, stdout, stderr io.Writer) error {
	if err := o.check(); err != nil {
		return err
	}
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))

	// The port comes first: two servers must not open one data directory.
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("%s is in use, perhaps by another localaws: stop that one, or choose another port with --addr 127.0.0.1:4567", o.addr)
		}
		return fmt.Errorf("listen on %s: %w", o.addr, err)
	}
	server, err := localaws.New(ctx, localaws.Config{
		DataDir: o.data, Warehouse: o.warehouse, Limits: o.limits == "aws", ClockOffset: o.clock, Slots: o.slots, Pace: o.parts, Log: log,
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	kept := "in memory"
	if o.data != "" {
		kept = "in " + o.data
	}
	pace := ""
	if o.parts != (redshift.Pace{}) {
		pace = fmt.Sprintf(", a call %v, a statement %v, a write %v more, a commit %v", o.parts.Start, o.parts.Statement, o.parts.Write, o.parts.Commit)
	}
	fmt.Fprintf(stdout, "localaws is ready on http://%s (data %s, limits %s%s); stop it with Ctrl-C\n", listener.Addr(), kept, o.limits, pace)
	return errors.Join(serveAll(ctx, server, listener, o.psql, stdout), server.Close())
}

// serveAll serves AWS and, where an address is given, SQL to psql, until ctx ends.
func serveAll(ctx context.Context, server *localaws.Server, listener net.Listener, psql string, stdout io.Writer) error {
	if psql == "" {
		return server.Serve(ctx, listener)
	}
	sql, err := net.Listen("tcp", psql)
	if err != nil {
		return errors.Join(fmt.Errorf("--psql: %w", err), listener.Close())
	}
	host, port, err := net.SplitHostPort(sql.Addr().String())
	if err != nil {
		return errors.Join(err, sql.Close(), listener.Close())
	}
	fmt.Fprintf(stdout, "for SQL: psql -h %s -p %s -U admin analytics\n", host, port)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() {
		defer stop() // one does not go on without the other
		served <- server.ServePSQL(ctx, sql)
	}()
	err = server.Serve(ctx, listener)
	stop()
	return errors.Join(err, <-served)
}

func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
