package stream_test

import (
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

func TestWatermarkIsTheLeast(t *testing.T) {
	a := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	b, unknown := a.Add(time.Second), time.Time{}
	for _, c := range []struct {
		complete []time.Time
		want     time.Time
	}{
		{nil, unknown},
		{[]time.Time{a}, a},
		{[]time.Time{b, a, b}, a},
		{[]time.Time{b, unknown, a}, unknown},
		{[]time.Time{unknown}, unknown},
	} {
		if got := stream.Watermark(c.complete); !got.Equal(c.want) {
			t.Errorf("%v: %v, want %v", c.complete, got, c.want)
		}
	}
}
