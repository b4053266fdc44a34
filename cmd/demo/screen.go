package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// screen shows a run, in place on a terminal and a line at a time elsewhere.
type screen struct {
	demo     *demo
	out      io.Writer
	inPlace  bool
	lines    int // shown last, to be drawn over
	db       *aws.Redshift
	started  time.Time
	settled  int // records loaded or rejected, as the worker counts them
	lastLine time.Time
}

func newScreen(d *demo, out *os.File) *screen {
	return &screen{
		demo: d, out: out, inPlace: term.IsTerminal(int(out.Fd())), started: time.Now(),
		db: d.warehouse(),
	}
}

// topStores asks the table of orders, as statements name it.
func topStores(orders string) string {
	return `SELECT store_id, COUNT(*) AS orders, SUM(total_amount) AS revenue
FROM ` + orders + ` GROUP BY store_id ORDER BY revenue DESC, store_id LIMIT 5`
}

func rowCounts(in warehouse.Names) string {
	var counts []string
	for _, f := range event.Families() {
		counts = append(counts, "(SELECT COUNT(*) FROM "+in.Of(warehouse.FactsOf(f).Name)+")")
	}
	return "SELECT " + strings.Join(counts, ", ")
}

// show draws the present state.
func (s *screen) show(ctx context.Context, doing string) error {
	st, err := s.status(ctx)
	if err != nil {
		return err
	}
	s.settled = int(st.Processed)
	facts, _ := s.db.Names().Orders()
	results, err := s.db.Run(ctx, warehouse.Token(), []string{topStores(facts), rowCounts(s.db.Names())})
	if err != nil {
		return fmt.Errorf("ask the warehouse: %w", err)
	}
	published := s.demo.published.Load()
	loaded := st.Processed - st.Rejected
	if !s.inPlace {
		if time.Since(s.lastLine) >= 2*time.Second {
			s.lastLine = time.Now()
			fmt.Fprintf(s.out, "%4.0fs  published %d  loaded %d  rejected %d  in the warehouse: %s  behind %v  delay p99 %v\n",
				time.Since(s.started).Seconds(), published, loaded, st.Rejected, inWords(results[1].Rows[0]),
				time.Duration(st.BehindMillis)*time.Millisecond, time.Duration(st.DelayP99)*time.Millisecond)
		}
		return nil
	}
	s.draw(fmt.Sprintf(`CloudCafe events, Kinesis to Redshift on this machine (%s)

  published            %12d
  loaded               %12d
  rejected             %12d
%s  behind               %12v
  delay p50 / p99      %6v / %v
  dashboard            %s
  AWS endpoint         %s

%s`, doing, published, loaded, st.Rejected, inLines(results[1].Rows[0]),
		time.Duration(st.BehindMillis)*time.Millisecond,
		time.Duration(st.DelayP50)*time.Millisecond, time.Duration(st.DelayP99)*time.Millisecond, s.demo.pages, s.demo.env.endpoint(), table(results[0])))
	return nil
}

// inWords and inLines tell how many rows each family's table has.
func inWords(counts []warehouse.Value) string {
	var out []string
	for i, f := range event.Families() {
		out = append(out, counts[i].Text+" "+warehouse.FactsOf(f).Noun+"s")
	}
	return strings.Join(out, ", ")
}

func inLines(counts []warehouse.Value) string {
	var b strings.Builder
	for i, f := range event.Families() {
		fmt.Fprintf(&b, "  %-20s %12s\n", "rows of "+f.String(), counts[i].Text)
	}
	return b.String()
}

func table(r warehouse.Result) string {
	var b strings.Builder
	b.WriteString("  top stores      orders       revenue\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "  %10s  %10s  %12s\n", row[0].Text, row[1].Text, row[2].Text)
	}
	return b.String()
}

// draw writes text over what was drawn last.
func (s *screen) draw(text string) {
	if s.lines > 0 {
		fmt.Fprintf(s.out, "\033[%dA\033[J", s.lines)
	}
	fmt.Fprint(s.out, text)
	s.lines = strings.Count(text, "\n")
}

func (s *screen) status(ctx context.Context) (admin.Status, error) {
	var st admin.Status
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.demo.pages+"/status", nil)
	if err != nil {
		return st, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return st, nil // the worker is still starting; it is watched elsewhere
	}
	defer func() { _ = response.Body.Close() }()
	return st, json.NewDecoder(response.Body).Decode(&st)
}
