//go:build browser

// Package browsertest looks at the dashboard with a real browser: headless
// Chromium, driven over its debugging pipe. `make test-browser` runs it.
package browsertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// browser is a Chromium with one page open.
type browser struct {
	t       *testing.T
	to      io.Writer
	session string

	mu       sync.Mutex // guards what follows
	next     int
	waiting  map[int]chan reply
	offline  bool     // requests may fail: the test has stopped the server
	troubles []string // errors on the console, and requests that failed
}

type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// open starts Chromium. It is ended with the test.
func open(t *testing.T) *browser {
	t.Helper()
	toChild, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, fromChild, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	program := os.Getenv("CHROMIUM")
	if program == "" {
		program = "chromium"
	}
	cmd := exec.CommandContext(t.Context(), program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{toChild, fromChild} // file descriptors 3 and 4
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Chromium (apt-get install chromium, or set CHROMIUM): %v", err)
	}
	_, _ = toChild.Close(), fromChild.Close()
	b := &browser{t: t, to: to, waiting: make(map[int]chan reply)}
	read := make(chan struct{})
	go func() { defer close(read); b.read(from) }()
	t.Cleanup(func() {
		b.send("", "Browser.close", nil)
		_ = cmd.Wait()
		_, _ = to.Close(), from.Close()
		<-read
		if t.Failed() && b.session == "" { // later on, its words are about the desktop that it misses
			t.Logf("Chromium said:\n%s", &stderr)
		}
	})
	b.attach()
	return b
}

// attach opens a page and listens to what goes wrong on it.
func (b *browser) attach() {
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	b.session = session.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(b.session, domain+".enable", nil, nil)
	}
}

// read passes replies on; messages end with a zero byte.
func (b *browser) read(from io.Reader) {
	in := bufio.NewReader(from)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m reply
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if to, ok := b.waiting[m.ID]; ok && m.ID != 0 {
			to <- m
			delete(b.waiting, m.ID)
		}
		b.note(m)
		b.mu.Unlock()
	}
}

// note keeps what the page complains about. The caller holds mu.
func (b *browser) note(m reply) {
	switch m.Method {
	case "Runtime.exceptionThrown":
		b.troubles = append(b.troubles, "exception: "+string(m.Params))
	case "Runtime.consoleAPICalled":
		var p struct{ Type string }
		if json.Unmarshal(m.Params, &p) == nil && (p.Type == "error" || p.Type == "warning") {
			b.troubles = append(b.troubles, "console: "+string(m.Params))
		}
	case "Log.entryAdded":
		var p struct {
			Entry struct{ Level, Source string }
		}
		if json.Unmarshal(m.Params, &p) == nil && p.Entry.Level == "error" && (!b.offline || p.Entry.Source != "network") {
			b.troubles = append(b.troubles, "log: "+string(m.Params))
		}
	}
}

// complaints returns what the page complained about since the last call.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.troubles
	b.troubles = nil
	return out
}

// expectFailures has requests that fail count as no trouble from now on.
func (b *browser) expectFailures() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offline = true
}

func (b *browser) send(session, method string, params any) chan reply {
	if params == nil {
		params = struct{}{}
	}
	answer := make(chan reply, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	b.waiting[b.next] = answer
	message := map[string]any{"id": b.next, "method": method, "params": params}
	if session != "" {
		message["sessionId"] = session
	}
	text, err := json.Marshal(message)
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	if err != nil {
		b.t.Logf("%s: %v", method, err)
	}
	return answer
}

// patience is how long a test waits for Chromium and for the page, on a loaded machine.
const patience = 2 * time.Minute

func (b *browser) call(session, method string, params, result any) {
	b.t.Helper()
	select {
	case r := <-b.send(session, method, params):
		if r.Error != nil {
			b.t.Fatalf("%s: %s", method, r.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(r.Result, result); err != nil {
				b.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-time.After(patience):
		b.t.Fatalf("%s: Chromium does not answer", method)
	}
}

func (b *browser) visit(url string) {
	b.t.Helper()
	b.call(b.session, "Page.navigate", map[string]any{"url": url}, nil)
}

// eval runs a script on the page and returns its value as text.
func (b *browser) eval(script string) string {
	b.t.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails *struct{ Text string }
	}
	b.call(b.session, "Runtime.evaluate", map[string]any{"expression": script, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s", script, r.ExceptionDetails.Text)
	}
	return fmt.Sprint(r.Result.Value)
}

// await waits until the script is true on the page.
func (b *browser) await(what, script string) {
	b.t.Helper()
	limit, tick := time.After(patience), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	probe := "(() => { try { return !!(" + script + ") } catch { return false } })()" // the page may not be there yet
	for b.eval(probe) != "true" {
		select {
		case <-tick.C:
		case <-limit:
			b.t.Fatalf("waited in vain: %s\n%s", what, b.eval("document.body && document.body.innerText"))
		}
	}
}

// drawnAfter loads the page anew and returns how long it took until the condition
// held and was painted, by the page's own clock, which begins with the navigation:
// the start of the browser and the driving of it do not count.
func (b *browser) drawnAfter(url, condition string) time.Duration {
	b.t.Helper()
	var script struct{ Identifier string }
	b.call(b.session, "Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": `
		window.drawnAfter = 0;
		const watch = new MutationObserver(() => {
			try { if (!(` + condition + `)) return } catch { return }
			watch.disconnect();
			requestAnimationFrame(() => setTimeout(() => { window.drawnAfter = performance.now() })); // after the paint
		});
		watch.observe(document, { childList: true, subtree: true, characterData: true });`}, &script)
	b.visit("about:blank")
	b.visit(url)
	b.await("the page is drawn", "window.drawnAfter > 0")
	b.call(b.session, "Page.removeScriptToEvaluateOnNewDocument", map[string]any{"identifier": script.Identifier}, nil)
	var millis float64
	if _, err := fmt.Sscan(b.eval("window.drawnAfter"), &millis); err != nil {
		b.t.Fatal(err)
	}
	return time.Duration(millis * float64(time.Millisecond))
}

// look sets the size of the window and the colour scheme.
func (b *browser) look(width, height int, scheme string) {
	b.t.Helper()
	b.call(b.session, "Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
	}, nil)
	b.call(b.session, "Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}},
	}, nil)
}

func (b *browser) press(key string, code int) {
	b.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		b.call(b.session, "Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
	}
}

// picture keeps a screenshot of the whole page where CI collects artefacts.
func (b *browser) picture(name string) {
	b.t.Helper()
	var shot struct{ Data []byte }
	b.call(b.session, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &shot)
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		dir = b.t.TempDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	path := filepath.Join(dir, name+".png")
	if err := os.WriteFile(path, shot.Data, 0o644); err != nil {
		b.t.Fatal(err)
	}
	b.t.Logf("%s: %d bytes", path, len(shot.Data))
}
