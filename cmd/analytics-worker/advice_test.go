package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/vitals"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// provoked makes the errors of real calls: to a local AWS that a fault has refuse them.
type provoked struct {
	t   *testing.T
	ctx context.Context
	w   *simulation.World
}

// refused is the error of a call to a service, which answers it with a code.
func (p provoked) refused(service, answer string, call func(ctx context.Context) error) error {
	return p.struck(fault.Fault{Service: service, Kind: fault.AccessDenied, Error: answer}, call)
}

func (p provoked) struck(f fault.Fault, call func(ctx context.Context) error) error {
	p.t.Helper()
	if err := p.w.Local.Faults().Put([]fault.Fault{f}); err != nil {
		p.t.Fatal(err)
	}
	defer p.w.Local.Faults().Clear()
	err := call(p.ctx)
	if err == nil {
		p.t.Errorf("%+v: the call succeeds", f)
	}
	return err
}

func (p provoked) read(ctx context.Context) error {
	shards, err := p.w.Stream.Shards(ctx)
	if err == nil {
		_, err = p.w.Stream.Reader(shards[0], stream.Position{Sequence: stream.TrimHorizon}).Next(ctx)
	}
	return err
}

func (p provoked) query(ctx context.Context) error { return p.sql(ctx, "SELECT 1") }

func (p provoked) sql(ctx context.Context, text string) error {
	_, err := p.w.DB.Run(ctx, warehouse.Token(), []string{text})
	return err
}

func (p provoked) store(ctx context.Context) error {
	b, err := p.w.Account.Bucket("s3://not-there")
	if err == nil {
		_, err = b.PutIfAbsent(ctx, "x", []byte("x"))
	}
	return err
}

func (p provoked) leases(ctx context.Context) error {
	_, err := p.w.Account.LeaseTable("leases").List(ctx)
	return err
}

func (p provoked) stream(name string) error {
	_, err := p.w.Account.Stream(name).Shards(p.ctx)
	return err
}

// folderTrouble is the error of a folder of dead letters, with an error of the system's.
func folderTrouble(errno syscall.Errno) error {
	return fmt.Errorf("write: %w", &deadletter.FolderError{Err: &fs.PathError{Op: "link", Path: "x", Err: errno}})
}

func contradiction(view lease.View) error {
	all := view.Contradictions()
	if len(all) != 1 {
		return fmt.Errorf("%d contradictions", len(all))
	}
	return &all[0]
}

type advised struct {
	kind string // of the row that decides
	err  error
	next string // part of it
}

