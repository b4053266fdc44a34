package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// settingsOf looks settings up as the environment would, in place of it.
func settingsOf(lines []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, line := range lines {
			if value, ok := strings.CutPrefix(line, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}

// With every service down, whether it refuses connections or takes them and
// never answers, doctor says so: at once, or when the warehouse's time is up.
func TestDoctorAnswersWithEverythingDown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		endpoint func(testing.TB) string
		most     time.Duration
	}{
		{"refused", refusingAddr, warehouseTime},
		{"silent", silentAddr, warehouseTime + quickTime + 30*time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := &machine{t: t, env: sessionEnvironment("http://"+c.endpoint(t), t.TempDir())}
			m.env = append(m.env, "STAGING_URL=s3://staging", "METRICS_INTERVAL=60")
			started := time.Now()
			out, status := m.run("doctor")
			if took := time.Since(started); took > c.most {
				t.Errorf("took %v", took)
			}
			if status != exitError {
				t.Errorf("status %d", status)
			}
			for _, check := range []string{"credentials", "stream", "leases", "warehouse", "staging", "metrics"} {
				// What is refused is one thing, said once; silence may be anybody's.
				alone, together := strings.Contains(out, "FAIL  "+check), regexp.MustCompile("WARN  others .*"+check).MatchString(out)
				if refused := c.name == "refused"; together != refused || alone == refused {
					t.Errorf("not told of %s as it should be: alone %v, among others %v", check, alone, together)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// A caller who may do nothing is told, for each service, the IAM action. The
// answers' clock stands ten minutes behind, which is told too.
func TestDoctorNamesTheActionsAndTheSkewOfARefusedCaller(t *testing.T) {
	t.Parallel()
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-10*time.Minute).UTC().Format(http.TimeFormat))
		switch {
		case strings.Contains(r.URL.Path, "GraniteService"): // CloudWatch
			w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
			w.Header().Set("Content-Type", "application/cbor")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("\xa1f__typelAccessDenied")) // a CBOR map of one text
		case strings.HasPrefix(r.URL.Path, "/staging"), strings.HasPrefix(r.URL.Path, "/letters"):
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("<Error><Code>AccessDenied</Code><Message>no</Message></Error>"))
		case r.Header.Get("X-Amz-Target") == "": // STS
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"))
		default:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"__type":"AccessDeniedException","message":"no"}`))
		}
	}))
	defer aws.Close()
	m := &machine{t: t, env: sessionEnvironment(aws.URL, t.TempDir())}
	m.env = append(m.env, "STAGING_URL=s3://staging", "DEAD_LETTER_URL=s3://letters", "METRICS_INTERVAL=60")
	out, status := m.run("doctor")
	if status != exitError {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{
		`FAIL  credentials .*\n.*-> allow .*sts:GetCallerIdentity`, `FAIL  clock +10m`, `FAIL  stream .*\n.*-> allow .*kinesis:DescribeStreamSummary`,
		`FAIL  leases .*\n.*-> allow .*dynamodb:DescribeTable`, `FAIL  warehouse .*\n.*-> allow .*redshift-data:BatchExecuteStatement`,
		`FAIL  staging +.*\n.*-> allow .*s3:PutObject`, `FAIL  dead letters .*\n.*-> allow .*s3:ListBucket`, `FAIL  metrics .*\n.*-> allow .*cloudwatch:PutMetricData`,
	} {
		if !regexp.MustCompile(want + `.*\n`).MatchString(out) {
			t.Errorf("no line like %q", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// silentAddr takes connections, and never answers.
func silentAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes what nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// What a worker does where batches are staged, doctor tries, and leaves nothing there.
func TestDoctorTriesWhatWorkersDoWhereTheyStage(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "METRICS_INTERVAL=0")
	m.env = append(m.env, "STAGING_URL=s3://staging/a/b")
	m.admin(http.MethodPut, "/staging", "")
	for operation, want := range map[string]string{
		"":              `OK    staging +s3://staging/a/b takes objects\n`,
		"PutObject":     `FAIL  staging +.*\n.*-> allow .*s3:PutObject`,
		"ListObjectsV2": `WARN  staging +workers cannot load together.*\n.*-> allow s3:ListBucket`,
		"GetObject":     `WARN  staging +workers cannot load together.*\n.*-> allow .*s3:GetObject`,
		"DeleteObject":  `WARN  staging +what is staged stays .*each loads for itself.*\n.*-> allow .*s3:DeleteObject`,
	} {
		faults := "[]"
		if operation != "" {
			faults = `[{"service":"s3","operation":"` + operation + `","fault":"access-denied"}]`
		}
		m.faults(faults)
		out, _ := m.run("doctor")
		if !regexp.MustCompile(want).MatchString(out) || strings.Contains(out, "WARN  staging") && operation == "" {
			t.Errorf("with %q denied it says %s", operation, out)
		}
		m.faults("[]")
		if strings.Contains(string(m.admin(http.MethodGet, "/staging?list-type=2", "")), "<Key>") {
			t.Errorf("with %q denied it leaves something behind", operation)
		}
	}
}

func TestDoctorStopsAtSettings(t *testing.T) {
	var out, errs bytes.Buffer
	lookup := settingsOf([]string{"BATCH_SIZE=none"})
	if status := run(context.Background(), []string{"doctor"}, lookup, &out, &errs); status != exitError {
		t.Errorf("status %d: %s", status, errs.String())
	}
	if text := out.String(); strings.Count(text, "FAIL  settings") != 1 || strings.Contains(text, "stream") {
		t.Errorf("said %s", text)
	}
}
