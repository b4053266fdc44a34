package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/vitals"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// pages are the health checks, the metrics and the dashboard over HTTP.
type pages struct {
	site    *admin.Site
	listen  net.Listener // nil = no HTTP
	metrics *metrics.Metrics
	log     *slog.Logger
}

// openPages listens for the pages, so that an address in use ends the start.
func openPages(c config, s *service.Service, who identity, started time.Time, db warehouse.DB, recent *admin.Recent, log *slog.Logger) (*pages, error) {
	p := &pages{metrics: s.Metrics, log: log}
	if c.HTTPAddr == "" {
		return p, nil
	}
	shown, err := registry(s.Metrics)
	if err != nil {
		return nil, err
	}
	p.site, err = admin.New(admin.Config{
		Version: buildVersion(), Worker: who.name, Since: started, Past: who.Beside(".past"), Stream: s.Stream(), Environment: c.Environment, MemoryLimit: c.MemoryLimit,
		Status: s.Worker.Status, Verdict: s.Watch.Verdict, Metrics: s.Metrics, Loads: s.Staged, Leases: func() admin.Leases { return leases(s.Holder) }, Recent: recent, Gatherer: shown, Log: log,
		Sales: func(ctx context.Context) (admin.Sales, error) { return sales(ctx, db, s.Stream(), time.Now()) },
	})
	if err != nil {
		return nil, err
	}
	p.listen, err = net.Listen("tcp", c.HTTPAddr)
	if err != nil && !c.HTTPAddrSet { // a second worker on the machine is no mistake
		p.listen, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w; choose another address, or set it empty to do without", err)
	}
	return p, nil
}

// address is where the pages are served.
func (p *pages) address() string {
	if p.listen == nil {
		return "off"
	}
	return p.listen.Addr().String()
}

// url is where others find the dashboard, as far as this machine can tell; empty =
// there is none. It is written into the lease table. On the loopback address nobody
// finds it from elsewhere, and it is told as that.
func (p *pages) url() string {
	if p == nil || p.listen == nil {
		return ""
	}
	at, ok := p.listen.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := at.IP
	if host.IsUnspecified() {
		host = ownAddress()
	}
	return "http://" + net.JoinHostPort(host.String(), strconv.Itoa(at.Port)) + "/"
}

// ownAddress is the first address of this machine that others may reach, one of the
// older kind before one of the newer; without any, the loopback address.
func ownAddress() net.IP {
	out := net.IPv4(127, 0, 0, 1)
	found, _ := net.InterfaceAddrs()
	for _, a := range found {
		n, ok := a.(*net.IPNet)
		if !ok || !n.IP.IsGlobalUnicast() {
			continue
		}
		if n.IP.To4() != nil {
			return n.IP
		}
		if out.IsLoopback() {
			out = n.IP
		}
	}
	return out
}

// serve serves the pages until ctx ends.
func (p *pages) serve(ctx context.Context) {
	if p.listen == nil {
		return
	}
	if err := p.site.Serve(ctx, p.listen); err != nil {
		p.metrics.WorkerErrors.Add(1)
		p.log.Error("the HTTP pages ended; loading goes on", "error", err)
	}
}

// leases is who has which shard, for the pages.
func leases(h *lease.Holder) admin.Leases {
	v := h.View()
	out := admin.Leases{Seen: v.At}
	for _, c := range h.Alarms() {
		out.Alarms = append(out.Alarms, withNextStep(&c))
	}
	now := time.Now()
	for _, r := range v.Rows {
		l := admin.Lease{Shard: r.Shard, Term: r.Term, Position: r.Checkpoint.String(), Ended: r.Ended(), Until: r.Until, Seen: r.Changed}
		if r.Live(now, v.TTL) {
			l.Owner = r.Owner
		}
		out.Shards = append(out.Shards, l)
	}
	out.Workers = vitals.Members(v.Rows, func(r lease.Seen) bool { return r.Live(now, v.TTL) })
	return out
}

