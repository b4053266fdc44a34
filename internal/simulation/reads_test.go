package simulation

import (
	"errors"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// The status tells when no shard can be read at all, why and since when, and
// takes it back with the first read that comes through.
func TestStatusTellsThatNothingCanBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	r := start(t, w, Worker{})
	const expired = "ExpiredTokenException: The security token included in the request is expired"
	reads := func(why string, done func() (bool, error)) {
		t.Helper()
		if err := Await(deadline(t), why, done); err != nil {
			t.Fatal(err)
		}
	}
	reads("all shards are read", func() (bool, error) {
		st := r.Worker.Status()
		return len(st.Shards) == 4 && st.Reads.Failing == nil, nil
	})
	if err := w.Local.Faults().Put([]fault.Fault{{Service: "kinesis", Operation: "GetRecords", Kind: fault.AccessDenied, Error: expired}}); err != nil {
		t.Fatal(err)
	}
	reads("no shard is read", func() (bool, error) { return r.Worker.Status().Reads.Failing != nil, nil })
	failing := r.Worker.Status().Reads
	var why aws.Refusal
	if !errors.Is(failing.Failing, stream.ErrDenied) || !errors.As(failing.Failing, &why) || !why.Unauthenticated() || why.Forbidden() {
		t.Errorf("failing: %v", failing.Failing)
	}
	again := r.Worker.Status().Reads
	if again.Failing == nil || !again.Since.Equal(failing.Since) {
		t.Errorf("since %v, and then since %v, %v", failing.Since, again.Since, again.Failing)
	}
	w.Local.Faults().Clear()
	reads("the shards are read again", func() (bool, error) { return r.Worker.Status().Reads.Failing == nil, nil })
	put(t, w, made(51, 40, 0))
	reads("the records are settled", func() (bool, error) { return r.Metrics.RecordsProcessed.Value() >= 40, nil })
	if err := r.Drain(); err != nil {
		t.Error(err)
	}
	checkOK(t, w)
}
