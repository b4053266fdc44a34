package endpoint_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/kinesis"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// TestHTTP2 without TLS and without asking first: so the AWS SDK for JavaScript calls
// Kinesis. The faults of a connection reset it there, too.
func TestHTTP2(t *testing.T) {
	streams, err := kinesis.New(kinesis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := streams.Close(); err != nil {
			t.Error(err)
		}
	})
	local := endpoint.New(endpoint.Options{Services: []wire.Service{streams}}).Start(t)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	call := func(operation, body string) (text string, err error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, local.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
		response, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		if response.ProtoMajor != 2 {
			t.Errorf("%s was answered by %s", operation, response.Proto)
		}
		answer, err := io.ReadAll(response.Body)
		return string(answer), err
	}
	for _, f := range []struct {
		kind         fault.Kind
		lost, effect bool
	}{{fault.Reset, true, false}, {fault.ReplyLost, true, true}, {fault.Throttle, false, false}, {"", false, true}} {
		if local.SetFaults(); f.kind != "" {
			local.SetFaults(fault.Fault{Service: "kinesis", Operation: "CreateStream", Kind: f.kind, Count: 1})
		}
		if _, err := call("CreateStream", `{"StreamName":"s","ShardCount":1}`); (err != nil) != f.lost {
			t.Errorf("%q: %v", f.kind, err)
		}
		text, err := call("DeleteStream", `{"StreamName":"s"}`)
		if took := text == ""; err != nil || took != f.effect {
			t.Errorf("%q: took effect %v, want %v: %s, %v", f.kind, took, f.effect, text, err)
		}
	}
}
