package verdict

import (
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

var names = Names{Stream: "order-events", LeaseTable: "leases", Letters: "file:///var/letters", Cluster: "dev"}

// inside is what a worker knows that is well: it has two of four shards, and loads.
func inside() Facts {
	return Facts{
		Now: noon, Worker: "a", Names: names,
		Stream:  Stream{Source: Source{Asked: true, At: noon}, Retention: 24 * time.Hour},
		Leases:  Leases{Source: Source{Asked: true, At: noon}, Shared: true, Shards: 4, Mine: 2, Live: 1},
		Reads:   Reads{Known: true, Shards: 2, Window: 20 * time.Second, Done: 40},
		Lag:     Lag{Known: true, Shards: 2, Committed: 2 * time.Second},
		Loads:   Loads{Write: Write{Known: true, Last: noon, Took: time.Second}, Rate: 50, Orders: 50},
		Letters: Write{Known: true},
		Rejects: Rejects{Known: true, Window: 20 * time.Second, Records: 1000},
		Clock:   Clock{Known: true},
		Told:    []Told{{"b", Finding{Cause: Arriving, State: Fine, Says: "well"}}},
	}
}

// outside is what somebody knows who asks stream, leases and warehouse.
func outside() Facts {
	f := inside()
	f.Worker = ""
	f.Leases.Live, f.Leases.Mine = 2, 0
	f.Reads, f.Rejects, f.Letters, f.Loads = Reads{}, Rejects{}, Write{}, Loads{}
	f.Told = append(f.Told, Told{"a", Finding{Cause: Arriving, State: Fine, Says: "well"}})
	return f
}

type verdictCase struct {
	name    string
	of      func() Facts
	change  func(*Facts)
	cause   Cause
	state   State
	says    string // part of the sentence
	command string // part of the command
	stops   bool
}

var verdictCases = []verdictCase{
	{"well", inside, func(*Facts) {}, Arriving, Fine, "on this worker's 2 of 4 shards: 50 records a second", "", false},
	{"payments alone", inside, func(f *Facts) { f.Loads.Orders = 0 }, Arriving, Fine, "no orders just now", "", false},
	{"well from outside", outside, func(*Facts) {}, Arriving, Fine, "2 s behind", "", false},
	{"quiet", inside, func(f *Facts) { f.Loads.Rate, f.Lag.Committed, f.Leases.Mine = 0, 0, 4 }, Quiet, Fine, "Everything that arrived on the stream can be queried", "", false},
	{"stands by", inside, func(f *Facts) { f.Leases.Mine = 0 }, Standby, Fine, "others have all 4 shards", "", false},
	{"starts", inside, func(f *Facts) { f.Starting, f.Leases.At = true, time.Time{} }, Starting, Look, "is starting", "journalctl", true},
	{"reads nothing yet", inside, func(f *Facts) { f.Lag.Unread, f.Loads.Rate, f.Lag.Committed = 2, 0, 0 }, Starting, Look, "none of its 2 shards is read yet", "journalctl", true},
	{"reads nothing for long", inside, func(f *Facts) { f.Lag.Unread, f.Leases.Mine, f.Lag.Known = 1, 1, false }, Starting, Look, "its shard is not read yet", "journalctl", true},
	{"reads one of two", inside, func(f *Facts) { f.Lag.Unread = 1 }, Arriving, Fine, "on 1 of this worker's 2 shards (1 not read yet)", "", false},
	{"reads one of two for long", inside, func(f *Facts) { f.Lag.Unread, f.Lag.Known = 1, false }, Unknown, Look, "on 1 of this worker's 2 shards, not read yet", "journalctl", false},

	{"all rejected", inside, func(f *Facts) {
		f.Rejects = Rejects{Known: true, Window: 20 * time.Second, Records: 3000, Rejected: 3000, Reasons: []Reason{{"not JSON", 2000}, {"order_id missing", 1000}}}
	}, RejectedAll, Act, "100 % of what arrives is rejected, 150 records a second: not JSON (67 %), order_id missing (33 %)", "analytics-worker letters --last 1", false},
	{"5 % rejected", inside, func(f *Facts) {
		f.Rejects.Rejected, f.Rejects.Reasons = 50, []Reason{{"not JSON", 50}}
	}, RejectedSome, Look, "5.0 % of the records are rejected, 50 in the last 20 s: not JSON (100 %)", "letters", false},
	{"1 % rejected is usual", inside, func(f *Facts) { f.Rejects.Rejected = 10 }, Arriving, Fine, "", "", false},
	{"the only two records are rejected", inside, func(f *Facts) { f.Rejects.Records, f.Rejects.Rejected = 2, 2 }, RejectedAll, Act, "100 %", "letters", false},

	{"reads throttled", inside, func(f *Facts) {
		f.Reads.Failed, f.Reads.Done, f.Reads.Failing, f.Reads.Trouble = 27, 3, 2, &Trouble{Kind: Throttled, Says: "too many"}
	}, ReadsThrottled, Look, "27 of 30 in the last 20 s were refused", "list-stream-consumers", false},
	{"reads throttled for two minutes", inside, func(f *Facts) {
		f.Reads.Failed, f.Reads.Done, f.Reads.Failing, f.Reads.All, f.Reads.Trouble = 30, 0, 2, 2*time.Minute, &Trouble{Kind: Throttled}
	}, ReadsThrottled, Act, "30 of 30", "list-stream-consumers", true},
	{"a read failed", inside, func(f *Facts) { f.Reads.Failed, f.Reads.Trouble = 1, &Trouble{Kind: Failing} }, Arriving, Fine, "", "", false},
	{"reads denied", inside, func(f *Facts) {
		f.Reads.Failed, f.Reads.Failing, f.Reads.Trouble = 2, 2, &Trouble{Kind: Denied, Says: "kinesis:GetRecords"}
	}, ReadsDenied, Act, "kinesis:GetRecords", "analytics-worker doctor", true},
	{"a hot shard", inside, func(f *Facts) {
		f.Reads.Hot = []Hot{{Shard: "s1", Records: 950, Bytes: 200 << 10, Others: 0.03, Middle: "77"}}
	}, HotShard, Look, "takes 950 records and 200 KiB a second, near the most that one may, and the others take 3.0 % of that", "split-shard --stream-name order-events --shard-to-split s1 --new-starting-hash-key 77", false},

	{"paused for a while", inside, func(f *Facts) { f.Loads.Waiting, f.Loads.Phase = 20*time.Second, Queued }, WarehousePaused, Look, "20 s ago and has not started it", "resume-cluster --cluster-identifier dev", false},
	{"paused for long", inside, func(f *Facts) { f.Loads.Waiting, f.Loads.Phase = 2*time.Minute, Queued }, WarehousePaused, Act, "paused", "resume-cluster", true},
	{"a paused workgroup", inside, func(f *Facts) {
		f.Loads.Waiting, f.Loads.Phase, f.Names.Workgroup = 2*time.Minute, Queued, "w"
	}, WarehousePaused, Act, "paused", "get-workgroup --workgroup-name w", true},
	{"a load takes a second", inside, func(f *Facts) { f.Loads.Waiting, f.Loads.Phase = time.Second, Queued }, Arriving, Fine, "", "", false},
	{"locked", inside, func(f *Facts) { f.Loads.Waiting, f.Loads.Phase = 20*time.Second, Locking }, WarehouseLocked, Look, "worker_load_lock for 20 s", "doctor", false},
	{"slow", inside, func(f *Facts) { f.Loads.Waiting, f.Loads.Phase = 40*time.Second, Running }, WarehouseSlow, Look, "running for 40 s", "describe-clusters", false},
	{"slow before", inside, func(f *Facts) { f.Loads.Took = time.Minute }, WarehouseSlow, Look, "the last load took 60 s", "describe-clusters", false},
	{"slow before, and another load", inside, func(f *Facts) {
		f.Loads.Took, f.Loads.Last, f.Loads.Waiting, f.Loads.Phase = time.Minute, ago(40*time.Second), 5*time.Second, Running
	}, WarehouseSlow, Look, "the last load took 60 s", "describe-clusters", false},
	{"slow before, and nothing to load since", inside, func(f *Facts) { f.Loads.Took, f.Loads.Last = time.Minute, ago(40*time.Second) }, Arriving, Fine, "", "", false},
	{"full", inside, func(f *Facts) { f.Loads.Trouble = &Trouble{Kind: Full, Says: "Disk Full"} }, WarehouseFull, Act, "The warehouse is full", "describe-clusters", true},
	{"no tables", inside, func(f *Facts) { f.Loads.Trouble = &Trouble{Kind: NoTable, Says: "x"} }, NoTables, Act, "lacks a table", "schema --apply", true},
	{"denied there", inside, func(f *Facts) { f.Loads.Trouble = &Trouble{Kind: Denied, Says: "redshift-data:X"} }, WarehouseDenied, Act, "redshift-data:X", "doctor", true},
	{"a staged batch that nobody loads", inside, func(f *Facts) { f.Loads.Staged = Staged{"b", 2, 120_000} }, StagedLate, Look, "staged for 2 min, and b,", "status", false},
	{"a staged batch that waits for its load", inside, func(f *Facts) { f.Loads.Staged = Staged{"b", 2, 12_000} }, Arriving, Fine, "50 records", "", false},
	{"a staged batch that nobody loads, from outside", outside, func(f *Facts) { f.Loads.Staged = Staged{"b", 1, 120_000} }, StagedLate, Look, "staged for 2 min, and b,", "status", false},
	{"a bucket that does not let the worker remove", inside, func(f *Facts) {
		f.Loads.Apart = &Trouble{Kind: Denied, Says: "s3:DeleteObject"}
	}, LoadsApart, Look, "it loads for itself, and the more workers do, the later orders arrive: s3:DeleteObject", "doctor", false},
	{"refused by itself", inside, func(f *Facts) { f.Loads.Trouble = &Trouble{Kind: Failing, Says: "words"} }, WarehouseFailing, Act, "words", "doctor", true},
	{"the bucket for staging denied", inside, func(f *Facts) {
		f.Loads.Trouble, f.Loads.Staging = &Trouble{Kind: Denied, Says: "s3:PutObject"}, true
	}, StagingFailing, Act, "The bucket of STAGING_URL refuses", "doctor", true},
	{"the bucket for staging away", inside, func(f *Facts) {
		f.Loads.Trouble, f.Loads.Staging = &Trouble{Kind: Unreached, Says: "refused"}, true
	}, StagingFailing, Act, "cannot be reached", "doctor", true},
	{"letters full", inside, func(f *Facts) { f.Letters.Trouble = &Trouble{Kind: Full} }, LettersFull, Act, "dead-letter store is full", "df -h /var/letters", true},
	{"letters denied", inside, func(f *Facts) { f.Letters.Trouble = &Trouble{Kind: Denied, Says: "s3:PutObject"} }, LettersFailing, Act, "s3:PutObject", "doctor", true},

	{"leases throttled", inside, func(f *Facts) { f.Leases.Trouble = &Trouble{Kind: Throttled, Since: ago(5 * time.Second)} }, LeasesThrottled, Look, "DynamoDB throttles", "describe-table --table-name leases", false},
	{"leases throttled and lost", inside, func(f *Facts) {
		f.Leases.Trouble, f.Leases.Mine = &Trouble{Kind: Throttled, Since: ago(20 * time.Second)}, 0
	}, LeasesThrottled, Act, "throttles", "describe-table", true},
	{"one round failed", inside, func(f *Facts) { f.Leases.Trouble = &Trouble{Kind: Failing, Since: ago(time.Second)} }, Arriving, Fine, "", "", false},
	{"a renewal throttled", inside, func(f *Facts) {
		f.Problems = []Problem{{At: ago(time.Second), Message: "m", Cause: "too much", Hint: "h", Kind: Throttled}, {At: ago(9 * time.Second), Message: "cannot renew", Cause: "rate", Hint: "more", Kind: Throttled, Leases: true}}
	}, LeasesThrottled, Look, "DynamoDB throttles the lease table leases now and then: rate", "describe-table --table-name leases", false},
	{"a renewal throttled a while ago", inside, func(f *Facts) {
		f.Problems = []Problem{{At: ago(30 * time.Second), Message: "cannot renew", Kind: Throttled, Leases: true}}
	}, Arriving, Fine, "", "", false},
	{"lease table gone", outside, func(f *Facts) { f.Leases.Lost = true }, LeasesGone, Act, "leases is gone", "describe-table", false},
	{"stream replaced", inside, func(f *Facts) {
		f.Leases.Alarms = []Alarm{{What: "positions of another stream", Next: "start over", Stream: true}}
	}, OtherStream, Act, "Positions of another", "positions --start-over", true},
	{"contradiction", inside, func(f *Facts) { f.Leases.Alarms = []Alarm{{What: "s1 is open", Next: "reset"}} }, Contradiction, Act, "s1 is open", "", true},
	{"nothing listens", outside, func(f *Facts) {
		refused := &Trouble{Kind: Unreached, Says: "x", Addr: "127.0.0.1:4599"}
		f.Stream.Trouble, f.Leases.Trouble, f.Loads.Trouble, f.Lag.Known, f.Told = refused, refused, refused, false, nil
		f.Leases.Live = 0
	}, EndpointDown, Act, "Nothing listens on 127.0.0.1:4599", "localaws --addr 127.0.0.1:4599", true},
	{"stream gone", outside, func(f *Facts) { f.Stream.Trouble, f.Lag.Known = &Trouble{Kind: Gone}, false }, StreamGone, Act, "order-events is not there", "describe-stream-summary", true},

	{"no worker", outside, func(f *Facts) {
		f.Leases.Live, f.Leases.Unowned, f.Told, f.Lag.Committed = 0, 4, nil, 30*time.Second
	}, NoWorker, Act, "No worker is running, and orders of the last 30 s are not loaded", "start", false},
	{"dead owners alone", outside, func(f *Facts) { f.Leases.Dead, f.Leases.Live = []Dead{{Worker: "b", Shards: 2}}, 0 }, WorkerDead, Act, "b, does not renew its leases, nor does any other", "status", false},
	{"a dead owner", outside, func(f *Facts) { f.Leases.Dead = []Dead{{Worker: "b", Shards: 2}} }, WorkerDead, Act, "owner of 2 shards, b,", "status", false},
	{"a lost worker", inside, func(f *Facts) { f.Leases.Missed = []Dead{{Worker: "b", For: time.Minute}} }, WorkerMissed, Look, "b stopped renewing 60 s ago", "restart", false},
	{"a stuck worker", outside, func(f *Facts) {
		f.Lag.Committed = 2 * time.Minute
		f.Lag.By = []ShardLag{{"s1", "b", 2 * time.Minute}, {"s2", "a", time.Second}}
	}, Stuck, Act, "worker b are 2 min behind", "restart", false},
	{"hangs", inside, func(f *Facts) { f.Hangs = "the loader" }, Hangs, Act, "hangs", "restart", true},

	{"clock off", inside, func(f *Facts) { f.Clock.Skew = -2 * time.Minute }, ClockOff, Look, "2 min behind AWS's", "chronyc", false},
	{"clock far off", inside, func(f *Facts) { f.Clock.Skew = 10 * time.Minute }, ClockOff, Act, "10 min ahead of AWS's", "chronyc", false},
	{"metrics denied", inside, func(f *Facts) { f.Metrics.Trouble = &Trouble{Kind: Denied, Says: "cloudwatch:PutMetricData"} }, MetricsFailing, Look, "PutMetricData", "doctor", false},
	{"a weekend's pause", inside, func(f *Facts) { f.Lag.Committed = 13 * time.Hour }, Trimming, Act, "13 h old, and is trimmed in 11 h", "increase-stream-retention-period", false},
	{"a long pause", inside, func(f *Facts) { f.Lag.Committed = 7 * time.Hour }, Trimming, Look, "7 h old", "--retention-period-hours 72", false},
	{"behind", inside, func(f *Facts) { f.Lag.Committed = 2 * time.Minute }, Behind, Look, "2 min behind what arrived; 50 records a second", "status --watch", false},
	{"an error of just now", inside, func(f *Facts) {
		f.Problems = []Problem{{At: ago(5 * time.Second), Error: true, Message: "reading failed", Cause: "y", Hint: "do z"}}
	}, Logged, Look, "Reading failed: y", "journalctl", false},
	{"a warning of just now", inside, func(f *Facts) {
		f.Problems = []Problem{{At: ago(19 * time.Second), Message: "a staged batch cannot be read", Cause: "y", Kind: Failing}}
	}, Logged, Look, "A staged batch cannot be read: y", "journalctl", false},
	{"a warning without an error", inside, func(f *Facts) { f.Problems = []Problem{{At: noon, Message: "loads are made smaller"}} }, Logged, Look, "Loads are made smaller", "journalctl", false},
	{"a warning of before", inside, func(f *Facts) { f.Problems = []Problem{{At: ago(20 * time.Second), Message: "x"}} }, Arriving, Fine, "", "", false},
	{"a throttled read", inside, func(f *Facts) { f.Problems = []Problem{{At: noon, Message: "a read was throttled", Kind: Throttled}} }, Arriving, Fine, "", "", false},
	{"a load that met another", inside, func(f *Facts) { f.Problems = []Problem{{At: noon, Message: "x", Kind: Conflict}} }, Arriving, Fine, "", "", false},
	{"a warning behind a throttled read", inside, func(f *Facts) {
		f.Problems = []Problem{{At: noon, Message: "x", Kind: Throttled}, {At: ago(time.Second), Message: "cannot renew a lease", Kind: Unreached}}
	}, Logged, Look, "Cannot renew a lease", "journalctl", false},
	{"an error of before", inside, func(f *Facts) { f.Problems = []Problem{{At: ago(time.Minute), Error: true}} }, Arriving, Fine, "", "", false},

	{"another says so", inside, func(f *Facts) {
		f.Told[0].Finding = Finding{Cause: WarehouseFull, State: Act, Says: "it is full", Stops: true}
	}, WarehouseFull, Act, "it is full", "", false},
	{"all say so", outside, func(f *Facts) {
		for i := range f.Told {
			f.Told[i].Finding = Finding{Cause: RejectedAll, State: Act, Says: "all rejected"}
		}
	}, RejectedAll, Act, "all rejected", "", false},
	{"nobody says anything", outside, func(f *Facts) { f.Told = nil }, Mute, Look, "do not say", "", false},
	{"no answer for all shards", outside, func(f *Facts) { f.Lag.Known = false }, Unknown, Look, "not known of all shards", "doctor", false},
}

func TestVerdicts(t *testing.T) {
	for _, c := range verdictCases {
		t.Run(c.name, func(t *testing.T) {
			f := c.of()
			c.change(&f)
			v := Of(f)
			if v.Cause != c.cause || v.State != c.state || !strings.Contains(v.Says, c.says) || !strings.Contains(v.Command, c.command) || v.Stops != c.stops {
				t.Errorf("got %+v", v.Finding)
			}
			if v.State != Fine && v.Step() == "" && v.Of == "" && f.Told != nil && c.name != "all say so" {
				t.Error("it has no next step")
			}
			if strings.HasSuffix(v.Says, ".") {
				t.Error("the sentence ends in a full stop")
			}
		})
	}
}

// Nothing is called fine because nothing is known.
func TestWhatIsNotKnownIsNotFine(t *testing.T) {
	if v := Of(Facts{}); v.State == Fine || v.State == 0 {
		t.Errorf("of nothing: %+v", v.Finding)
	}
	if v := Of(Facts{Now: noon, Worker: "a"}); v.State == Fine || v.State == 0 {
		t.Errorf("of nothing, from inside: %+v", v.Finding)
	}
	for name, forget := range map[string]func(*Facts){
		"leases":     func(f *Facts) { f.Leases.At = time.Time{} },
		"lag":        func(f *Facts) { f.Lag = Lag{} },
		"reads":      func(f *Facts) { f.Reads = Reads{} },
		"loads":      func(f *Facts) { f.Loads = Loads{} },
		"letters":    func(f *Facts) { f.Letters = Write{} },
		"rejections": func(f *Facts) { f.Rejects = Rejects{} },
		"old leases": func(f *Facts) { f.Leases.At, f.Leases.Mine = ago(time.Hour), 0 },
		"no shards":  func(f *Facts) { f.Leases.Shards, f.Leases.Mine = 0, 0 },
	} {
		f := inside()
		forget(&f)
		if v := Of(f); v.State == Fine {
			t.Errorf("without %s: %+v", name, v.Finding)
		}
	}
	for name, forget := range map[string]func(*Facts){
		"leases":             func(f *Facts) { f.Leases.At = time.Time{} },
		"lag":                func(f *Facts) { f.Lag = Lag{} },
		"what workers say":   func(f *Facts) { f.Told = nil },
		"the stream's state": func(f *Facts) { f.Stream = Stream{Source: Source{Asked: true, Trouble: &Trouble{Kind: Failing}}} },
	} {
		f := outside()
		forget(&f)
		if v := Of(f); v.State == Fine {
			t.Errorf("from outside, without %s: %+v", name, v.Finding)
		}
	}
}

// That another worker is not well is told, and not passed on as one's own: two would
// go on telling each other.
func TestWhatOthersSayIsNotPassedOn(t *testing.T) {
	f := inside()
	f.Told[0].Finding = Finding{Cause: WarehouseFull, State: Act, Says: "it is full"}
	if v := Of(f); v.State != Act || v.Of != "worker b" || v.Own().State != Fine {
		t.Errorf("%+v, own %+v", v.Finding, v.Own())
	}
}

// A table that is gone does not say that no worker runs.
func TestWithoutATableNobodyIsSaidNotToRun(t *testing.T) {
	f := outside()
	f.Leases.Trouble, f.Leases.Live, f.Leases.Unowned, f.Told = &Trouble{Kind: Gone}, 0, 4, nil
	if v := Of(f); v.Cause != LeasesGone || len(v.Others) > 0 {
		t.Errorf("%+v", v)
	}
}

// Every cause is met by a case here, and every one is in the list.
func TestCausesAreAllThere(t *testing.T) {
	met := map[Cause]bool{}
	for _, c := range verdictCases {
		met[c.cause] = true
	}
	for _, c := range Causes() {
		switch c {
		case StreamFailing, LeasesFailing, Unowned, WarehouseSilent, ReadsFailing: // as the others of their kind
			continue
		}
		if !met[c] {
			t.Errorf("no case finds %s", c)
		}
	}
}

func TestWordsCarryWhatIsTold(t *testing.T) {
	f := inside()
	f.Rejects.Rejected = 900
	own := Of(f).Own()
	self := Self{Version: "v2", Since: noon, Page: "http://10.0.0.7:8080/", Rate: 12.5, Rejected: 1.5, Waiting: 7, Staged: Staged{Loader: "a", Batches: 2, OldestMillis: 1500}}
	got, told, ok := ParseWord(Word(own, self))
	if !ok || got != own || told == nil || *told != self {
		t.Errorf("%+v of %+v came as %+v of %+v", own, self, got, told)
	}
	// One of the version before, which told no more than how it goes.
	if f, told, ok := ParseWord(`{"cause":"caught-up","state":"fine","says":"well"}`); !ok || f.Says != "well" || told != nil {
		t.Errorf("a word without a self came as %+v, %+v, %t", f, told, ok)
	}
	for _, text := range []string{"", "{}", "null", `{"state":"odd"}`, `{"self":{}}`, "\x00"} {
		if f, _, ok := ParseWord(text); ok {
			t.Errorf("%q was taken for %+v", text, f)
		}
	}
	long := Finding{Cause: Logged, State: Look, Says: strings.Repeat("ö", 5000), Next: strings.Repeat("x", 5000)}
	if n := len(Word(long, self)); n > 2000 {
		t.Errorf("a word of %d bytes", n)
	}
}

// Who loads for all knows best what waits; another one's word does where that is mute.
func TestWhatWaitsIsAsTheOneThatLoadsSays(t *testing.T) {
	says := func(worker string, alive bool, s Staged) Member {
		return Member{Worker: worker, Alive: alive, Self: &Self{Staged: s}}
	}
	mute, b, c := Member{Worker: "a", Alive: true}, says("b", true, Staged{"c", 1, 10}), says("c", true, Staged{"c", 3, 2400})
	for want, members := range map[string][]Member{
		"": {mute, says("b", false, Staged{"c", 1, 10})}, "c loads for all; 1 batch waits, the oldest for 10 ms": {mute, b},
		"c loads for all; 3 batches wait, the oldest for 2 s": {mute, b, c, b}, "c loads for all; nothing is staged": {says("c", true, Staged{Loader: "c"})},
	} {
		if got := Together(members).Says(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A sum is of all who live, or of nobody: one that does not say may do the most.
func TestTotalsAreOfAllWhoLive(t *testing.T) {
	a, b := &Self{Rate: 10, Rejected: 1, Waiting: 3}, &Self{Rate: 5, Waiting: 4}
	for name, c := range map[string]struct {
		members []Member
		want    Self
		known   bool
	}{
		"two":         {[]Member{{Alive: true, Self: a}, {Alive: true, Self: b}}, Self{Rate: 15, Rejected: 1, Waiting: 7}, true},
		"one is dead": {[]Member{{Alive: true, Self: a}, {Self: b}}, *a, true},
		"one is mute": {[]Member{{Alive: true, Self: a}, {Alive: true}}, Self{}, false},
		"none":        {nil, Self{}, false},
		"all dead":    {[]Member{{Self: a}}, Self{}, false},
	} {
		if sum, known := Total(c.members); sum != c.want || known != c.known {
			t.Errorf("%s: %+v, %t; want %+v, %t", name, sum, known, c.want, c.known)
		}
	}
}

// A finding is a line, whatever the error is joined of that it comes from.
func TestAFindingIsALine(t *testing.T) {
	for name, f := range map[string]Facts{
		"trouble": {Loads: Loads{Write: Write{Known: true, Trouble: &Trouble{Kind: Denied, Says: "a\nb"}}}},
		"problem": {Problems: []Problem{{Error: true, Message: "load failed", Cause: "a\nb"}}},
	} {
		said := false
		for _, one := range Of(f).All() {
			said = said || strings.Contains(one.Says, "a; b")
			if strings.Contains(one.Says, "\n") {
				t.Errorf("%s: %q", name, one.Says)
			}
		}
		if !said {
			t.Errorf("%s: it does not say a and b", name)
		}
	}
}

func TestTimesAsPeopleSayThem(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 850 * time.Millisecond: "850 ms", 42400 * time.Millisecond: "42 s", 91 * time.Second: "91 s", 119 * time.Second: "119 s",
		119600 * time.Millisecond: "2 min", 2 * time.Minute: "2 min", 150 * time.Second: "2.5 min", -150 * time.Second: "2.5 min",
		9*time.Minute + 59*time.Second: "10 min", 12*time.Minute + 20*time.Second: "12 min", 90 * time.Minute: "1.5 h", 49 * time.Hour: "2 days",
	} {
		if got := words(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
