package main

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
)

// letterCell is what letters are counted by.
type letterCell struct {
	hour           time.Time
	family, reason string
}

// letterCount counts letters. Reasons and families are lists that are closed, and
// hours those of a stream's life, so that it stays small whatever is counted.
type letterCount struct {
	filter deadletter.Filter
	total  int
	cells  map[letterCell]int
}

func newLetterCount(f deadletter.Filter) *letterCount {
	return &letterCount{filter: f, cells: make(map[letterCell]int)}
}

// mostCells bounds the cells all the same: the folder may hold what no worker wrote.
const mostCells = 1_000_000

func (c *letterCount) add(l found) {
	cell := letterCell{l.ArrivedAt.Truncate(time.Hour), l.family, l.Reason}
	if _, known := c.cells[cell]; !known && len(c.cells) >= mostCells {
		cell = letterCell{cell.hour.Truncate(24 * time.Hour), cell.family, "others"}
	}
	c.cells[cell]++
	c.total++
}

// by adds the cells up.
func by[K comparable](c *letterCount, key func(letterCell) K) map[K]int {
	out := make(map[K]int)
	for cell, n := range c.cells {
		out[key(cell)] += n
	}
	return out
}

// mostFirst are the keys of counts, the most frequent first.
func mostFirst(counts map[string]int) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
}

func byReason(c letterCell) string  { return c.reason }
func byFamily(c letterCell) string  { return c.family }
func byHour(c letterCell) time.Time { return c.hour }

func writeCount(w io.Writer, o letterOptions, c *letterCount, where string) error {
	switch o.format {
	case "json":
		return writeCountJSON(w, c)
	case "csv":
		return writeCountCSV(w, c)
	}
	if c.total == 0 {
		_, err := fmt.Fprintf(w, "no dead letters%s under %s\n", o.matched(), printable(where))
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "dead letters\t%d\n", c.total)
	reasons := by(c, byReason)
	for _, r := range mostFirst(reasons) {
		fmt.Fprintf(tw, "  %s\t%d\n", printable(r), reasons[r])
	}
	families := by(c, byFamily)
	fmt.Fprintln(tw, "of family\t")
	for _, f := range mostFirst(families) {
		fmt.Fprintf(tw, "  %s\t%d\n", printable(f), families[f])
	}
	hours := by(c, byHour)
	most := slices.Max(slices.Collect(maps.Values(hours)))
	fmt.Fprintln(tw, "arrived in the hour (UTC)\t")
	for _, h := range slices.SortedFunc(maps.Keys(hours), time.Time.Compare) {
		bar := ""
		if o.plot {
			bar = "  " + barOf(hours[h], most)
		}
		fmt.Fprintf(tw, "  %s\t%d%s\n", h.UTC().Format("2006-01-02 15:04"), hours[h], bar)
	}
	return tw.Flush()
}

// barOf is a bar for n of most. Half a character is the finest that every terminal's
// font draws; what is there at all has that.
func barOf(n, most int) string {
	halves := max(1, n*barWidth*2/max(most, 1))
	return strings.Repeat("█", halves/2) + strings.Repeat("▌", halves%2)
}

// matched says in words that flags left something out.
func (o *letterOptions) matched() string {
	if len(o.reasons)+len(o.shards)+len(o.families) > 0 || o.since+o.until != "" {
		return " that match"
	}
	return ""
}

// timeOrNull is a bound as JSON has it.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// letterCounts are the counts as JSON has them.
type letterCounts struct {
	Total    int           `json:"total"`    // letters that the flags let through
	Since    *time.Time    `json:"since"`    // of --since; null = from the first letter on
	Until    *time.Time    `json:"until"`    // of --until; null = to the last one
	Reasons  []reasonCount `json:"reasons"`  // the most frequent first
	Families []familyCount `json:"families"` // the same by family; none = it could not be told
	Hours    []hourCount   `json:"hours"`    // the oldest first
}

type reasonCount struct {
	Reason string `json:"reason"` // of the closed list that --reason takes
	Count  int    `json:"count"`  // letters
}

type familyCount struct {
	Family string `json:"family"` // orders, inventory, payments or none
	Count  int    `json:"count"`  // letters
}

type hourCount struct {
	Hour    time.Time     `json:"hour"`    // of arrival; its beginning
	Count   int           `json:"count"`   // letters
	Reasons []reasonCount `json:"reasons"` // the same by reason
}

