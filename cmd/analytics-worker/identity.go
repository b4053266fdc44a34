package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/service"
)

// leaseTableName keeps streams apart: two streams have shards of the same names.
func (c config) leaseTableName(account *aws.Account) string {
	if c.LeaseTable != "" {
		return c.LeaseTable
	}
	return "analytics-worker-" + account.Stream(c.Stream).Name()
}

// identity is a worker's name, and the seat that tells which process it replaces.
type identity struct {
	name string
	service.Seat
}

// newIdentity makes a name that no other process has, and takes a seat among the
// workers on this machine that have the same stream, leases and region.
func newIdentity(c config, region string, log *slog.Logger) identity {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown-host"
	}
	id := identity{name: fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:6])}
	scope := sha256.Sum256([]byte(strings.Join([]string{os.Getenv("AWS_ENDPOINT_URL"), region, c.Stream, c.LeaseTable}, "\n")))
	if id.Seat, err = service.TakeSeat(seatFolder(), hex.EncodeToString(scope[:6]), id.name); err != nil {
		log.Warn("the worker has no seat file: if it is killed, its leases are taken over after the lease time, and not at its restart", "error", err)
	}
	return id
}

// seatFolder is where the user's workers leave their names: in the folder that the
// system made for the session, or in the temporary one.
func seatFolder() string {
	if session := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(session) {
		return filepath.Join(session, "analytics-worker")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("analytics-worker-%d", os.Getuid()))
}
