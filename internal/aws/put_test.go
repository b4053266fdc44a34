package aws

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

func entries(n, size int) []Entry {
	out := make([]Entry, n)
	for i := range out {
		out[i] = Entry{PartitionKey: fmt.Sprint(i), Data: make([]byte, size)}
	}
	return out
}

// took is a PutRecords reply in which the records at refused were not taken.
func took(n int, code string, refused ...int) answer {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = `{"SequenceNumber":"1","ShardId":"s"}`
		if slices.Contains(refused, i) {
			parts[i] = fmt.Sprintf(`{"ErrorCode":%q,"ErrorMessage":"no"}`, code)
		}
	}
	return answer{"PutRecords", 200, fmt.Sprintf(`{"FailedRecordCount":%d,"Records":[%s]}`, len(refused), strings.Join(parts, ","))}
}

func keys(asked map[string]any) string {
	var out []string
	for _, r := range asked["Records"].([]any) {
		out = append(out, r.(map[string]any)["PartitionKey"].(string))
	}
	return strings.Join(out, " ")
}

const full = "ProvisionedThroughputExceededException"

func TestPutPutsTheRefusedAgainBeforeAnyLaterOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := scripted(t, took(500, full, 3, 7), took(2, "InternalFailure", 1), took(1, "", nil...), took(2, ""))
		failed, err := a.Stream("orders").Put(t.Context(), entries(502, 10))
		if err != nil || len(failed) != 0 {
			t.Fatalf("failed %v, %v", failed, err)
		}
		for call, want := range map[int]string{1: "3 7", 2: "7", 3: "500 501"} {
			if got := keys(s.asked[call]); got != want {
				t.Errorf("call %d: put %s, want %s", call, got, want)
			}
		}
	})
}

// A full shard may also refuse the whole call.
func TestPutPutsAThrottledCallAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, a := scripted(t, refuse("PutRecords", full), took(3, full, 1), refuse("PutRecords", full), took(1, ""))
		failed, err := a.Stream("orders").Put(t.Context(), entries(3, 10))
		if err != nil || len(failed) != 0 {
			t.Fatalf("failed %v, %v", failed, err)
		}
		for call, want := range map[int]string{1: "0 1 2", 2: "1", 3: "1"} {
			if got := keys(s.asked[call]); got != want {
				t.Errorf("call %d: put %s, want %s", call, got, want)
			}
		}
	})
}

func TestPutKeepsTheLimitsOfACall(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []Entry
		want    int
	}{
		{"small ones", entries(3, 10), 3},
		{"as many as a call takes", entries(500, 10), 500},
		{"one more", entries(501, 10), 500},
		{"five of 1 MiB, and their keys", entries(5, 1<<20), 4},
		{"the first is over the limit alone: Kinesis decides", entries(2, 6<<20), 1},
	} {
		if got := fitting(c.entries); got != c.want {
			t.Errorf("%s: %d fit, want %d", c.name, got, c.want)
		}
	}
}

func TestPutSaysWhatIsNotOnTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []answer{took(500, "")}
		answers = append(answers, took(500, full, 1, 2))
		for range maxPuts - 1 {
			answers = append(answers, took(2, full, 0, 1))
		}
		_, a := scripted(t, answers...)
		failed, err := a.Stream("orders").Put(t.Context(), entries(1002, 1))
		if !errors.Is(err, stream.ErrThrottled) || fmt.Sprint(failed) != "[501 502 1000 1001]" {
			t.Errorf("failed %v, %v", failed, err)
		}
	})
}

func TestPutDoesNotRepeatWhatWillNotHelp(t *testing.T) {
	for _, c := range []struct {
		answer answer
		failed string
		want   error
	}{
		{took(2, "KMSAccessDeniedException", 1), "[1]", stream.ErrDenied},
		{refuse("PutRecords", "AccessDeniedException"), "[0 1]", stream.ErrDenied},
		{refuse("PutRecords", "ResourceNotFoundException"), "[0 1]", stream.ErrGone},
	} {
		_, a := scripted(t, c.answer)
		failed, err := a.Stream("orders").Put(t.Context(), entries(2, 1))
		if !errors.Is(err, c.want) || fmt.Sprint(failed) != c.failed {
			t.Errorf("%s: failed %v, %v", c.answer.body, failed, err)
		}
	}
}

func TestPutOfNothingMakesNoCall(t *testing.T) {
	s, a := scripted(t)
	if failed, err := a.Stream("orders").Put(t.Context(), nil); err != nil || failed != nil || len(s.asked) != 0 {
		t.Errorf("failed %v, %v", failed, err)
	}
}
