package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
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
	lines    int    // shown last, to be drawn over
	drawn    string // what they are
	db       *aws.Redshift
	started  time.Time
	lastLine time.Time

	mu     sync.Mutex // guards what follows
	asking bool
	told   []warehouse.Result // by the warehouse, last
	failed error
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
	s.demo.ask(ctx)
	st := s.demo.sum()
	results, err := s.warehouse(ctx)
	if err != nil || results == nil {
		return err
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
	s.draw(fmt.Sprintf(bold("CloudCafe events")+`, Kinesis to Redshift on this machine (%s)

  published            %12d
  loaded               %12d
  rejected             %12d
%s  behind               %12v
  delay p50 / p99      %6v / %v
  dashboard            `+cyan("%s")+`
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
	s.lines, s.drawn = strings.Count(text, "\n"), text
}

// say writes a line that stays, above what is drawn.
func (s *screen) say(text string) {
	if s.inPlace && s.lines > 0 {
		fmt.Fprintf(s.out, "\033[%dA\033[J", s.lines)
		s.lines = 0
	}
	line := fmt.Sprintf("%4.0fs  %s", time.Since(s.started).Seconds(), text)
	switch {
	case strings.HasPrefix(text, "! "):
		line = amber(line)
	case strings.HasPrefix(text, "ok "):
		line = green(line)
	}
	fmt.Fprintln(s.out, line)
	if s.drawn != "" { // the picture stays below
		s.draw(s.drawn)
	}
}

// warehouse is what the warehouse told last. It is asked beside, as it may be paused.
func (s *screen) warehouse(ctx context.Context) ([]warehouse.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.asking {
		s.asking = true
		go func() {
			facts, _ := s.db.Names().Orders()
			results, err := s.db.Run(ctx, warehouse.Token(), []string{topStores(facts), rowCounts(s.db.Names())})
			s.mu.Lock()
			defer s.mu.Unlock()
			s.asking = false
			switch {
			case err == nil:
				s.told = results
			case ctx.Err() == nil:
				s.failed = fmt.Errorf("ask the warehouse: %w", err)
			}
		}()
	}
	return s.told, s.failed
}

// sum is what the workers say together: counts are added, and of delays the longest is
// taken of those that live.
func (d *demo) sum() (out admin.Status) {
	for _, m := range d.workers {
		out.Processed += m.last.Processed
		out.Rejected += m.last.Rejected
		if m.killed {
			continue
		}
		if lag := m.last.LagMillis; lag != nil {
			out.BehindMillis = max(out.BehindMillis, *lag)
		}
		out.DelayP50, out.DelayP99 = max(out.DelayP50, m.last.DelayP50), max(out.DelayP99, m.last.DelayP99)
	}
	return out
}

// Colours, on a terminal that is not told to have none (https://no-color.org).
var colorful = term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"

func colored(code, text string) string {
	if !colorful {
		return text
	}
	return "\033[" + code + "m" + text + "\033[0m"
}

func bold(text string) string  { return colored("1", text) }
func red(text string) string   { return colored("1;31", text) }
func green(text string) string { return colored("32", text) }
func amber(text string) string { return colored("33", text) }
func cyan(text string) string  { return colored("36", text) }
