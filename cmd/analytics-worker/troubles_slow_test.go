//go:build slow

package main

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// everyTrouble has all sixteen tried.
const everyTrouble = true

// Each AWS action of the worker's that is missing is named, with what is to be allowed.
func TestTroublesOfEachPermission(t *testing.T) {
	s := newScene(t, 2, 1, "DEAD_LETTER_URL=s3://letters/dead", "METRICS_INTERVAL=1")
	s.admin(http.MethodPut, "/letters", "")
	asked := slices.DeleteFunc(slices.Sorted(maps.Keys(places)), func(name string) bool { return name == "the log" }) // which has the worst alone
	s.flow(40, 0.01)
	never := func(heard) bool { return false }
	s.ask(asked, heard.fine, never)
	for _, c := range []struct{ service, operation, names string }{
		{"kinesis", "GetRecords", "kinesis:GetRecords"},
		{"kinesis", "ListShards", "kinesis:ListShards"},
		{"kinesis", "DescribeStreamSummary", "kinesis:DescribeStreamSummary"},
		{"dynamodb", "Scan", "dynamodb:DescribeTable, CreateTable, Scan"},
		{"dynamodb", "UpdateItem", "UpdateItem"},
		{"redshift-data", "BatchExecuteStatement", "redshift-data:BatchExecuteStatement"},
		{"redshift-data", "DescribeStatement", "redshift-data:DescribeStatement"},
		{"redshift-data", "GetStatementResult", "redshift-data:GetStatementResult"},
		{"s3", "PutObject", "s3:PutObject"},
		{"cloudwatch", "PutMetricData", "cloudwatch:PutMetricData"},
	} {
		t.Run(c.operation, func(t *testing.T) {
			s.faults(fmt.Sprintf(`[{"service":%q,"operation":%q,"fault":"access-denied"}]`, c.service, c.operation))
			told := s.ask(asked, func(h heard) bool { return h.tells(verdict.Act, c.names) || h.tells(verdict.Look, c.names) }, never)
			s.faults(`[]`)
			over := s.ask(asked, heard.fine, never)
			t.Logf("told after %v, over after %v", rounded(told), rounded(over))
		})
	}
}
