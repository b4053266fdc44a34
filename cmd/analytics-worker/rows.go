package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

var formats = []string{"table", "csv", "json"}

// writeRows prints a result. JSON is an array of objects whose values are
// strings as the warehouse writes them, or null: no digit of an amount is lost.
// safeCells is for CSV: see safeCell.
func writeRows(w io.Writer, format string, safeCells bool, r warehouse.Result) error {
	switch format {
	case "csv":
		return writeCSV(w, safeCells, r)
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

// number is text that a spreadsheet reads as a number, and as nothing else.
var number = regexp.MustCompile(`^[+-]?\d+(\.\d+)?$`)

// safeCell is a cell that no spreadsheet takes for a formula: a quote comes before
// what would begin one, and makes it text. Numbers are left as they are.
func safeCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) && !number.MatchString(text) {
		return "'" + text
	}
	return text
}

func writeCSV(w io.Writer, safeCells bool, r warehouse.Result) error {
	cw := csv.NewWriter(w)
	if err := cw.Write(r.Columns); err != nil {
		return err
	}
	for _, row := range r.Rows {
		fields := make([]string, len(row))
		for i, v := range row {
			fields[i] = v.Text
			if safeCells {
				fields[i] = safeCell(v.Text)
			}
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
