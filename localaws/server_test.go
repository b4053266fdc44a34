package localaws_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
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

// serve runs a local AWS on a free port until stop.
func serve(t *testing.T, c localaws.Config) (config aws.Config, stop func()) {
	t.Helper()
	server, err := localaws.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(errors.Join(err, server.Close()))
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	transport := &http.Transport{}
	config = aws.Config{
		Region: "eu-central-1", BaseEndpoint: aws.String("http://" + listener.Addr().String()),
		Credentials: credentials.NewStaticCredentialsProvider("any", "thing", ""), HTTPClient: &http.Client{Transport: transport},
	}
	return config, func() {
		transport.CloseIdleConnections()
		cancel()
		if err := errors.Join(<-served, server.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestEveryServiceAnswersItsSDK sends one call of each service through the one
// port: each must find its way to the right one.
func TestEveryServiceAnswersItsSDK(t *testing.T) {
	config, stop := serve(t, localaws.Config{Limits: true})
	defer stop()
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
	body := adminGet(t, config, "/_localaws/calls?service=cloudwatch")
	if !strings.Contains(body, `"PutMetricData"`) {
		t.Errorf("the call log: %s", body)
	}
	if body = adminGet(t, config, "/_localaws/imds"); !strings.Contains(body, "instance-id") {
		t.Errorf("the admin page of the instance metadata: %s", body)
	}
}

func adminGet(t *testing.T, config aws.Config, path string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, *config.BaseEndpoint+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := config.HTTPClient.Do(r)
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
	c := localaws.Config{DataDir: t.TempDir() + "/made/by/it"}
	ctx := t.Context()
	run := func(config aws.Config, sql string) *redshiftdata.DescribeStatementOutput {
		t.Helper()
		client := redshiftdata.NewFromConfig(config)
		out, err := client.ExecuteStatement(ctx, &redshiftdata.ExecuteStatementInput{
			Sql: &sql, ClusterIdentifier: aws.String("c"), Database: aws.String("d"), DbUser: aws.String("u"),
		})
		if err != nil {
			t.Fatal(err)
		}
		for {
			d, err := client.DescribeStatement(ctx, &redshiftdata.DescribeStatementInput{Id: out.Id})
			if err != nil {
				t.Fatal(err)
			}
			switch d.Status {
			case rdtypes.StatusStringFinished, rdtypes.StatusStringFailed, rdtypes.StatusStringAborted:
				return d
			}
		}
	}
	config, stop := serve(t, c)
	_, err := kinesis.NewFromConfig(config).CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: aws.String("s"), ShardCount: aws.Int32(1)})
	if err != nil {
		t.Error(err)
	}
	if d := run(config, "create table kept as select 7 as n"); d.Status != rdtypes.StatusStringFinished {
		t.Errorf("%s: %s", d.Status, aws.ToString(d.Error))
	}
	stop()
	// As an earlier version left it: for all to read.
	each(t, c.DataDir, func(path string, info fs.FileInfo) {
		if err := os.Chmod(path, info.Mode().Perm()|0o055); err != nil {
			t.Error(err)
		}
	})

	config, stop = serve(t, c)
	defer stop()
	each(t, c.DataDir, func(path string, info fs.FileInfo) {
		// DuckDB makes its log by the umask, which the command sets.
		if info.Mode().Perm()&0o077 != 0 && !strings.HasSuffix(path, ".wal") {
			t.Errorf("%s is %v: others may look", path, info.Mode())
		}
	})
	if _, err := kinesis.NewFromConfig(config).DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("s")}); err != nil {
		t.Error(err)
	}
	if d := run(config, "select n from kept"); d.ResultRows != 1 {
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
	_, stop := serve(t, localaws.Config{DataDir: dir})
	defer stop()
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
