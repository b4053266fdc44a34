//go:build browser

package browsertest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// manyShards is a fleet of two other workers with the shards between them, and a third
// that has gone.
func manyShards(shards int) *admin.Leases {
	now := time.Now()
	self := verdict.Self{Version: "v1.2.3", Since: now.Add(-time.Hour), Page: "http://10.0.0.7:8080/", Rate: 120, Waiting: 7}
	out := &admin.Leases{Seen: now, Workers: []verdict.Member{
		{Worker: "ip-10-0-0-7-3976-ABCDEF", Shards: shards / 2, Alive: true, Self: &self, Says: &verdict.Finding{State: verdict.Fine, Says: "Orders arrive: 120 records a second are loaded"}},
		{Worker: "ip-10-0-0-8-4021-GHIJKL", Shards: shards / 2, Alive: true},
		{Worker: "ip-10-0-0-9-77-MNOPQR", Shards: 1},
	}}
	for i := range shards {
		out.Shards = append(out.Shards, admin.Lease{
			Shard: fmt.Sprintf("shardId-%012d", i), Owner: out.Workers[i%2].Worker, Position: "49001795422024581001795422024581001795422024581001795422",
			Until: now.Add(-time.Duration(i) * time.Second), Seen: now,
		})
	}
	return out
}

var paused = verdict.Verdict{
	Finding: verdict.Finding{Cause: verdict.WarehousePaused, State: verdict.Act, Says: "The warehouse has not answered for 40 s", Next: "resume it", Command: "aws redshift resume-cluster --cluster-identifier cloudcafe-redshift-dev"},
	Others:  []verdict.Finding{{Cause: verdict.RejectedSome, State: verdict.Look, Says: "12 records a second are rejected", Next: "look at one", Command: "analytics-worker letters --last 1"}},
}

// axe-core finds nothing that keeps somebody from using the page, whatever it shows.
func TestDashboardIsAccessible(t *testing.T) {
	path := os.Getenv("AXE")
	if path == "" {
		t.Skip("AXE names no axe.min.js; make test-browser does")
	}
	axe, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, s := open(t), serve(t, "127.0.0.1:0", "one")
	s.leases.Store(manyShards(30))
	b.visit("http://" + s.addr + "/")
	b.await("the sales and the fleet are drawn", `document.querySelectorAll("#orders rect").length === 60 && document.querySelectorAll("#workers tbody tr").length === 4`)
	b.eval(string(axe) + "; 0")
	check := func(shown string) {
		for _, width := range []int{390, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				b.look(width, 900, scheme)
				found := b.eval(`axe.run(document, { resultTypes: ["violations"] }).then(r => r.violations.map(v => v.id + " (" + v.help + "): " + v.nodes.map(n => n.target.join(" ") + ": " + n.failureSummary).join("; ")).join("\n"))`)
				if found != "" {
					t.Errorf("%s, %d pixels, %s:\n%s", shown, width, scheme, found)
				}
			}
		}
	}
	check("all is well")
	b.await("axe looks at all of it", `axe.getRules().length > 50`)
	s.log.Error("load failed; it is tried again, nothing is lost", "error", errors.New("paused"), "hint", "is the cluster paused?")
	s.m.RejectedBy.Add("order_id is missing", 3)
	s.said.Store(&paused)
	b.await("trouble is shown", `document.querySelector("#verdict").className === "bad" && !document.querySelector("#now").hidden && document.querySelector("#letters code")`)
	check("trouble")
	b.expectFailures()
	s.stop()
	b.await("the loss is told", `document.querySelector("main").classList.contains("old")`)
	check("the connection is lost")
	// It would find something: a picture without a text.
	b.eval(`document.body.append(document.createElement("img")); 0`)
	if found := b.eval(`axe.run(document).then(r => r.violations.map(v => v.id).join())`); !strings.Contains(found, "image-alt") {
		t.Errorf("axe finds %q on a picture without a text", found)
	}
}

// What has to come until the first picture of a stream with 200 shards.
func TestDashboardIsLight(t *testing.T) {
	const most = 200 << 10
	s := serve(t, "127.0.0.1:0", "one")
	s.leases.Store(manyShards(200))
	page, err := http.Get("http://" + s.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	weight, err := io.Copy(io.Discard, page.Body)
	if err != nil {
		t.Fatal(err)
	}
	own := weight
	events, err := http.Get("http://" + s.addr + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	for in, began := bufio.NewReader(events.Body), false; ; {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		weight += int64(len(line))
		began = began || line == "event: state\n"
		if began && line == "\n" {
			break
		}
	}
	t.Logf("the page takes %d bytes, with what it shows first of 200 shards %d", own, weight)
	if weight > most {
		t.Errorf("%d bytes, want %d at most", weight, most)
	}
}
