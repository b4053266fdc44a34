package aws

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/kinesis"
	"github.com/cloudcafe/analytics-worker/localaws/memnet"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// uneven is a network that takes up to 40 ms for a call.
type uneven struct {
	next http.RoundTripper
	rng  *rand.Rand
}

func (u uneven) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := pause(r.Context(), time.Duration(u.rng.IntN(40))*time.Millisecond); err != nil {
		return nil, err
	}
	return u.next.RoundTrip(r)
}

// TestALoneReaderIsNotThrottled reads a shard as fast as NotBefore allows, over a
// network that is not even, from a Kinesis that counts five calls a second.
func TestALoneReaderIsNotThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone(t)
		t.Setenv("AWS_ACCESS_KEY_ID", "test")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
		t.Setenv("AWS_ENDPOINT_URL", "http://kinesis.localhost")
		service, err := kinesis.New(kinesis.Options{Limits: true})
		if err != nil {
			t.Fatal(err)
		}
		listener := memnet.Listen()
		serving, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- endpoint.New(endpoint.Options{Services: []wire.Service{service}}).Serve(serving, listener)
		}()
		transport := &http.Transport{DialContext: listener.DialContext}
		defer func() {
			transport.CloseIdleConnections()
			stop()
			if err := <-served; err != nil {
				t.Error(err)
			}
		}()
		a, err := Open(t.Context(), Options{
			Region: "us-east-1", Log: slog.New(slog.DiscardHandler),
			HTTPClient: &http.Client{Transport: uneven{transport, rand.New(rand.NewPCG(19, 0))}},
		})
		if err != nil {
			t.Fatal(err)
		}
		s := a.Stream("orders")
		if err := s.Create(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		shards, err := s.Shards(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		const reads = 2000
		began := time.Now()
		r := s.Reader(shards[0], stream.Position{Sequence: stream.TrimHorizon})
		for i := range reads {
			if _, err := r.Next(t.Context()); err != nil {
				t.Fatalf("read %d: %v", i, err)
			}
			if err := pause(t.Context(), time.Until(r.NotBefore())); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > reads*(callGap+callMargin)+time.Second {
			t.Errorf("%d reads took %s", reads, took)
		}
	})
}
