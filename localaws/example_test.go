package localaws_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/cloudcafe/analytics-worker/localaws"
)

// A local AWS within a program, on a free port of the loopback interface, and a
// call of AWS's own SDK.
func Example() {
	if err := create(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output:
	// arn:aws:kinesis:eu-central-1:000000000000:stream/order-events
	// no stream of that name: true
}

func create(ctx context.Context) (err error) {
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

	client := kinesis.New(kinesis.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String("http://" + listener.Addr().String()),
		Credentials: credentials.NewStaticCredentialsProvider("any", "thing", ""),
	})
	if _, err := client.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: aws.String("order-events"), ShardCount: aws.Int32(4)}); err != nil {
		return err
	}
	made, err := client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("order-events")})
	if err != nil {
		return err
	}
	fmt.Println(aws.ToString(made.StreamDescriptionSummary.StreamARN))

	_, err = client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String("orders")})
	var missing *types.ResourceNotFoundException
	fmt.Println("no stream of that name:", errors.As(err, &missing))
	return nil
}
