package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// Every report, with every filter that it takes, and the dashboard's query run on
// both engines.
func TestReportsRunOnBothEngines(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]func(*testing.T) string{
		"DuckDB":     func(*testing.T) string { return "" },
		"PostgreSQL": func(t *testing.T) string { return pgtest.Start(t) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			w, err := simulation.NewWorld(ctx, simulation.Options{Warehouse: url(t), Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			}()
			if _, err := sales(ctx, w.DB, "order-events", time.Now()); err != nil {
				t.Errorf("the dashboard: %v", err)
			}
			for _, r := range reports(w.DB.Names()) {
				o := reportOptions{limit: 3}
				if r.timeColumn != "" {
					o.from = time.Now()
				}
				if r.byStore {
					o.store, o.storeID = "-7", -7
				}
				for _, o := range []reportOptions{{limit: 1}, o} {
					got, err := w.DB.Run(ctx, warehouse.Token(), []string{r.query(o)})
					if err != nil {
						t.Errorf("report %s: %v", r.name, err)
					} else if len(got[0].Rows) != 0 || len(got[0].Columns) < 3 {
						t.Errorf("report %s of empty tables: %+v", r.name, got[0])
					}
				}
			}
		})
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"90m": "2026-11-20T06:30:00Z", "7d": "2026-11-13T08:00:00Z", "0s": "2026-11-20T08:00:00Z",
		"2026-11-01": "2026-11-01T00:00:00Z", "2026-11-01T09:30": "2026-11-01T09:30:00Z",
		"2026-11-01T09:30:00+01:00": "2026-11-01T08:30:00Z",
		"2026-11-01 09:30:07 UTC":   "2026-11-01T09:30:07Z", // as status has it
		"2026-11-01 09:30:07.5":     "2026-11-01T09:30:07Z", // as a warehouse has it
		"2026-11-01 09:30":          "2026-11-01T09:30:00Z",
		"":                          "", "-1h": "", "1.5d": "", "d": "", "tomorrow": "", "99999999d": "", "2026-13-01": "",
	} {
		got, err := parseSince(text, now)
		if want == "" {
			if err == nil {
				t.Errorf("%q was taken for %v", text, got)
			}
		} else if err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%q is %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestBars(t *testing.T) {
	text := func(values ...string) (r warehouse.Result) {
		r.Columns = []string{"n"}
		for _, v := range values {
			r.Rows = append(r.Rows, []warehouse.Value{{Text: v, Null: v == "null"}})
		}
		return r
	}
	got := withBars(text("10", "5", "0.1", "0", "-3", "null", "x"), "n", 0)
	for i, want := range []float64{30, 15, 0, 0, 0, 0, 0} {
		bar := got.Rows[i][1].Text
		if n := float64(strings.Count(bar, "█")) + float64(strings.Count(bar, "▌"))/2; n != want || len([]rune(bar)) > barWidth {
			t.Errorf("row %d has the bar %q", i, bar)
		}
	}
	for _, row := range withBars(text("0", "-1"), "n", 0).Rows {
		if strings.TrimSpace(row[1].Text) != "" {
			t.Errorf("nothing has a bar: %q", row[1].Text)
		}
	}
	for columns, want := range map[int]int{80: barWidth, 20: 15, 6: 1, 5: 0} { // the column takes 3 and 2
		longest := 0
		for _, row := range withBars(text("100", "50"), "n", columns).Rows {
			longest = max(longest, strings.Count(row[len(row)-1].Text, "█"))
		}
		if longest != want {
			t.Errorf("in %d columns the longest bar has %d, want %d", columns, longest, want)
		}
	}
}
