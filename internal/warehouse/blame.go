package warehouse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Blame says which rows of a batch a refusal is about: one of those from From up
// to, and not including, To.
type Blame struct {
	From, To int
	Reason   string // the warehouse's own words about the row, or empty
}

// RowsError is the refusal of a load of which something tells what rows it is
// about. It is a hint: loading them apart from the others shows whether it is
// right. It wraps the *StatementError.
type RowsError struct {
	Blame
	Err error
}

func (e *RowsError) Error() string {
	rows := "row " + strconv.Itoa(e.From+1)
	if e.To > e.From+1 {
		rows = fmt.Sprintf("rows %d to %d", e.From+1, e.To)
	}
	text := fmt.Sprintf("%v (it is about %s of the load", e.Err, rows)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text + ")"
}

// Unwrap gives the refusal.
func (e *RowsError) Unwrap() error { return e.Err }

// blameTime bounds the search for the rows that a refusal is about.
const blameTime = 10 * time.Second

// blame adds to a refusal what rows it is about, if it is of the fill's
// statements and something tells.
func (w *Warehouse) blame(ctx context.Context, fill Filling, err error) error {
	var refused *StatementError
	if fill.Blame == nil || !errors.As(err, &refused) || refused.Kind != nil {
		return err
	}
	at := -1
	if refused.Index >= 0 {
		if at = refused.Index - beforeFill; at < 0 || at >= len(fill.Statements) {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, blameTime)
	defer cancel()
	if b, ok := fill.Blame(ctx, w.db, at); ok {
		return &RowsError{b, err}
	}
	return err
}

// loadErrors are where Redshift tells of the lines that COPY refused; the file
// and the user are those of the COPY. The first is there everywhere, the second
// on provisioned clusters alone. Its rows outlive the COPY's transaction, and
// regular users see their own.
// https://docs.aws.amazon.com/redshift/latest/dg/SYS_LOAD_ERROR_DETAIL.html
var loadErrors = []string{
	"SELECT line_number, TRIM(column_name), TRIM(error_message) FROM sys_load_error_detail WHERE TRIM(file_name) = ",
	"SELECT line_number, TRIM(colname), TRIM(err_reason) FROM stl_load_errors WHERE TRIM(filename) = ",
}

// refusedLine asks which line of the file COPY refused, and finds its row in the
// batch that the file was written from.
func refusedLine(ctx context.Context, db DB, file string, b Batch) (Blame, bool) {
	for _, sql := range loadErrors {
		results, err := db.Run(ctx, Token(), []string{sql + Quote(file) + " ORDER BY line_number LIMIT 1"})
		if err != nil || len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 3 {
			continue // not there, denied, too late, or nothing: the search goes on without
		}
		told := results[0].Rows[0]
		line, err := strconv.Atoi(told[0].Text)
		if err != nil {
			continue
		}
		if row, ok := b.rowAt(line); ok {
			reason := strings.TrimSpace(told[2].Text)
			column := strings.TrimPrefix(strings.TrimSpace(told[1].Text), b.Rows[row].Family.String()+"_")
			if column != "" && reason != "" {
				reason = column + ": " + reason
			}
			return Blame{From: row, To: row + 1, Reason: reason}, true
		}
	}
	return Blame{}, false
}

// rowAt is the row that a line of the batch's CSV is of, from 1. A row is as many
// lines as its texts have line ends, and one; the moves come before all rows.
// That COPY counts so is not documented: it may count the rows of CSV.
func (b Batch) rowAt(line int) (int, bool) {
	end := 0
	for _, p := range b.proposals() {
		end += bytes.Count(appendMoveCSV(nil, p), []byte("\n"))
	}
	if line <= end {
		return 0, false
	}
	for i, r := range b.Rows {
		if end += 1 + bytes.Count(r.Line, []byte("\n")); line <= end {
			return i, true
		}
	}
	return 0, false
}
