package aws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Limits of the Data API. AWS says 100 KB and not which kilobyte: the smaller.
const (
	maxStatements     = 40
	maxStatementBytes = 100_000
	maxToken          = 64
)

// Waiting for a statement: DescribeStatement has 100 calls a second for the
// whole account, and a small load takes a few tens of milliseconds.
const (
	firstPoll = 30 * time.Millisecond
	maxPoll   = time.Second
	// lockedPoll is for a batch that has its first statement behind it. Loads and claims
	// begin with the lock, so of all the account's workers one at a time asks so often;
	// that it has ended is what everybody waits for.
	lockedPoll   = 200 * time.Millisecond
	maxPollAgain = 5 * time.Second // after failed polls, and of a statement that takes minutes
	// followBlind is how long a statement is followed of which nothing is learnt, and
	// followAll how long one is followed at all: the Data API lets a statement run
	// for a day, and forgets it a day later.
	followBlind = 5 * time.Minute
	followAll   = 24*time.Hour + 10*time.Minute
)

// A submit whose reply was lost is repeated with its token, which the Data API
// remembers for 8 hours.
const (
	maxSubmits  = 5
	submitAgain = 200 * time.Millisecond // doubles
)

// RedshiftConfig says which warehouse to run SQL in and who to be there.
type RedshiftConfig struct {
	ClusterID string // provisioned cluster; not used where Workgroup is set
	Workgroup string // serverless workgroup, name or ARN
	Database  string
	DBUser    string // of a cluster; empty: the IAM identity itself
	SecretARN string // Secrets Manager credentials, in place of DBUser

	Names warehouse.Names // of the worker's tables

	// Cancel: a statement is cancelled whose caller does not wait for it any more. It
	// is for what only reads; a load goes on, and is found done or not.
	Cancel bool

	Log        *slog.Logger // nil: the account's
	OnThrottle func()       // called at each call that was throttled; may be nil
}

// Redshift runs SQL through the Redshift Data API. It implements warehouse.DB
// and is safe for concurrent use.
type Redshift struct {
	client *redshiftdata.Client
	target RedshiftConfig
	log    *slog.Logger
}

var _ warehouse.DB = (*Redshift)(nil)

// Redshift returns the warehouse that c names. It makes no call.
func (a *Account) Redshift(c RedshiftConfig) *Redshift {
	r := &Redshift{client: redshiftdata.NewFromConfig(a.cfg), target: c, log: c.Log}
	if r.log == nil {
		r.log = a.log
	}
	return r
}

// Run implements warehouse.DB. It returns promptly when ctx ends; a statement
// that runs then is left to run, and the outcome is open, unless the settings say
// that it is cancelled.
func (r *Redshift) Run(ctx context.Context, token string, statements []string) ([]warehouse.Result, error) {
	if err := checkLimits(token, statements); err != nil {
		return nil, err
	}
	submit := func(ctx context.Context) (string, error) { return r.submitOnce(ctx, token, statements) }
	id, err := r.submit(ctx, len(statements), submit)
	if err != nil {
		return nil, r.givenUp(ctx, id, submit, err)
	}
	done, err := r.follow(ctx, id)
	if err != nil {
		return nil, r.givenUp(ctx, id, submit, err)
	}
	if done.Status != types.StatusStringFinished {
		return nil, refused(done, len(statements))
	}
	return r.results(ctx, id, done, statements)
}

// Names implements warehouse.DB.
func (r *Redshift) Names() warehouse.Names { return r.target.Names }

func checkLimits(token string, statements []string) error {
	if token == "" || len(token) > maxToken {
		return fmt.Errorf("run SQL: the token has %d characters, the Data API takes 1 to %d", len(token), maxToken)
	}
	if len(statements) == 0 || len(statements) > maxStatements {
		return fmt.Errorf("run SQL: %d statements, the Data API takes 1 to %d at once", len(statements), maxStatements)
	}
	for i, s := range statements {
		if len(s) > maxStatementBytes {
			return fmt.Errorf("run SQL: statement %d has %d bytes, the Data API takes %d", i+1, len(s), maxStatementBytes)
		}
	}
	return nil
}

