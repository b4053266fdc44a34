package plural

import "testing"

func TestCounts(t *testing.T) {
	for got, want := range map[string]string{
		Of(0, "shard"): "0 shards", Of(1, "shard"): "1 shard", Of(int64(1200), "shard"): "1200 shards",
		Either(1, "batch waits", "batches wait"): "1 batch waits", Either(0, "batch waits", "batches wait"): "0 batches wait",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
