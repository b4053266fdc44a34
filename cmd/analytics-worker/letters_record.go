package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// offendingByte is the place in the record that the letter's detail tells of. Details
// name it behind the key, which is quoted and may itself say anything.
func offendingByte(l deadletter.Letter) (at int, is bool) {
	rest := l.Detail
	if after, keyed := strings.CutPrefix(rest, "key "); keyed {
		quoted, err := strconv.QuotedPrefix(after)
		if err != nil {
			return 0, false
		}
		rest = after[len(quoted):]
	}
	rest, _, _ = strings.Cut(rest, `"`) // an excerpt of the record follows
	if strings.Contains(rest, "begins with a byte order mark") {
		return 0, len(l.Data) > 0
	}
	_, rest, named := strings.Cut(rest, "at byte ")
	digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	at, err := strconv.Atoi(digits)
	return at, named && err == nil && at <= len(l.Data)
}

// recordWidth is how many columns of a record stand in a line, and recordLines how
// many lines of a long one are shown around the offending byte.
const (
	recordWidth = 76
	recordLines = 12
)

// writeRecords shows letters and their records.
func writeRecords(w io.Writer, letters []found) error {
	for i, l := range letters {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s  %s, of family %s\n", l.ArrivedAt.Format("2006-01-02 15:04:05.000 UTC"), printable(l.Reason), l.family)
		fmt.Fprintf(w, "  %s\n", printable(l.Detail))
		fmt.Fprintf(w, "  shard %s at %s/%d\n", printable(shortShard(l.ShardID)), printable(l.SequenceNumber), l.SubSequenceNumber)
		fmt.Fprintf(w, "  partition key %s\n", printable(strconv.Quote(l.PartitionKey)))
		fmt.Fprintf(w, "  rejected after %v, %s:\n", l.RejectedAt.Sub(l.ArrivedAt).Round(time.Millisecond), plural.Of(len(l.Data), "byte"))
		at, is := offendingByte(l.Letter)
		if !is {
			at = -1
		}
		if err := writeRecord(w, l.Data, at); err != nil {
			return err
		}
	}
	return nil
}

// writeRecord shows a record as ASCII, in lines, and under the byte at that place a
// mark; -1 = there is none. A byte that is not printable ASCII stands as \xNN, and a
// backslash as itself: the text of an event holds many.
func writeRecord(w io.Writer, data []byte, at int) error {
	type row struct {
		text  strings.Builder
		mark  int // column; -1 = none
		first int // byte
	}
	rows := []*row{{mark: -1}}
	marked := 0
	for i := 0; i <= len(data); i++ {
		cell := ""
		if i < len(data) {
			cell = string(rune(data[i]))
			if data[i] < ' ' || data[i] > '~' {
				cell = fmt.Sprintf(`\x%02x`, data[i])
			}
		}
		last := rows[len(rows)-1]
		if last.text.Len()+len(cell) > recordWidth {
			last = &row{mark: -1, first: i}
			rows = append(rows, last)
		}
		if i == at {
			last.mark, marked = last.text.Len(), len(rows)-1
		}
		last.text.WriteString(cell)
	}
	from := max(0, min(marked-recordLines/2, len(rows)-recordLines))
	to := min(len(rows), from+recordLines)
	if from > 0 {
		fmt.Fprintf(w, "    … %s before\n", plural.Of(rows[from].first, "byte"))
	}
	for _, r := range rows[from:to] {
		fmt.Fprintf(w, "    %s\n", r.text.String())
		if r.mark >= 0 {
			fmt.Fprintf(w, "    %s^ byte %d\n", strings.Repeat(" ", r.mark), at)
		}
	}
	if to < len(rows) {
		fmt.Fprintf(w, "    … %s behind\n", plural.Of(len(data)-rows[to].first, "byte"))
	}
	if at < 0 {
		_, err := fmt.Fprintln(w, "    (no byte of it is named: something is missing, or the warehouse refused it)")
		return err
	}
	return nil
}