const (
	salesSpan = time.Hour
	topStores = 8
)

// salesQuery is one statement for all that the dashboard asks of the warehouse:
// minutes, top stores and how far each shard is loaded, told apart by their first column. It
// reads an hour of rollups, which are sorted by minute, and the checkpoints.
func salesQuery(in warehouse.Names, streamName string, from time.Time) string {
	_, minutes := in.Orders()
	hour := "FROM " + minutes + " WHERE minute >= TIMESTAMP '" + from.UTC().Format("2006-01-02 15:04:05") + "'"
	return `SELECT 'minute' AS kind, CAST(minute AS VARCHAR(40)) AS name, CAST(SUM(order_count) AS VARCHAR(40)) AS orders,
 CAST(SUM(revenue) AS VARCHAR(40)) AS revenue ` + hour + ` GROUP BY minute
UNION ALL SELECT 'store', CAST(store_id AS VARCHAR(40)), CAST(orders AS VARCHAR(40)), CAST(revenue AS VARCHAR(40))
 FROM (SELECT store_id, SUM(order_count) AS orders, SUM(revenue) AS revenue ` + hour + `
 GROUP BY store_id ORDER BY 3 DESC, 1 LIMIT ` + strconv.Itoa(topStores) + `) best
UNION ALL SELECT 'shard', shard_id, CAST(arrived_until AS VARCHAR(40)), NULL
 FROM ` + in.Of(warehouse.CheckpointTable) + ` WHERE stream_name = ` + warehouse.Quote(streamName) + ` AND sequence_number <> 'SHARD_END'
ORDER BY 1, 2`
}

// sales asks the warehouse about the last hour.
func sales(ctx context.Context, db warehouse.DB, streamName string, now time.Time) (admin.Sales, error) {
	from := now.Truncate(time.Minute).Add(time.Minute - salesSpan)
	results, err := db.Run(ctx, warehouse.Token(), []string{salesQuery(db.Names(), streamName, from)})
	if err != nil {
		return admin.Sales{}, fmt.Errorf("ask the warehouse for the rollups: %w", err)
	}
	out := admin.Sales{At: now.UTC(), Minutes: []admin.Minute{}, Stores: []admin.Store{}, Shards: make(map[string]time.Time)}
	var complete []time.Time // by shard; a shard that nobody knows of yet has none
	for _, row := range results[0].Rows {
		if len(row) != 4 {
			return out, fmt.Errorf("ask the warehouse for the rollups: %d columns instead of 4", len(row))
		}
		at := time.Time{}
		switch {
		case row[0].Text != "shard":
			err = addSales(&out, row)
		case !row[2].Null:
			at, err = warehouse.ParseTimestamp(row[2].Text)
			out.Shards[row[1].Text] = at
			fallthrough
		default:
			complete = append(complete, at)
		}
		if err != nil {
			return out, fmt.Errorf("ask the warehouse for the rollups: a %s: %w", row[0].Text, err)
		}
	}
	if until := stream.Watermark(complete); !until.IsZero() {
		out.ArrivedUntil = &until
	}
	slices.SortFunc(out.Stores, func(a, b admin.Store) int { return cmp.Compare(b.Revenue, a.Revenue) })
	return out, nil
}

func addSales(s *admin.Sales, row []warehouse.Value) error {
	orders, err := strconv.ParseInt(row[2].Text, 10, 64)
	if err != nil {
		return err
	}
	revenue, err := strconv.ParseFloat(row[3].Text, 64) // for plots; amounts of an hour fit well within its digits
	if err != nil {
		return err
	}
	if row[0].Text == "store" {
		s.Stores = append(s.Stores, admin.Store{ID: row[1].Text, Orders: orders, Revenue: revenue})
		return nil
	}
	at, err := warehouse.ParseTimestamp(row[1].Text)
	s.Minutes = append(s.Minutes, admin.Minute{At: at, Orders: orders, Revenue: revenue})
	return err
}
