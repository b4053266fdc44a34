package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// noLeaseTable is the LEASE_TABLE of a worker that shares the stream with nobody.
const noLeaseTable = "none"

// leaseTable is the table that workers share, made if it is not there, and how
// to make it again; or a private one, which starts from what the warehouse knows.
func (c config) leaseTable(ctx context.Context, account *aws.Account, db *warehouse.Warehouse) (
	table lease.Table, remake func(context.Context) error, err error,
) {
	if c.LeaseTable == noLeaseTable {
		rows, err := pastRows(ctx, db, account.Stream(c.Stream).Name())
		if err != nil {
			return nil, nil, err
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

// leaseTableName keeps streams apart: two streams have shards of the same names.
func (c config) leaseTableName(account *aws.Account) string {
	if c.LeaseTable != "" {
		return c.LeaseTable
	}
	return "analytics-worker-" + account.Stream(c.Stream).Name()
}

// identity is a worker's name, and that of the process which it replaces.
type identity struct {
	name        string
	predecessor string   // empty = none is known to have ended
	lock        *os.File // held until the process ends, however it ends
}

// seats bounds how many workers of one stream can tell their predecessors on a
// machine; more than these just wait for the lease time.
const seats = 64

// newIdentity takes a seat: a locked file that holds the name of the process
// that sits on it. The system drops the lock when a process ends, in whatever
// way, so whoever finds the file unlocked knows that the process named in it
// has ended, and may take over its leases at once. One that is merely frozen
// still holds its lock.
func newIdentity(c config) identity {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown-host"
	}
	id := identity{name: fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:6])}
	scope := sha256.Sum256([]byte(strings.Join([]string{os.Getenv("AWS_ENDPOINT_URL"), c.Region, c.Stream, c.LeaseTable}, "\n")))
	for seat := range seats {
		path := filepath.Join(os.TempDir(), fmt.Sprintf("analytics-worker-%d-%s-%d", os.Getuid(), hex.EncodeToString(scope[:6]), seat))
		if err := id.sit(path); err == nil {
			return id
		} else if !errors.Is(err, syscall.EWOULDBLOCK) {
			return id // no such files here: the lease time does it
		}
	}
	return id
}

// leave gives the seat up. That it is called at the end also keeps the lock
// while the worker runs: a file that nothing refers to any more is closed.
func (id identity) leave() {
	if id.lock != nil {
		_ = id.lock.Close()
	}
}

func (id *identity) sit(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return err
	}
	const longest = 512 // of a name; host names have up to 253 characters
	before, err := io.ReadAll(io.LimitReader(f, longest))
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(id.name), 0)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	id.predecessor, id.lock = string(before), f
	return nil
}
