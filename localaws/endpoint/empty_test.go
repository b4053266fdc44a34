package endpoint_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestEmptyReplyLooksLikeTheServicesOwn tries the fault empty-reply in each
// protocol: what the client sees is a good reply of that protocol without a body.
func TestEmptyReplyLooksLikeTheServicesOwn(t *testing.T) {
	for _, c := range []struct{ service, content, target, body, want string }{
		{"kinesis", "application/x-amz-json-1.1", "Kinesis_20131202.ListStreams", "{}", "application/x-amz-json-1.1"},
		{"kinesis", "application/x-amz-cbor-1.1", "Kinesis_20131202.ListStreams", "\xa0", "application/x-amz-cbor-1.1"},
		{"sts", "application/x-www-form-urlencoded", "", "Action=GetCallerIdentity&Version=2011-06-15", "text/xml"},
	} {
		t.Run(c.want, func(t *testing.T) {
			d := inMemory(t)
			d.admin(http.MethodPut, "/faults", `[{"service":"`+c.service+`","fault":"empty-reply","count":1}]`).is(t, http.StatusOK, "empty-reply")
			header := []string{"Content-Type", c.content}
			if c.target != "" {
				header = append(header, "X-Amz-Target", c.target)
			}
			a, err := d.send(http.MethodPost, "/", c.body, header...)
			if err != nil {
				t.Fatal(err)
			}
			if a.status != http.StatusOK || a.body != "" || a.header.Get("Content-Length") != "0" || !strings.HasPrefix(a.header.Get("Content-Type"), c.want) {
				t.Errorf("status %d, header %v, body %q", a.status, a.header, a.body)
			}
			if a, err = d.send(http.MethodPost, "/", c.body, header...); err != nil || a.body == "" {
				t.Errorf("the call after it: %+v, %v", a, err)
			}
		})
	}
}

// TestPageWithoutIterator tries the fault no-iterator: the records are there, the
// next iterator is not, and nothing says that the shard has ended.
func TestPageWithoutIterator(t *testing.T) {
	d := inMemory(t)
	ask := func(operation, body string) string {
		a, err := d.kinesis(operation, body)
		if err != nil {
			t.Fatal(err)
		}
		a.is(t, http.StatusOK)
		return a.body
	}
	ask("CreateStream", oneShard)
	ask("PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":"b3JkZXI="}`)
	iterator := ask("GetShardIterator", `{"StreamName":"s","ShardId":"shardId-000000000000","ShardIteratorType":"TRIM_HORIZON"}`)
	d.admin(http.MethodPut, "/faults", `[{"service":"kinesis","fault":"no-iterator","count":1}]`).is(t, http.StatusOK)
	ask("ListShards", `{"StreamName":"s"}`) // not struck
	struck := ask("GetRecords", iterator)
	if !strings.Contains(struck, "b3JkZXI=") || strings.Contains(struck, "NextShardIterator") || strings.Contains(struck, "ChildShards") {
		t.Errorf("the page is %s", struck)
	}
	if whole := ask("GetRecords", iterator); !strings.Contains(whole, "NextShardIterator") {
		t.Errorf("the page after it is %s", whole)
	}
}
