package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// ready is what the worker's /readyz says; "" = it cannot be asked.
func (m *member) ready() string {
	response, err := m.fleet.http.Get("http://" + m.address() + "/readyz")
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var b strings.Builder
	if err := response.Write(&b); err != nil {
		return ""
	}
	return b.String()
}

// says waits until /readyz answers with the status and all of the texts.
func (m *member) says(status int, texts ...string) {
	m.t.Helper()
	last := ""
	defer func() { m.t.Logf("/readyz: %s", last) }()
	m.fleet.await(fmt.Sprintf("/readyz is %d and says %q", status, texts), func() (bool, error) {
		last = m.ready()
		return holdsAll(last, append(texts, " "+strconv.Itoa(status)+" ")), nil
	})
}

// tells waits until the verb ends with status 1 and prints all of the texts: what it asks
// may have had no answer in its time on a loaded machine.
func (m *machine) tells(verb []string, texts ...string) {
	m.t.Helper()
	out, status := "", 0
	defer func() { m.t.Logf("analytics-worker %s: status %d:\n%s", strings.Join(verb, " "), status, out) }()
	m.await(fmt.Sprintf("%s tells %q", verb[0], texts), func() (bool, error) {
		out, status = m.run(verb...)
		return status == 1 && holdsAll(out, texts), nil
	})
}

// dynamodb makes one call of DynamoDB's on the lease table.
func (m *machine) dynamodb(operation string, members map[string]any) []byte {
	m.t.Helper()
	body, err := json.Marshal(members)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.post("application/x-amz-json-1.0", "DynamoDB_20120810."+operation, string(body))
}

const leasesOfOrders = "analytics-worker-order-events"

// leftByKCL makes the lease table, with a row for each shard as KCL leaves it until the first checkpoint.
func (m *machine) leftByKCL(shards []stream.Shard) {
	m.t.Helper()
	m.dynamodb("CreateTable", map[string]any{
		"TableName": leasesOfOrders, "BillingMode": "PAY_PER_REQUEST",
		"AttributeDefinitions": []any{map[string]any{"AttributeName": "leaseKey", "AttributeType": "S"}},
		"KeySchema":            []any{map[string]any{"AttributeName": "leaseKey", "KeyType": "HASH"}},
	})
	for _, s := range shards {
		m.dynamodb("PutItem", map[string]any{"TableName": leasesOfOrders, "Item": map[string]any{
			"leaseKey": map[string]any{"S": s.ID}, "leaseCounter": map[string]any{"N": "41"},
			"checkpoint": map[string]any{"S": "LATEST"}, "checkpointSubSequenceNumber": map[string]any{"N": "0"},
			"ownerSwitchesSinceCheckpoint": map[string]any{"N": "0"},
		}})
	}
}

// A deploy in the quiet hours after KCL: what arrives between two workers is
// read by the second.
func TestG1_LatestOfKCLAndARestart(t *testing.T) {
	t.Parallel()
	f := newFleetOf(t, 2)
	f.leftByKCL(f.open())
	a := f.join()
	f.held(0, a)
	a.signal(syscall.SIGTERM)
	a.leave()
	f.must("publish", "--count", "100", "--seed", "41")
	b := f.join()
	f.settled(100)
	b.signal(syscall.SIGTERM)
	b.leave()
}

// A second worker joins while the first orders flow, and takes half of the
// shards: nothing of them is skipped.
func TestG1_LatestOfKCLAndASecondWorker(t *testing.T) {
	t.Parallel()
	const orders = 240
	f := newFleet(t)
	f.leftByKCL(f.open())
	slowly := []string{"POLL_INTERVAL=5", "BATCH_SIZE=1000"} // so that much is read and not loaded
	a := f.join(slowly...)
	f.held(0, a)
	published := f.flow(orders, 40)
	b := f.join(slowly...)
	f.held(1, a, b)
	published()
	f.settled(orders)
	for _, m := range []*member{a, b} {
		m.signal(syscall.SIGTERM)
		m.leave()
	}
}

