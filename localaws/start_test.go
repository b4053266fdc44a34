package localaws_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	rdtypes "github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cloudcafe/analytics-worker/localaws"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// TestStartedByTheEnvironment: an SDK that is told nothing finds what was made.
func TestStartedByTheEnvironment(t *testing.T) {
	local := localaws.Start(t, func(c *localaws.Config) {
		c.Streams = map[string]int{"one": 1, "six": 6}
		c.Buckets = []string{"letters"}
		c.SQL = []string{"CREATE TABLE made (n INTEGER)", "INSERT INTO made VALUES (7)"}
	})
	for name, value := range local.Env() {
		t.Setenv(name, value)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_CA_BUNDLE", "") // which the SDK for Go does not combine with a client of ours
	c, err := awsconfig.LoadDefaultConfig(t.Context(), awsconfig.WithHTTPClient(local.Client()))
	if err != nil {
		t.Fatal(err)
	}
	for name, shards := range map[string]int32{"one": 1, "six": 6} {
		out, err := kinesis.NewFromConfig(c).DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: &name})
		if err != nil || *out.StreamDescriptionSummary.OpenShardCount != shards {
			t.Errorf("stream %s: %+v, %v", name, out, err)
		}
	}
	if _, err := s3.NewFromConfig(c).HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: aws.String("letters")}); err != nil {
		t.Errorf("the bucket: %v", err)
	}
	if d := finish(t, c, "SELECT n FROM made"); d.ResultRows != 1 {
		t.Errorf("the table: %s %s", d.Status, aws.ToString(d.Error))
	}
	document, err := imds.NewFromConfig(c).GetInstanceIdentityDocument(t.Context(), nil)
	if err != nil || document.InstanceID == "" {
		t.Errorf("instance metadata: %+v, %v", document, err)
	}
	if calls := local.Calls("kinesis", "CreateStream"); len(calls) != 0 {
		t.Errorf("what Start made is in the log of calls: %+v", calls)
	}
	if calls := local.Calls("redshift-data", ""); len(calls) < 2 || calls[0].Operation != "ExecuteStatement" {
		t.Errorf("the calls of the Data API: %+v", calls)
	}
}

// finish runs a statement to its end.
func finish(t *testing.T, c aws.Config, sql string) *redshiftdata.DescribeStatementOutput {
	t.Helper()
	client := redshiftdata.NewFromConfig(c)
	out, err := client.ExecuteStatement(t.Context(), &redshiftdata.ExecuteStatementInput{
		Sql: &sql, ClusterIdentifier: aws.String("c"), Database: aws.String("d"), DbUser: aws.String("u"),
	})
	if err != nil {
		t.Fatal(err)
	}
	for {
		d, err := client.DescribeStatement(t.Context(), &redshiftdata.DescribeStatementInput{Id: out.Id})
		if err != nil {
			t.Fatal(err)
		}
		switch d.Status {
		case rdtypes.StatusStringFinished, rdtypes.StatusStringFailed, rdtypes.StatusStringAborted:
			return d
		}
	}
}

// TestStartsAreApart: each has its own streams and faults, and serves until the
// cleanups that were registered after it have run.
func TestStartsAreApart(t *testing.T) {
	var urls []string
	t.Run("running", func(t *testing.T) {
		a := localaws.Start(t, func(c *localaws.Config) { c.Streams = map[string]int{"s": 1} })
		b := localaws.Start(t)
		urls = []string{a.URL, b.URL}
		t.Cleanup(func() {
			if _, err := kinesis.NewFromConfig(config(a)).ListStreams(context.Background(), &kinesis.ListStreamsInput{}); err != nil {
				t.Errorf("in a cleanup: %v", err)
			}
		})
		b.SetFaults(fault.Fault{Service: "kinesis", Kind: fault.Throttle})
		out, err := kinesis.NewFromConfig(config(a)).ListStreams(t.Context(), &kinesis.ListStreamsInput{})
		if err != nil || len(out.StreamNames) != 1 {
			t.Errorf("of the first: %+v, %v", out, err)
		}
		if b.SetFaults(); len(b.Faults()) != 0 {
			t.Errorf("faults that were taken away: %+v", b.Faults())
		}
		out, err = kinesis.NewFromConfig(config(b)).ListStreams(t.Context(), &kinesis.ListStreamsInput{})
		if err != nil || len(out.StreamNames) != 0 {
			t.Errorf("of the second: %+v, %v", out, err)
		}
	})
	for _, url := range urls {
		if response, err := http.Get(url + "/_localaws/health"); err == nil {
			t.Errorf("%s still answers: %s, %v", url, response.Status, response.Body.Close())
		}
	}
}

