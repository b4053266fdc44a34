package simulation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// services are those that a worker can be parted from.
var services = []string{"kinesis", "dynamodb", "redshift-data", "s3"}

// Verbs of a step.
const (
	doPublish = "publish" // a burst of records
	doSplit   = "split"
	doMerge   = "merge"
	doStart   = "start"  // one more worker
	doDrain   = "drain"  // a clean stop
	doCrash   = "crash"  // a worker dies, and is replaced a while later
	doFreeze  = "freeze" // a worker stops, and goes on later
	doCut     = "cut"    // a worker is parted from a service for a while
	doFault   = "fault"  // a service misbehaves towards everybody
	doKCL     = "kcl"    // the leases are handed to a KCL application, and back
	doMood    = "mood"   // the warehouse refuses some rows, all rows or large loads for a while
	doVerify  = "verify" // the checker is asked in the middle of it
	doLinger  = "linger" // nothing: what goes wrong has time to
)

// step is one thing that happens.
type step struct {
	wait    time.Duration // after the step before
	verb    string
	n       int           // records of a burst; else which worker or shard, modulo how many there are
	lasts   time.Duration // of a freeze or cut, or until a replacement starts
	service string        // of a cut
	how     string        // of a cut
	fault   fault.Fault
	alone   bool    // the fault strikes one worker, and not all
	pace    float64 // of a started worker's clock
}

func (s step) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "+%s %s", s.wait, s.verb)
	switch s.verb {
	case doPublish:
		fmt.Fprintf(&b, " %d records", s.n)
	case doStart:
		fmt.Fprintf(&b, " a worker whose clock runs at %.2f", s.pace)
	case doSplit, doMerge, doDrain:
		fmt.Fprintf(&b, " #%d", s.n)
	case doCrash:
		fmt.Fprintf(&b, " #%d, replaced after %s", s.n, s.lasts)
	case doFreeze:
		fmt.Fprintf(&b, " #%d for %s", s.n, s.lasts)
	case doCut:
		fmt.Fprintf(&b, " #%d from %s for %s (%s)", s.n, s.service, s.lasts, s.how)
	case doMood:
		fmt.Fprintf(&b, " for %s: %s%s", s.lasts, s.fault.Match, s.fault.Error)
	case doFault:
		f := s.fault
		fmt.Fprintf(&b, " %s %s %s x%d", f.Service, f.Operation, f.Kind, f.Count)
		if f.Delay > 0 {
			fmt.Fprintf(&b, " of %s", time.Duration(f.Delay))
		}
		if f.Error != "" {
			fmt.Fprintf(&b, " (%s)", f.Error)
		}
		if s.alone {
			fmt.Fprintf(&b, " for #%d alone", s.n)
		}
	}
	return b.String()
}

// schedule is one sequence of bursts and faults against a running fleet.
type schedule []step

func (s schedule) String() string {
	lines := make([]string, len(s))
	for i := range s {
		lines[i] = s[i].String()
	}
	return strings.Join(lines, "\n")
}

// faulty says whether anything goes wrong in it: something that workers meet at
// all times, and not only a call that they make now and then.
func (s schedule) faulty() bool {
	return slices.ContainsFunc(s, func(st step) bool {
		switch st.verb {
		case doCrash, doFreeze:
			return true
		case doCut:
			return st.service != "s3"
		case doFault:
			switch st.fault.Operation {
			case "GetRecords", "Scan", "UpdateItem", "BatchExecuteStatement", "DescribeStatement":
				return true
			}
		}
		return false
	})
}

// draw makes a schedule from what the generator says, and nothing else.
func draw(rng *rand.Rand, moody bool) schedule {
	var out schedule
	out = append(out, step{verb: doPublish, n: 3 + rng.IntN(15)})
	for range 1 + rng.IntN(3) {
		out = append(out, drawStep(rng, moody))
	}
	for !out.faulty() {
		out = append(out, drawStep(rng, moody))
	}
	// A fault that meets no work, or ends at once, breaks nothing.
	return append(
		out,
		step{wait: ms(rng, 0, 800), verb: doPublish, n: 1 + rng.IntN(6)},
		step{wait: ms(rng, 1000, 2*int(pollTime.Milliseconds())), verb: doLinger},
	)
}

// chances are the weights of the verbs.
var chances = []struct {
	verb   string
	weight int
}{
	{doPublish, 2},
	{doSplit, 2},
	{doMerge, 2},
	{doStart, 2},
	{doDrain, 2},
	{doCrash, 4},
	{doFreeze, 4},
	{doCut, 5},
	{doFault, 10},
	{doKCL, 1},
	{doVerify, 1},
	{doMood, 10}, // where the warehouse has any
}