// submit hands statements over by once, whose calls have one token, and returns the
// id to follow.
func (r *Redshift) submit(ctx context.Context, statements int, once func(context.Context) (string, error)) (string, error) {
	for attempt := 1; ; attempt++ {
		id, err := once(ctx)
		if err == nil {
			return id, nil
		}
		if !errors.Is(err, errUnanswered) {
			return "", err
		}
		if attempt == maxSubmits {
			return "", fmt.Errorf("%w (submitted %s with one token; the outcome is open)", err, plural.Of(attempt, "time"))
		}
		r.log.WarnContext(ctx, "no reply to a submitted statement, submitting it again with the same token", "attempt", attempt, "error", err)
		if err := pause(ctx, jitter(submitAgain<<(attempt-1))); err != nil {
			return "", fmt.Errorf("submit %s, the outcome is open: %w", plural.Of(statements, "statement"), err)
		}
	}
}

// errUnanswered marks a submit that may have taken effect.
var errUnanswered = errors.New("no reply")

func (r *Redshift) submitOnce(ctx context.Context, token string, statements []string) (string, error) {
	parent := ctx
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	var id *string
	var err error
	t := r.target
	if len(statements) == 1 {
		var out *redshiftdata.ExecuteStatementOutput
		out, err = r.client.ExecuteStatement(ctx, &redshiftdata.ExecuteStatementInput{
			Sql: &statements[0], ClientToken: &token, Database: filled(t.Database),
			ClusterIdentifier: t.cluster(), WorkgroupName: filled(t.Workgroup), DbUser: t.user(), SecretArn: filled(t.SecretARN),
		})
		if err == nil {
			id = out.Id
		}
	} else {
		var out *redshiftdata.BatchExecuteStatementOutput
		out, err = r.client.BatchExecuteStatement(ctx, &redshiftdata.BatchExecuteStatementInput{
			Sqls: statements, ClientToken: &token, Database: filled(t.Database),
			ClusterIdentifier: t.cluster(), WorkgroupName: filled(t.Workgroup), DbUser: t.user(), SecretArn: filled(t.SecretARN),
		})
		if err == nil {
			id = out.Id
		}
	}
	return r.answered(parent, ctx, fmt.Sprintf("submit %s to %s", plural.Of(len(statements), "statement"), t.name()), id, err)
}

// answered judges the answer to a submit under call, which parent is the parent of.
func (r *Redshift) answered(parent, call context.Context, doing string, id *string, err error) (string, error) {
	switch {
	case err == nil && sdk.ToString(id) == "":
		return "", fmt.Errorf("%w: %w", errUnanswered, incomplete(doing, "it holds no statement id"))
	case err == nil:
		return *id, nil
	case parent.Err() == nil && unanswered(err):
		return "", fmt.Errorf("%w: %w", errUnanswered, r.failed(call, doing, err))
	default:
		return "", r.failed(call, doing, err)
	}
}

// failed judges the error of a call and counts throttles.
func (r *Redshift) failed(ctx context.Context, doing string, err error) error {
	err = warehouseFailed(ctx, doing, err)
	if errors.Is(err, warehouse.ErrThrottled) && r.target.OnThrottle != nil {
		r.target.OnThrottle()
	}
	return err
}

func (c RedshiftConfig) name() string {
	if c.Workgroup != "" {
		return "workgroup " + c.Workgroup + ", database " + c.Database
	}
	return "cluster " + c.ClusterID + ", database " + c.Database
}

// cluster and user follow the ways of authentication that the Data API knows:
// a workgroup takes neither, a secret already names its user.
func (c RedshiftConfig) cluster() *string {
	if c.Workgroup != "" {
		return nil
	}
	return filled(c.ClusterID)
}

func (c RedshiftConfig) user() *string {
	if c.Workgroup != "" || c.SecretARN != "" {
		return nil
	}
	return filled(c.DBUser)
}

