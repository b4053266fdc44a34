package verdict

import (
	"cmp"
	"time"
)

// Facts are what is known at one moment. A worker knows its own part from inside;
// who asks from outside (Worker is empty) knows all shards, and of loads, reads and
// rejections what the workers tell.
type Facts struct {
	Now    time.Time
	Worker string // who speaks; empty = nobody's part, but the whole
	Names  Names

	Starting bool // the worker has just begun, and has not read the leases yet
	Hangs    string

	Stream   Stream
	Leases   Leases
	Reads    Reads
	Lag      Lag
	Loads    Loads
	Letters  Write
	Rejects  Rejects
	Metrics  Source
	Clock    Clock
	Told     []Told
	Problems []Problem
}

// Names are for the commands to paste.
type Names struct {
	Stream, LeaseTable, Letters string
	Cluster, Workgroup          string // one of the two
}

// Kind is what is wrong with an answer.
type Kind string

// The kinds of trouble.
const (
	Throttled   Kind = "throttled"
	Denied      Kind = "denied"      // a permission is missing
	Credentials Kind = "credentials" // nobody is known by them
	Key         Kind = "key"         // the KMS key cannot be used
	Unreached   Kind = "unreached"   // nothing answers
	Gone        Kind = "gone"
	Full        Kind = "full"
	NoTable     Kind = "no-table"
	Conflict    Kind = "conflict"
	Failing     Kind = "failing" // anything else
)

// passes reports whether trouble of the kind may end by itself.
func (k Kind) passes() bool { return k == Throttled || k == Conflict || k == Unreached || k == Failing }

// Trouble is how the last question to a service failed.
type Trouble struct {
	Kind  Kind
	Says  string    // the error
	Next  string    // what to do about it, where that is known: the program's, which says it elsewhere too
	Addr  string    // that refuses connections; empty = it is not that
	Since time.Time // zero = not known
}

// next is the next step. An error that nobody knows is read.
func (t *Trouble) next() string { return t.nextOr("read the error; it is tried again") }

// nextOr is the next step, or another one where there is no trouble or none is known.
func (t *Trouble) nextOr(otherwise string) string {
	if t == nil {
		return otherwise
	}
	return cmp.Or(t.Next, otherwise)
}

func (t *Trouble) lasted(now time.Time) time.Duration {
	if t == nil || t.Since.IsZero() {
		return 0
	}
	return now.Sub(t.Since)
}

// Source is how well something is known.
type Source struct {
	Asked   bool      // it was asked, or should have been
	At      time.Time // of the last answer; zero = there was none
	Trouble *Trouble  // nil = the last question was answered, or none was asked
}

// Stream is the stream as a whole.
type Stream struct {
	Source
	Status    string        // ACTIVE, UPDATING, CREATING, DELETING; empty = not known
	Retention time.Duration // 0 = not known
}

// Leases are who has which shard.
type Leases struct {
	Source
	Shared  bool // workers share a table
	Lost    bool // the table is gone although positions are there
	Never   bool // no worker has ever had a shard
	Shards  int  // of the stream, that are not read to their ends
	Mine    int  // of them this worker's
	Unowned int  // that nobody has who lives, and that wait for nothing
	// Dead are owners that do not renew, with how many shards each.
	Dead []Dead
	// Missed are workers that stopped renewing and gave nothing back; others have
	// their shards by now.
	Missed []Dead
	Alarms []Alarm
	Live   int // owners that renew
}

// Dead is a worker that is not heard of.
type Dead struct {
	Worker string
	Shards int
	For    time.Duration // 0 = not known
}

// Alarm is a contradiction between shards, leases and positions.
type Alarm struct {
	What, Next string
	// Stream: it says that the stream is another one than the positions are of.
	Stream bool
}

// Reads is how reading goes. It is known from inside alone.
type Reads struct {
	Known   bool
	Shards  int           // read
	Failing int           // of them that the last read of failed
	Longest time.Duration // for which one of them has failed
	All     time.Duration // for which all of them have failed; 0 = they have not
	Window  time.Duration // of what follows
	Done    int64
	Failed  int64
	Trouble *Trouble // of the last that failed
	Hot     []Hot    // shards near the limit of what producers may put into one
}

// Hot is a shard that takes nearly all that it may.
type Hot struct {
	Shard   string
	Records float64 // a second
	Bytes   float64 // a second
	Others  float64 // what the others take of what they may, in the mean, 0 to 1
	Middle  string  // hash key in the middle of it; empty = not known
}

// Lag is how far what can be queried is behind what arrived.
type Lag struct {
	Known     bool          // of all shards that it is about
	Shards    int           // that it is about
	Unread    int           // of the worker's shards, that it has not begun to read: of them nothing is known
	Committed time.Duration // age of the oldest record that is not committed; 0 = there is none
	Reading   time.Duration // how far reading is behind, as far as known
	By        []ShardLag    // the shards that are furthest behind, worst first
	Until     time.Time     // everything that arrived before it is queryable; zero = not known
}

// ShardLag is how far one shard is behind.
type ShardLag struct {
	Shard, Owner string
	Lag          time.Duration
}

// Phase is how far a statement has got.
type Phase string

// The phases of a load that is waited for.
const (
	NotKnown Phase = ""
	Queued   Phase = "queued"  // the warehouse has it and has not started it
	Locking  Phase = "locking" // it waits for worker_load_lock
	Running  Phase = "running"
)

// Write is how writing of one kind goes: loads, or letters.
type Write struct {
	Known   bool
	Waiting time.Duration // for the answer to the one under way; 0 = none is
	Phase   Phase
	Last    time.Time     // of the last success; zero = none yet
	Took    time.Duration // the last success
	Trouble *Trouble      // of the last one
	Staging bool          // Trouble is that of the bucket that loads are staged in
}

// Loads is how loading goes.
type Loads struct {
	Write
	Rate    float64  // records a second that were settled of late
	Orders  float64  // of them orders that were loaded
	Pending int      // records read and not loaded
	Full    bool     // reading waits for memory
	Staged  Staged   // of the workers that load together; zero = each loads for itself
	Apart   *Trouble // with the bucket: why this worker loads for itself though there are others
}

// Rejects are the records that were refused of those that were settled lately.
type Rejects struct {
	Known    bool
	Window   time.Duration
	Records  int64 // settled, the rejected ones included
	Rejected int64
	Reasons  []Reason // most frequent first
}

// Reason is how often records were refused for one reason.
type Reason struct {
	Text string
	N    int64
}

// Clock is how far this machine's clock is ahead of AWS's.
type Clock struct {
	Known bool
	Skew  time.Duration
}

// Told is what a worker says of itself.
type Told struct {
	Worker string
	Finding
}

// Problem is a warning or an error of the log.
type Problem struct {
	At                   time.Time
	Error                bool // else a warning
	Message, Cause, Hint string
	Err                  error // that Cause is the text of; nil = none was logged with it
	Kind                 Kind  // of Err; empty = there is none
	Leases               bool  // Err is of the lease table
}
