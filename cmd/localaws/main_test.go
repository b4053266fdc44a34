package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestUsage(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		name  string
		args  []string
		code  int
		texts []string
	}{
		{"help", []string{"--help"}, 0, []string{"AWS_ENDPOINT_URL", "aws kinesis create-stream", "/_localaws/faults", "--limits", "--warehouse", "127.0.0.1:4566"}},
		{"version", []string{"--version"}, 0, []string{"localaws version"}},
		{"version as a verb", []string{"version"}, 0, []string{"localaws version"}},
		{"unknown flag", []string{"--adr", "x"}, 2, []string{"--adr", "localaws --help"}},
		{"argument", []string{"start"}, 2, []string{`"start"`, "flags only"}},
		{"everything wrong at once", []string{"--limits", "some", "--addr", "4566", "--warehouse", "mysql://h/d"}, 2, []string{`--limits "some"`, `--addr "4566"`, "--warehouse"}},
		{"a pace that is none", []string{"--pace", "slow", "--pace-write", "-1s"}, 2, []string{`--pace "slow"`, "pace-write -1s"}},
		{"every interface", []string{"--addr", "0.0.0.0:4566"}, 2, []string{"not a loopback address"}},
		{"every interface, unsaid", []string{"--addr", ":4566"}, 2, []string{"not a loopback address"}},
		{"another machine's name", []string{"--addr", "example.com:4566"}, 2, []string{"not a loopback address"}},
		{"port that is none", []string{"--addr", "127.0.0.1:http-alt-x"}, 1, []string{"listen on"}},
		{"address in use", []string{"--addr", taken.Addr().String()}, 1, []string{"is in use", "--addr"}},
		{"data under a file", []string{"--addr", "127.0.0.1:0", "--data", "main.go/x"}, 1, []string{"data directory"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(t.Context(), test.args, &out, &errs); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			text := errs.String()
			if test.code == 0 {
				text = out.String()
			}
			for _, want := range test.texts {
				if !strings.Contains(text, want) {
					t.Errorf("the output lacks %q:\n%s", want, text)
				}
			}
			if strings.Contains(errs.String(), "panic") || test.code != 0 && strings.Count(text, "\n") > 5 {
				t.Errorf("the error is not short:\n%s", text)
			}
		})
	}
}

var ready = regexp.MustCompile(`^localaws is ready on (http://127\.0\.0\.1:[0-9]+) \(data in memory, limits off\); .*\n$`)

// TestPace: --pace stands for what is not given by itself.
func TestPace(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--pace", "redshift"}, "a call 800ms, a statement 130ms, a write 400ms more, a commit 600ms"},
		{[]string{"--pace", "redshift", "--pace-commit", "3s", "--pace-write", "0s"}, "a call 800ms, a statement 130ms, a write 0s more, a commit 3s"},
		{[]string{"--pace-commit", "3s"}, "a call 0s, a statement 0s, a write 0s more, a commit 3s"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		in, out := io.Pipe()
		code := make(chan int, 1)
		go func() { code <- run(ctx, append(test.args, "--addr", "127.0.0.1:0"), out, io.Discard) }()
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil || !strings.Contains(line, "(data in memory, limits aws, "+test.want+")") {
			t.Errorf("%v: %v, %v", test.args, line, err)
		}
		cancel()
		if got := <-code; got != exitOK {
			t.Errorf("%v: exit code %d", test.args, got)
		}
	}
}

// TestServesUntilItIsTold starts it, calls it, and ends it.
func TestServesUntilItIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, out := io.Pipe()
	var errs bytes.Buffer
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"--addr", "127.0.0.1:0", "--limits", "off"}, out, &errs) }()
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	m := ready.FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("the first line is %q", line)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(m[1] + "/_localaws/health")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("health: %s", response.Status)
	}
	cancel()
	if got := <-code; got != exitOK || errs.Len() > 0 {
		t.Errorf("exit code %d: %s", got, errs.String())
	}
}

// TestCLI runs the AWS CLI, where there is one, as the help tells to.
func TestCLI(t *testing.T) {
	cli, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("no aws command here")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, out := io.Pipe()
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"--addr", "127.0.0.1:0", "--limits", "off"}, out, io.Discard) }()
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := ready.FindStringSubmatch(line)[1]
	for _, call := range []struct {
		args []string
		want string
	}{
		{[]string{"kinesis", "create-stream", "--stream-name", "s", "--shard-count", "2"}, ""},
		{[]string{"kinesis", "put-record", "--stream-name", "s", "--partition-key", "1", "--data", "fileb://main.go"}, "SequenceNumber"},
		{[]string{"sts", "get-caller-identity"}, "000000000000"},
		{[]string{"redshift", "pause-cluster", "--cluster-identifier", "dev"}, "paused"},
		{[]string{"redshift", "resume-cluster", "--cluster-identifier", "dev"}, "available"},
		{[]string{"redshift", "describe-clusters", "--cluster-identifier", "dev"}, "available"},
		{[]string{"cloudwatch", "put-metric-data", "--namespace", "N", "--metric-name", "m", "--value", "1"}, ""},
	} {
		command := exec.CommandContext(ctx, cli, append(call.args, "--endpoint-url", url)...)
		command.Env = []string{"PATH=/usr/bin:/bin", "AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any", "HOME=" + t.TempDir()}
		got, err := command.CombinedOutput()
		if err != nil || !strings.Contains(string(got), call.want) {
			t.Errorf("aws %s: %v\n%s", strings.Join(call.args, " "), err, got)
		}
	}
	cancel()
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d", got)
	}
}

// What env prints is what a shell takes.
func TestEnvIsForAShell(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"env", "--addr", "127.0.0.1:4599"}, &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	command := exec.CommandContext(t.Context(), "sh", "-euc", out.String()+`echo "$AWS_ENDPOINT_URL $AWS_REGION $AWS_DEFAULT_REGION $AWS_ACCESS_KEY_ID ${AWS_PROFILE-none}"`)
	command.Env = []string{"AWS_PROFILE=mine"}
	if got, err := command.CombinedOutput(); err != nil || string(got) != "http://127.0.0.1:4599 us-east-1 us-east-1 local none\n" {
		t.Errorf("%s, %v", got, err)
	}
	for _, args := range [][]string{{"env", "x"}, {"env", "--addr", "0.0.0.0:1"}, {"env", "--addr", "127.0.0.1:0"}} {
		if code := run(t.Context(), args, &out, &errs); code != exitUsage {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}

// TestServesPSQL: with --psql the warehouse is there for PostgreSQL's clients, and only on
// this machine.
func TestServesPSQL(t *testing.T) {
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"--psql", "0.0.0.0:0"}, io.Discard, &errs); code != exitUsage || !strings.Contains(errs.String(), "--psql \"0.0.0.0:0\" is not a loopback address") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, out := io.Pipe()
	code := make(chan int, 1)
	go func() { code <- run(ctx, []string{"--addr", "127.0.0.1:0", "--psql", "127.0.0.1:0"}, out, io.Discard) }()
	lines := bufio.NewReader(in)
	var command string
	for range 2 {
		var err error
		if command, err = lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	args := strings.Fields(strings.TrimPrefix(command, "for SQL: psql "))
	shown, err := exec.CommandContext(t.Context(), "psql", append(args, "-w", "-A", "-t", "-c", "SELECT 6 * 7")...).CombinedOutput()
	if err != nil || string(shown) != "42\n" {
		t.Errorf("psql %q: %s, %v", args, shown, err)
	}
	cancel()
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d", got)
	}
}
