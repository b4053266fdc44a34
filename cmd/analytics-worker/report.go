package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// report is one named query.
type report struct {
	name, about string
	sql         func(limit int) string
}

func reports() []report {
	return []report{
		{"top-stores", "stores by revenue", func(limit int) string {
			return fmt.Sprintf(`SELECT store_id, COUNT(*) AS order_count, SUM(total_amount) AS revenue
FROM fact_orders GROUP BY store_id ORDER BY revenue DESC, store_id LIMIT %d`, limit)
		}},
		{"orders-over-time", "orders and revenue by the hour, newest first", func(limit int) string {
			return fmt.Sprintf(`SELECT DATE_TRUNC('hour', event_timestamp) AS hour, COUNT(*) AS order_count, SUM(total_amount) AS revenue
FROM fact_orders GROUP BY 1 ORDER BY hour DESC LIMIT %d`, limit)
		}},
	}
}

func (a *app) reportCommand() *cobra.Command {
	format, limit := "table", 20
	var names []string
	var about strings.Builder
	for _, r := range reports() {
		names = append(names, r.name)
		fmt.Fprintf(&about, "  %-18s %s\n", r.name, r.about)
	}
	cmd := &cobra.Command{
		Use:       "report NAME",
		Short:     "Ask the warehouse: " + strings.Join(names, ", "),
		Long:      "report runs one of these queries in the warehouse and prints the answer:\n\n" + about.String(),
		Example:   "  analytics-worker report top-stores --limit 5\n  analytics-worker report orders-over-time --format csv > hours.csv",
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(names, args[0]) {
				return usagef("report takes one name: %s", strings.Join(names, ", "))
			}
			if limit < 1 || limit > 100_000 {
				return usagef("--limit %d: must be from 1 to 100000", limit)
			}
			if !slices.Contains(formats, format) {
				return usagef("--format %s: must be one of %s", format, strings.Join(formats, ", "))
			}
			return a.report(cmd.Context(), reports()[slices.Index(names, args[0])], limit, format)
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "table, csv or json")
	cmd.Flags().IntVar(&limit, "limit", limit, "rows at most")
	return cmd
}

func (a *app) report(ctx context.Context, r report, limit int, format string) error {
	_, db, err := a.openWarehouse(ctx)
	if err != nil {
		return err
	}
	results, err := db.Run(ctx, warehouse.Token(), []string{r.sql(limit)})
	if err != nil {
		return fmt.Errorf("report %s: %w", r.name, err)
	}
	return writeRows(a.stdout, format, results[0])
}

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
