//go:build unix

package pgtest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := pgtest.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

func TestEachCallGetsAFreshDatabase(t *testing.T) {
	for i := range 2 {
		c, err := pgx.Connect(t.Context(), pgtest.Start(t))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Exec(t.Context(), "CREATE TABLE t (a int)"); err != nil {
			t.Errorf("database %d is not empty: %v", i, err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestStopRemovesTheServer(t *testing.T) {
	var data string
	t.Run("use", func(t *testing.T) { // its database is dropped before Stop
		c, err := pgx.Connect(t.Context(), pgtest.Start(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.QueryRow(t.Context(), "SHOW data_directory").Scan(&data); err != nil {
			t.Error(err)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if err := pgtest.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory %s is still there: %v", data, err)
	}
}
