package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// environment is what the programs of the demo run with.
type environment struct{ values [][2]string }

func newEnvironment(addr, pages, dir string) environment {
	return environment{[][2]string{
		{"AWS_ENDPOINT_URL", "http://" + addr},
		{"AWS_ACCESS_KEY_ID", "local"},
		{"AWS_SECRET_ACCESS_KEY", "local"},
		{"AWS_REGION", "us-east-1"},
		{"AWS_EC2_METADATA_DISABLED", "true"},
		{"KINESIS_STREAM_NAME", "order-events"},
		{"POLL_INTERVAL", "500ms"}, // livelier to look at than the default of 5 s
		{"DEAD_LETTER_URL", "file://" + filepath.Join(dir, "dead-letters")},
		{"HTTP_ADDR", pages},
	}}
}

// own is what the demo itself needs to reach the local AWS.
func (e environment) own() [][2]string { return e.values[:5] }

// endpoint is the URL of the local AWS.
func (e environment) endpoint() string { return e.values[0][1] }

// with is the environment with another value of one of its variables.
func (e environment) with(name, value string) environment {
	values := slices.Clone(e.values)
	for i := range values {
		if values[i][0] == name {
			values[i][1] = value
		}
	}
	return environment{values}
}

func (e environment) list() []string {
	out := os.Environ()
	for _, kv := range e.values {
		out = append(out, kv[0]+"="+kv[1])
	}
	return out
}

// process is a program that the demo started.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    string
	stdout bytes.Buffer
	ended  chan struct{} // closed when it has ended
	err    error         // how it ended
}

// start runs a program in the background, with its log in a file of dir.
func start(ctx context.Context, env environment, dir, program string, args ...string) (*process, error) {
	name := strings.Join(append([]string{filepath.Base(program)}, firstWord(args)...), "-")
	return startAs(ctx, name, env, dir, program, args...)
}

// startAs is start with a name of its own.
func startAs(ctx context.Context, name string, env environment, dir, program string, args ...string) (*process, error) {
	logFile, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	p := &process{name: name, log: logFile.Name(), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, program, args...)
	p.cmd.Env = env.list()
	p.cmd.Stdout = &p.stdout
	p.cmd.Stderr = logFile
	// A group of its own: Ctrl-C reaches the demo alone, which ends the others in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		_ = logFile.Close()
		return nil, fmt.Errorf("start %s: %w; run make build first", program, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		_ = logFile.Close()
		close(p.ended)
	}()
	return p, nil
}

func firstWord(args []string) []string {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return args[:1]
	}
	return nil
}

// runOnce runs a program to its end.
func runOnce(ctx context.Context, env environment, dir, program string, args ...string) error {
	p, err := start(ctx, env, dir, program, args...)
	if err != nil {
		return err
	}
	<-p.ended
	if p.err != nil {
		return p.failed()
	}
	return nil
}

const stopTime = 30 * time.Second

// interrupt asks the program to end, and waits for it to end well.
func (p *process) interrupt() error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
	case <-time.After(stopTime):
		return fmt.Errorf("%s did not stop within %v", p.name, stopTime)
	}
	if p.err != nil {
		return p.failed()
	}
	return nil
}

// stop ends the program, whatever it takes; ended programs are left alone.
func (p *process) stop() {
	select {
	case <-p.ended:
		return
	default:
	}
	if p.interrupt() != nil {
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// failed says how the program ended, with the end of its log.
func (p *process) failed() error {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	const most = 2000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	if p.err == nil {
		return fmt.Errorf("%s ended early:\n%s", p.name, text)
	}
	return fmt.Errorf("%s: %w:\n%s", p.name, p.err, text)
}

const readyTime = 20 * time.Second

// awaitReady waits until url answers.
func awaitReady(ctx context.Context, url string, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return p.failed()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %v", p.name, readyTime)
		}
	}
}
