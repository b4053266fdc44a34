package aws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"

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
	firstPoll    = 30 * time.Millisecond
	maxPoll      = time.Second
	maxPollAgain = 5 * time.Second // after failed polls
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
// that runs then is left to run, and the outcome is open.
func (r *Redshift) Run(ctx context.Context, token string, statements []string) ([]warehouse.Result, error) {
	if err := checkLimits(token, statements); err != nil {
		return nil, err
	}
	id, err := r.submit(ctx, token, statements)
	if err != nil {
		return nil, err
	}
	done, err := r.follow(ctx, id)
	if err != nil {
		return nil, err
	}
	if done.Status != types.StatusStringFinished {
		return nil, refused(done, len(statements))
	}
	return r.results(ctx, done, len(statements))
}

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

// submit hands the statements over and returns the id to follow.
func (r *Redshift) submit(ctx context.Context, token string, statements []string) (string, error) {
	for attempt := 1; ; attempt++ {
		id, err := r.submitOnce(ctx, token, statements)
		if err == nil {
			return id, nil
		}
		if !errors.Is(err, errUnanswered) {
			return "", err
		}
		if attempt == maxSubmits {
			return "", fmt.Errorf("%w (submitted %d times with one token; the outcome is open)", err, attempt)
		}
		r.log.WarnContext(ctx, "no reply to a submitted statement, submitting it again with the same token", "attempt", attempt, "error", err)
		if err := pause(ctx, jitter(submitAgain<<(attempt-1))); err != nil {
			return "", fmt.Errorf("submit %d statements, the outcome is open: %w", len(statements), err)
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
	doing := fmt.Sprintf("submit %d statements to %s", len(statements), t.name())
	switch {
	case err == nil && sdk.ToString(id) == "":
		return "", fmt.Errorf("%s: the reply holds no statement id", doing)
	case err == nil:
		return *id, nil
	case parent.Err() == nil && unanswered(err):
		return "", fmt.Errorf("%w: %w", errUnanswered, r.failed(ctx, doing, err))
	default:
		return "", r.failed(ctx, doing, err)
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
// the statement, so it only slows the polling down.
func (r *Redshift) follow(ctx context.Context, id string) (*redshiftdata.DescribeStatementOutput, error) {
	wait := firstPoll
	for {
		if err := pause(ctx, jitter(wait)); err != nil {
			return nil, fmt.Errorf("wait for statement %s, which goes on: %w", id, err)
		}
		out, err := r.describe(ctx, id)
		var gone *types.ResourceNotFoundException
		switch {
		case errors.As(err, &gone):
			return nil, fmt.Errorf("wait for statement %s: the Data API does not know it any more, the outcome is open: %w", id, err)
		case err != nil && ctx.Err() == nil:
			wait = min(max(wait, 4*firstPoll)*2, maxPollAgain)
			r.log.WarnContext(ctx, "cannot ask for a statement's status, asking again", "statement", id, "in", wait,
				"error", r.failed(ctx, "describe the statement", err))
			continue
		case err != nil:
			continue // pause returns why ctx ended
		}
		switch out.Status {
		case types.StatusStringFinished, types.StatusStringFailed, types.StatusStringAborted:
			return out, nil
		}
		wait = min(wait*3/2, maxPoll)
	}
}

func (r *Redshift) describe(ctx context.Context, id string) (*redshiftdata.DescribeStatementOutput, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	out, err := r.client.DescribeStatement(ctx, &redshiftdata.DescribeStatementInput{Id: &id})
	if err == nil && out == nil {
		err = errors.New("an empty reply")
	}
	return out, err
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

// results fetches what the statements returned, in their order.
func (r *Redshift) results(ctx context.Context, done *redshiftdata.DescribeStatementOutput, statements int) ([]warehouse.Result, error) {
	if statements == 1 {
		one, err := r.result(ctx, sdk.ToString(done.Id), sdk.ToBool(done.HasResultSet), done.ResultRows)
		if err != nil {
			return nil, err
		}
		return []warehouse.Result{one}, nil
	}
	if len(done.SubStatements) != statements {
		return nil, fmt.Errorf("statement %s: %d statements were submitted, the Data API tells of %d; it has finished", sdk.ToString(done.Id), statements, len(done.SubStatements))
	}
	out := make([]warehouse.Result, statements)
	for i, sub := range done.SubStatements {
		var err error
		if out[i], err = r.result(ctx, sdk.ToString(sub.Id), sdk.ToBool(sub.HasResultSet), sub.ResultRows); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *Redshift) result(ctx context.Context, id string, has bool, affected int64) (warehouse.Result, error) {
	if !has {
		return warehouse.Result{Affected: affected}, nil
	}
	out := warehouse.Result{Affected: -1}
	in := &redshiftdata.GetStatementResultInput{Id: &id}
	for {
		page, err := r.fetch(ctx, in)
		if err != nil {
			return warehouse.Result{}, err
		}
		if out.Columns == nil {
			for _, c := range page.ColumnMetadata {
				out.Columns = append(out.Columns, columnName(c))
			}
		}
		for _, record := range page.Records {
			row := make([]warehouse.Value, len(record))
			for i, field := range record {
				row[i] = toValue(field)
			}
			out.Rows = append(out.Rows, row)
		}
		if sdk.ToString(page.NextToken) == "" {
			return out, nil
		}
		in.NextToken = page.NextToken
	}
}

// fetch gets one page of a result. The transaction is through by now, so it is
// worth some patience: giving up means to run it all again.
func (r *Redshift) fetch(ctx context.Context, in *redshiftdata.GetStatementResultInput) (*redshiftdata.GetStatementResultOutput, error) {
	const attempts = 6
	for attempt := 1; ; attempt++ {
		page, err := func() (*redshiftdata.GetStatementResultOutput, error) {
			ctx, cancel := bounded(ctx, callTimeout)
			defer cancel()
			page, err := r.client.GetStatementResult(ctx, in)
			if err != nil {
				return nil, r.failed(ctx, "fetch the result of statement "+*in.Id+", which has finished", err)
			}
			return page, nil
		}()
		passing := errors.Is(err, warehouse.ErrThrottled) || errors.Is(err, warehouse.ErrUnavailable)
		if err == nil || !passing || attempt == attempts {
			return page, err
		}
		if err := pause(ctx, jitter(submitAgain<<(attempt-1))); err != nil {
			return nil, fmt.Errorf("fetch the result of statement %s, which has finished: %w", *in.Id, err)
		}
	}
}

func columnName(c types.ColumnMetadata) string {
	if label := sdk.ToString(c.Label); label != "" { // the alias of SELECT x AS label
		return label
	}
	return sdk.ToString(c.Name)
}

func toValue(f types.Field) warehouse.Value {
	switch f := f.(type) {
	case *types.FieldMemberStringValue:
		return warehouse.Value{Text: f.Value}
	case *types.FieldMemberLongValue:
		return warehouse.Value{Text: strconv.FormatInt(f.Value, 10)}
	case *types.FieldMemberDoubleValue:
		return warehouse.Value{Text: strconv.FormatFloat(f.Value, 'g', -1, 64)}
	case *types.FieldMemberBooleanValue:
		return warehouse.Value{Text: strconv.FormatBool(f.Value)}
	case *types.FieldMemberBlobValue:
		return warehouse.Value{Text: string(f.Value)}
	}
	return warehouse.Value{Null: true}
}

// jitter spreads d by a fifth to both sides, so that workers that began
// together do not call together.
func jitter(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }
