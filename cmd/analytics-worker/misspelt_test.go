package main

import (
	"strings"
	"testing"
)

func TestMisspeltSettingsAreTold(t *testing.T) {
	for name, want := range map[string]string{
		"REDSHIFT_CLUSTR": "REDSHIFT_CLUSTER_ID", "BATCHSIZE": "BATCH_SIZE", "KINESIS_STREAM": "KINESIS_STREAM_NAME", "batch_size": "BATCH_SIZE",
		"POLL_INTERVALL": "POLL_INTERVAL", "DEADLETTER_URL": "DEAD_LETTER_URL", "MEMORYLIMIT": "MEMORY_LIMIT", "LEASE_TABEL": "LEASE_TABLE",
		"HTTP_ADDRESS": "HTTP_ADDR", "REDSHIFT_DB": "REDSHIFT_DB_USER",
		"BATCH_SIZE": "", "PATH": "", "HOME": "", "HTTP_PROXY": "", "LOG_LEVEL": "", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "",
		"AWS_ENDPOINT_URL_KINESIS": "", "XDG_RUNTIME_DIR": "", "JOURNAL_STREAM": "", "GOMEMLIMIT": "", "DATABASE_URL": "",
	} {
		got := strings.Join(misspelt([]string{name + "=x"}), "\n")
		if want == "" && got != "" || !strings.HasSuffix(strings.TrimSuffix(got, " meant?"), want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
