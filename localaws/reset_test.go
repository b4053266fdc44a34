package localaws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// admin calls the admin API, wants the status and returns the answer.
func admin(t *testing.T, r *Running, method, path, body string, status int) map[string]any {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.URL+"/_localaws"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := r.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		t.Fatalf("%s %s: %s %s, %v", method, path, response.Status, text, err)
	}
	var out map[string]any
	if len(text) > 0 && json.Unmarshal(text, &out) != nil {
		t.Fatalf("%s %s: %s", method, path, text)
	}
	return out
}

// target makes a call of a JSON protocol and returns its answer.
func target(t *testing.T, r *Running, name, body string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.URL, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", name)
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	response, err := r.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	out, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(out)
}

// A reset leaves what a new one would have, on the same port, in memory and in a folder.
func TestResetLeavesNothing(t *testing.T) {
	for name, dir := range map[string]string{"in memory": "", "in a folder": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			precious := filepath.Join(dir, "somebody's file")
			if dir != "" {
				if err := os.WriteFile(precious, []byte("keep"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := Start(t, func(c *Config) { c.DataDir, c.Tiny, c.Limits = dir, true, false })
			for call, body := range map[string]string{
				"Kinesis_20131202.CreateStream":   `{"StreamName":"s","ShardCount":1}`,
				"RedshiftData.ExecuteStatement":   `{"ClusterIdentifier":"c","Database":"dev","DbUser":"u","Sql":"CREATE TABLE t (a INTEGER)"}`,
				"DynamoDB_20120810.CreateTable":   `{"TableName":"tab","BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[{"AttributeName":"k","AttributeType":"S"}],"KeySchema":[{"AttributeName":"k","KeyType":"HASH"}]}`,
				"Kinesis_20131202.ListStreams":    `{}`,
				"DynamoDB_20120810.ListTables":    `{}`,
				"RedshiftData.ListStatements":     `{}`,
				"Kinesis_20131202.DescribeLimits": `{}`,
			} {
				if status, text := target(t, r, call, body); status != http.StatusOK {
					t.Fatalf("%s: %d %s", call, status, text)
				}
			}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.URL+"/bucket", nil)
			if err != nil {
				t.Fatal(err)
			}
			if response, err := r.Client().Do(request); err != nil || response.StatusCode != http.StatusOK {
				t.Fatalf("%v %v", response, err)
			}
			r.SetFaults(fault.Fault{Service: "s3", Kind: fault.Throttle})
			admin(t, r, http.MethodPut, "/clock", `{"offset":"2m"}`, http.StatusOK)
			if out := admin(t, r, http.MethodPost, "/reset", "", http.StatusOK); out["status"] != "empty" || len(out["kept"].([]any)) != 0 {
				t.Errorf("%v", out)
			}
			if n := len(r.Calls("", "")); n != 0 {
				t.Errorf("%d calls are in the log", n)
			}
			for call, want := range map[string]string{
				"Kinesis_20131202.ListStreams": `"StreamNames":[]`, "DynamoDB_20120810.ListTables": `"TableNames":[]`, "RedshiftData.ListStatements": `"Statements":[]`,
			} {
				if _, text := target(t, r, call, `{}`); !strings.Contains(strings.ReplaceAll(text, " ", ""), want) {
					t.Errorf("%s: %s", call, text)
				}
			}
			if len(r.Faults()) != 0 {
				t.Errorf("faults stand: %v", r.Faults())
			}
			if _, text := target(t, r, "RedshiftData.ListTables", `{"ClusterIdentifier":"c","Database":"dev","DbUser":"u","SchemaPattern":"public"}`); strings.Contains(text, `"t"`) {
				t.Errorf("the table is there: %s", text)
			}
			response, err := r.Client().Get(r.URL + "/bucket?list-type=2")
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusNotFound {
				t.Errorf("the bucket: %s", response.Status)
			}
			if got := admin(t, r, http.MethodGet, "/clock", "", http.StatusOK)["offset"]; got != "0s" {
				t.Errorf("the clock is off by %v", got)
			}
			if dir != "" {
				if kept, err := os.ReadFile(precious); err != nil || !bytes.Equal(kept, []byte("keep")) {
					t.Errorf("a file that is not its own: %q, %v", kept, err)
				}
			}
		})
	}
}

// AWS's clock can be set while it runs; all answers are dated by it.
func TestClockCanBeSet(t *testing.T) {
	r := Start(t, func(c *Config) { c.Tiny = true })
	admin(t, r, http.MethodPut, "/clock", `{"offset":"-10m"}`, http.StatusOK)
	response, err := r.Client().Get(r.URL + "/_localaws/health")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	at, err := http.ParseTime(response.Header.Get("Date"))
	if off := time.Since(at); err != nil || off < 9*time.Minute || off > 11*time.Minute {
		t.Errorf("dated %v, %v", at, err)
	}
	for _, bad := range []string{"", "{}", `{"offset":"soon"}`, `{"offset":3}`, "[]"} {
		admin(t, r, http.MethodPut, "/clock", bad, http.StatusBadRequest)
	}
}

// The page lists what each service serves, and a listed operation is not answered as
// one that does not exist.
func TestIndexListsOperationsThatAreServed(t *testing.T) {
	r := Start(t, func(c *Config) { c.Tiny, c.Limits = true, false })
	listed := admin(t, r, http.MethodGet, "", "", http.StatusOK)["operations"].(map[string]any)
	targets := map[string]string{"kinesis": "Kinesis_20131202.", "redshift-data": "RedshiftData.", "dynamodb": "DynamoDB_20120810."}
	forms := map[string]string{"redshift": "2012-12-01", "autoscaling": "2011-01-01", "sts": "2011-06-15", "cloudwatch": "2010-08-01"}
	for service, names := range listed {
		if len(names.([]any)) == 0 {
			t.Errorf("%s serves nothing", service)
		}
		for _, name := range names.([]any) {
			var text string
			switch {
			case targets[service] != "":
				_, text = target(t, r, targets[service]+name.(string), "{}")
			case forms[service] != "":
				response, err := r.Client().PostForm(r.URL, url.Values{"Action": {name.(string)}, "Version": {forms[service]}})
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				text = string(body)
			}
			for _, code := range []string{"UnknownOperation", "InvalidAction"} {
				if strings.Contains(text, code) {
					t.Errorf("%s %s: %s", service, name, text)
				}
			}
		}
	}
	if want := []any{"DescribeClusters", "PauseCluster", "ResumeCluster"}; !slices.Equal(listed["redshift"].([]any), want) {
		t.Errorf("redshift: %v", listed["redshift"])
	}
	if len(listed) != 9 {
		t.Errorf("%d services: %v", len(listed), fmt.Sprint(listed))
	}
}
