package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// trouble is one of the sixteen ways in which orders stop, are late or are lost. It is
// produced for real, and every place has to tell it: the sentence, the next step and
// how bad it is. Once it is over, every place has to say that all is well.
type trouble struct {
	name     string
	cause    verdict.Cause
	state    verdict.State
	says     string
	next     string
	shards   int
	workers  int
	settings []string
	begin    func(*scene) (end func())
	outside  bool // no worker is there that could tell
	quick    bool // tried with every test; the others by make test-slow
}

func faulty(text string) func(*scene) func() {
	return func(s *scene) func() {
		s.faults(text)
		return func() { s.faults(`[]`) }
	}
}

var troubles = []trouble{
	{name: "all records rejected", quick: true, cause: verdict.RejectedAll, state: verdict.Act, says: "of what arrives is rejected", next: "letters --last 1", begin: func(s *scene) func() {
		s.flow(40, 1)
		return func() { s.flow(60, 0) }
	}},
	{name: "5 percent rejected", cause: verdict.RejectedSome, state: verdict.Look, says: "of the records are rejected", next: "letters --last 1", begin: func(s *scene) func() {
		s.flow(60, 0.06)
		return func() { s.flow(60, 0) }
	}},
	{
		name: "reads throttled", cause: verdict.ReadsThrottled, state: verdict.Look, says: "Kinesis throttles the reads", next: "list-stream-consumers",
		begin: faulty(`[{"service":"kinesis","operation":"GetRecords","fault":"throttle","probability":0.98,"seed":5}]`),
	},
	{name: "one hot shard", cause: verdict.HotShard, state: verdict.Look, says: "a second, near the most that one may", next: "split-shard --stream-name order-events", shards: 4, begin: hotShard},
	{name: "warehouse paused", quick: true, cause: verdict.WarehousePaused, state: verdict.Look, says: "has not started it", next: "resume-cluster --cluster-identifier cloudcafe-redshift-dev", begin: func(s *scene) func() {
		const call = "Version=2012-12-01&ClusterIdentifier=cloudcafe-redshift-dev&Action="
		s.form(call + "PauseCluster")
		return func() { s.form(call + "ResumeCluster") }
	}},
	{name: "warehouse paused on a quiet stream", cause: verdict.WarehousePaused, state: verdict.Look, says: "has not started it", next: "resume-cluster", begin: func(s *scene) func() {
		s.faults(`[{"service":"redshift-data","fault":"paused"}]`)
		s.quiet(5)
		return func() { // what it waited for is no sign of a slow warehouse, and no later load says that it is quick
			s.await("a load has waited for long", func() (bool, error) {
				st, err := s.status(strings.TrimPrefix(s.page(), "http://"))
				return st.Warehouse.WaitingMillis > 25_000, err
			})
			s.faults(`[]`)
		}
	}},
	{
		name: "warehouse full", cause: verdict.WarehouseFull, state: verdict.Act, says: "The warehouse is full", next: "free space",
		begin: faulty(`[{"service":"redshift-data","fault":"statement-failed","error":"ERROR: Disk Full","match":"worker_load_lock"}]`),
	},
	{
		name: "warehouse slow", cause: verdict.WarehouseSlow, state: verdict.Look, says: "The warehouse is slow", next: "describe-clusters",
		begin: func(s *scene) func() {
			s.faults(`[{"service":"redshift-data","fault":"statement-slow","delay":"60s","match":"LOCK TABLE"}]`)
			return func() {
				s.faults(`[]`)
				s.await("the slow load has ended", func() (bool, error) {
					st, err := s.status(strings.TrimPrefix(s.page(), "http://"))
					return st.Warehouse.WaitingMillis < 5000, err
				})
			}
		},
	},
	{name: "lock held by a stranger", cause: verdict.WarehouseLocked, state: verdict.Look, says: "have waited for worker_load_lock", next: "end that session", begin: holdLock},
	{
		name: "permission missing", cause: verdict.ReadsDenied, state: verdict.Act, says: "Reading fails on 2 of 2 shards", next: "allow kinesis:GetRecords to the IAM role",
		begin: faulty(`[{"service":"kinesis","operation":"GetRecords","fault":"access-denied"}]`),
	},
	{name: "lease table deleted", quick: true, cause: verdict.LeasesGone, state: verdict.Act, says: "is gone, so nobody owns a shard", next: "describe-table --table-name " + leasesOfOrders, begin: func(s *scene) func() {
		s.faults(`[{"service":"dynamodb","operation":"CreateTable","fault":"access-denied"}]`)
		s.dynamodb("DeleteTable", map[string]any{"TableName": leasesOfOrders})
		return func() { s.faults(`[]`) }
	}},
	{
		name: "DynamoDB throttled", cause: verdict.LeasesThrottled, state: verdict.Look, says: "DynamoDB throttles the lease table", next: "describe-table",
		begin: faulty(`[{"service":"dynamodb","fault":"throttle"}]`),
	},
	{name: "dead-letter store full", cause: verdict.LettersFull, state: verdict.Act, says: "The dead-letter store is full", next: "free some space", begin: fillLetters},
	{name: "stream re-created", cause: verdict.OtherStream, state: verdict.Act, says: "positions of the stream order-events", next: "positions --start-over", begin: func(s *scene) func() {
		s.flowing.kill()
		s.fleet.again(2)
		s.flow(40, 0)
		return func() { s.must("positions", "--start-over") }
	}},
	{name: "no worker running", quick: true, cause: verdict.NoWorker, state: verdict.Act, says: "No worker is running", next: "start", outside: true, begin: func(s *scene) func() {
		s.teller().signal(syscall.SIGTERM)
		s.teller().leave()
		return s.again
	}},
	{name: "one worker of three hung", quick: true, cause: verdict.WorkerMissed, state: verdict.Look, says: "stopped renewing", next: "restart", shards: 3, workers: 3, begin: func(s *scene) func() {
		s.held(0, s.workers...)
		s.workers[0].signal(syscall.SIGSTOP)
		return func() { s.workers[0].signal(syscall.SIGCONT) }
	}},
	{name: "clock off", quick: true, cause: verdict.ClockOff, state: verdict.Look, says: "The clock of this machine is 2 min ahead of AWS's", next: "chronyc", begin: func(s *scene) func() {
		s.admin(http.MethodPut, "/_localaws/clock", `{"offset":"-2m"}`)
		return func() { s.admin(http.MethodPut, "/_localaws/clock", `{"offset":"0s"}`) }
	}},
}

