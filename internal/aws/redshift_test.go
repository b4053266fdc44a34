package aws

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

var cluster = RedshiftConfig{ClusterID: "c", Database: "analytics", DBUser: "admin"}

func submitted(operation string) answer { return answer{operation, 200, `{"Id":"id-1"}`} }

func status(s, more string) answer {
	return answer{"DescribeStatement", 200, fmt.Sprintf(`{"Id":"id-1","Status":%q%s}`, s, more)}
}

func TestRunFollowsABatchAndFetchesItsResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := scripted(t,
			submitted("BatchExecuteStatement"), status("SUBMITTED", ""), status("STARTED", ""),
			status("FINISHED", `,"SubStatements":[{"Id":"id-1:1","HasResultSet":false,"ResultRows":3,"Status":"FINISHED"},{"Id":"id-1:2","HasResultSet":true,"ResultRows":3,"Status":"FINISHED"}]`),
			answer{"GetStatementResult", 200, `{"NextToken":"n","ColumnMetadata":[{"name":"a"},{"name":"b","label":"total"}],"Records":[[{"longValue":7},{"stringValue":"1.50"}]]}`},
			answer{"GetStatementResult", 200, `{"ColumnMetadata":[{"name":"a"},{"name":"b","label":"total"}],"Records":[[{"isNull":true},{"doubleValue":0.1}],[{"booleanValue":true},{"blobValue":"YQ=="}]]}`},
		)
		got, err := a.Redshift(cluster).Run(t.Context(), "token-1", []string{"UPDATE x", "SELECT y"})
		if err != nil {
			t.Fatal(err)
		}
		want := []warehouse.Result{
			{Affected: 3},
			{Columns: []string{"a", "total"}, Affected: -1, Rows: [][]warehouse.Value{
				{{Text: "7"}, {Text: "1.50"}}, {{Null: true}, {Text: "0.1"}}, {{Text: "true"}, {Text: "a"}},
			}},
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if s.asked[0]["ClientToken"] != "token-1" || fmt.Sprint(s.asked[0]["Sqls"]) != "[UPDATE x SELECT y]" {
			t.Errorf("submitted %v", s.asked[0])
		}
		if s.asked[4]["Id"] != "id-1:2" || s.asked[5]["NextToken"] != "n" {
			t.Errorf("fetched with %v, then %v", s.asked[4], s.asked[5])
		}
	})
}

func TestRunSignsInInEveryWay(t *testing.T) {
	for _, c := range []struct {
		name string
		conf RedshiftConfig
		want map[string]any
	}{
		{"cluster, database user", cluster, map[string]any{"ClusterIdentifier": "c", "Database": "d", "DbUser": "admin"}},
		{"cluster, IAM identity", RedshiftConfig{ClusterID: "c"}, map[string]any{"ClusterIdentifier": "c", "Database": "d"}},
		{"cluster, secret", RedshiftConfig{ClusterID: "c", DBUser: "admin", SecretARN: "s"}, map[string]any{"ClusterIdentifier": "c", "Database": "d", "SecretArn": "s"}},
		{"workgroup, IAM identity", RedshiftConfig{ClusterID: "c", DBUser: "admin", Workgroup: "w"}, map[string]any{"WorkgroupName": "w", "Database": "d"}},
		{"workgroup, secret", RedshiftConfig{Workgroup: "w", SecretARN: "s"}, map[string]any{"WorkgroupName": "w", "Database": "d", "SecretArn": "s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.conf.Database = "d"
				for _, statements := range [][]string{{"UPDATE x"}, {"UPDATE x", "UPDATE y"}} {
					operation := "ExecuteStatement"
					if len(statements) > 1 {
						operation = "BatchExecuteStatement"
					}
					s, a := scripted(t, submitted(operation), status("FINISHED", `,"SubStatements":[{"Id":"id-1:1"},{"Id":"id-1:2"}]`))
					if _, err := a.Redshift(c.conf).Run(t.Context(), "t", statements); err != nil {
						t.Fatal(err)
					}
					got := map[string]any{}
					for _, name := range []string{"ClusterIdentifier", "WorkgroupName", "Database", "DbUser", "SecretArn"} {
						if v, ok := s.asked[0][name]; ok {
							got[name] = v
						}
					}
					if !reflect.DeepEqual(got, c.want) {
						t.Errorf("%s: got %v, want %v", operation, got, c.want)
					}
				}
			})
		})
	}
}

