package aws

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// results fetches what the statements returned, in their order.
func (r *Redshift) results(ctx context.Context, id string, done *redshiftdata.DescribeStatementOutput, statements []string) ([]warehouse.Result, error) {
	if len(statements) == 1 {
		one, err := r.result(ctx, id, statements[0], done.HasResultSet, done.ResultRows)
		if err != nil {
			return nil, err
		}
		return []warehouse.Result{one}, nil
	}
	if len(done.SubStatements) != len(statements) {
		return nil, incomplete("describe statement "+id+", which has finished",
			fmt.Sprintf("%d statements were submitted, it tells of %d", len(statements), len(done.SubStatements)))
	}
	out := make([]warehouse.Result, len(statements))
	for i, sub := range done.SubStatements {
		var err error
		if out[i], err = r.result(ctx, sdk.ToString(sub.Id), statements[i], sub.HasResultSet, sub.ResultRows); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *Redshift) result(ctx context.Context, id, statement string, has *bool, affected int64) (warehouse.Result, error) {
	if !sdk.ToBool(has) {
		if has == nil && returnsRows(statement) {
			return warehouse.Result{}, incomplete("describe statement "+id+", which has finished", "a SELECT has a result, and it does not say so")
		}
		return warehouse.Result{Affected: affected}, nil
	}
	if id == "" {
		return warehouse.Result{}, incomplete("describe a batch, which has finished", "a statement with a result has no id to fetch it by")
	}
	out := warehouse.Result{Affected: -1}
	err := r.pages(ctx, id, func(page warehouse.Result) error {
		out.Columns, out.Types, out.Rows = page.Columns, page.Types, append(out.Rows, page.Rows...)
		return nil
	})
	if err != nil {
		return warehouse.Result{}, err
	}
	return out, nil
}

// pages gives the parts of a result to each, in order, the first of them also where
// it has no rows. All of them have the columns.
func (r *Redshift) pages(ctx context.Context, id string, each func(warehouse.Result) error) error {
	out := warehouse.Result{Affected: -1}
	in := &redshiftdata.GetStatementResultInput{Id: &id}
	for {
		page, err := r.fetch(ctx, in, len(out.Columns))
		if err != nil {
			return err
		}
		if out.Columns == nil {
			out.Columns, out.Types = columnsOf(page.ColumnMetadata)
		}
		out.Rows = make([][]warehouse.Value, 0, len(page.Records))
		for _, record := range page.Records {
			row := make([]warehouse.Value, len(record))
			for i, field := range record {
				row[i] = toValue(field)
			}
			out.Rows = append(out.Rows, row)
		}
		if err := each(out); err != nil {
			return err
		}
		if sdk.ToString(page.NextToken) == "" {
			return nil
		}
		in.NextToken = page.NextToken
	}
}

// columnsOf is the names of columns and their types, none where no type is told.
func columnsOf(metadata []types.ColumnMetadata) (names, typeNames []string) {
	told := false
	for _, c := range metadata {
		names = append(names, columnName(c))
		typeNames = append(typeNames, strings.ToLower(sdk.ToString(c.TypeName)))
		told = told || sdk.ToString(c.TypeName) != ""
	}
	if !told {
		typeNames = nil
	}
	return names, typeNames
}

// returnsRows: statements that have a result whatever they find. One that begins
// otherwise may have one too.
func returnsRows(statement string) bool {
	const word = "SELECT"
	s := strings.TrimSpace(statement)
	return len(s) > len(word) && strings.EqualFold(s[:len(word)], word)
}

// wholePage says what a page of a result lacks. columns is how many the pages
// before it had, 0 for the first.
func wholePage(page *redshiftdata.GetStatementResultOutput, columns int) error {
	if columns == 0 {
		columns = len(page.ColumnMetadata)
	}
	switch {
	case page.Records == nil:
		return fmt.Errorf("%w: it holds no list of rows", stream.ErrIncomplete)
	case columns == 0:
		return fmt.Errorf("%w: it does not name the columns", stream.ErrIncomplete)
	}
	for i, row := range page.Records {
		if len(row) != columns {
			return fmt.Errorf("%w: row %d has %d fields of %d", stream.ErrIncomplete, i+1, len(row), columns)
		}
	}
	return nil
}

// fetch gets one page of a result. The transaction is through by now, so it is
// worth some patience: giving up means to run it all again.
func (r *Redshift) fetch(ctx context.Context, in *redshiftdata.GetStatementResultInput, columns int) (*redshiftdata.GetStatementResultOutput, error) {
	const attempts = 6
	for attempt := 1; ; attempt++ {
		page, err := func() (*redshiftdata.GetStatementResultOutput, error) {
			ctx, cancel := bounded(ctx, callTimeout)
			defer cancel()
			page, err := r.client.GetStatementResult(ctx, in)
			if err == nil {
				err = wholePage(page, columns)
			}
			if err != nil {
				return nil, r.failed(ctx, "fetch the result of statement "+*in.Id+", which has finished", err)
			}
			return page, nil
		}()
		passing := errors.Is(err, warehouse.ErrThrottled) || errors.Is(err, warehouse.ErrUnavailable)
		if err == nil || !passing || attempt == attempts {
			return page, err
		}
		if err := pause(ctx, jitter(submitAgain<<(attempt-1))); err != nil {
			return nil, fmt.Errorf("fetch the result of statement %s, which has finished: %w", *in.Id, err)
		}
	}
}

func columnName(c types.ColumnMetadata) string {
	if label := sdk.ToString(c.Label); label != "" { // the alias of SELECT x AS label
		return label
	}
	return sdk.ToString(c.Name)
}

func toValue(f types.Field) warehouse.Value {
	switch f := f.(type) {
	case *types.FieldMemberStringValue:
		return warehouse.Value{Text: f.Value}
	case *types.FieldMemberLongValue:
		return warehouse.Value{Text: strconv.FormatInt(f.Value, 10)}
	case *types.FieldMemberDoubleValue:
		return warehouse.Value{Text: strconv.FormatFloat(f.Value, 'g', -1, 64)}
	case *types.FieldMemberBooleanValue:
		return warehouse.Value{Text: strconv.FormatBool(f.Value)}
	case *types.FieldMemberBlobValue:
		return warehouse.Value{Text: string(f.Value)}
	}
	return warehouse.Value{Null: true}
}
