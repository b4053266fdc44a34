package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/verify"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// patience is how long a test waits for what must happen, on a loaded machine.
// What moves meanwhile is waited for longer (machine.progress).
const patience = 3 * time.Minute

// TestSessions runs testdata/*.txt. Each session has a local AWS of its own with
// a stream of four shards and the schema. Commands besides testscript's:
//
//	status N CMD ...   runs the command and checks its exit status
//	until N TEXT CMD   runs the command until it prints what matches the text, with status N
//	settled N          waits until N records of the stream are loaded or rejected
//	bucket NAME        makes a bucket
//	fault JSON         sets the faults of the local AWS
//	struck             waits until all of them have come about as often as they count
//	now VAR            sets the variable to the present time, later than all that was put
//	active N           waits until N statements of the Data API are under way
//	unended PREFIX     fails while a statement whose name begins so has not ended
//	sql STATEMENT      runs the statement in the warehouse; stdout is its rows
func TestSessions(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUpSession,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": scriptStatus, "settled": scriptSettled, "sql": scriptSQL, "now": scriptNow, "fault": scriptFault, "bucket": scriptBucket,
			"active": scriptActive, "unended": scriptUnended, "until": scriptUntil, "struck": scriptStruck,
		},
	})
}

type worldKey struct{}

func setUpSession(env *testscript.Env) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := simulation.NewWorld(ctx, simulation.Options{Tiny: true, Dir: filepath.Join(env.WorkDir, "dead-letters")})
	if err != nil {
		return err
	}
	env.Defer(func() {
		if err := w.Close(); err != nil {
			env.T().Log(err)
		}
	})
	env.Values[worldKey{}] = w
	for _, setting := range sessionEnvironment("http://"+w.Addr(), w.Options.Dir) {
		name, value, _ := strings.Cut(setting, "=")
		env.Setenv(name, value)
	}
	return nil
}

// sessionEnvironment is what a process of ours needs to use a local AWS, and
// settings that make it quick.
func sessionEnvironment(endpoint, deadLetters string) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + endpoint, "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
		"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"DEAD_LETTER_URL=file://" + deadLetters,
		"POLL_INTERVAL=200ms", "LOAD_INTERVAL=0", "METRICS_INTERVAL=0", "HTTP_ADDR=", "XDG_RUNTIME_DIR=",
		"GORACE=atexit_sleep_ms=10", // the race detector's default makes each process end a second later
	}
}

func world(ts *testscript.TestScript) *simulation.World {
	return ts.Value(worldKey{}).(*simulation.World)
}

func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := exitStatus(ts, args[1:]); got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func exitStatus(ts *testscript.TestScript, command []string) int {
	err := ts.Exec(command[0], command[1:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

// scriptUntil is for what is told a moment later, or is asked for within a time that a
// loaded machine may need for less.
func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: until N text command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	text, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(simulation.Await(ctx, fmt.Sprintf("%q prints %q with status %d", args[2:], args[1], want), func() (bool, error) {
		got := exitStatus(ts, args[2:])
		return got == want && text.MatchString(ts.ReadFile("stdout")+ts.ReadFile("stderr")), nil
	}))
}

func scriptSettled(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var last *verify.Report
	err = simulation.Await(ctx, args[0]+" records are settled", func() (bool, error) {
		last, err = world(ts).Verify(ctx)
		return err == nil && last.Records == want, err
	})
	if err != nil {
		ts.Fatalf("%v; last seen: %+v", err, last)
	}
}

func scriptSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sql STATEMENT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	results, err := world(ts).DB.Run(ctx, warehouse.Token(), args)
	ts.Check(err)
	for _, row := range results[0].Rows {
		fields := make([]string, len(row))
		for i, v := range row {
			fields[i] = v.Text
		}
		fmt.Fprintln(ts.Stdout(), strings.Join(fields, "\t"))
	}
}

func scriptNow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: now VAR")
	}
	// Arrival times and positions are in whole milliseconds.
	now := time.Now().Add(2 * time.Millisecond)
	<-time.After(time.Until(now.Add(2 * time.Millisecond)))
	ts.Setenv(args[0], now.UTC().Format(time.RFC3339Nano))
}

// scriptFault sets the faults of the session's local AWS, in place of those
// before, as its admin API does.
func scriptFault(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fault JSON")
	}
	var faults []fault.Fault
	ts.Check(json.Unmarshal([]byte(args[0]), &faults))
	ts.Check(world(ts).Local.Faults().Put(faults))
}

func scriptStruck(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: struck")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(simulation.Await(ctx, "all faults have come about", func() (bool, error) { return len(world(ts).Local.Faults().List()) == 0, nil }))
}

func scriptBucket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: bucket NAME")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := world(ts).Account.Bucket("s3://" + args[0])
	ts.Check(err)
	ts.Check(b.EnsureBucket(ctx))
}

func scriptActive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: active N")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(simulation.Await(ctx, args[0]+" statements are under way", func() (bool, error) {
		q, err := world(ts).DB.Unended(ctx, "")
		return len(q) >= want, err
	}))
}

func scriptUnended(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unended PREFIX")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	q, err := world(ts).DB.Unended(ctx, args[0])
	ts.Check(err)
	if len(q) > 0 {
		ts.Fatalf("%d statements have not ended, among them %s", len(q), q[0].Name)
	}
}