func TestRunSubmitsAgainWithTheSameTokenAfterALostReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := scripted(t,
			answer{operation: "ExecuteStatement"}, answer{operation: "ExecuteStatement"}, answer{operation: "ExecuteStatement"}, // as often as the SDK tries
			answer{"ExecuteStatement", 500, `{"__type":"InternalServerException","Message":"x"}`},
			submitted("ExecuteStatement"), status("FINISHED", `,"ResultRows":2`))
		got, err := a.Redshift(cluster).Run(t.Context(), "token-1", []string{"UPDATE x"})
		if err != nil || got[0].Affected != 2 {
			t.Fatalf("got %v, %v", got, err)
		}
		for _, asked := range s.asked[:5] {
			if asked["ClientToken"] != "token-1" {
				t.Errorf("submitted with token %v", asked["ClientToken"])
			}
		}
	})
}

func TestRunLeavesTheOutcomeOpenWhenNoReplyEverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := make([]answer, 3*maxSubmits)
		for i := range lost {
			lost[i].operation = "ExecuteStatement"
		}
		_, a := scripted(t, lost...)
		_, err := a.Redshift(cluster).Run(t.Context(), "t", []string{"UPDATE x"})
		var refusal *warehouse.StatementError
		if !errors.Is(err, warehouse.ErrUnavailable) || errors.As(err, &refusal) || !strings.Contains(err.Error(), "outcome is open") {
			t.Errorf("got %v", err)
		}
	})
}

func TestRunDoesNotSubmitAgainWhatWasAnswered(t *testing.T) {
	for code, want := range map[string]error{
		"ActiveStatementsExceededException": warehouse.ErrThrottled,
		"AccessDeniedException":             warehouse.ErrDenied,
		"ValidationException":               nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			throttles := 0
			conf := cluster
			conf.OnThrottle = func() { throttles++ }
			s, a := scripted(t, refuse("ExecuteStatement", code))
			_, err := a.Redshift(conf).Run(t.Context(), "t", []string{"UPDATE x"})
			if err == nil || want != nil && !errors.Is(err, want) || len(s.asked) != 1 {
				t.Errorf("%s: got %v after %s", code, err, s.operations())
			}
			if (throttles == 1) != (want == warehouse.ErrThrottled) {
				t.Errorf("%s: counted %d throttles", code, throttles)
			}
		})
	}
}

func TestRunGoesOnAskingWhateverHappensToTheAsking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := scripted(t, submitted("ExecuteStatement"),
			refuse("DescribeStatement", "AccessDeniedException"), refuse("DescribeStatement", "ValidationException"),
			answer{operation: "DescribeStatement"}, answer{operation: "DescribeStatement"}, answer{operation: "DescribeStatement"},
			status("FINISHED", `,"ResultRows":1`))
		if _, err := a.Redshift(cluster).Run(t.Context(), "t", []string{"UPDATE x"}); err != nil {
			t.Error(err)
		}
	})
}

func TestRunStopsAskingForAStatementThatIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := scripted(t, submitted("ExecuteStatement"), refuse("DescribeStatement", "ResourceNotFoundException"))
		if _, err := a.Redshift(cluster).Run(t.Context(), "t", []string{"UPDATE x"}); err == nil || !strings.Contains(err.Error(), "outcome is open") {
			t.Errorf("got %v", err)
		}
	})
}

