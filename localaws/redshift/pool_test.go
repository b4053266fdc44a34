package redshift

import (
	"context"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// Connections are used again. Whoever gets one must find it as if it were new,
// and find one at all where the server has ended those that idled.

func TestAConnectionIsHandedOnAsGoodAsNew(t *testing.T) {
	for name, engines := range map[string]func(t *testing.T) string{
		"DuckDB":     func(*testing.T) string { return "" },
		"PostgreSQL": func(t *testing.T) string { return pgtest.Start(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newService(t, engines(t))
			ask(t, s, "CREATE TABLE kept (a INTEGER)")
			for _, leave := range [][]string{
				{"CREATE TEMP TABLE kept (b INTEGER)", "INSERT INTO kept VALUES (1)"},
				{"BEGIN", "INSERT INTO kept VALUES (1)"},
				{"SET query_group TO 'x'"},
				{"BEGIN", "CREATE TABLE gone (a INTEGER)"},
				{"BEGIN", "SELECT no_such_column FROM kept"},
			} {
				b, err := s.connect(t.Context(), submission{database: "dev", user: "admin"})
				if err != nil {
					t.Fatal(err)
				}
				for _, sql := range leave {
					_, _ = b.single(t.Context(), sql, nil, &textSink{}) // one of them fails, as it is to
				}
				if err := b.close(); err != nil {
					t.Fatal(err)
				}
				for range 2 { // on what was left, and on what that left
					if got := ask(t, s, "SELECT COUNT(a) FROM kept"); got[0] != "0" {
						t.Errorf("after %q the table holds %v", leave, got)
					}
				}
				ask(t, s, "CREATE TABLE gone (a INTEGER)")
				ask(t, s, "DROP TABLE gone")
			}
		})
	}
}

func TestAConnectionThatTheServerEndedIsReplaced(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t)
	s := newService(t, url)
	ask(t, s, "SELECT 1")
	if n := len(s.engine.(*postgres).idle.idle); n != 1 {
		t.Fatalf("%d connections idle, want the one that was used", n)
	}
	end := func() {
		t.Helper()
		admin, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = admin.Close(context.Background()) }()
		tag, err := admin.Exec(t.Context(), "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		if err != nil || tag.RowsAffected() != 1 {
			t.Fatalf("ended %d connections, want 1: %v", tag.RowsAffected(), err)
		}
	}
	end()
	if got := ask(t, s, "SELECT 2"); !slices.Equal(got, []string{"2"}) {
		t.Errorf("got %v", got)
	}
	end()
	ask(t, s, "CREATE TABLE made (a INTEGER)")
	if got := ask(t, s, "SELECT COUNT(*) FROM made"); got[0] != "0" {
		t.Errorf("got %v", got)
	}
}

func newService(t *testing.T, warehouse string) *Service {
	t.Helper()
	s, err := New(t.Context(), Options{Warehouse: warehouse})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask runs a statement on a connection of its own and returns the first row.
func ask(t *testing.T, s *Service, sql string) []string {
	t.Helper()
	_, rows, err := s.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if len(rows) == 0 {
		return nil
	}
	return rows[0]
}
