package simulation

import (
	"testing"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// A dead-letter store that refuses stops all loading, and the worker says so for
// as long as it does and no longer.
func TestG8_ARefusingDeadLetterStoreIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 1, Letters: lettersURL})
	b, err := w.Account.Bucket(lettersURL)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureBucket(deadline(t)); err != nil {
		t.Fatal(err)
	}
	r := start(t, w, Worker{})
	put(t, w, made(81, 50, 0.2))
	settle(t, w, 50)
	if err := r.Worker.Status().Letters.Failing; err != nil {
		t.Errorf("letters are stored, and failing with %v", err)
	}
	setFaults(t, w, fault.Fault{Service: "s3", Operation: "PutObject", Kind: fault.InternalError})
	put(t, w, made(82, 50, 0.2))
	await(t, "the worker says that letters fail", func() bool { return r.Worker.Status().Letters.Failing != nil })
	if n := r.Metrics.RecordsProcessed.Value(); n == 100 {
		t.Error("all is loaded although letters are refused")
	}
	setFaults(t, w)
	settle(t, w, 100)
	await(t, "the worker says that they do not fail any more", func() bool { return r.Worker.Status().Letters.Failing == nil })
	if err := r.Drain(); err != nil {
		t.Error(err)
	}
}
