package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

var formats = []string{"table", "csv", "json"}

// writeRows prints a result. JSON is an array of objects whose values are
// strings as the warehouse writes them, or null: no digit of an amount is lost.
func writeRows(w io.Writer, format string, r warehouse.Result) error {
	switch format {
	case "csv":
		return writeCSV(w, r)
	case "json":
		return writeJSON(w, r)
	default:
		return writeTable(w, r)
	}
}

func writeTable(w io.Writer, r warehouse.Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, strings.Join(r.Columns, "\t")+"\t")
	for _, row := range r.Rows {
		for _, v := range row {
			if v.Null {
				fmt.Fprint(tw, "-\t")
				continue
			}
			fmt.Fprint(tw, printable(v.Text)+"\t")
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// printable keeps text from the stream from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}

func writeCSV(w io.Writer, r warehouse.Result) error {
	cw := csv.NewWriter(w)
	if err := cw.Write(r.Columns); err != nil {
		return err
	}
	for _, row := range r.Rows {
		fields := make([]string, len(row))
		for i, v := range row {
			fields[i] = v.Text
		}
		if err := cw.Write(fields); err != nil {
			return err
		}
	}
	cw.Flush()
	return cw.Error()
}

func writeJSON(w io.Writer, r warehouse.Result) error {
	rows := make([]map[string]*string, 0, len(r.Rows))
	for _, row := range r.Rows {
		o := make(map[string]*string, len(row))
		for i, v := range row {
			o[r.Columns[i]] = nil
			if !v.Null {
				o[r.Columns[i]] = &v.Text
			}
		}
		rows = append(rows, o)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(rows)
}