func TestRunSaysWhichStatementFailedAndWhatThatMeans(t *testing.T) {
	for _, c := range []struct {
		name    string
		answer  answer
		index   int
		message string
		kind    error
	}{
		{"a row", status("FAILED", `,"Error":"ERROR: bad","SubStatements":[{"Status":"FINISHED"},{"Status":"FAILED","Error":"ERROR: value too long"}]`), 1, "ERROR: value too long", nil},
		{"a conflict", status("FAILED", `,"Error":"ERROR: 1023 Serializable isolation violation","SubStatements":[{"Status":"FAILED"},{"Status":"ABORTED"}]`), 0, "ERROR: 1023 Serializable isolation violation", warehouse.ErrConflict},
		{"at the commit", status("FAILED", `,"Error":"ERROR: deadlock detected","SubStatements":[{"Status":"FINISHED"},{"Status":"FINISHED"}]`), -1, "ERROR: deadlock detected", warehouse.ErrConflict},
		{"aborted", status("ABORTED", `,"SubStatements":[{"Status":"FINISHED"},{"Status":"ABORTED"}]`), 1, "the statement was aborted", warehouse.ErrEnded},
		{"no reason", status("FAILED", ``), -1, "the statement failed, the Data API does not say why", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a := scripted(t, submitted("BatchExecuteStatement"), c.answer)
				_, err := a.Redshift(cluster).Run(t.Context(), "t", []string{"a", "b"})
				var got *warehouse.StatementError
				if !errors.As(err, &got) || got.Index != c.index || got.Message != c.message || got.Kind != c.kind {
					t.Errorf("got %#v", err)
				}
			})
		})
	}
}

func TestRunEndsPromptlyWithItsContextAndLeavesTheStatementAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []answer{submitted("ExecuteStatement")}
		for range 3 {
			answers = append(answers, status("STARTED", ""))
		}
		s, a := scripted(t, answers...)
		draining := errors.New("draining")
		ctx, stop := context.WithCancelCause(t.Context())
		began := time.Now()
		time.AfterFunc(170*time.Millisecond, func() { stop(draining) }) // after the third poll, before the fourth
		_, err := a.Redshift(cluster).Run(ctx, "t", []string{"UPDATE x"})
		if !errors.Is(err, draining) || time.Since(began) != 170*time.Millisecond {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
		if got := s.operations(); got != "1xExecuteStatement 3xDescribeStatement" {
			t.Errorf("calls: %s", got)
		}
	})
}

func TestRunWaitsForAPagedResultThroughThrottles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := scripted(t, submitted("ExecuteStatement"), status("FINISHED", `,"HasResultSet":true`),
			refuse("GetStatementResult", "ThrottlingException"), refuse("GetStatementResult", "ThrottlingException"),
			refuse("GetStatementResult", "ThrottlingException"), refuse("GetStatementResult", "ThrottlingException"),
			answer{"GetStatementResult", 200, `{"ColumnMetadata":[{"name":"a"}],"Records":[[{"longValue":7}]]}`})
		got, err := a.Redshift(cluster).Run(t.Context(), "t", []string{"SELECT a"})
		if err != nil || len(got[0].Rows) != 1 {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestRunRefusesWhatTheDataAPIDoesNotTakeWithoutACall(t *testing.T) {
	for name, c := range map[string]struct {
		token      string
		statements []string
	}{
		"no statement":        {"t", nil},
		"too many statements": {"t", make([]string, 41)},
		"a long statement":    {"t", []string{"SELECT 1", strings.Repeat("x", 100_001)}},
		"no token":            {"", []string{"SELECT 1"}},
		"a long token":        {strings.Repeat("x", 65), []string{"SELECT 1"}},
	} {
		s, a := scripted(t)
		if _, err := a.Redshift(cluster).Run(t.Context(), c.token, c.statements); err == nil || len(s.asked) != 0 {
			t.Errorf("%s: got %v after %s", name, err, s.operations())
		}
	}
}
