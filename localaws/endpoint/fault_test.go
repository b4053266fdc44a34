package endpoint_test

import (
	"net/http"
	"strings"
	"testing"
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