func filled(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// follow polls until the statement has ended. A failed poll says nothing about
// the statement, so it only slows the polling down. But there is an end to that:
// where nothing is to be learnt the outcome is left open, and the caller runs the
// statements again, which it can at any time.
func (r *Redshift) follow(ctx context.Context, id string) (*redshiftdata.DescribeStatementOutput, error) {
	wait, began := firstPoll, time.Now()
	known := began // when the statement was last known to be under way
	for {
		if err := pause(ctx, jitter(wait)); err != nil {
			return nil, fmt.Errorf("wait for statement %s, which goes on: %w", id, err)
		}
		out, err := r.describe(ctx, id)
		if forgotten(err) {
			return nil, fmt.Errorf("wait for statement %s: the Data API does not know it any more, the outcome is open: %w", id, err)
		}
		if ctx.Err() != nil {
			continue // pause returns why
		}
		now := time.Now()
		switch {
		case err != nil:
			err = r.failed(ctx, "describe the statement", err)
			wait = min(max(wait, 4*firstPoll)*2, maxPollAgain)
			warehouse.Report(ctx, warehouse.Progress{Statement: -1, Err: err})
			r.log.WarnContext(ctx, "cannot ask for a statement's status, asking again", "statement", id, "in", wait, "error", err)
		case out.Status == types.StatusStringFinished, out.Status == types.StatusStringFailed, out.Status == types.StatusStringAborted:
			return out, nil
		case out.Status == types.StatusStringSubmitted, out.Status == types.StatusStringPicked, out.Status == types.StatusStringStarted:
			far, most := progress(out), maxPoll
			warehouse.Report(ctx, far)
			switch {
			case now.Sub(began) > time.Minute:
				most = maxPollAgain
			case far.Statement > 0:
				most = lockedPoll
			}
			known, wait = now, min(wait*3/2, most)
		default:
			err = incomplete("describe the statement", fmt.Sprintf("its status is %q, which is none", out.Status))
			wait = min(wait*3/2, maxPoll)
		}
		if now.Sub(known) > followBlind || now.Sub(began) > followAll {
			if err == nil {
				err = fmt.Errorf("its status is %s", out.Status)
			}
			return nil, fmt.Errorf("wait for statement %s: not known to have ended after %v, the outcome is open: %w: %w",
				id, now.Sub(began).Round(time.Second), warehouse.ErrUnavailable, err)
		}
	}
}

// progress is how far a statement has got that has not ended.
func progress(out *redshiftdata.DescribeStatementOutput) warehouse.Progress {
	p := warehouse.Progress{Started: out.Status == types.StatusStringStarted, Statement: -1}
	for i, sub := range out.SubStatements {
		if sub.Status == types.StatementStatusStringStarted {
			p.Statement = i
		}
	}
	return p
}

// forgotten reports whether the Data API has no status of the statement any more:
// it keeps them for a day. There is no code for it in the second form.
func forgotten(err error) bool {
	if errors.As(err, new(*types.ResourceNotFoundException)) {
		return true
	}
	r := refusalOf(err)
	return r.Code == "ValidationException" && strings.Contains(r.Message, "has expired")
}

func (r *Redshift) describe(ctx context.Context, id string) (*redshiftdata.DescribeStatementOutput, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	return r.client.DescribeStatement(ctx, &redshiftdata.DescribeStatementInput{Id: &id})
}

// refused says why a statement that has ended did not finish.
func refused(done *redshiftdata.DescribeStatementOutput, statements int) error {
	e := &warehouse.StatementError{Index: -1, Message: sdk.ToString(done.Error)}
	if statements == 1 {
		e.Index = 0
	}
	for i, sub := range done.SubStatements {
		if sub.Status == types.StatementStatusStringFailed || sub.Status == types.StatementStatusStringAborted && e.Index < 0 {
			e.Index = i
			if text := sdk.ToString(sub.Error); text != "" {
				e.Message = text
			}
		}
		if sub.Status == types.StatementStatusStringFailed {
			break
		}
	}
	if done.Status == types.StatusStringAborted {
		if e.Message == "" {
			e.Message = "the statement was aborted"
		}
		e.Kind = warehouse.ErrEnded
		return e
	}
	if e.Message == "" {
		e.Message = "the statement failed, the Data API does not say why"
	}
	e.Kind = statementKind(e.Message)
	return e
}

// jitter spreads d by a fifth to both sides, so that workers that began
// together do not call together.
func jitter(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }
