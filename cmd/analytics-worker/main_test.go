package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/localaws"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// The test binary stands for both programs: run under their names, it is them.
// So the workers that the tests start and kill are built with the race detector
// whenever the tests are, and nothing is built twice but the local AWS (localProgram).
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"analytics-worker": main,
		"localaws":         serveLocal,
		"profiled-worker":  profiledWorker,
	})
}

type leakChecked struct{ m *testing.M }

func (c leakChecked) Run() int {
	if err := simulation.SetEnvironment(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// These tests wait for processes more than they compute.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := c.m.Run()
	if err := errors.Join(pgtest.Stop(), removeLocal()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// serveLocal is the local AWS in a process of its own, without limits, on a port
// that the system chooses. It says where on standard output. CLOCK_OFFSET is how
// far its clock is ahead of this machine's, WAREHOUSE the URL of a PostgreSQL, and with TINY its
// warehouse saves its thinking.
func serveLocal() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := func() error {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		offset, err := time.ParseDuration(cmp.Or(os.Getenv("CLOCK_OFFSET"), "0"))
		if err != nil {
			return err
		}
		server, err := localaws.New(ctx, localaws.Config{Warehouse: os.Getenv("WAREHOUSE"), ClockOffset: offset, Tiny: os.Getenv("TINY") != "", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		fmt.Println("http://" + listener.Addr().String())
		if err := server.Serve(ctx, listener); err != nil {
			return err
		}
		return server.Close()
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
