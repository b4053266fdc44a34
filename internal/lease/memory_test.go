package lease_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/lease/leasetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryIsATable(t *testing.T) {
	leasetest.Run(t, func(*testing.T) lease.Table { return lease.NewMemory() })
}