// errorsOfAWS are what the services say, in answer to real calls.
func errorsOfAWS(p provoked) []advised {
	of := func(kind, service, answer string, call func(context.Context) error, next string) advised {
		return advised{kind, p.refused(service, answer, call), next}
	}
	return []advised{
		of("a clock that is off", "kinesis", "InvalidSignatureException: Signature expired: 20261126T080000Z is now earlier than 20261126T080500Z", p.read, "chrony"),
		of("expired credentials", "redshift-data", "ExpiredTokenException: no", p.query, "renew them"),
		of("a wrong secret key", "dynamodb", "InvalidSignatureException: no", p.leases, "secret access key"),
		of("an unknown access key", "s3", "InvalidAccessKeyId: no", p.store, "does not know the access key"),
		of("credentials that are refused", "kinesis", "MissingAuthenticationTokenException: no", p.read, "check the AWS credentials"),
		of("KMS's rate", "kinesis", "KMSThrottlingException: no", p.read, "quota of KMS"),
		of("a key that may not be used", "kinesis", "KMSAccessDeniedException: no", p.read, "kms:Decrypt"),
		of("a key that is disabled", "kinesis", "KMSDisabledException: no", p.read, "enable the stream's KMS key"),
		of("a key that cannot be used now", "kinesis", "KMSInvalidStateException: no", p.read, "deletion scheduled"),
		of("a key that is gone", "kinesis", "KMSNotFoundException: no", p.read, "another KMS key"),
		of("a key", "kinesis", "KMSOptInRequired: no", p.read, "check the stream's KMS key"),
		{"the rate of a shard", p.struck(fault.Fault{Service: "kinesis", Operation: "GetRecords", Kind: fault.Throttle}, p.read), "5 calls/s"},
		of("a lease table that may not be used", "dynamodb", "", p.leases, "dynamodb:DescribeTable"),
		of("a missing permission", "kinesis", "", p.read, "kinesis:ListShards"),
		of("a missing permission", "redshift-data", "", p.query, "redshift-data:ExecuteStatement"),
		of("a missing permission", "s3", "", p.store, "s3:PutObject"),
		of("a service that is not enabled", "redshift-data", "OptInRequired: no", p.query, "enable the service"),
		of("a setting of the warehouse", "redshift-data", "ValidationException: Redshift endpoint doesn't exist in this region.", p.query, "REDSHIFT_CLUSTER_ID"),
		of("a setting of the warehouse", "redshift-data", "ValidationException: Workgroup w not found", p.query, "REDSHIFT_WORKGROUP"),
		of("a setting of the warehouse", "redshift-data", "ValidationException: Secret s does not hold a user", p.query, "REDSHIFT_SECRET_ARN"),
		of("a setting of the warehouse", "redshift-data", "ValidationException: Database d is not there", p.query, "REDSHIFT_DATABASE"),
		of("a setting of the warehouse", "redshift-data", "ValidationException: DbUser is wrong", p.query, "REDSHIFT_DB_USER"),
		of("a warehouse that is away", "redshift-data", "ValidationException: Cluster c is paused", p.query, "paused"),
		{"no such stream", p.stream("nothing"), "KINESIS_STREAM_NAME"},
		{"no such bucket", p.store(p.ctx), "create the bucket"},
		{"too many calls to the warehouse", p.struck(fault.Fault{Service: "redshift-data", Kind: fault.Throttle}, p.query), "LOAD_INTERVAL"},
		{"the rate of the lease table", p.struck(fault.Fault{Service: "dynamodb", Kind: fault.Throttle}, p.leases), "capacity"},
		{"a service in trouble", p.struck(fault.Fault{Service: "dynamodb", Kind: fault.InternalError}, p.leases), "calls DynamoDB"},
		{"no answer", p.struck(fault.Fault{Service: "s3", Kind: fault.Reset}, p.store), "network path to AWS"},
		{"no answer", &askedError{p.struck(fault.Fault{Service: "kinesis", Kind: fault.Reset}, p.read), "Kinesis"}, "network path to Kinesis"},
		{"a lost transaction", p.statement("ERROR: 1023 Detail: Serializable isolation violation"), "who else writes"},
		{"a full warehouse", p.statement("ERROR: Disk Full"), "free space"},
		{"a missing grant", p.statement("ERROR: permission denied for relation fact_orders"), "schema --grants"},
		{"a refused statement", p.statement("ERROR: numeric field overflow"), "doctor compares"},
		{"a missing table or column", p.sql(p.ctx, "SELECT nothing FROM worker_checkpoints"), "schema --apply"},
	}
}

func (p provoked) statement(answer string) error {
	return p.struck(fault.Fault{Service: "redshift-data", Kind: fault.StatementFailed, Error: answer}, p.query)
}

