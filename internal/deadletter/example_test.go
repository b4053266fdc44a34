package deadletter_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// A letter that is put again, as after a crash, is stored once.
func ExampleStore() {
	if err := keepOne(); err != nil {
		fmt.Println(err)
	}
	// Output:
	// not JSON at 49590338: "{oops"
}

func keepOne() error {
	ctx := context.Background()
	path, err := os.MkdirTemp("", "letters-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(path)
	dir, err := deadletter.Dir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	arrived := time.Date(2026, 11, 20, 8, 15, 30, 0, time.UTC)
	letter := deadletter.Letter{
		Reason: "not JSON", ShardID: "shardId-000000000000", SequenceNumber: "49590338", ArrivedAt: arrived, RejectedAt: arrived, Data: []byte("{oops"),
	}
	for range 2 {
		// Of each process, a store of its own: it knows what the bucket tells it.
		store := deadletter.New(dir, "order-events")
		if err := store.Put(ctx, stream.Position{Sequence: stream.TrimHorizon}, []deadletter.Letter{letter}); err != nil {
			return err
		}
	}
	for l, err := range deadletter.New(dir, "order-events").All(ctx) {
		if err != nil {
			return err
		}
		fmt.Printf("%s at %v: %q\n", l.Reason, l.Place(), l.Data)
	}
	return nil
}
