package verdict

import (
	"fmt"
	"math"
	"strings"

	"github.com/cloudcafe/analytics-worker/internal/plural"
)

func reading(f *Facts) []Finding {
	r := &f.Reads
	often := r.Failed >= 3 && 2*r.Failed >= r.Done+r.Failed
	if r.Trouble == nil || r.Failing == 0 && !often {
		return nil
	}
	lasts := r.Longest >= readsFail || often || !r.Trouble.Kind.passes()
	if !lasts {
		return nil
	}
	what := fmt.Sprintf("Reading fails on %d of %s", r.Failing, plural.Of(r.Shards, "shard"))
	if r.Failing == 0 {
		what = fmt.Sprintf("%d of %d reads in the last %s failed", r.Failed, r.Done+r.Failed, words(r.Window))
	}
	out := f.denied(ReadsFailing, Look, what, r.Trouble)
	switch r.Trouble.Kind {
	case Denied, Credentials, Key:
		out.Cause = ReadsDenied
	case Throttled:
		out.Cause = ReadsThrottled
		out.Says = fmt.Sprintf("Kinesis throttles the reads: %d of %d in the last %s were refused", r.Failed, r.Done+r.Failed, words(r.Window))
		out.Command = "aws kinesis list-stream-consumers --stream-arn $(aws kinesis describe-stream-summary --stream-name " + f.Names.Stream + " --query StreamDescriptionSummary.StreamARN --output text)"
	}
	if f.Lag.Committed > behindLook {
		out.Says += fmt.Sprintf("; what can be queried is %s behind", words(f.Lag.Committed))
	}
	if r.All > readsFailAll || r.Failing == r.Shards && !r.Trouble.Kind.passes() {
		out.State, out.Stops = Act, true
	}
	return []Finding{out}
}

// A share of rejected records is worth a look from here on. One in a hundred is
// usual where many write, and few records have more of them by chance.
const (
	fewRejected   = 5 // what is fewer says nothing
	usualRejected = 0.01
	lookRejected  = 0.02
	actRejected   = 0.5
)

// State is how bad it is.
func (r *Rejects) State() State {
	n, rejected := float64(r.Records), float64(r.Rejected)
	usual := usualRejected * n
	switch {
	case !r.Known || rejected == 0 || n == 0:
		return Fine
	case rejected >= actRejected*n:
		return Act
	case rejected < fewRejected || rejected < lookRejected*n || rejected < usual+3*math.Sqrt(usual): // three deviations
		return Fine
	}
	return Look
}

func rejecting(f *Facts) []Finding {
	r := &f.Rejects
	state := r.State()
	if state == Fine {
		return nil
	}
	share := float64(r.Rejected) / float64(r.Records)
	rate := float64(r.Rejected) / r.Window.Seconds()
	out := Finding{
		Cause: RejectedSome, State: Look, Says: fmt.Sprintf("%s of the records are rejected, %s in the last %s", percent(share), figure(float64(r.Rejected)), words(r.Window)),
		Next: "a producer has changed, or sends what it should not: look at one of the dead letters", Command: "analytics-worker letters --last 1",
	}
	if state == Act {
		out.Cause, out.State = RejectedAll, Act
		out.Says = fmt.Sprintf("%s of what arrives is rejected, %s records a second", percent(share), figure(rate))
		out.Next = "a producer has changed its format: look at one of the dead letters; redrive loads them once that is mended"
	}
	if why := r.reasons(); why != "" {
		out.Says += ": " + why
	}
	return []Finding{out}
}

// reasons are the most frequent ones.
func (r *Rejects) reasons() string {
	const most = 3
	var out []string
	for i, reason := range r.Reasons {
		if i == most {
			out = append(out, plural.Of(len(r.Reasons)-most, "other reason"))
			break
		}
		out = append(out, fmt.Sprintf("%s (%s)", reason.Text, percent(float64(reason.N)/float64(r.Rejected))))
	}
	return strings.Join(out, ", ")
}
