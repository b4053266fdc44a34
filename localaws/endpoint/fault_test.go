package endpoint_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cloudcafe/analytics-worker/localaws/s3"
)

// A put has no iterator that could expire.
func TestOnlyReadsMeetAnExpiredIterator(t *testing.T) {
	d := inMemory(t)
	d.admin(http.MethodPut, "/faults", `[{"service":"kinesis","fault":"expired-iterator"}]`).is(t, http.StatusOK)
	for operation, want := range map[string]string{"ListStreams": "", "CreateStream": "", "GetRecords": "ExpiredIteratorException"} {
		a, err := d.kinesis(operation, `{"StreamName":"s","ShardCount":1,"ShardIterator":"i"}`)
		if err != nil || strings.Contains(a.body, "ExpiredIterator") != (want != "") {
			t.Errorf("%s: %+v, %v", operation, a, err)
		}
	}
	d.admin(http.MethodPut, "/faults", `[{"service":"kinesis","operation":"PutRecords","fault":"expired-iterator"}]`).is(t, http.StatusBadRequest, "GetRecords")
}

// A refusal may be one of the credentials: the error text then names its code.
func TestRefusalsOfCallersHaveACode(t *testing.T) {
	d := inMemory(t)
	for text, want := range map[string][2]string{
		"": {"AccessDeniedException", "as a fault asked for"}, "not today: never": {"AccessDeniedException", "not today: never"},
		"ExpiredTokenException: The token is expired": {"ExpiredTokenException", "The token is expired"},
	} {
		d.admin(http.MethodPut, "/faults", `[{"service":"kinesis","fault":"access-denied","error":"`+text+`"}]`).is(t, http.StatusOK)
		a, err := d.kinesis("ListStreams", "{}")
		if err != nil {
			t.Fatal(err)
		}
		a.is(t, http.StatusBadRequest, want[0], want[1])
	}
}

// A fault of S3 may be of one object, or of those whose keys share a text.
func TestAFaultOfOneKey(t *testing.T) {
	objects, err := s3.New(s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := inMemory(t, objects)
	d.admin(http.MethodPut, "/faults", `[{"service":"s3","match":"/box/a b","fault":"access-denied"}]`).is(t, http.StatusOK)
	for path, want := range map[string]int{"/": http.StatusOK, "/box/a%20b": http.StatusForbidden, "/box/a%20b/c": http.StatusForbidden, "/box/a": http.StatusNotFound} {
		if a, err := d.send(http.MethodGet, path, ""); err != nil || a.status != want {
			t.Errorf("%s: %+v, %v, want %d", path, a, err, want)
		}
	}
	d.admin(http.MethodPut, "/faults", `[{"service":"dynamodb","match":"x","fault":"access-denied"}]`).is(t, http.StatusBadRequest, "match is for")
}

// A fault of one caller strikes whoever signs with that access key, and nobody else.
func TestAFaultOfOneCaller(t *testing.T) {
	objects, err := s3.New(s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	d := inMemory(t, objects)
	signed := func(key string) string {
		return "AWS4-HMAC-SHA256 Credential=" + key + "/20260102/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
	}
	d.admin(http.MethodPut, "/faults", `[{"service":"s3","operation":"ListBuckets","caller":"team/one","fault":"access-denied"}]`).is(t, http.StatusOK)
	for _, c := range []struct {
		path, header string
		want         int
	}{
		{"/", signed("team/one"), http.StatusForbidden},
		{"/", signed("one"), http.StatusOK},
		{"/", signed("team/one/more"), http.StatusOK},
		{"/?X-Amz-Credential=team%2Fone%2F20260102%2Fus-east-1%2Fs3%2Faws4_request", "", http.StatusForbidden},
		{"/", "", http.StatusOK},
	} {
		var header []string
		if c.header != "" {
			header = []string{"Authorization", c.header}
		}
		a, err := d.send(http.MethodGet, c.path, "", header...)
		if err != nil {
			t.Fatal(err)
		}
		if a.status != c.want {
			t.Errorf("%s %s: status %d, want %d: %s", c.path, c.header, a.status, c.want, a.body)
		}
	}
	d.admin(http.MethodPut, "/faults", `[{"service":"redshift-data","caller":"one","fault":"paused"}]`).is(t, http.StatusBadRequest, "one caller")
}
