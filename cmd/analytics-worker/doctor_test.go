package main

import (
	"bytes"
	"context"
	"net"
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
// never answers, doctor says so within ten seconds.
func TestDoctorAnswersWithEverythingDown(t *testing.T) {
	for _, c := range []struct {
		name     string
		endpoint func(*testing.T) string
	}{
		{"refused", freeAddr},
		{"silent", silentAddr},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := &machine{t: t, env: sessionEnvironment("http://"+c.endpoint(t), t.TempDir())}
			m.env = append(m.env, "STAGING_URL=s3://staging")
			started := time.Now()
			out, status := m.run("doctor")
			if took := time.Since(started); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			if status != exitError {
				t.Errorf("status %d", status)
			}
			for _, check := range []string{"credentials", "stream", "leases", "warehouse", "staging"} {
				if !strings.Contains(out, "FAIL  "+check) {
					t.Errorf("no line says that %s failed", check)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// silentAddr takes connections, and never answers.
func silentAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes what nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
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