func drawStep(rng *rand.Rand, moody bool) step {
	total := 0
	for _, c := range chances {
		if c.verb != doMood || moody {
			total += c.weight
		}
	}
	at := rng.IntN(total)
	s := step{wait: ms(rng, 0, 900), n: rng.IntN(64), pace: 1}
	for _, c := range chances {
		if at -= c.weight; at < 0 {
			s.verb = c.verb
			break
		}
	}
	switch s.verb {
	case doPublish:
		s.n = 1 + s.n%16
	case doStart:
		s.pace = pick(rng, 1, 1, 0.8, 0.95, 1.05, 1.25)
	case doCrash:
		s.lasts = ms(rng, 0, 2500)
	case doFreeze:
		// Half of the lease time to three times of it.
		s.lasts = ms(rng, int(leaseTime.Milliseconds()/2), int(3*leaseTime.Milliseconds()))
	case doCut:
		s.service, s.how = pick(rng, services...), pick(rng, refused, silent, deaf)
		s.lasts = ms(rng, 200, int(2*leaseTime.Milliseconds()))
	case doFault:
		s.fault = drawFault(rng)
	case doMood:
		s.fault, s.lasts = drawMood(rng), ms(rng, 500, int(longestMood.Milliseconds()))
	}
	return s
}

func drawFault(rng *rand.Rand) fault.Fault {
	f := pick(rng, troubles...)
	f.Kind = pick(rng, fault.Throttle, fault.InternalError, fault.Reset, fault.ReplyLost, fault.Delay, fault.EmptyReply)
	f.Count = 1 + rng.IntN(4)
	switch at := rng.IntN(10); {
	case f.Operation == "GetRecords" && at < 4:
		f.Kind = pick(rng, fault.ExpiredIterator, fault.NoIterator)
	case f.Operation == "BatchExecuteStatement" && at < 3:
		f.Kind, f.Error = fault.StatementFailed, pick(rng, "ERROR: 1023 DETAIL: Serializable isolation violation on table", "ERROR: something that nobody has seen before")
		f.Count = 1 + rng.IntN(3)
	case f.Operation == "BatchExecuteStatement" && at < 6:
		f.Kind = fault.StatementSlow
	case f.Operation == "BatchExecuteStatement" && at < 7:
		f.Kind, f.Operation, f.Count = fault.Paused, "", 0
	case f.Operation == "BatchExecuteStatement" && at < 8:
		f.Kind = fault.SnapshotEarly
	}
	if f.Kind == fault.Delay || f.Kind == fault.StatementSlow {
		f.Delay = fault.Duration(ms(rng, 100, 5000))
	}
	return f
}

// amid puts one or two troubles of one worker with the bucket among the steps: of the
// calls by which workers that load together learn of each other. The last two steps
// stay the last.
func (s schedule) amid(rng *rand.Rand) schedule {
	for range 1 + rng.IntN(2) {
		one := step{wait: ms(rng, 0, 900), verb: doFault, n: rng.IntN(64), pace: 1, alone: true}
		one.fault = fault.Fault{
			Service: "s3", Operation: pick(rng, "GetObject", "ListObjectsV2"),
			Kind: pick(rng, fault.Throttle, fault.AccessDenied, fault.ReplyLost, fault.Delay), Count: 1 + rng.IntN(12),
		}
		if one.fault.Kind == fault.Delay {
			one.fault.Delay = fault.Duration(ms(rng, 100, 5000))
		}
		s = slices.Insert(s, 1+rng.IntN(len(s)-2), one)
	}
	return s
}

// troubles are the calls that a service-wide fault strikes: the workers' alone,
// so that publishing and checking go on.
var troubles = []fault.Fault{
	{Service: "kinesis", Operation: "GetRecords"},
	{Service: "kinesis", Operation: "GetRecords"},
	{Service: "kinesis", Operation: "GetShardIterator"},
	{Service: "kinesis", Operation: "ListShards"},
	{Service: "dynamodb", Operation: "Scan"},
	{Service: "dynamodb", Operation: "UpdateItem"},
	{Service: "dynamodb", Operation: "UpdateItem"},
	{Service: "dynamodb", Operation: "PutItem"},
	{Service: "dynamodb", Operation: "DeleteItem"},
	{Service: "redshift-data", Operation: "BatchExecuteStatement"},
	{Service: "redshift-data", Operation: "BatchExecuteStatement"},
	{Service: "redshift-data", Operation: "BatchExecuteStatement"},
	{Service: "redshift-data", Operation: "DescribeStatement"},
	{Service: "redshift-data", Operation: "GetStatementResult"},
	{Service: "s3", Operation: "PutObject"},
	{Service: "s3", Operation: "DeleteObjects"},
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

func ms(rng *rand.Rand, from, to int) time.Duration {
	return time.Duration(from+rng.IntN(to-from+1)) * time.Millisecond
}
