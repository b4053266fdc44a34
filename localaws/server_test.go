package localaws_test

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	rdtypes "github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEveryServiceAnswersItsSDK sends one call of each service through the one
// port: each must find its way to the right one.
func TestEveryServiceAnswersItsSDK(t *testing.T) {
	local := localaws.Start(t)
	config := config(local)
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"kinesis": func() error {
			_, err := kinesis.NewFromConfig(config).ListStreams(ctx, &kinesis.ListStreamsInput{})
			return err
		},
		"dynamodb": func() error {
			_, err := dynamodb.NewFromConfig(config).ListTables(ctx, &dynamodb.ListTablesInput{})
			return err
		},
		"redshift-data": func() error {
			out, err := redshiftdata.NewFromConfig(config).ExecuteStatement(ctx, &redshiftdata.ExecuteStatementInput{
				Sql: aws.String("select 1"), ClusterIdentifier: aws.String("c"), Database: aws.String("d"), DbUser: aws.String("u"),
			})
			if err == nil && out.Id == nil {
				err = errors.New("no statement id")
			}
			return err
		},
		"s3": func() error {
			client := s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true })
			_, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("latest")})
			if err != nil {
				return err
			}
			// Neither the mux nor the metadata may take this path away from it.
			key := aws.String("meta-data//a/../b")
			if _, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("latest"), Key: key, Body: strings.NewReader("x")}); err != nil {
				return err
			}
			out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("latest"), Key: key})
			if err != nil {
				return err
			}
			return out.Body.Close()
		},
		"cloudwatch": func() error {
			data := make([]cwtypes.MetricDatum, 500) // large enough for the SDK to gzip
			for i := range data {
				data[i] = cwtypes.MetricDatum{MetricName: aws.String("Records"), Value: aws.Float64(float64(i))}
			}
			_, err := cloudwatch.NewFromConfig(config).PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("N"), MetricData: data})
			return err
		},
		"autoscaling": func() error {
			_, err := autoscaling.NewFromConfig(config).DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{})
			return err
		},
		"sts": func() error {
			out, err := sts.NewFromConfig(config).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			if err == nil && *out.Account != "000000000000" {
				err = errors.New("another account: " + *out.Account)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := call(); err != nil {
				t.Error(err)
			}
		})
	}
	_, err := sts.NewFromConfig(config).GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "InvalidAction" {
		t.Errorf("an operation of STS that is not served: %v", err)
	}
	if calls := local.Calls("cloudwatch", ""); len(calls) != 1 || calls[0].Operation != "PutMetricData" {
		t.Errorf("the call log: %+v", calls)
	}
	body := adminGet(t, local, "/_localaws/imds")
	if !strings.Contains(body, "instance-id") {
		t.Errorf("the admin page of the instance metadata: %s", body)
	}
}

func adminGet(t *testing.T, local *localaws.Running, path string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, local.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := local.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %d %s %v", path, response.StatusCode, body, err)
	}
	return string(body)
}

// TestDataDirectory closes a local AWS and opens its data again.
func TestDataDirectory(t *testing.T) {
	dir := t.TempDir() + "/made/by/it"
	there := func(c *localaws.Config) { c.DataDir = dir }
	t.Run("first", func(t *testing.T) {
		config := config(localaws.Start(t, there))
		_, err := kinesis.NewFromConfig(config).CreateStream(t.Context(), &kinesis.CreateStreamInput{StreamName: aws.String("s"), ShardCount: aws.Int32(1)})
		if err != nil {
			t.Error(err)
		}
		if d := finish(t, config, "create table kept as select 7 as n"); d.Status != rdtypes.StatusStringFinished {
			t.Errorf("%s: %s", d.Status, aws.ToString(d.Error))
		}
	})
	// As an earlier version left it: for all to read.
	each(t, dir, func(path string, info fs.FileInfo) {
		if err := os.Chmod(path, info.Mode().Perm()|0o055); err != nil {
			t.Error(err)
		}
	})

	config := config(localaws.Start(t, there))
	each(t, dir, func(path string, info fs.FileInfo) {
		// DuckDB makes its log by the umask, which the command sets.
		if info.Mode().Perm()&0o077 != 0 && !strings.HasSuffix(path, ".wal") {
			t.Errorf("%s is %v: others may look", path, info.Mode())
		}
	})
	if _, err := kinesis.NewFromConfig(config).DescribeStreamSummary(t.Context(), &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("s")}); err != nil {
		t.Error(err)
	}
	if d := finish(t, config, "select n from kept"); d.ResultRows != 1 {
		t.Errorf("%s: %s", d.Status, aws.ToString(d.Error))
	}
}

// each calls do for the directory and all that is in it.
func each(t *testing.T, dir string, do func(path string, info fs.FileInfo)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			do(path, info)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestDataBesideOtherThings: what is not ours keeps its mode.
func TestDataBesideOtherThings(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	localaws.Start(t, func(c *localaws.Config) { c.DataDir = dir })
	for path, want := range map[string]fs.FileMode{"": 0o755, "other": 0o755, "kinesis": 0o700, "warehouse.duckdb": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v %v, want %v", path, info.Mode(), err, want)
		}
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		config localaws.Config
		text   string
	}{
		{localaws.Config{Warehouse: "mysql://x"}, "mysql"},
		{localaws.Config{Warehouse: "postgres://127.0.0.1:1/none?connect_timeout=2"}, "open the PostgreSQL warehouse"},
		{localaws.Config{DataDir: "/dev/null/data"}, "data directory"},
	} {
		server, err := localaws.New(t.Context(), test.config)
		if err == nil {
			t.Errorf("%+v was opened", test.config)
			if err := server.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if !strings.Contains(err.Error(), test.text) {
			t.Errorf("the error %q lacks %q", err, test.text)
		}
	}
}