func writeCountJSON(w io.Writer, c *letterCount) error {
	out := letterCounts{c.total, timeOrNull(c.filter.Since), timeOrNull(c.filter.Until), []reasonCount{}, []familyCount{}, []hourCount{}}
	listed := func(counts map[string]int) []reasonCount {
		list := []reasonCount{}
		for _, r := range mostFirst(counts) {
			list = append(list, reasonCount{r, counts[r]})
		}
		return list
	}
	out.Reasons = listed(by(c, byReason))
	families := by(c, byFamily)
	for _, f := range mostFirst(families) {
		out.Families = append(out.Families, familyCount{f, families[f]})
	}
	hours := make(map[time.Time]map[string]int)
	for cell, n := range c.cells {
		if hours[cell.hour] == nil {
			hours[cell.hour] = make(map[string]int)
		}
		hours[cell.hour][cell.reason] += n
	}
	totals := by(c, byHour)
	for _, h := range slices.SortedFunc(maps.Keys(hours), time.Time.Compare) {
		out.Hours = append(out.Hours, hourCount{h.UTC(), totals[h], listed(hours[h])})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

func writeCountCSV(w io.Writer, c *letterCount) error {
	cells := slices.SortedFunc(maps.Keys(c.cells), func(a, b letterCell) int {
		return cmp.Or(a.hour.Compare(b.hour), strings.Compare(a.family, b.family), strings.Compare(a.reason, b.reason))
	})
	out := csv.NewWriter(w)
	if err := out.Write([]string{"hour", "family", "reason", "count"}); err != nil {
		return err
	}
	for _, cell := range cells {
		if err := out.Write([]string{cell.hour.UTC().Format(time.RFC3339), cell.family, cell.reason, strconv.Itoa(c.cells[cell])}); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// shownLetter is a letter of --last as JSON has it.
type shownLetter struct {
	ArrivedAt    time.Time `json:"arrived_at"`          // on the stream
	RejectedAt   time.Time `json:"rejected_at"`         // by the worker, or the warehouse
	Reason       string    `json:"reason"`              // of the closed list that --reason takes
	Detail       string    `json:"detail"`              // what was wrong, in words
	Family       string    `json:"family"`              // orders, inventory, payments; none = it could not be told
	Shard        string    `json:"shard_id"`            // of the record
	Sequence     string    `json:"sequence_number"`     // of the record
	Sub          int64     `json:"sub_sequence_number"` // of an event within an aggregated record, from 0
	PartitionKey string    `json:"partition_key"`       // of the record; empty = it had none
	Byte         *int      `json:"byte"`                // place in the record that the detail tells of, from 0; null = of none
	Data         []byte    `json:"data_base64"`         // the record, or the event within it
}

func writeLast(w io.Writer, o letterOptions, last []found, where string) error {
	switch o.format {
	case "json":
		out := make([]shownLetter, len(last))
		for i, l := range last {
			out[i] = shownLetter{
				l.ArrivedAt, l.RejectedAt, l.Reason, l.Detail, l.family, l.ShardID, l.SequenceNumber, l.SubSequenceNumber, l.PartitionKey, nil, l.Data,
			}
			if at, is := offendingByte(l.Letter); is {
				out[i].Byte = &at
			}
		}
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(out)
	case "csv":
		return writeLastCSV(w, last)
	}
	if len(last) == 0 {
		_, err := fmt.Fprintf(w, "no dead letters%s under %s\n", o.matched(), printable(where))
		return err
	}
	if o.decode {
		return writeRecords(w, last)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ARRIVED (UTC)\tFAMILY\tSHARD\tREASON\tDETAIL")
	for _, l := range last {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", l.ArrivedAt.Format("2006-01-02 15:04:05"), l.family, printable(shortShard(l.ShardID)), printable(l.Reason), printable(l.Detail))
	}
	return tw.Flush()
}

func writeLastCSV(w io.Writer, last []found) error {
	out := csv.NewWriter(w)
	head := []string{
		"arrived_at", "rejected_at", "reason", "detail", "family", "shard_id", "sequence_number", "sub_sequence_number", "partition_key", "byte",
	}
	if err := out.Write(head); err != nil {
		return err
	}
	for _, l := range last {
		at := ""
		if n, is := offendingByte(l.Letter); is {
			at = strconv.Itoa(n)
		}
		row := []string{
			l.ArrivedAt.Format(time.RFC3339Nano), l.RejectedAt.Format(time.RFC3339Nano), l.Reason, l.Detail, l.family, l.ShardID, l.SequenceNumber,
			strconv.FormatInt(l.SubSequenceNumber, 10), l.PartitionKey, at,
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
