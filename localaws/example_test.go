package localaws_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	rdtypes "github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"

	"github.com/cloudcafe/analytics-worker/localaws"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// example stands for the *testing.T of your test, which an Example has not.
type example struct{ cleanups []func() }

func (*example) Helper()                           {}
func (*example) Context() context.Context          { return context.Background() }
func (e *example) Cleanup(f func())                { e.cleanups = append(e.cleanups, f) }
func (*example) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (*example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (e *example) end() {
	for len(e.cleanups) > 0 {
		last := len(e.cleanups) - 1
		f := e.cleanups[last]
		e.cleanups = e.cleanups[:last]
		f()
	}
}

// config is how the AWS SDK for Go is told of a local AWS without its environment.
func config(local *localaws.Running) aws.Config {
	return aws.Config{
		Region: localaws.Region, BaseEndpoint: &local.URL, HTTPClient: local.Client(),
		Credentials: credentials.NewStaticCredentialsProvider(localaws.AccessKeyID, localaws.SecretAccessKey, ""),
	}
}

// A record is put onto a stream and read from it.
func ExampleStart() {
	t := new(example) // in your test it is there
	defer t.end()     // and ends by itself

	local := localaws.Start(t, func(c *localaws.Config) { c.Streams = map[string]int{"orders": 1} })
	client := kinesis.NewFromConfig(aws.Config{
		Region: localaws.Region, BaseEndpoint: &local.URL, HTTPClient: local.Client(),
		Credentials: credentials.NewStaticCredentialsProvider(localaws.AccessKeyID, localaws.SecretAccessKey, ""),
	})
	put, err := client.PutRecord(t.Context(), &kinesis.PutRecordInput{
		StreamName: aws.String("orders"), PartitionKey: aws.String("A-17"), Data: []byte(`{"order_id":"A-17"}`),
	})
	if err != nil {
		t.Fatalf("put a record: %v", err)
	}
	from, err := client.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{
		StreamName: aws.String("orders"), ShardId: put.ShardId, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		t.Fatalf("begin to read: %v", err)
	}
	page, err := client.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: from.ShardIterator})
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	for _, r := range page.Records {
		fmt.Println(*r.PartitionKey, string(r.Data), *r.SequenceNumber == *put.SequenceNumber)
	}
	// Output:
	// A-17 {"order_id":"A-17"} true
}

// A statement runs through the Redshift Data API: it is submitted, watched until its end,
// and its rows are fetched.
func ExampleStart_dataAPI() {
	t := new(example)
	defer t.end()

	local := localaws.Start(t, func(c *localaws.Config) {
		c.SQL = []string{"CREATE TABLE orders (id VARCHAR(20), total DECIMAL(10,2))", "INSERT INTO orders VALUES ('A-17', 9.50), ('A-18', 3)"}
	})
	client := redshiftdata.NewFromConfig(config(local))
	submitted, err := client.ExecuteStatement(t.Context(), &redshiftdata.ExecuteStatementInput{
		ClusterIdentifier: aws.String("any"), Database: aws.String("dev"), DbUser: aws.String("me"),
		Sql: aws.String("SELECT id, total FROM orders WHERE total > :least ORDER BY id"), Parameters: []rdtypes.SqlParameter{{Name: aws.String("least"), Value: aws.String("5")}},
	})
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	for status := rdtypes.StatusStringSubmitted; status != rdtypes.StatusStringFinished; {
		<-time.After(10 * time.Millisecond)
		is, err := client.DescribeStatement(t.Context(), &redshiftdata.DescribeStatementInput{Id: submitted.Id})
		if err != nil || is.Status == rdtypes.StatusStringFailed {
			t.Fatalf("the statement: %v %s", err, aws.ToString(is.Error))
		}
		status = is.Status
	}
	rows, err := client.GetStatementResult(t.Context(), &redshiftdata.GetStatementResultInput{Id: submitted.Id})
	if err != nil {
		t.Fatalf("fetch the rows: %v", err)
	}
	for _, row := range rows.Records {
		fmt.Println(row[0].(*rdtypes.FieldMemberStringValue).Value, row[1].(*rdtypes.FieldMemberStringValue).Value)
	}
	// Output:
	// A-17 9.50
}

// The answer to the first call is lost, after it took effect. The SDK makes the call
// again, and what is written twice is there twice.
func ExampleStart_fault() {
	t := new(example)
	defer t.end()

	local := localaws.Start(t, func(c *localaws.Config) { c.Streams = map[string]int{"orders": 1} })
	local.SetFaults(fault.Fault{Service: "kinesis", Operation: "PutRecord", Kind: fault.ReplyLost, Count: 1})
	client := kinesis.NewFromConfig(config(local))
	_, err := client.PutRecord(t.Context(), &kinesis.PutRecordInput{
		StreamName: aws.String("orders"), PartitionKey: aws.String("A-17"), Data: []byte(`{"order_id":"A-17"}`),
	})
	if err != nil {
		t.Fatalf("put a record: %v", err)
	}
	for _, call := range local.Calls("kinesis", "PutRecord") {
		fmt.Printf("%s %d %q\n", call.Operation, call.Status, call.Fault)
	}
	fmt.Println("faults left:", len(local.Faults()))
	// Output:
	// PutRecord 200 "reply-lost"
	// PutRecord 200 ""
	// faults left: 0
}

// A program, and not a test, holds a local AWS.
func ExampleNew() {
	if err := serveOnce(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 200 OK
}

func serveOnce(ctx context.Context) (err error) {
	server, err := localaws.New(ctx, localaws.Config{Limits: true})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, server.Close())
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- server.Serve(serving, listener) }()
	defer func() {
		stop()
		err = errors.Join(err, <-served, server.Close())
	}()

	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listener.Addr().String()+"/_localaws/health", nil)
	if err != nil {
		return err
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	fmt.Println(response.Status)
	return response.Body.Close()
}
