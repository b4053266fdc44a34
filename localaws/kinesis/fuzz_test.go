package kinesis

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"
)

var errorCode = regexp.MustCompile(`^[A-Z][A-Za-z]+(Exception|Failure)$`)

// FuzzRequest sends bodies to every operation: whatever they hold, the answer is
// a reply or an error of AWS's shape, and never an internal one.
func FuzzRequest(f *testing.F) {
	operations := []string{
		"PutRecord", "PutRecords", "GetRecords", "GetShardIterator", "ListShards", "ListStreams", "CreateStream", "DeleteStream",
		"DescribeStream", "DescribeStreamSummary", "DescribeLimits", "SplitShard", "MergeShards", "UpdateShardCount", "UpdateMaxRecordSize",
		"IncreaseStreamRetentionPeriod", "DecreaseStreamRetentionPeriod", "AddTagsToStream", "RemoveTagsFromStream", "ListTagsForStream", "ListStreamConsumers", "Other",
	}
	for i := range operations {
		f.Add(byte(i), []byte(`{"StreamName":"s"}`))
	}
	f.Add(byte(1), []byte(`{"StreamName":"s","Records":[{"Data":"eA==","PartitionKey":"k\u0000","ExplicitHashKey":"5"}]}`))
	f.Add(byte(3), []byte(`{"StreamName":"s","ShardId":"shardId-000000000000","ShardIteratorType":"AT_TIMESTAMP","Timestamp":-1e308}`))
	f.Add(byte(11), []byte(`{"StreamName":"s","ShardToSplit":"shardId-000000000000","NewStartingHashKey":"2"}`))
	f.Add(byte(13), []byte(`{"StreamName":"s","TargetShardCount":4,"ScalingType":"UNIFORM_SCALING"}`))
	f.Add(byte(128), []byte("\xa1jStreamNameas"))
	f.Fuzz(func(t *testing.T, choice byte, body []byte) {
		s, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		s.streams["s"] = newStream("s", "us-east-1", 2, time.Now())
		r := jsonRequest()
		kind := contentJSON
		if choice >= 128 {
			kind = contentCBOR
		}
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		s.Serve(w, r, operations[int(choice%128)%len(operations)], bytes.Clone(body))
		if kind == contentCBOR || w.Code == http.StatusOK && w.Body.Len() == 0 {
			return
		}
		var reply struct {
			Type string `json:"__type"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
			t.Fatalf("the answer %q is not JSON: %v", w.Body, err)
		}
		if w.Code != http.StatusOK && (w.Code != http.StatusBadRequest || !errorCode.MatchString(reply.Type)) {
			t.Fatalf("status %d with %s", w.Code, w.Body)
		}
	})
}

// FuzzPutRecords holds the scanner of PutRecords against encoding/json: what it
// takes, it reads as encoding/json does.
func FuzzPutRecords(f *testing.F) {
	f.Add([]byte(`{"Records":[{"Data":"eA==","PartitionKey":"k"},{"PartitionKey":"é","Data":"","ExplicitHashKey":"0"}],"StreamName":"s"}`))
	f.Add([]byte(` { "StreamARN" : "a" , "Records" : [ ] } `))
	f.Add([]byte(`{"Records":[{"Data":"eA=\n="}]}`))
	f.Add([]byte(`{"Records":[{}],"Records":[]}`))
	f.Add([]byte(`{"Records":[{"Data":"eA==","PartitionKey":"\ud83e\udd50"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var s putScratch
		s.data = make([]byte, 0, len(body))
		scan := putScanner{text: body, scratch: &s}
		if !scan.request() {
			return
		}
		var in struct {
			target
			Records []struct {
				Data, PartitionKey, ExplicitHashKey *string
			}
		}
		if err := json.Unmarshal(body, &in); err != nil {
			t.Fatalf("the scanner takes what is not JSON: %v", err)
		}
		if len(in.Records) != len(s.inputs) || scan.to.given != (in.Records != nil) || !same(scan.to.StreamName, in.StreamName) || !same(scan.to.StreamARN, in.StreamARN) {
			t.Fatalf("the scanner reads %d records, encoding/json %d", len(s.inputs), len(in.Records))
		}
		for i, want := range in.Records {
			got := s.inputs[i]
			if got.hasData != (want.Data != nil) || got.hasKey != (want.PartitionKey != nil) || got.explicit != (want.ExplicitHashKey != nil) {
				t.Fatalf("record %d: other members", i)
			}
			if want.Data != nil {
				data, err := base64.StdEncoding.DecodeString(*want.Data)
				if err != nil || !bytes.Equal(data, got.data) {
					t.Fatalf("record %d: data %q, want %q (%v)", i, got.data, data, err)
				}
			}
			if want.PartitionKey != nil && *want.PartitionKey != string(got.key) || want.ExplicitHashKey != nil && *want.ExplicitHashKey != string(got.hash) {
				t.Fatalf("record %d: key %q, hash %q", i, got.key, got.hash)
			}
		}
	})
}

func same(a, b *string) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
