// Command analytics-worker loads order events from a Kinesis stream into a
// Redshift warehouse, each exactly once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/service"
)

// version is set by the build (-ldflags "-X main.version=v1.2.3").
var version string

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1 // it was tried and failed
	exitUsage = 2 // bad flags or settings: nothing was tried
	exitGone  = 3 // the instance is about to end: not all could be loaded in time, and starting again is of no use
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGINT, syscall.SIGTERM)
		<-again
		fmt.Fprintln(os.Stderr, "second signal: exiting at once; what was not committed will be read again")
		os.Exit(exitError)
	}()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// app is what every verb shares.
type app struct {
	lookup         func(string) (string, bool) // of environment variables
	stdout, stderr io.Writer
	verbose        bool
	started        time.Time
}

// run is the whole program: it returns the exit status.
func run(ctx context.Context, args []string, lookup func(string) (string, bool), stdout, stderr io.Writer) int {
	stdout, stderr = onTerminal(stdout), onTerminal(stderr)
	a := &app{lookup: lookup, stdout: stdout, stderr: stderr, started: time.Now()}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var bad *configError
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errSilent):
		return exitError
	}
	fmt.Fprintln(stderr, "analytics-worker:", printableText(err.Error()))
	if next := nextStep(err); next != "" {
		fmt.Fprintln(stderr, "  ->", printableText(next))
	}
	switch {
	case errors.Is(err, service.ErrGone):
		return exitGone
	case errors.As(err, &bad), errors.As(err, &usage):
		return exitUsage
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
exits at once. Any number of workers share a stream.

Settings come from the environment:

` + settingsHelp(),
		Example: `  # against AWS
  KINESIS_STREAM_NAME=order-events REDSHIFT_CLUSTER_ID=my-cluster analytics-worker

  # against the local AWS (see localaws --help)
  export AWS_ENDPOINT_URL=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local
  analytics-worker schema --apply && analytics-worker --verbose`,
		Args:          noArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context()) },
	}
	root.PersistentFlags().BoolVar(&a.verbose, "verbose", false, "log more: each load, each retry")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(a.schemaCommand(), a.publishCommand(), a.reportCommand(), a.queryCommand(), a.verifyCommand(),
		a.lettersCommand(), a.redriveCommand(), a.stressCommand(), a.positionsCommand(), a.statusCommand(), a.doctorCommand(), a.versionCommand())
	strictHelp(root)
	return root
}

// strictHelp makes the verbs that cobra adds refuse what they do not know, with
// the status of a mistake: by themselves they print their help, and are content.
func strictHelp(root *cobra.Command) {
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [VERB]",
		Short: "Help about a verb",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usagef("no help on %q; see %s --help", strings.Join(args, " "), root.Name())
			}
			return cmd.Help()
		},
	})
	root.InitDefaultCompletionCmd("completion")
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.Args, cmd.RunE = noArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
}

// noArgs refuses arguments, among them verbs that are not there.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unknown verb or argument %q; see %s --help", args[0], cmd.CommandPath())
	}
	return nil
}

func settingsHelp() string {
	var b strings.Builder
	for _, s := range settings() {
		initial := s.initial
		if initial == "" {
			initial = "(empty)"
		}
		fmt.Fprintf(&b, "  %-22s %s\n  %-22s   default %s\n", s.name, s.meaning, "", initial)
	}
	return b.String()
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.stdout, "analytics-worker %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
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