// TestStartOverADirectory: what is there is not made again.
func TestStartOverADirectory(t *testing.T) {
	dir := t.TempDir()
	edit := func(c *localaws.Config) {
		c.DataDir, c.Streams, c.Buckets = dir, map[string]int{"kept": 2}, []string{"kept"}
		c.SQL = []string{"CREATE TABLE IF NOT EXISTS kept (n INTEGER)"}
	}
	t.Run("first", func(t *testing.T) {
		c := config(localaws.Start(t, edit))
		_, err := kinesis.NewFromConfig(c).PutRecord(t.Context(), &kinesis.PutRecordInput{StreamName: aws.String("kept"), PartitionKey: aws.String("k"), Data: []byte("v")})
		if err != nil {
			t.Error(err)
		}
		_, err = s3.NewFromConfig(c).PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("kept"), Key: aws.String("k"), Body: strings.NewReader("v")})
		if err != nil {
			t.Error(err)
		}
	})
	c := config(localaws.Start(t, edit))
	records := 0
	for _, id := range []string{"shardId-000000000000", "shardId-000000000001"} {
		from, err := kinesis.NewFromConfig(c).GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
			StreamName: aws.String("kept"), ShardId: &id, ShardIteratorType: "TRIM_HORIZON",
		})
		if err != nil {
			t.Fatal(err)
		}
		page, err := kinesis.NewFromConfig(c).GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: from.ShardIterator})
		if err != nil {
			t.Fatal(err)
		}
		records += len(page.Records)
	}
	if records != 1 {
		t.Errorf("%d records are left, want the one", records)
	}
	out, err := s3.NewFromConfig(c).GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("kept"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(out.Body); string(body) != "v" || err != nil {
		t.Errorf("the object: %q, %v", body, err)
	}
	_ = out.Body.Close()
}

// refused is a T whose test ends with the first Fatalf.
type refused struct {
	*testing.T
	why string
}

func (r *refused) Fatalf(format string, args ...any) {
	r.why = fmt.Sprintf(format, args...)
	panic(r)
}

// refusal is with what do ended its test, or "".
func refusal(t *testing.T, do func(localaws.T)) (why string) {
	t.Helper()
	r := &refused{T: t}
	defer func() {
		if p := recover(); p != nil && p != r {
			panic(p)
		}
		why = r.why
	}()
	do(r)
	return ""
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	for want, edit := range map[string]func(*localaws.Config){
		"mysql":                  func(c *localaws.Config) { c.Warehouse = "mysql://x" },
		"'streamName'":           func(c *localaws.Config) { c.Streams = map[string]int{"no good": 1} },
		"'shardCount'":           func(c *localaws.Config) { c.Streams = map[string]int{"s": 0} },
		"No_Good":                func(c *localaws.Config) { c.Buckets = []string{"No_Good"} },
		`run "CREATE TABEL x": `: func(c *localaws.Config) { c.SQL = []string{"CREATE TABEL x"} },
	} {
		why := refusal(t, func(t localaws.T) { localaws.Start(t, edit) })
		if !strings.HasPrefix(why, "start the local AWS: ") || !strings.Contains(why, want) {
			t.Errorf("Start ended the test with %q, want %q in it", why, want)
		}
	}
	why := refusal(t, func(t localaws.T) { localaws.Start(t).SetFaults(fault.Fault{Service: "kinesys", Kind: fault.Reset}) })
	if !strings.Contains(why, "kinesys") {
		t.Errorf("SetFaults ended the test with %q", why)
	}
}
