package simulation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

func TestG1_NothingIsLostUnderEachFault(t *testing.T) {
	t.Parallel()
	for _, f := range ofEachKind([]fault.Fault{
		{Service: "kinesis", Operation: "GetRecords", Kind: fault.Throttle, Count: 5},
		{Service: "kinesis", Operation: "GetRecords", Kind: fault.InternalError, Count: 4},
		{Service: "kinesis", Operation: "GetRecords", Kind: fault.Reset, Count: 4},
		{Service: "kinesis", Operation: "GetRecords", Kind: fault.ReplyLost, Count: 4},
		{Service: "kinesis", Operation: "GetRecords", Kind: fault.ExpiredIterator, Count: 6},
		{Service: "kinesis", Operation: "GetRecords", Kind: fault.Delay, Count: 4, Delay: fault.Duration(300 * time.Millisecond)},
		{Service: "kinesis", Operation: "GetRecords", Kind: fault.EmptyReply, Count: 1},
		{Service: "kinesis", Operation: "GetRecords", Kind: fault.EmptyReply, Count: 7},
		{Service: "kinesis", Operation: "GetRecords", Kind: fault.NoIterator, Count: 1},
		{Service: "kinesis", Operation: "GetRecords", Kind: fault.NoIterator, Count: 5},
		{Service: "kinesis", Operation: "GetShardIterator", Kind: fault.EmptyReply, Count: 4},
		{Service: "kinesis", Operation: "ListShards", Kind: fault.EmptyReply, Count: 4},
		{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.EmptyReply, Count: 4},
		{Service: "redshift-data", Operation: "DescribeStatement", Kind: fault.EmptyReply, Count: 4},
		{Service: "redshift-data", Operation: "GetStatementResult", Kind: fault.EmptyReply, Count: 4},
		{Service: "s3", Operation: "PutObject", Kind: fault.EmptyReply, Count: 3},
		{Service: "s3", Operation: "DeleteObjects", Kind: fault.EmptyReply, Count: 2},
		{Service: "kinesis", Operation: "GetShardIterator", Kind: fault.ReplyLost, Count: 3},
		{Service: "kinesis", Operation: "ListShards", Kind: fault.InternalError, Count: 2},
		{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.Throttle, Count: 3},
		{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.Reset, Count: 3},
		{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.ReplyLost, Count: 3},
		{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.InternalError, Count: 3},
		{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.StatementFailed, Count: 3, Error: "ERROR: 1023 DETAIL: Serializable isolation violation on table"},
		{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.StatementFailed, Count: 4, Error: "ERROR: something that nobody has seen before"},
		{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.StatementSlow, Count: 2, Delay: fault.Duration(500 * time.Millisecond)},
		{Service: "redshift-data", Operation: "DescribeStatement", Kind: fault.ReplyLost, Count: 5},
		{Service: "redshift-data", Operation: "DescribeStatement", Kind: fault.Throttle, Count: 5},
		{Service: "redshift-data", Operation: "GetStatementResult", Kind: fault.ReplyLost, Count: 3},
		{Service: "redshift-data", Operation: "GetStatementResult", Kind: fault.InternalError, Count: 3},
		{Service: "s3", Operation: "PutObject", Kind: fault.ReplyLost, Count: 3},
		{Service: "s3", Operation: "PutObject", Kind: fault.Throttle, Count: 3},
		{Service: "s3", Operation: "DeleteObjects", Kind: fault.InternalError, Count: 2},
	}, func(f fault.Fault) string { return f.Service + " " + string(f.Kind) }) {
		t.Run(fmt.Sprintf("%s-%s-%s-%d", f.Service, f.Operation, f.Kind, f.Count), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Options{Shards: 2})
			c := Worker{BatchSize: 100}
			if f.Service == "s3" {
				c.Staging = stagingBucket(t, w)
			}
			put(t, w, made(1, 200, 0.05))
			setFaults(t, w, f)
			r := start(t, w, c)
			report := settle(t, w, 200)
			if err := r.Drain(); err != nil {
				t.Error(err)
			}
			if n := r.Metrics.RecordsProcessed.Value(); n != 200 {
				t.Errorf("RecordsProcessed counts %d of 200", n)
			}
			if n := r.Metrics.RecordsRejected.Value(); n != report.Rejected {
				t.Errorf("RecordsRejected counts %d, the stream has %d", n, report.Rejected)
			}
		})
	}
}

func setFaults(t testing.TB, w *World, faults ...fault.Fault) {
	t.Helper()
	body, err := json.Marshal(faults)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(deadline(t), http.MethodPut, "http://"+w.Addr()+"/_localaws/faults", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if response.StatusCode/100 != 2 {
		t.Fatalf("set faults: %s", response.Status)
	}
}

func stagingBucket(t testing.TB, w *World) string {
	t.Helper()
	const url = "s3://staging/orders"
	b, err := w.Account.Bucket(url)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureBucket(deadline(t)); err != nil {
		t.Fatal(err)
	}
	return url
}
