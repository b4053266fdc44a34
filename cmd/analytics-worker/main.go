// Command analytics-worker loads order events from a Kinesis stream into a
// Redshift warehouse, each exactly once.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloudcafe/analytics-worker/internal/service"
)

// version is set by the build (-ldflags "-X main.version=v1.2.3").
var version string

// Exit statuses.
const (
	exitOK    = 0 // it is done, and all is as it should be
	exitError = 1 // it was tried and failed, or what was looked at is not as it should be
	exitUsage = 2 // bad flags or settings: nothing was tried
	exitGone  = 3 // the instance is about to end: not all could be loaded in time, and starting again is of no use

	exitInterrupted = 128 + int(syscall.SIGINT)  // Ctrl-C (SIGINT) ended a verb before it was done
	exitTerminated  = 128 + int(syscall.SIGTERM) // SIGTERM ended a verb before it was done
)

func main() {
	ctx, end := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2) // the second may come before anybody has seen the first
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	a := newApp(os.LookupEnv, os.Stdout, os.Stderr)
	a.environ = os.Environ()
	go func() {
		end(signalled{<-signals})
		<-signals
		fmt.Fprintln(os.Stderr, "second signal: exiting at once"+leftBehind(a.verb.Load()))
		os.Exit(exitError)
	}()
	os.Exit(a.run(ctx, os.Args[1:]))
}

// signalled is why a context has ended that a signal ends.
type signalled struct{ signal os.Signal }

func (s signalled) Error() string { return s.signal.String() + " signal received" }

// status is that of a verb which this ends before it is done: a shell's for a program
// that has died of the signal.
func (s signalled) status() int {
	if s.signal == syscall.SIGTERM {
		return exitTerminated
	}
	return exitInterrupted
}

// leftBehind is what a verb leaves that is ended on the spot.
func leftBehind(verb any) string {
	switch verb {
	case "analytics-worker":
		return "; what was not committed will be read again"
	case "stress":
		return "; queries of the storm may still run in the warehouse, which ends them by itself"
	case "redrive":
		return "; letters under way are in doubt, and the next redrive --dry-run counts them"
	case "publish":
		return "; what was put stays on the stream"
	}
	return ""
}

// app is what every verb shares.
type app struct {
	lookup         func(string) (string, bool) // of environment variables
	environ        []string                    // all of them, NAME=value; nil where it does not matter
	stdout, stderr io.Writer
	verbose        bool
	color          string
	started        time.Time
	verb           atomic.Value // name of the command that runs
}

func newApp(lookup func(string) (string, bool), stdout, stderr io.Writer) *app {
	return &app{lookup: lookup, stdout: onTerminal(stdout), stderr: onTerminal(stderr), color: colorAuto, started: time.Now()}
}

// run is the whole program: it returns the exit status.
func run(ctx context.Context, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer) int {
	return newApp(lookup, stdout, stderr).run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	var bad *configError
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errSilent):
		return exitError
	}
	said := a.painted(a.stderr)
	says, next := err.Error(), nextStep(err)
	if f, down := a.endpointDown(err); down {
		says, next = f.Says, f.Step()
	}
	by := signalled{}
	ended := errors.As(context.Cause(ctx), &by) && (errors.As(err, &by) || errors.Is(err, context.Canceled))
	if ended {
		next = ""
	}
	fmt.Fprintln(said, "analytics-worker:", printableText(says))
	if next != "" {
		fmt.Fprintln(said, "  ->", printableText(next))
	}
	switch {
	case errors.Is(err, service.ErrGone):
		return exitGone
	case errors.As(err, &bad), errors.As(err, &usage):
		return exitUsage
	}
	// A worker that a signal ends has its own words, and statuses, for what it leaves.
	if ended && a.verb.Load() != root.Name() {
		return by.status()
	}
	return exitError
}

// errSilent ends a verb with status 1 after it has said everything itself.
var errSilent = errors.New("failed")

// usageError is a mistake in flags or arguments.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "analytics-worker",
		Short: "Loads order events from Kinesis into Redshift, each exactly once",
		Long: `analytics-worker reads order events from an Amazon Kinesis stream, validates them, and loads facts and
one-minute rollups into Amazon Redshift through the Redshift Data API. Each record takes effect exactly once.

Without a verb it runs until SIGTERM or Ctrl-C, then finishes what it has read and exits; a second signal
exits at once. Any number of workers share a stream. Settings come from the environment: see
"analytics-worker help settings".`,
		Example: `  # against AWS
  KINESIS_STREAM_NAME=order-events REDSHIFT_CLUSTER_ID=my-cluster analytics-worker

  # against the local AWS, which runs in another terminal; localaws env prints what a shell needs
  export AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
  analytics-worker schema --apply && analytics-worker publish --create 4 && analytics-worker`,
		Version:       versionText(),
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.verb.Store(cmd.Name())
			if !slices.Contains(colors, a.color) {
				return usagef("--color %s: must be one of %s", a.color, strings.Join(colors, ", "))
			}
			for _, warning := range misspelt(a.environ) {
				if cmd.Name() == cmd.Root().Name() { // it logs
					a.logger().Warn(warning)
					continue
				}
				fmt.Fprintln(a.painted(a.stderr), "! "+printable(warning))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context()) },
	}
	root.SetVersionTemplate("{{.Version}}\n")
	root.PersistentFlags().StringVar(&a.color, "color", colorAuto, "auto (on a terminal, unless NO_COLOR is set), always or never")
	root.PersistentFlags().BoolVar(&a.verbose, "verbose", false, "log more: each load, each retry")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%s; see %s --help", flagFault(err), cmd.CommandPath())
	})
	root.AddCommand(a.schemaCommand(), a.publishCommand(), a.reportCommand(), a.queryCommand(), a.verifyCommand(),
		a.lettersCommand(), a.replayCommand(), a.redriveCommand(), a.stressCommand(), a.positionsCommand(), a.statusCommand(), a.doctorCommand(), a.versionCommand())
	a.strictHelp(root)
	completeValues(a, root)
	return root
}

// flagFault is what is wrong with a flag, without the names of Go's functions.
func flagFault(err error) string {
	var value *pflag.InvalidValueError
	var number *strconv.NumError
	if !errors.As(err, &value) || !errors.As(err, &number) {
		return err.Error()
	}
	kind := map[string]string{"ParseInt": "a whole number", "ParseUint": "a whole number from 0 on", "ParseBool": "true or false"}
	why := "must be " + cmp.Or(kind[number.Func], "a number")
	if errors.Is(number, strconv.ErrRange) {
		why = "is out of range"
	}
	return fmt.Sprintf("--%s %s: %s", value.GetFlag().Name, value.GetValue(), why)
}

// noArgs refuses arguments, among them verbs that are not there.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown verb or argument %q; see %s --help", args[0], cmd.CommandPath())
	}
	return nil
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  analytics-worker version",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, versionText())
			return err
		},
	}
}

// versionText is what both version and --version print.
func versionText() string {
	return fmt.Sprintf("analytics-worker %s %s %s/%s", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
