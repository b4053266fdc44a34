package kinesis_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/kinesis"
	"github.com/cloudcafe/analytics-worker/localaws/memnet"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is the AWS SDK against a Kinesis of the test's own, over connections
// in memory: they work in a synctest bubble as out of one.
type client struct {
	*sdk.Client
	http *http.Client
	t    *testing.T
	stop func() // ends the service, before the test does
}

func open(t *testing.T, o kinesis.Options) *client {
	t.Helper()
	service, err := kinesis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	listener := memnet.Listen()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	door := endpoint.New(endpoint.Options{Services: []wire.Service{service}})
	go func() { served <- door.Serve(ctx, listener) }()

	transport := &http.Transport{DialContext: listener.DialContext}
	c := &client{http: &http.Client{Transport: transport}, t: t}
	c.Client = sdk.New(sdk.Options{
		BaseEndpoint:     aws.String("http://kinesis.localhost"),
		Region:           "us-east-1",
		Credentials:      credentials.NewStaticCredentialsProvider("test", "test", ""),
		HTTPClient:       c.http,
		RetryMaxAttempts: 1, // a test sees the first error
	})
	stopped := false
	c.stop = func() {
		if stopped {
			return
		}
		stopped = true
		transport.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := service.Close(); err != nil {
			t.Errorf("close the service: %v", err)
		}
	}
	t.Cleanup(c.stop)
	return c
}

// must fails the test on an error.
func must[T any](t *testing.T, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (c *client) create(name string, shards int32) {
	c.t.Helper()
	_, err := c.CreateStream(c.t.Context(), &sdk.CreateStreamInput{StreamName: &name, ShardCount: &shards})
	if err != nil {
		c.t.Fatal(err)
	}
}

// put puts one record and returns its sequence number and shard.
func (c *client) put(stream, key, data string) *sdk.PutRecordOutput {
	c.t.Helper()
	out, err := c.PutRecord(c.t.Context(), &sdk.PutRecordInput{StreamName: &stream, PartitionKey: &key, Data: []byte(data)})
	return must(c.t, out, err)
}

func (c *client) shards(stream string) []types.Shard {
	c.t.Helper()
	out, err := c.ListShards(c.t.Context(), &sdk.ListShardsInput{StreamName: &stream})
	return must(c.t, out, err).Shards
}

// iterator gets one; edit may set what the type needs.
func (c *client) iterator(stream, shard string, kind types.ShardIteratorType, edit func(*sdk.GetShardIteratorInput)) (string, error) {
	in := &sdk.GetShardIteratorInput{StreamName: &stream, ShardId: &shard, ShardIteratorType: kind}
	if edit != nil {
		edit(in)
	}
	out, err := c.GetShardIterator(c.t.Context(), in)
	if err != nil {
		return "", err
	}
	return *out.ShardIterator, nil
}

func (c *client) get(iterator string, limit int32) (*sdk.GetRecordsOutput, error) {
	return c.GetRecords(c.t.Context(), &sdk.GetRecordsInput{ShardIterator: &iterator, Limit: &limit})
}

// drain reads a shard from its start to its tip or end.
func (c *client) drain(stream, shard string) (data []string, last *sdk.GetRecordsOutput) {
	c.t.Helper()
	it, err := c.iterator(stream, shard, types.ShardIteratorTypeTrimHorizon, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for {
		out, err := c.get(it, 5000)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, r := range out.Records {
			data = append(data, string(r.Data))
		}
		if out.NextShardIterator == nil || *out.MillisBehindLatest == 0 {
			return data, out
		}
		it = *out.NextShardIterator
	}
}

// wantError fails the test unless err is the AWS error with this code, and with
// each text in its message.
func wantError(t *testing.T, err error, code string, texts ...string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("got %v, want %s", err, code)
	}
	if api.ErrorCode() != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	for _, text := range texts {
		if !strings.Contains(api.ErrorMessage(), text) {
			t.Fatalf("the message %q lacks %q", api.ErrorMessage(), text)
		}
	}
}

func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return out
}

func at(t time.Time) func(*sdk.GetShardIteratorInput) {
	return func(in *sdk.GetShardIteratorInput) { in.Timestamp = &t }
}

func from(sequence string) func(*sdk.GetShardIteratorInput) {
	return func(in *sdk.GetShardIteratorInput) { in.StartingSequenceNumber = &sequence }
}