// soon is within what a trouble has to be told by a place, and told to be over: once in
// so many tries, as what else the machine does only ever adds.
const soon, tries = 30 * time.Second, 3

func TestTroubles(t *testing.T) {
	for _, c := range troubles {
		if !everyTrouble && !c.quick {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for try := 1; ; try++ {
				var late []string
				t.Run(fmt.Sprint("try ", try), func(t *testing.T) { late = c.isTold(t) })
				if len(late) == 0 {
					return
				}
				if t.Logf("try %d: %s; want %v at most", try, strings.Join(late, ", "), soon); try == tries {
					t.Fatal("not once was it told soon, and told to be over soon")
				}
			}
		})
	}
}

// isTold produces the trouble, and returns which places told of it, or of its end, too late.
func (c trouble) isTold(t *testing.T) (late []string) {
	s := newScene(t, max(2, c.shards), max(1, c.workers), c.settings...)
	asked := slices.Sorted(maps.Keys(places))
	s.flow(40, 0)
	s.ask(asked, heard.fine, func(heard) bool { return false })
	end := c.begin(s)
	if c.outside {
		asked = []string{"doctor", "status"}
	}
	told := s.ask(asked, func(h heard) bool {
		return h.tells(c.state, c.says, c.next) || c.state == verdict.Look && h.tells(verdict.Act, c.says, c.next)
	}, heard.fine)
	end()
	over := s.ask(asked, heard.fine, func(heard) bool { return false })
	for what, took := range map[string]map[string]time.Duration{"told": told, "over": over} {
		for place, d := range took {
			if d > soon {
				late = append(late, fmt.Sprintf("%s by %s after %v", what, place, d.Round(100*time.Millisecond)))
			}
		}
		t.Logf("%s after %v", what, rounded(took))
	}
	return late
}

