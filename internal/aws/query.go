package aws

import (
	"context"
	"errors"
	"fmt"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Query is how a single statement stands that was submitted by Submit.
type Query struct {
	ID, Name string
	Ended    bool
	Err      error         // a *warehouse.StatementError, of one that ended without success
	HasRows  bool          // there is a result to fetch
	Rows     int64         // of the result; below 0 = not known
	Waited   time.Duration // from its submission until it ran, as far as the Data API tells
	Ran      time.Duration
	Created  time.Time
}

// Submit starts one statement under a name that List finds it by, and returns
// its id. It makes one call; where its reply is lost the statement may run all
// the same.
func (r *Redshift) Submit(ctx context.Context, name, sql string) (string, error) {
	if err := checkLimits(name, []string{sql}); err != nil {
		return "", err
	}
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	t := r.target
	out, err := r.client.ExecuteStatement(ctx, &redshiftdata.ExecuteStatementInput{
		Sql: &sql, StatementName: &name, Database: filled(t.Database),
		ClusterIdentifier: t.cluster(), WorkgroupName: filled(t.Workgroup), DbUser: t.user(), SecretArn: filled(t.SecretARN),
	})
	if err != nil {
		return "", r.failed(ctx, "submit a query to "+t.name(), err)
	}
	if sdk.ToString(out.Id) == "" {
		return "", fmt.Errorf("submit a query to %s: the reply holds no statement id", t.name())
	}
	return *out.Id, nil
}

// Query asks once how a statement stands. One that the Data API does not know
// has ended.
func (r *Redshift) Query(ctx context.Context, id string) (Query, error) {
	out, err := r.describe(ctx, id)
	var gone *types.ResourceNotFoundException
	switch {
	case errors.As(err, &gone):
		return Query{ID: id, Ended: true, Err: fmt.Errorf("the Data API does not know the statement %s any more", id)}, nil
	case err != nil:
		return Query{}, r.failed(ctx, "describe the statement", err)
	}
	q := Query{ID: id, Ran: time.Duration(out.Duration), HasRows: sdk.ToBool(out.HasResultSet), Rows: out.ResultRows, Created: sdk.ToTime(out.CreatedAt)}
	switch out.Status {
	case types.StatusStringFinished:
		q.Ended = true
	case types.StatusStringFailed, types.StatusStringAborted:
		q.Ended, q.Err = true, refused(out, 1)
	}
	if q.Ended && out.UpdatedAt != nil {
		q.Waited = max(0, out.UpdatedAt.Sub(q.Created)-q.Ran)
	}
	return q, nil
}

// Page fetches a part of the result of a statement that has finished. token is
// empty for the first part, and next after the last one. bytes is the length of
// the values.
func (r *Redshift) Page(ctx context.Context, id, token string) (rows warehouse.Result, bytes int, next string, err error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	page, err := r.client.GetStatementResult(ctx, &redshiftdata.GetStatementResultInput{Id: &id, NextToken: filled(token)})
	if err != nil {
		return rows, 0, "", r.failed(ctx, "fetch a page of the result of statement "+id, err)
	}
	rows = warehouse.Result{Affected: -1, Rows: make([][]warehouse.Value, 0, len(page.Records))}
	for _, c := range page.ColumnMetadata {
		rows.Columns = append(rows.Columns, columnName(c))
	}
	for _, record := range page.Records {
		row := make([]warehouse.Value, len(record))
		for i, field := range record {
			row[i] = toValue(field)
			bytes += len(row[i].Text)
		}
		rows.Rows = append(rows.Rows, row)
	}
	return rows, bytes, sdk.ToString(page.NextToken), nil
}

// Cancel asks for the end of a statement. One that has ended already is no
// error; the statement ends some time after the call.
func (r *Redshift) Cancel(ctx context.Context, id string) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	_, err := r.client.CancelStatement(ctx, &redshiftdata.CancelStatementInput{Id: &id})
	var gone *types.ResourceNotFoundException
	if err == nil || errors.As(err, &gone) {
		return nil
	}
	if q, lookErr := r.Query(ctx, id); lookErr == nil && q.Ended {
		return nil // "could not be cancelled because it is already in FINISHED state"
	}
	return r.failed(ctx, "cancel the statement "+id, err)
}

// Unended lists the statements that have not ended whose names begin with
// prefix, of all callers with this one's IAM role.
func (r *Redshift) Unended(ctx context.Context, prefix string) ([]Query, error) {
	var out []Query
	for _, status := range []types.StatusString{types.StatusStringSubmitted, types.StatusStringPicked, types.StatusStringStarted} {
		in := &redshiftdata.ListStatementsInput{StatementName: filled(prefix), Status: status, MaxResults: 100}
		for {
			page, err := func() (*redshiftdata.ListStatementsOutput, error) {
				ctx, cancel := bounded(ctx, callTimeout)
				defer cancel()
				return r.client.ListStatements(ctx, in)
			}()
			if err != nil {
				return nil, r.failed(ctx, "list the statements named "+prefix, err)
			}
			for _, s := range page.Statements {
				out = append(out, Query{ID: sdk.ToString(s.Id), Name: sdk.ToString(s.StatementName), Created: sdk.ToTime(s.CreatedAt)})
			}
			if sdk.ToString(page.NextToken) == "" {
				break
			}
			in.NextToken = page.NextToken
		}
	}
	return out, nil
}
