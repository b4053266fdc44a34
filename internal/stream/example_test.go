package stream_test

import (
	"fmt"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// A Kinesis record may hold several events; each becomes a record of its own, in a
// place of its own.
func ExampleDeaggregate() {
	const events = `{"order_id":"a","total_amount":4.95} {"order_id":"b","total_amount":2.50}`
	r := stream.Record{SequenceNumber: "49590338", Data: []byte(events)}
	shard := stream.Shard{ID: "shardId-000000000000", HashStart: "0", HashEnd: "340282366920938463463374607431768211455"}
	for _, e := range stream.Deaggregate(r, shard, nil) {
		fmt.Printf("%v: %s\n", stream.After(e), e.Data)
	}
	// Output:
	// 49590338: {"order_id":"a","total_amount":4.95}
	// 49590338/1: {"order_id":"b","total_amount":2.50}
}

// A reader that starts at a position leaves out what lies behind it, also within
// a record of several events.
func ExamplePosition_Covers() {
	p := stream.Position{Sequence: "49590338", Sub: 1}
	for _, r := range []stream.Record{
		{SequenceNumber: "9999999"}, // as a number it is the smaller one
		{SequenceNumber: "49590338", SubSequence: 1},
		{SequenceNumber: "49590338", SubSequence: 2},
		{SequenceNumber: "49590339"},
	} {
		fmt.Println(stream.After(r), p.Covers(r))
	}
	// Output:
	// 9999999 true
	// 49590338/1 true
	// 49590338/2 false
	// 49590339 false
}