// errorsOfOurs are those that no service has a part in.
func errorsOfOurs(t *testing.T) []advised {
	t.Helper()
	now := time.Now()
	ours, theirs := stream.Identity{ARN: "arn:a", Created: now}, stream.Identity{ARN: "arn:b", Created: now}
	shard := stream.Shard{ID: "shard-a"}
	seen := func(id stream.Identity, r lease.Row) error {
		return contradiction(lease.Glance(id, []stream.Shard{shard}, []lease.Row{r}, nil, now))
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, noFolder := deadletter.Dir(filepath.Join(file, "letters"))
	ended := lease.OpenEnded("shard-a", now)
	_, unheard := net.Dial("tcp", "127.0.0.1:1")
	_, noLog := openLogFile(filepath.Join(file, "log"), logFileBytes)
	return []advised{
		{"positions of another stream", &worker.OtherStreamError{Ours: ours, Theirs: stream.Identity{ARN: "arn:a"}}, "positions --start-over reads"},
		{"positions of another stream", &lease.Contradiction{Err: &worker.OtherStreamError{Ours: ours, Theirs: theirs}}, "a database of its own"},
		{"a stream made anew", fmt.Errorf("read: %w", stream.ErrBadPosition), "positions --start-over"},
		{"a stream made anew", errors.Join(stream.ErrGone, worker.ErrRemade), "positions --start-over"},
		{"a lease table of another stream", seen(ours, lease.Row{Shard: "shard-a", Stream: theirs}), "LEASE_TABLE"},
		{"a lease table that is gone", &lease.Contradiction{Wrong: lease.NoTable}, "makes it again"},
		{"a lease row that cannot be read", seen(ours, lease.Row{Shard: "shard-a", Unreadable: "no number"}), "delete the row"},
		{"an open shard that counts as read", &ended, "--reset --shard shard-a"},
		{"a shard without a worker", seen(ours, lease.Row{Shard: "shard-a", Stream: ours}), "is one running"},
		{"a shard that vanished", lease.ErrVanished, "retention"},
		{"records trimmed unread", worker.ErrTrimmed, "add workers"},
		{"a shard that expired unread", worker.ErrExpired, "retention"},
		{"a final dead letter", fmt.Errorf("%w: %w", worker.ErrFinal, warehouse.ErrDenied), "redrive --reason"},
		{"a drain out of time", fmt.Errorf("%w: %w", service.ErrGone, service.ErrOverdue), "DRAIN_TIMEOUT"},
		{"no log file", fmt.Errorf("%w: %w", errLogFile, noLog), "write to it"},
		{"no table of leases", fmt.Errorf("the table x %w", aws.ErrNotLeases), "LEASE_TABLE"},
		{"no answer", fmt.Errorf("ask: %w", errQuickTime), "network path"},
		{"nothing that listens here", fmt.Errorf("ask: %w", unheard), "localaws --addr 127.0.0.1:1"},
		{"a warehouse that is away", worker.ErrSilent, "worker_load_lock"},
		{"a checkpoint that is there twice", fmt.Errorf("load: %w", warehouse.ErrTwice), "verify"},
		{"a full disk", folderTrouble(syscall.ENOSPC), "free some space"},
		{"a full disk", folderTrouble(syscall.EDQUOT), "free some space"},
		{"a disk that is not writable", folderTrouble(syscall.EROFS), "writable"},
		{"a folder without hard links", folderTrouble(syscall.EXDEV), "hard links"},
		{"another's folder", folderTrouble(syscall.EACCES), "write access"},
		{"no folder", noFolder, "name a folder"},
		{"a denial", fmt.Errorf("read: %w", fs.ErrPermission), "what the error names"},
		{"work that fails", &lease.Contradiction{Err: errors.New("odd")}, "doctor checks"},
	}
}

// TestEachErrorHasItsNextStep: every row of the table decides about a real error, and
// what it advises is there: each setting, verb and flag.
func TestEachErrorHasItsNextStep(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	w, err := simulation.NewWorld(ctx, simulation.Options{Shards: 1, Tiny: true, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := w.Account.LeaseTable("leases").Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	tried := make(map[string]bool)
	for _, c := range append(errorsOfAWS(provoked{t, ctx, w}), errorsOfOurs(t)...) {
		i := slices.IndexFunc(advices, func(a advice) bool { return a.is(c.err) })
		if i < 0 || advices[i].kind != c.kind {
			t.Errorf("%s: no row, or another one (%d): %v", c.kind, i, c.err)
			continue
		}
		tried[c.kind] = true
		next := nextStep(c.err)
		if !strings.Contains(next, c.next) {
			t.Errorf("%s: advises %q, want it to say %q", c.kind, next, c.next)
		}
		checkAdvice(t, next)
		verdictAgrees(t, c.err)
	}
	for _, a := range advices {
		if !tried[a.kind] {
			t.Errorf("%s: no error tries the row", a.kind)
		}
	}
	for _, err := range []error{nil, errors.New("odd"), context.Canceled, syscall.EIO} {
		if next := nextStep(err); next != "" {
			t.Errorf("%v: advises %q, where nothing is known", err, next)
		}
	}
}

// verdictAgrees sees that the verdict on an error, whatever is asked that answers with
// it, has the next step of the table.
func verdictAgrees(t *testing.T, err error) {
	t.Helper()
	for _, place := range []struct {
		service string
		put     func(*verdict.Facts, *verdict.Trouble)
	}{
		{vitals.Kinesis, func(f *verdict.Facts, why *verdict.Trouble) { f.Stream.Trouble = why }},
		{vitals.Kinesis, func(f *verdict.Facts, why *verdict.Trouble) {
			f.Reads = verdict.Reads{Known: true, Shards: 1, Failing: 1, Longest: time.Minute, Trouble: why}
		}},
		{vitals.DynamoDB, func(f *verdict.Facts, why *verdict.Trouble) {
			f.Leases = verdict.Leases{Shared: true, Source: verdict.Source{Trouble: why}}
		}},
		{vitals.DataAPI, func(f *verdict.Facts, why *verdict.Trouble) { f.Loads.Trouble = why }},
		{vitals.S3, func(f *verdict.Facts, why *verdict.Trouble) { f.Letters.Trouble = why }},
		{vitals.CloudWatch, func(f *verdict.Facts, why *verdict.Trouble) { f.Metrics.Trouble = why }},
	} {
		f := verdict.Facts{Now: time.Now()}
		place.put(&f, vitals.Trouble(place.service, err, time.Time{}, nextStepOf))
		all, want := verdict.Of(f).All(), nextStepOf(place.service, err)
		if !slices.ContainsFunc(all, func(v verdict.Finding) bool { return strings.Contains(v.Step(), want) }) {
			t.Errorf("%v from %s: the verdict is %+v, want it to say %q", err, place.service, all, want)
		}
	}
}

var (
	settingName = regexp.MustCompile(`\b[A-Z]+(_[A-Z]+)+\b`)
	verbCall    = regexp.MustCompile(`analytics-worker ([a-z]+)((?: --?[a-z-]+)?)`)
)

// checkAdvice sees that the settings, verbs and flags of a text are there.
func checkAdvice(t *testing.T, text string) {
	t.Helper()
	for _, name := range settingName.FindAllString(text, -1) {
		ours := slices.ContainsFunc(settings(), func(s setting) bool { return s.name == name })
		if !ours && name != "AWS_ENDPOINT_URL" && name != stream.TrimHorizon {
			t.Errorf("%q: %s is no setting", text, name)
		}
	}
	root := (&app{}).root()
	for _, m := range verbCall.FindAllStringSubmatch(text, -1) {
		verb, _, err := root.Find([]string{m[1]})
		if err != nil || verb == root {
			t.Errorf("%q: %s is no verb", text, m[1])
			continue
		}
		if flag := strings.TrimLeft(m[2], " -"); flag != "" && verb.Flags().Lookup(flag) == nil {
			t.Errorf("%q: %s has no flag %s", text, m[1], flag)
		}
	}
}

// A line of the log says what to do about its error, once; so does the end of a verb.
func TestTheLogAndTheVerbsSayTheNextStep(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := slog.New(advising{slog.NewTextHandler(&out, nil)}).With("worker", "a")
	log.Error("load failed", "error", fmt.Errorf("load: %w", warehouse.ErrNoTable))
	log.Error("load failed", "error", warehouse.ErrNoTable, "hint", "something else")
	log.Error("load failed", "error", errors.New("odd"))
	log.Info("loaded", "rows", 3)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{`hint="analytics-worker schema --apply"`, `hint="something else"`, "odd", "rows=3"} {
		if !strings.Contains(lines[i], want) || strings.Count(lines[i], "hint=") != strings.Count(want, "hint=") {
			t.Errorf("line %d is %s, want it to say %s", i, lines[i], want)
		}
	}
	var errs bytes.Buffer
	status := run(context.Background(), []string{"status"}, settingsOf([]string{"LEASE_TABLE=x"}), &out, &errs)
	if status != exitUsage || strings.Contains(errs.String(), "->") {
		t.Errorf("status %d, where nothing is known: %s", status, &errs)
	}
}
