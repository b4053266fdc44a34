package aws

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

func TestRunStopsFollowingWhereNothingIsLearnt(t *testing.T) {
	const expired = `{"__type": "ValidationException", "Message": "Could not retrieve the query result as it has expired after 1658071606."}`
	denied := refuse("DescribeStatement", "AccessDeniedException")
	for name, c := range map[string]struct {
		answer answer
		after  time.Duration // what an answer takes
		within time.Duration // at least a half of it is waited
	}{
		"expired":          {answer{"DescribeStatement", 400, expired}, 0, 0},
		"a status of none": {status("UNKNOWN", ""), 0, followBlind + 2*maxPollAgain},
		"no status":        {answer{"DescribeStatement", 200, `{"Id":"id-1"}`}, 0, followBlind + 2*maxPollAgain},
		"denied":           {denied, 0, followBlind + 2*maxPollAgain},
		// Of slow answers a day has thousands and not tens of thousands.
		"running for ever": {status("STARTED", ""), 20 * time.Second, followAll + 30*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a := scripted(t)
				a.cfg.HTTPClient = &http.Client{Transport: serve(func(r *http.Request) raw {
					if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "ExecuteStatement") {
						return raw{content: contentJSON, body: `{"Id":"id-1"}`, length: -1}
					}
					if err := pause(r.Context(), c.after); err != nil {
						t.Error(err)
					}
					return raw{content: contentJSON, status: c.answer.status, body: c.answer.body, length: -1}
				})}
				began := time.Now()
				_, err := a.Redshift(cluster).Run(t.Context(), "t", []string{"UPDATE x"})
				var refusal *warehouse.StatementError
				if err == nil || !strings.Contains(err.Error(), "outcome is open") || errors.As(err, &refusal) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took > c.within+time.Second || took < c.within/2 {
					t.Errorf("followed for %s", took)
				}
			})
		})
	}
}

// Many wait for the lock, and one has it: who waits asks once a second, and the end of the
// one that has it is noticed at once.
func TestRunAsksOftenOnceItHasTheLock(t *testing.T) {
	const lock, all = 20 * time.Second, 30 * time.Second
	synctest.Test(t, func(t *testing.T) {
		_, a := scripted(t)
		began, waiting := time.Now(), 0
		a.cfg.HTTPClient = &http.Client{Transport: serve(func(r *http.Request) raw {
			body, at := `{"Id":"id-1"}`, time.Since(began)
			switch {
			case strings.HasSuffix(r.Header.Get("X-Amz-Target"), "ExecuteStatement"):
			case at < lock:
				waiting++
				body = status("STARTED", `,"SubStatements":[{"Status":"STARTED"},{"Status":"SUBMITTED"}]`).body
			case at < all:
				body = status("STARTED", `,"SubStatements":[{"Status":"FINISHED"},{"Status":"STARTED"}]`).body
			default:
				body = status("FINISHED", `,"SubStatements":[{"Status":"FINISHED"},{"Status":"FINISHED"}]`).body
			}
			return raw{content: contentJSON, body: body, length: -1}
		})}
		if _, err := a.Redshift(cluster).Run(t.Context(), "t", []string{"LOCK TABLE x", "UPDATE x"}); err != nil {
			t.Fatal(err)
		}
		if late := time.Since(began) - all; late > lockedPoll*6/5 {
			t.Errorf("the end was noticed %s late", late)
		}
		if most := int(lock/maxPoll) + 15; waiting > most {
			t.Errorf("asked %d times while it waited for the lock, want at most %d", waiting, most)
		}
	})
}

func TestRunFollowsWhatIsUnknownForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a := scripted(t, submitted("ExecuteStatement"), status("UNKNOWN", ""), status("UNKNOWN", ""), status("FINISHED", `,"ResultRows":1`))
		if _, err := a.Redshift(cluster).Run(t.Context(), "t", []string{"UPDATE x"}); err != nil {
			t.Error(err)
		}
	})
}
