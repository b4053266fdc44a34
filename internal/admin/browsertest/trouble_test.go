//go:build browser

package browsertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// A problem stands under the verdict while it lasts, and with the earlier ones afterwards;
// one of the process before is an earlier one from the start. The curves go on.
func TestDashboardTellsWhatLastsFromWhatIsOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "past")
	now := time.Now()
	var samples [][]int64
	for i := range 100 {
		n := int64(i)
		samples = append(samples, []int64{now.Add(time.Duration(i-110) * 5 * time.Second).UnixMilli(), 50 * n, 50 * n, 0, 0, 50 * n, 0, 0, 0})
	}
	text, err := json.Marshal(map[string]any{"samples": samples, "problems": []map[string]any{
		{"at": now.Add(-12 * time.Minute), "first": now.Add(-12 * time.Minute), "times": 1, "level": "WARN", "message": "the last worker met this"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	b, s := open(t), serveWith(t, "127.0.0.1:0", "one", path)
	b.visit("http://" + s.addr + "/")
	b.await("what is over is said to be", `/12 min ago.*before the start of this worker/.test(document.querySelector("#problems").innerText)`)
	if b.eval(`document.querySelector("#now").hidden`) != "true" {
		t.Error("a problem of the last process stands under the verdict")
	}
	b.await("the rates of the last process are drawn", `document.querySelector("#flow path[stroke]").getAttribute("d").split("L").length > 90`)
	b.await("the start is marked", `document.querySelector("#flow .mark")`)
	s.log.Warn("reads are throttled", "error", errors.New("too many reads"))
	b.await("what lasts is under the verdict", `document.querySelector("#verdict").nextElementSibling.nextElementSibling.innerText.includes("too many reads")`)
	// The clock that the page goes by is put forward: a minute later it is over.
	b.eval(`heard -= 61000; draw(); 0`)
	if b.eval(`document.querySelector("#now").hidden`) != "true" || b.eval(`document.querySelector("#problems").innerText.includes("too many reads")`) != "true" {
		t.Error("what was not met for a minute does not count as over")
	}
	b.picture("test-restarted")
	quiet(t, b)
}

// Whatever was counted before the window is left out: it ran over the labels and out of
// the card.
func TestDashboardKeepsItsCurvesInTheirCards(t *testing.T) {
	b, s := open(t), serve(t, "127.0.0.1:0", "one")
	b.visit("http://" + s.addr + "/")
	b.await("it is live", `document.querySelector("#link").innerText.includes("Live")`)
	b.eval(`{
		const end = Date.parse(state.at), family = state.families.map(() => 0);
		past = [];
		for (let t = end - 5400000; t < end - 3600000; t += 5000) past.push([t, t - end, t - end, 0, 0, ...family]);
		for (let t = end - 600000; t < end; t += 5000) past.push([t, (t - end) / 10, (t - end) / 10, 0, 0, ...family]);
		draw();
	}`)
	least := b.eval(`Math.min(...[...document.querySelectorAll("#flow path")].flatMap(p => [...p.getAttribute("d").matchAll(/[ML](-?[\d.]+) /g)].map(m => Number(m[1]))))`)
	var x float64
	if _, err := fmt.Sscan(least, &x); err != nil || x < 46 {
		t.Errorf("a curve begins at %s, want it right of the labels at 46", least)
	}
	if ticks := b.eval(`[...document.querySelectorAll("#orders text[y]")].map(t => t.textContent).filter(t => /^\d\d:\d\d$/.test(t)).every(t => Number(t.slice(3)) % 5 === 0)`); ticks != "true" {
		t.Error("a label of the axis is no whole five minutes")
	}
	quiet(t, b)
}

// What is read aloud is the headline, once, and again when another thing is said; and
// whoever has reached the button that copies the command keeps it meanwhile.
func TestDashboardAnnouncesAHeadlineOnlyWhenItChanges(t *testing.T) {
	b, s := open(t), serve(t, "127.0.0.1:0", "one")
	b.visit("http://" + s.addr + "/")
	b.await("the first is announced", `document.querySelector("#said").innerText === "All is loaded"`)
	s.said.Store(&paused)
	b.await("the next is announced", `document.querySelector("#said").innerText.includes("for 40 s")`)
	b.eval(`window.announced = 0; new MutationObserver(() => window.announced++).observe(document.querySelector("#said"), { childList: true, characterData: true, subtree: true }); document.querySelector("#verdict button").focus(); 0`)
	later := paused
	later.Says = "The warehouse has not answered for 42 s"
	s.said.Store(&later)
	b.await("the figure changes", `document.querySelector("#verdict b").innerText.includes("for 42 s")`)
	if n := b.eval(`window.announced + " " + document.activeElement.tagName`); n != "0 BUTTON" {
		t.Errorf("%s: want no announcement, and the focus where it was", n)
	}
	if n := b.eval(`document.querySelectorAll("[aria-live]").length + document.querySelectorAll("[role=status]:not(#said)").length`); n != "1" {
		t.Errorf("%s places are read aloud, want one", n)
	}
	b.press(" ", 32)
	b.await("the command is copied", `document.querySelector("#verdict button").innerText === "Copied"`)
	link := b.eval(`document.querySelector("#verdict a").href`)
	if want := "OPERATIONS.md#paused-warehouse"; len(link) < len(want) || link[len(link)-len(want):] != want {
		t.Errorf("the handbook is at %s", link)
	}
	quiet(t, b)
}

// A tab in the background shows by its title that something is wrong, and asks the
// warehouse nothing.
func TestDashboardMarksTheTitleOfAHiddenTab(t *testing.T) {
	b, s := open(t), serve(t, "127.0.0.1:0", "one")
	b.visit("http://" + s.addr + "/")
	b.await("all is well", `document.title === "CloudCafe orders" && document.querySelector("#verdict").className === "good"`)
	s.said.Store(&paused)
	b.eval(`Object.defineProperty(document, "hidden", { configurable: true, get: () => true }); document.dispatchEvent(new Event("visibilitychange")); 0`)
	b.await("the hidden tab says so", `document.title === "✕ CloudCafe orders" && source.readyState === EventSource.CLOSED`)
	s.said.Store(&verdict.Verdict{Finding: verdict.Finding{Cause: verdict.Quiet, State: verdict.Fine, Says: "All is loaded"}, Others: []verdict.Finding{}})
	b.eval(`glance().then(() => 0)`)
	b.await("and says when it is over", `document.title === "CloudCafe orders"`)
	b.eval(`delete document.hidden; document.dispatchEvent(new Event("visibilitychange")); 0`)
	b.await("it is live again", `document.querySelector("#link").innerText.includes("Live")`)
	quiet(t, b)
}

// All workers and all shards are shown, whoever has them; on a phone nothing is cut.
func TestDashboardShowsTheFleet(t *testing.T) {
	b, s := open(t), serve(t, "127.0.0.1:0", "one")
	s.leases.Store(manyShards(30))
	b.visit("http://" + s.addr + "/")
	b.await("the fleet is drawn", `document.querySelectorAll("#workers tbody tr").length === 4 && document.querySelectorAll("#shards tbody tr").length === 30`)
	for what, script := range map[string]string{
		"a link to a worker's page":           `document.querySelector("#workers a").href === "http://10.0.0.7:8080/"`,
		"its rate and version":                `/120.*v1\.2\.3/s.test(document.querySelector("#workers").innerText)`,
		"one that does not renew":             `document.querySelector("#workers").innerText.includes("does not renew its leases")`,
		"how far a shard of others is behind": `document.querySelectorAll("#shards tbody tr")[20].cells[2].innerText === "20 s"`,
		"until when it is queryable":          `/^\d\d:\d\d:\d\d/.test(document.querySelectorAll("#shards tbody tr")[20].cells[5].innerText)`,
	} {
		if b.eval(script) != "true" {
			t.Errorf("the page does not show %s: %s", what, b.eval(`document.querySelector("#workers").innerText + document.querySelector("#shards").innerText`))
		}
	}
	for _, width := range []int{320, 390} {
		b.look(width, 800, "light")
		for _, place := range []string{"#shards", "#workers", "#families", "#letters", "#stores"} {
			if b.eval(fmt.Sprintf(`(e => e.scrollWidth <= e.clientWidth)(document.querySelector(%q))`, place)) != "true" {
				t.Errorf("at %d pixels %s is cut", width, place)
			}
		}
	}
	if b.eval(`document.querySelector("#workers .phone").getBoundingClientRect().width >= 160`) != "true" {
		t.Errorf("how a worker goes has %s of 390 pixels", b.eval(`document.querySelector("#workers .phone").getBoundingClientRect().width`))
	}
	b.picture("test-fleet-phone")
	b.look(1280, 900, "light")
	b.picture("test-fleet")
	quiet(t, b)
}

// Fifty workers, whose names are long and try to be HTML, leave room for the page below
// them, and the one in trouble is seen without scrolling.
func TestDashboardShowsFiftyWorkers(t *testing.T) {
	b, s := open(t), serve(t, "127.0.0.1:0", "one")
	fleet := manyShards(2)
	fleet.Workers = nil
	for i := range 50 {
		w := verdict.Member{Worker: fmt.Sprintf(`ip-10-0-0-%02d.eu-central-1.compute.internal-<img src=x onerror="bent=1">&amp;'%s`, i, strings.Repeat("X", 60*(i%2))), Shards: 4, Alive: i != 41}
		w.Says = &verdict.Finding{State: verdict.Fine, Says: "Orders arrive: 120 records a second are loaded"}
		if i == 30 {
			w.Says = &verdict.Finding{State: verdict.Look, Says: "Kinesis throttles the reads"}
		}
		fleet.Workers = append(fleet.Workers, w)
	}
	s.leases.Store(fleet)
	b.visit("http://" + s.addr + "/")
	b.await("the fleet is drawn", `document.querySelectorAll("#workers tbody tr").length === 51`)
	for _, c := range []struct{ what, script string }{
		{"names are text", `typeof bent === "undefined" && !document.querySelector("#workers img") && document.querySelector("#workers").innerText.includes("<img src=x")`},
		{"the dead one is first, and then the one to look at", `[0, 1].map(i => document.querySelectorAll("#workers tbody tr")[i].innerText.slice(0, 12)).join() === "ip-10-0-0-41,ip-10-0-0-30"`},
		{"the table leaves room", `document.querySelector("#workers").clientHeight <= 520`},
		{"nothing is wider than the page", `document.documentElement.scrollWidth <= document.documentElement.clientWidth && (e => e.scrollWidth <= e.clientWidth)(document.querySelector("#workers"))`},
	} {
		if b.eval(c.script) != "true" {
			t.Errorf("not so: %s", c.what)
		}
	}
	b.picture("test-fifty")
	quiet(t, b)
}
