package clusters

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/redshift"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T) (*redshift.Client, *endpoint.Running) {
	t.Helper()
	faults := fault.NewSet()
	local := endpoint.New(endpoint.Options{Services: []wire.Service{New(Options{Faults: faults})}, Faults: faults}).Start(t)
	return redshift.New(redshift.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(local.URL), HTTPClient: local.Client(), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	}), local
}

// A cluster is paused and resumed, and says so; the fault of the Data API is the same
// thing, whoever sets it.
func TestClustersArePausedAndResumed(t *testing.T) {
	c, local := client(t)
	ctx := t.Context()
	status := func(want string) {
		t.Helper()
		out, err := c.DescribeClusters(ctx, &redshift.DescribeClustersInput{ClusterIdentifier: aws.String("dev")})
		if err != nil || len(out.Clusters) != 1 || aws.ToString(out.Clusters[0].ClusterStatus) != want || aws.ToString(out.Clusters[0].ClusterIdentifier) != "dev" {
			t.Fatalf("%+v, %v; want %s", out, err, want)
		}
	}
	status("available")
	paused, err := c.PauseCluster(ctx, &redshift.PauseClusterInput{ClusterIdentifier: aws.String("dev")})
	if err != nil || aws.ToString(paused.Cluster.ClusterStatus) != "paused" {
		t.Fatalf("pause: %+v, %v", paused, err)
	}
	status("paused")
	if f := local.Faults(); len(f) != 1 || f[0].Service != "redshift-data" || f[0].Kind != fault.Paused {
		t.Errorf("the faults are %+v", f)
	}
	refused := func(err error, code string) {
		t.Helper()
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != code {
			t.Errorf("%v, want %s", err, code)
		}
	}
	_, err = c.PauseCluster(ctx, &redshift.PauseClusterInput{ClusterIdentifier: aws.String("dev")})
	refused(err, "InvalidClusterState")
	resumed, err := c.ResumeCluster(ctx, &redshift.ResumeClusterInput{ClusterIdentifier: aws.String("dev")})
	if err != nil || aws.ToString(resumed.Cluster.ClusterStatus) != "available" {
		t.Fatalf("resume: %+v, %v", resumed, err)
	}
	status("available")
	_, err = c.ResumeCluster(ctx, &redshift.ResumeClusterInput{ClusterIdentifier: aws.String("dev")})
	refused(err, "InvalidClusterState")
	local.SetFaults(fault.Fault{Service: "redshift-data", Kind: fault.Paused})
	status("paused")
	local.SetFaults()
	status("available")
	_, err = c.DescribeClusterVersions(ctx, &redshift.DescribeClusterVersionsInput{})
	refused(err, "InvalidAction")
	local.SetFaults(fault.Fault{Service: "redshift", Kind: fault.AccessDenied})
	_, err = c.DescribeClusters(ctx, &redshift.DescribeClustersInput{})
	refused(err, "AccessDenied")
}

// Without a name it tells of the clusters that somebody named, and of the one that is
// there before.
func TestClustersThatWereNamed(t *testing.T) {
	c, _ := client(t)
	out, err := c.DescribeClusters(t.Context(), &redshift.DescribeClustersInput{})
	if err != nil || len(out.Clusters) != 1 || aws.ToString(out.Clusters[0].ClusterIdentifier) != firstName {
		t.Fatalf("%+v, %v", out, err)
	}
	for range 2 {
		if _, err := c.DescribeClusters(t.Context(), &redshift.DescribeClustersInput{ClusterIdentifier: aws.String("one")}); err != nil {
			t.Fatal(err)
		}
	}
	out, err = c.DescribeClusters(t.Context(), &redshift.DescribeClustersInput{})
	if err != nil || len(out.Clusters) != 1 || aws.ToString(out.Clusters[0].ClusterIdentifier) != "one" {
		t.Errorf("%+v, %v", out, err)
	}
}
