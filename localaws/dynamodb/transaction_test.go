package dynamodb

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// A client whose answer was lost sends its transaction again, with the same
// token.
func TestTransactionIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := one(t, sample)
		add := func(token, by string) (int, string) {
			return call(t, s, "TransactWriteItems", `{"ClientRequestToken":"`+token+`","TransactItems":[{"Update":{"TableName":"tab","Key":{"id":{"S":"sum"}},
				"UpdateExpression":"ADD n :by","ExpressionAttributeValues":{":by":{"N":"`+by+`"}}}}]}`)
		}
		for _, step := range []struct {
			token, by string
			status    int
			sum       string
		}{
			{"t1", "1", 200, "1"},
			{"t1", "1", 200, "1"},
			{"t1", "2", 400, "1"}, // not the same transaction
			{"t2", "1", 200, "2"},
			{"", "1", 200, "3"},
			{"", "1", 200, "4"},
			{strings.Repeat("t", 37), "1", 400, "4"},
		} {
			if status, text := add(step.token, step.by); status != step.status || status == 400 && step.token == "t1" && !strings.Contains(text, "#IdempotentParameterMismatchException") {
				t.Errorf("%q by %s: %d %s", step.token, step.by, status, text)
			}
			if _, text := call(t, s, "GetItem", `{"TableName":"tab","Key":{"id":{"S":"sum"}}}`); !strings.Contains(text, `{"N":"`+step.sum+`"}`) {
				t.Errorf("%q by %s: the sum is %s, want %s", step.token, step.by, text, step.sum)
			}
		}
		<-time.After(tokenLife + time.Second)
		if status, text := add("t1", "1"); status != 200 {
			t.Error(text)
		}
		if _, text := call(t, s, "GetItem", `{"TableName":"tab","Key":{"id":{"S":"sum"}}}`); !strings.Contains(text, `{"N":"5"}`) {
			t.Errorf("a token of long ago still counts: %s", text)
		}
	})
}

func TestEmptyListsStayLists(t *testing.T) {
	s := one(t, sample)
	_, text := call(t, s, "UpdateItem", `{"TableName":"tab","Key":{"id":{"S":"1"}},"UpdateExpression":"SET nothing = list_append(:e, :e)",
		"ExpressionAttributeValues":{":e":{"L":[]}},"ReturnValues":"UPDATED_NEW"}`)
	if text != `{"Attributes":{"nothing":{"L":[]}}}` {
		t.Error(text)
	}
}

func TestUpdateTableKeepsDefinitions(t *testing.T) {
	s := one(t, sample)
	update := func(definitions, change string) (int, string) {
		return call(t, s, "UpdateTable", `{"TableName":"tab","AttributeDefinitions":[`+definitions+`],"GlobalSecondaryIndexUpdates":[`+change+`]}`)
	}
	const index = `{"Create":{"IndexName":"by-owner","Projection":{"ProjectionType":"ALL"},
		"KeySchema":[{"AttributeName":"owner","KeyType":"HASH"},{"AttributeName":"id","KeyType":"RANGE"}]}}`
	if status, text := update(`{"AttributeName":"id","AttributeType":"N"},{"AttributeName":"owner","AttributeType":"S"}`, index); status != 400 {
		t.Errorf("the key changed its type: %s", text)
	}
	// The key of the table is defined already.
	if status, text := update(`{"AttributeName":"owner","AttributeType":"S"}`, index); status != 200 {
		t.Error(text)
	}
	defined := func() (names string) {
		_, text := call(t, s, "DescribeTable", `{"TableName":"tab"}`)
		var out struct{ Table tableDescription }
		if err := json.Unmarshal([]byte(text), &out); err != nil {
			t.Fatal(err)
		}
		for _, d := range out.Table.AttributeDefinitions {
			names += d.AttributeName + ":" + string(d.AttributeType) + " "
		}
		return names
	}
	if got := defined(); got != "id:S owner:S " {
		t.Errorf("with the index: %s", got)
	}
	if status, text := update("", `{"Delete":{"IndexName":"by-owner"}}`); status != 200 {
		t.Error(text)
	}
	if got := defined(); got != "id:S " {
		t.Errorf("without the index: %s", got)
	}
}

// A mistake of ours in one call must not stop all that come after it.
func TestPanicLeavesNoLock(t *testing.T) {
	s := one(t, sample)
	s.ops["Broken"] = func([]byte, string) (any, *wire.Error) { panic("a mistake") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		s.Serve(httptest.NewRecorder(), r, "Broken", nil)
	}()
	if !s.mu.TryLock() {
		t.Fatal("the lock is held for ever")
	}
	s.mu.Unlock()
}