func rounded(in map[string]time.Duration) map[string]time.Duration {
	out := make(map[string]time.Duration)
	for k, d := range in {
		out[k] = d.Round(100 * time.Millisecond)
	}
	return out
}

// hotShard puts nearly all that a shard may take into one of them, by one key.
func hotShard(s *scene) (end func()) {
	var stop atomic.Bool
	note := strings.Repeat("x", 19_000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; !stop.Load(); {
			began := time.Now()
			var records []map[string]string
			for range 10 { // few and large: it is bytes that make this one hot
				n++
				event := fmt.Sprintf(`{"order_id":"hot-%d","customer_id":"c","store_id":1,"total_amount":1,"item_count":1,"note":"%s"}`, n, note)
				records = append(records, map[string]string{"PartitionKey": "hot", "Data": base64.StdEncoding.EncodeToString([]byte(event))})
			}
			body, _ := json.Marshal(map[string]any{"StreamName": "order-events", "Records": records})
			request, err := http.NewRequest(http.MethodPost, s.url, strings.NewReader(string(body)))
			if err != nil {
				return
			}
			request.Header.Set("Content-Type", "application/x-amz-json-1.1")
			request.Header.Set("X-Amz-Target", "Kinesis_20131202.PutRecords")
			if response, err := s.http.Do(request); err == nil {
				_ = response.Body.Close()
			}
			<-time.After(time.Until(began.Add(200 * time.Millisecond)))
		}
	}()
	return func() { stop.Store(true); <-done }
}

// holdLock holds the lock of the loads in a session of somebody else.
func holdLock(s *scene) (end func()) {
	session := ""
	say := func(sql string) {
		in := map[string]any{"Sql": sql}
		if session == "" {
			in["ClusterIdentifier"], in["DbUser"], in["Database"], in["SessionKeepAliveSeconds"] = "cloudcafe-redshift-dev", "bi", "analytics", 600
		} else {
			in["SessionId"] = session
		}
		body, err := json.Marshal(in)
		if err != nil {
			s.t.Fatal(err)
		}
		s.await("the session takes "+sql, func() (bool, error) {
			request, err := http.NewRequest(http.MethodPost, s.url, strings.NewReader(string(body)))
			if err != nil {
				return false, err
			}
			request.Header.Set("Content-Type", "application/x-amz-json-1.1")
			request.Header.Set("X-Amz-Target", "RedshiftData.ExecuteStatement")
			response, err := s.http.Do(request)
			if err != nil {
				return false, err
			}
			defer response.Body.Close()
			var out struct{ SessionId string }
			if json.NewDecoder(response.Body).Decode(&out) == nil && out.SessionId != "" {
				session = out.SessionId
			}
			return response.StatusCode == http.StatusOK, nil
		})
	}
	say("BEGIN")
	say("LOCK TABLE worker_load_lock")
	return func() { say("ROLLBACK") }
}

// fillLetters starts a worker whose folder for dead letters is a small disk of its
// own, and fills it.
func fillLetters(s *scene) (end func()) {
	if err := exec.Command("unshare", "--user", "--map-root-user", "--mount", "true").Run(); err != nil {
		s.t.Skipf("no disk can be mounted here: %v", err)
	}
	s.teller().signal(syscall.SIGTERM)
	s.teller().leave()
	dir := s.t.TempDir()
	s.env = append(s.env, "DEAD_LETTER_URL=file://"+dir)
	worker := start(s.t, append(s.env, anyAddr), "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs -o size=256k tmpfs "+dir+" && exec analytics-worker")
	s.mu.Lock()
	s.workers = append(s.workers, &member{worker, s.fleet})
	s.mu.Unlock()
	worker.address()
	inside := filepath.Join("/proc", fmt.Sprint(worker.cmd.Process.Pid), "root", dir, "filled")
	s.flow(40, 0.01)
	s.await("the disk is full", func() (bool, error) {
		f, err := os.OpenFile(inside, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return false, err
		}
		defer f.Close()
		_, err = f.Write(make([]byte, 4096))
		return err != nil, nil
	})
	return func() {
		if err := os.Remove(inside); err != nil {
			s.t.Error(err)
		}
		s.flow(40, 0)
	}
}
