package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// noLeaseTable is the LEASE_TABLE of a worker that shares the stream with nobody.
const noLeaseTable = "none"

// leaseTable is the table that workers share, made if it is not there, and how
// to make it again; or a private one, which starts from what the warehouse knows.
func (c config) leaseTable(ctx context.Context, account *aws.Account, db *warehouse.Warehouse, log *slog.Logger) (
	table lease.Table, remake func(context.Context) error, err error,
) {
	if c.LeaseTable == noLeaseTable {
		rows, err := awaitPastRows(ctx, db, account.Stream(c.Stream).Name(), log)
		if err != nil {
			return nil, nil, err
		}
		for i := range rows {
			rows[i].Stream = stream.Identity{} // a table of one's own is no other stream's; the claims will tell
		}
		return lease.NewMemory(rows...), nil, nil
	}
	shared := account.LeaseTable(c.leaseTableName(account))
	return shared, shared.Ensure, shared.Ensure(ctx)
}

// pastRows are the leases of the shards that the warehouse knows. They make a
// child of such a shard start at its oldest record.
func pastRows(ctx context.Context, db *warehouse.Warehouse, streamName string) ([]lease.Row, error) {
	checkpoints, err := db.Checkpoints(ctx, streamName)
	if err != nil {
		return nil, fmt.Errorf("%w; if the tables are missing: analytics-worker schema --apply", err)
	}
	rows := make([]lease.Row, len(checkpoints))
	for i, p := range checkpoints {
		rows[i] = lease.Row{Shard: p.Shard, Checkpoint: p.Position, Term: p.Term, Stream: p.Stream}
	}
	return rows, nil
}

// awaitPastRows is pastRows at the start of a worker: it waits out what passes by
// itself, as a worker does that is under way.
func awaitPastRows(ctx context.Context, db *warehouse.Warehouse, streamName string, log *slog.Logger) ([]lease.Row, error) {
	const again = 5 * time.Second
	for {
		rows, err := pastRows(ctx, db, streamName)
		passes := errors.Is(err, warehouse.ErrThrottled) || errors.Is(err, warehouse.ErrUnavailable) || aws.Unreached(err)
		if !passes || ctx.Err() != nil {
			return rows, err
		}
		log.Warn("the warehouse does not tell the positions yet; asking again", "error", err)
		if err := waitFor(ctx, again); err != nil {
			return nil, err
		}
	}
}

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
	seat
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
	if id.seat, err = takeSeat(hex.EncodeToString(scope[:6]), id.name); err != nil {
		log.Warn("the worker has no seat file: if it is killed, its leases are taken over after the lease time, and not at its restart", "error", err)
	}
	return id
}
