package redshift

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/localaws/pgtest"
)

// TestACancelStrikesNoLaterStatement cancels statements at about the moment in
// which they end, and sees the next one on the same connection unharmed.
func TestACancelStrikesNoLaterStatement(t *testing.T) {
	t.Parallel()
	p, err := openPostgres(t.Context(), pgtest.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	c, err := p.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}()
	const tries = 40
	rng, cancelled := rand.New(rand.NewPCG(1, 1)), 0
	for range tries {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(30_000))*time.Microsecond)
		if _, err := c.run(ctx, "SELECT pg_sleep(0.03)", nil); err != nil {
			cancelled++
		}
		cancel()
		if _, err := c.run(t.Context(), "SELECT 1", nil); err != nil {
			t.Fatalf("after %d cancelled statements: %v", cancelled, err)
		}
	}
	if cancelled == 0 || cancelled == tries {
		t.Errorf("%d of %d statements were cancelled", cancelled, tries)
	}
}
