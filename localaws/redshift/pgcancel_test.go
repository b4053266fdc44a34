package redshift

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
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
	// Each try moves the cancel to the other side of the end, wherever a loaded
	// machine has that.
	const each = 20
	rng, moment := rand.New(rand.NewPCG(1, 1)), 30*time.Millisecond
	for cancelled, ended := 0, 0; cancelled < each || ended < each; {
		ctx, cancel := context.WithTimeout(t.Context(), moment)
		if _, err := c.run(ctx, "SELECT pg_sleep(0.03)", nil); err != nil {
			cancelled++
			moment += time.Duration(rng.Int64N(int64(moment)/4 + 1))
		} else {
			ended++
			moment -= time.Duration(rng.Int64N(int64(moment)/4 + 1))
		}
		cancel()
		if _, err := c.run(t.Context(), "SELECT 1", nil); err != nil {
			t.Fatalf("after %d cancelled statements: %v", cancelled, err)
		}
	}
}