// again deletes the stream and makes one of its name.
func (f *fleet) again(shards int) {
	f.t.Helper()
	if err := f.stream.Delete(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.await("the stream is made anew", func() (bool, error) {
		return f.stream.Create(f.t.Context(), shards) == nil, nil
	})
	if err := f.stream.WaitActive(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) split(shard stream.Shard) {
	f.t.Helper()
	if err := f.stream.Split(f.t.Context(), shard); err != nil {
		f.t.Fatal(err)
	}
	if err := f.stream.WaitActive(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// A stream that was split, deleted and made anew: its first shard has the name
// of one that was read to its end. The worker, status and doctor tell the streams
// apart, and one command starts over, with the worker running.
func TestG1_RecreatedStream(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprint("running=", running), func(t *testing.T) {
			t.Parallel()
			f := newFleetOf(t, 1)
			w := f.join()
			f.must("publish", "--count", "60", "--seed", "51")
			f.settled(60)
			f.split(f.open()[0])
			f.must("publish", "--count", "60", "--seed", "52")
			f.settled(120)
			f.held(0, w)
			if !running {
				w.signal(syscall.SIGTERM)
				w.leave()
			}
			f.again(1)
			f.must("publish", "--count", "80", "--seed", "53")
			if !running {
				w = f.join()
			}
			w.says(http.StatusServiceUnavailable, "positions of the stream", "is gone")
			f.tells([]string{"status"}, "! worker_checkpoints holds positions of the stream order-events that was made on", "positions --start-over")
			f.tells([]string{"doctor"}, "FAIL  verdict", "worker_checkpoints holds positions", "positions --start-over")
			f.must("positions", "--start-over")
			f.await("the new stream is loaded", func() (bool, error) {
				r := f.verify()
				return r.Records == 80, nil
			})
			w.says(http.StatusOK)
			f.await("status finds nothing wrong any more", func() (bool, error) {
				_, status := f.run("status")
				return status == 0, nil
			})
			w.signal(syscall.SIGTERM)
			w.leave()
		})
	}
}

// Two streams on one lease table: the second is told, and the first loses nothing.
func TestTwoStreamsOnOneLeaseTable(t *testing.T) {
	t.Parallel()
	f := newFleetOf(t, 4)
	other := "KINESIS_STREAM_NAME=payments"
	shared := "LEASE_TABLE=shared-leases"
	second := *f.machine
	second.env = append(append([]string{}, f.env...), other, shared)
	f.env = append(f.env, shared)
	second.must("publish", "--create", "4", "--count", "40", "--seed", "61")
	a := f.join()
	f.held(0, a)
	b := &member{second.worker(anyAddr), f}
	f.must("publish", "--count", "200", "--seed", "62")
	b.says(http.StatusServiceUnavailable, "The lease table belongs to another stream", "stream/order-events", "stream/payments")
	b.await("shards and leases contradict each other", "stream/order-events", "stream/payments", "set LEASE_TABLE to another name", `"level":"ERROR"`)
	second.tells([]string{"status"}, "! The lease table belongs to another stream", "stream/order-events", "LEASE_TABLE")
	second.tells([]string{"doctor"}, "FAIL  verdict", "The lease table belongs to another stream", "LEASE_TABLE")
	f.settled(200)
	a.says(http.StatusOK)
	a.signal(syscall.SIGTERM)
	a.leave()
	b.signal(syscall.SIGTERM)
	b.leave()
}

// Somebody deletes the lease table under the workers: they make it again, and
// meanwhile status does not say that all is well.
func TestLeaseTableDeletedUnderWorkers(t *testing.T) {
	t.Parallel()
	f := newFleetOf(t, 4)
	a, b := f.join(), f.join()
	f.held(0, a, b)
	f.must("publish", "--count", "100", "--seed", "71")
	f.settled(100)
	// It cannot be made again for a while.
	f.faults(`[{"service":"dynamodb","operation":"CreateTable","fault":"internal-error","count":1000}]`)
	f.dynamodb("DeleteTable", map[string]any{"TableName": leasesOfOrders})
	f.tells([]string{"status"}, "! The lease table "+leasesOfOrders+" is gone")
	f.faults(`[]`)
	for _, text := range []string{"the lease table is gone; it is made again, from the warehouse's positions", "the lease table was empty; its rows were made"} {
		f.await(fmt.Sprintf("a worker says %q", text), func() (bool, error) { return strings.Contains(a.output()+b.output(), text), nil })
	}
	f.held(0, a, b)
	f.must("publish", "--count", "100", "--seed", "72")
	f.settled(200)
	out, status := "", 1
	f.await("status finds nothing wrong", func() (bool, error) {
		out, status = f.run("status")
		return status == 0, nil
	})
	t.Log(out)
	for _, m := range []*member{a, b} {
		m.signal(syscall.SIGTERM)
		m.leave()
	}
}
