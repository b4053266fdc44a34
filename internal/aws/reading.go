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

// readingSession is how long the session of a reading is kept for its query, which
// follows at once. The query ends it.
const readingSession = 60 // seconds

// Read runs one statement in a transaction that is READ ONLY and gives the parts of
// its result to each, in order, as they come: no more than one of them is in memory.
// A statement without a result gives none. When ctx ends before the statement has, it
// is cancelled, and the error says whether that was achieved.
//
// Redshift holds a READ ONLY transaction to less than the word says (TRUNCATE and GRANT
// pass): see warehouse.CheckReading, which the caller should ask first.
func (r *Redshift) Read(ctx context.Context, sql string, each func(warehouse.Result) error) error {
	begin, query := warehouse.Token(), warehouse.Token()
	if err := checkLimits(query, []string{sql}); err != nil {
		return err
	}
	session := ""
	if _, _, err := r.ended(ctx, func(ctx context.Context) (id string, err error) {
		id, session, err = r.inSession(ctx, begin, "", "BEGIN READ ONLY", readingSession)
		return id, err
	}); err != nil {
		return fmt.Errorf("begin a transaction that only reads: %w", err)
	}
	// The session ends with the query, and so does its transaction: until then it would
	// keep its locks on the tables.
	id, done, err := r.ended(ctx, func(ctx context.Context) (id string, err error) {
		id, _, err = r.inSession(ctx, query, session, sql, 0)
		return id, err
	})
	if err != nil {
		return err
	}
	if !sdk.ToBool(done.HasResultSet) {
		return nil
	}
	return r.pages(ctx, id, each)
}

// ended submits one statement by submit and returns its id, and what is told of it,
// once it has finished.
func (r *Redshift) ended(ctx context.Context, submit func(context.Context) (string, error)) (string, *redshiftdata.DescribeStatementOutput, error) {
	id, err := r.submit(ctx, 1, submit)
	var done *redshiftdata.DescribeStatementOutput
	if err == nil {
		done, err = r.follow(ctx, id)
	}
	if err != nil {
		return "", nil, r.givenUp(ctx, id, submit, err)
	}
	if done.Status != types.StatusStringFinished {
		return "", nil, refused(done, 1)
	}
	return id, done, nil
}

// inSession submits a statement in a session, a new one where none is named, that is
// kept for some seconds after it.
func (r *Redshift) inSession(ctx context.Context, token, session, sql string, keep int32) (id, sessionID string, err error) {
	parent := ctx
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	in := &redshiftdata.ExecuteStatementInput{Sql: &sql, ClientToken: &token, SessionKeepAliveSeconds: &keep}
	if t := r.target; session == "" {
		in.Database, in.ClusterIdentifier, in.WorkgroupName = filled(t.Database), t.cluster(), filled(t.Workgroup)
		in.DbUser, in.SecretArn = t.user(), filled(t.SecretARN)
	} else {
		in.SessionId = &session
	}
	doing := "submit a query to " + r.target.name()
	out, err := r.client.ExecuteStatement(ctx, in)
	if err != nil {
		id, err = r.answered(parent, ctx, doing, nil, err)
		return id, "", err
	}
	sessionID = sdk.ToString(out.SessionId)
	if session == "" && sessionID == "" {
		return "", "", fmt.Errorf("%w: %w", errUnanswered, incomplete(doing, "it holds no session id"))
	}
	id, err = r.answered(parent, ctx, doing, out.Id, nil)
	return id, sessionID, err
}

// How long the end of a statement is tried for that nobody waits for any more, and how
// often: CancelStatement has a few calls a second for the whole account.
const (
	cancelTime  = 10 * time.Second
	cancelAgain = 500 * time.Millisecond
)

// givenUp cancels a statement that was given up since ctx ended, if the settings ask
// for that, and returns what is to be told in place of err. Where its id is not known,
// as the reply to submit was not waited for, submit with its token brings it.
func (r *Redshift) givenUp(ctx context.Context, id string, submit func(context.Context) (string, error), err error) error {
	cause := context.Cause(ctx)
	if cause == nil || !r.target.Cancel {
		return err
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer stop()
	if id == "" {
		if id, err = submit(ctx); err != nil {
			return fmt.Errorf("%w; whether its statement runs is not known: %w", cause, err)
		}
	}
	for {
		err = r.Cancel(ctx, id)
		q, lookErr := r.Query(ctx, id)
		switch {
		case lookErr == nil && q.Ended:
			return fmt.Errorf("%w; its statement %s was cancelled", cause, id)
		case err == nil:
			err = lookErr
		}
		if errors.Is(err, warehouse.ErrDenied) || pause(ctx, cancelAgain) != nil {
			return fmt.Errorf("%w; its statement %s goes on, it could not be cancelled: %w", cause, id, errors.Join(err, ctx.Err()))
		}
	}
}
