package redshift_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
	"github.com/cloudcafe/analytics-worker/localaws/redshift"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := pgtest.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

// rig is a service behind a real endpoint, with the AWS SDK in front of it.
type rig struct {
	*redshiftdata.Client
	svc    *redshift.Service
	faults *fault.Set
	bucket *bucket
	url    string
}

func newRig(t testing.TB, opts redshift.Options) *rig {
	t.Helper()
	r := &rig{faults: fault.NewSet(), bucket: newBucket()}
	opts.Faults, opts.Objects = r.faults, r.bucket
	svc, err := redshift.New(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	r.svc = svc
	t.Cleanup(func() { // once it is not served any more
		if err := svc.Close(); err != nil {
			t.Errorf("close the service: %v", err)
		}
	})
	local := endpoint.New(endpoint.Options{Services: []wire.Service{svc}, Faults: r.faults}).Start(t)
	r.url = local.URL
	r.Client = redshiftdata.New(redshiftdata.Options{
		Region: endpoint.Region, BaseEndpoint: &local.URL, HTTPClient: local.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
		Retryer:     aws.NopRetryer{},
	})
	return r
}

// submit runs one statement and returns its id.
func (r *rig) submit(t testing.TB, sql string) string {
	t.Helper()
	out, err := r.ExecuteStatement(t.Context(), execute(sql))
	if err != nil {
		t.Fatalf("submit %.200q: %v", sql, err)
	}
	return *out.Id
}

func execute(sql string) *redshiftdata.ExecuteStatementInput {
	return &redshiftdata.ExecuteStatementInput{
		ClusterIdentifier: aws.String("cluster"), Database: aws.String("dev"), DbUser: aws.String("admin"), Sql: aws.String(sql),
	}
}

func batch(sqls ...string) *redshiftdata.BatchExecuteStatementInput {
	return &redshiftdata.BatchExecuteStatementInput{
		ClusterIdentifier: aws.String("cluster"), Database: aws.String("dev"), DbUser: aws.String("admin"), Sqls: sqls,
	}
}

// await follows a statement to its end, or until it stands as the caller wants.
func (r *rig) await(t testing.TB, id string, want ...types.StatusString) *redshiftdata.DescribeStatementOutput {
	t.Helper()
	if len(want) == 0 {
		want = []types.StatusString{types.StatusStringFinished, types.StatusStringFailed, types.StatusStringAborted}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// A description repeats the whole SQL, so it is not asked for without pause.
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		d, err := r.DescribeStatement(ctx, &redshiftdata.DescribeStatementInput{Id: &id})
		if err != nil {
			t.Fatalf("describe %s: %v", id, err)
		}
		for _, s := range want {
			if d.Status == s {
				return d
			}
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			t.Fatalf("statement %s is %s (%s), want %v", id, d.Status, aws.ToString(d.Error), want)
		}
	}
}

// try runs statements as one batch (or one as itself) and returns the description at the end.
func (r *rig) try(t testing.TB, sqls ...string) *redshiftdata.DescribeStatementOutput {
	t.Helper()
	if len(sqls) == 1 {
		return r.await(t, r.submit(t, sqls[0]))
	}
	out, err := r.BatchExecuteStatement(t.Context(), batch(sqls...))
	if err != nil {
		t.Fatalf("submit a batch of %d: %v", len(sqls), err)
	}
	return r.await(t, *out.Id)
}

// must is try for what has to finish.
func (r *rig) must(t testing.TB, sqls ...string) *redshiftdata.DescribeStatementOutput {
	t.Helper()
	d := r.try(t, sqls...)
	if d.Status != types.StatusStringFinished {
		t.Fatalf("%.200q ended %s: %s", sqls, d.Status, aws.ToString(d.Error))
	}
	return d
}

// rows runs a query and returns every row as text.
func (r *rig) rows(t testing.TB, sql string) [][]string {
	t.Helper()
	return r.result(t, *r.must(t, sql).Id)
}

func (r *rig) result(t testing.TB, id string) [][]string {
	t.Helper()
	var rows [][]string
	p := redshiftdata.NewGetStatementResultPaginator(r.Client, &redshiftdata.GetStatementResultInput{Id: &id})
	for p.HasMorePages() {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatalf("result of %s: %v", id, err)
		}
		for _, rec := range page.Records {
			row := make([]string, len(rec))
			for i, f := range rec {
				row[i] = fieldText(f)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func fieldText(f types.Field) string {
	switch f := f.(type) {
	case *types.FieldMemberIsNull:
		return "NULL"
	case *types.FieldMemberStringValue:
		return f.Value
	case *types.FieldMemberLongValue:
		return fmt.Sprint(f.Value)
	case *types.FieldMemberDoubleValue:
		return fmt.Sprint(f.Value)
	case *types.FieldMemberBooleanValue:
		return fmt.Sprint(f.Value)
	case *types.FieldMemberBlobValue:
		return fmt.Sprintf("%x", f.Value)
	default:
		return fmt.Sprintf("unknown field %T", f)
	}
}

// code is the error code of a refused call.
func code(t testing.TB, err error) string {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("got %v, want an error of the API", err)
	}
	return api.ErrorCode()
}
