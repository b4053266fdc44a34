package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// Times after which something is worth a look, or has to be acted on. All of them
// are below half a minute where a look is meant: whoever asks then must be told.
const (
	slowAnswer   = 8 * time.Second  // of the warehouse or the dead-letter store
	missing      = time.Minute      // after which an answer counts as missing
	slowLoad     = 20 * time.Second // a load of Redshift's takes 4 to 12 s
	slowJust     = 25 * time.Second // how long ago a slow load still counts: the next one is slow by then
	slowLately   = 90 * time.Second // and while another one is under way
	readsFail    = 8 * time.Second  // of one shard
	readsFailAll = time.Minute      // of all shards
	leasesFail   = 3 * time.Second  // two rounds and more
	staleAfter   = time.Minute      // after which an answer says nothing about now
	behindLook   = time.Minute
	shortRoom    = 3 * time.Hour // until records are trimmed
	skewLook     = time.Minute
	skewAct      = 5 * time.Minute // beyond which AWS refuses signatures
	problemLasts = 20 * time.Second
	stagedLate   = 90 * time.Second // its owner has loaded it itself by then
)

// rules look for one thing each. They come in the order of the causes.
var rules = []func(*Facts) []Finding{
	hangs, replaced, down, streamed, clocked, leased, contradicted, owned, keeping, loading, reading, rejecting, hot, trimmed, behind, published, logged, starting, blind,
}

// one is a list of a finding, or of none.
func one(is bool, f Finding) []Finding {
	if !is {
		return nil
	}
	return []Finding{f}
}

func hangs(f *Facts) []Finding {
	return one(f.Hangs != "", Finding{
		Cause: Hangs, State: Act, Stops: true, Says: "This worker hangs: " + f.Hangs,
		Next: "restart it; nothing is lost", Command: "systemctl restart analytics-worker",
	})
}

func replaced(f *Facts) []Finding {
	for _, a := range f.Leases.Alarms {
		if a.Stream {
			return []Finding{{Cause: OtherStream, State: Act, Stops: true, Says: sentence(a.What), Next: a.Next, Command: "analytics-worker positions --start-over --dry-run"}}
		}
	}
	return nil
}

func contradicted(f *Facts) (out []Finding) {
	for _, a := range f.Leases.Alarms {
		if !a.Stream {
			out = append(out, Finding{Cause: Contradiction, State: Act, Stops: true, Says: sentence(a.What), Next: a.Next})
		}
	}
	return out
}

// down says once that nothing listens where all services should be: an emulator that
// was not started, or a wrong AWS_ENDPOINT_URL.
func down(f *Facts) []Finding {
	s, w := f.Stream.Trouble, f.Loads.Trouble
	if s == nil || w == nil || s.Addr == "" || s.Addr != w.Addr {
		return nil
	}
	return []Finding{Down(s.Addr)}
}

// Down is the finding that nothing listens at the address of all services.
func Down(addr string) Finding {
	out := Finding{
		Cause: EndpointDown, State: Act, Stops: true, Says: "Nothing listens on " + addr + ", where all AWS calls go",
		Next: "correct AWS_ENDPOINT_URL, or start what should be there", Command: "echo $AWS_ENDPOINT_URL",
	}
	if strings.HasPrefix(addr, "127.0.0.1:") || strings.HasPrefix(addr, "[::1]:") {
		out.Command = "localaws --addr " + addr
	}
	return out
}

// under are the causes that a finding about the endpoint explains.
var under = []Cause{StreamFailing, LeasesFailing, WarehouseSilent, ReadsFailing, Unknown}

func streamed(f *Facts) []Finding {
	s, t := &f.Stream, f.Stream.Trouble
	switch {
	case s.Status == "DELETING" || t != nil && t.Kind == Gone:
		return []Finding{{
			Cause: StreamGone, State: Act, Stops: true, Says: "The stream " + f.Names.Stream + " is not there",
			Next: t.nextOr("check KINESIS_STREAM_NAME and AWS_REGION, or make it again"), Command: "aws kinesis describe-stream-summary --stream-name " + f.Names.Stream,
		}}
	case t != nil && (!t.Kind.passes() || f.outside() || t.lasted(f.Now) > slowAnswer):
		return []Finding{f.denied(StreamFailing, Look, "The stream cannot be looked at", t)}
	}
	return nil
}

func clocked(f *Facts) []Finding {
	skew := f.Clock.Skew.Abs().Round(time.Second)
	if !f.Clock.Known || skew <= skewLook {
		return nil
	}
	out := Finding{
		Cause: ClockOff, State: Look, Says: fmt.Sprintf("The clock of this machine is %s %s AWS's", words(skew), sign(f.Clock.Skew)),
		Next: "let the machine keep its time", Command: "chronyc tracking",
	}
	if skew > skewAct {
		out.State = Act
		out.Says += ": calls are refused beyond five minutes"
	}
	return []Finding{out}
}

func sign(d time.Duration) string {
	if d < 0 {
		return "behind"
	}
	return "ahead of"
}

func leased(f *Facts) []Finding {
	l, t := &f.Leases, f.Leases.Trouble
	look := "aws dynamodb describe-table --table-name " + f.Names.LeaseTable
	switch {
	case !l.Shared && f.outside():
		return nil
	case l.Lost || t != nil && t.Kind == Gone:
		return []Finding{{
			Cause: LeasesGone, State: Act, Stops: !f.outside() && l.Mine == 0, Says: "The lease table " + f.Names.LeaseTable + " is gone, so nobody owns a shard",
			Next: t.nextOr("a running worker makes it again within seconds, from the warehouse's positions; if it stays away, let the role make it (dynamodb:CreateTable) and see who deletes it"), Command: look,
		}}
	case t == nil && !l.At.IsZero() && f.Now.Sub(l.At) > staleAfter && l.Mine == 0:
		return []Finding{{
			Cause: LeasesFailing, State: Act, Stops: true, Says: fmt.Sprintf("The leases could not be read for %s", words(f.Now.Sub(l.At))),
			Next: "see the log of this worker", Command: "analytics-worker doctor",
		}}
	case t == nil || t.Kind.passes() && !f.outside() && t.lasted(f.Now) < leasesFail:
		return f.renewing(look)
	case t.Kind == Throttled:
		out := Finding{
			Cause: LeasesThrottled, State: Look, Says: "DynamoDB throttles the lease table " + f.Names.LeaseTable,
			Next: t.next(), Command: look,
		}
		return []Finding{f.lasting(out, t)}
	}
	return []Finding{f.lasting(f.denied(LeasesFailing, Look, "The lease table "+f.Names.LeaseTable+" cannot be used", t), t)}
}

// renewing finds that DynamoDB throttles one renewal or another, to the end of its tries,
// while the table can be read.
func (f *Facts) renewing(look string) []Finding {
	for i := range f.Problems {
		if p := &f.Problems[i]; p.Leases && p.Kind == Throttled && f.Now.Sub(p.At) < problemLasts {
			return []Finding{{
				Cause: LeasesThrottled, State: Look, Says: "DynamoDB throttles the lease table " + f.Names.LeaseTable + " now and then: " + p.Cause,
				Next: cmp.Or(p.Hint, "see its capacity, and who else reads it"), Command: look,
			}}
		}
	}
	return nil
}

// lasting makes a finding about leases one to act on where it keeps this worker
// from its work: it owns nothing, or is about to.
func (f *Facts) lasting(out Finding, t *Trouble) Finding {
	if f.outside() {
		return out
	}
	if f.Leases.Mine == 0 || t.lasted(f.Now) > missing {
		out.State, out.Stops = Act, true
	}
	return out
}

func owned(f *Facts) []Finding {
	l := &f.Leases
	var out []Finding
	for _, d := range l.Dead {
		says := fmt.Sprintf("The owner of %s, %s, does not renew its leases", plural.Of(d.Shards, "shard"), d.Worker)
		one := Finding{
			Cause: WorkerDead, State: Act, Says: says, Command: "analytics-worker status",
			Next: "others take its shards within ten seconds; see whether it has ended or hangs, and restart it",
		}
		if f.outside() && l.Live == 0 { // none can say why
			one.Says += ", nor does any other worker"
			one.Next = "start one if none runs; if one does, its role may lack dynamodb:UpdateItem on the lease table " + f.Names.LeaseTable + ", which analytics-worker doctor tries"
		}
		out = append(out, one)
	}
	for _, d := range l.Missed {
		out = append(out, Finding{
			Cause: WorkerMissed, State: Look, Says: fmt.Sprintf("The worker %s stopped renewing %s ago without giving its shards back, and has not come back", d.Worker, words(d.For)),
			Next: "others have its shards; see whether it hangs, and restart it", Command: "systemctl restart analytics-worker",
		})
	}
	switch {
	case l.Unowned == 0, l.Lost, l.Trouble != nil && l.Trouble.Kind == Gone: // without a table nobody can say who has them
	case f.outside() && l.Never:
		out = append(out, Finding{
			Cause: NoWorker, State: Look, Says: plural.Either(l.Unowned, "shard has", "shards have") + " never been worked on: no worker has run yet",
			Next: "start one", Command: "systemctl start analytics-worker",
		})
	case f.outside() && l.Live == 0 && len(l.Dead) == 0:
		says := "No worker is running"
		if f.Lag.Committed > 0 {
			says += fmt.Sprintf(", and orders of the last %s are not loaded", words(f.Lag.Committed))
		}
		out = append(out, Finding{Cause: NoWorker, State: Act, Says: says, Next: "start one", Command: "systemctl start analytics-worker"})
	case len(l.Dead) == 0: // else they are the dead worker's
		out = append(out, Finding{
			Cause: Unowned, State: Look, Says: fmt.Sprintf("%s no owner", plural.Either(l.Unowned, "shard has", "shards have")),
			Next: "they are taken within seconds; if it stays, the log of the workers says why", Command: "analytics-worker status",
		})
	}
	return out
}

func hot(f *Facts) (out []Finding) {
	for _, h := range f.Reads.Hot {
		command := "aws kinesis describe-stream-summary --stream-name " + f.Names.Stream
		if h.Middle != "" {
			command = fmt.Sprintf("aws kinesis split-shard --stream-name %s --shard-to-split %s --new-starting-hash-key %s", f.Names.Stream, h.Shard, h.Middle)
		}
		out = append(out, Finding{
			Cause: HotShard, State: Look, Command: command,
			Says: fmt.Sprintf("Shard %s takes %s records and %s KiB a second, near the most that one may, and the others take %s of that in the mean", h.Shard, figure(h.Records), figure(h.Bytes/1024), percent(h.Others)),
			Next: "a key that many records share makes one shard hot: spread the keys, or split the shard",
		})
	}
	return out
}

func trimmed(f *Facts) []Finding {
	keep, lag := f.Stream.Retention, f.Lag.Committed
	if keep == 0 || lag == 0 || lag < keep/4 && keep-lag > min(shortRoom, keep/4) {
		return nil
	}
	out := Finding{
		Cause: Trimming, State: Look, Says: fmt.Sprintf("The oldest record that is not loaded is %s old, and is trimmed in %s", words(lag), words(keep-lag)),
		Next: "lengthen the stream's retention now, then mend what holds loading up", Command: fmt.Sprintf("aws kinesis increase-stream-retention-period --stream-name %s --retention-period-hours %d", f.Names.Stream, retention(keep)),
	}
	if lag > keep/2 || keep-lag < min(shortRoom, keep/4) {
		out.State = Act
	}
	return []Finding{out}
}

// retention is the next longer one that is worth it, in hours: three times as much,
// up to the year that Kinesis keeps.
func retention(now time.Duration) int { return min(3*int(now.Hours()), 8760) }

func behind(f *Facts) (out []Finding) {
	l := &f.Lag
	if l.Committed <= behindLook {
		return nil
	}
	// One worker's shards alone, where those of others are loaded: it is that worker.
	if owner := stuck(l); owner != "" && f.outside() {
		return []Finding{{
			Cause: Stuck, State: Act, Says: fmt.Sprintf("The shards of worker %s are %s behind, and those of the others are not", owner, words(l.Committed)),
			Next: "see its page and its log; if it does nothing, restart it", Command: "systemctl restart analytics-worker",
		}}
	}
	out = []Finding{{
		Cause: Behind, State: Look, Says: fmt.Sprintf("What can be queried is %s behind what arrived", words(l.Committed)),
		Next: "if it keeps growing: more workers where reading is slow (up to one a shard), larger loads where loading is", Command: "analytics-worker status --watch",
	}}
	if f.Loads.Known && f.Loads.Rate > 0 {
		out[0].Says += fmt.Sprintf("; %s records a second are being loaded", figure(f.Loads.Rate))
	}
	return out
}

// stuck is the owner of all shards that are far behind where others' are not.
func stuck(l *Lag) (owner string) {
	well := false
	for _, s := range l.By {
		switch {
		case s.Lag <= behindLook/2:
			well = well || s.Owner != ""
		case owner == "":
			owner = s.Owner
		case s.Owner != owner:
			return ""
		}
	}
	if !well || slices.ContainsFunc(l.By, func(s ShardLag) bool { return s.Owner == owner && s.Lag <= behindLook/2 }) {
		return ""
	}
	return owner
}

func published(f *Facts) []Finding {
	t := f.Metrics.Trouble
	if t == nil {
		return nil
	}
	out := f.denied(MetricsFailing, Look, "CloudWatch does not take the metrics: alarms and scaling see nothing, and orders are loaded all the same", t)
	return []Finding{out}
}

// logged is the newest error of the last seconds.
func logged(f *Facts) []Finding {
	return f.newest(func(p *Problem) bool { return p.Error })
}

// warned is the newest warning of the last seconds, for where nothing else was found:
// it turns fine into a look, and explains nothing that is worse. A call that was
// throttled, or a load that met another's transaction, is tried again and is how the
// services share what they have: this project's own tools bring it about, and whether
// there is too much of it is for the rules on reads, leases and loads.
func warned(f *Facts) []Finding {
	return f.newest(func(p *Problem) bool { return !p.Error && p.Kind != Throttled && p.Kind != Conflict })
}

// newest is the newest problem of the last seconds that counts.
func (f *Facts) newest(counts func(*Problem) bool) []Finding {
	for i := range f.Problems {
		p := &f.Problems[i]
		if f.Now.Sub(p.At) >= problemLasts || !counts(p) {
			continue
		}
		out := Finding{Cause: Logged, State: Look, Says: sentence(p.Message), Next: cmp.Or(p.Hint, "see the log"), Command: "journalctl -u analytics-worker -n 50"}
		if p.Cause != "" {
			out.Says += ": " + p.Cause
		}
		return []Finding{out}
	}
	return nil
}

func starting(f *Facts) []Finding {
	out := Finding{
		Cause: Starting, State: Look, Stops: true, Says: "This worker is starting: the leases were not read yet",
		Next: "it takes seconds; if it stays, see its log", Command: "journalctl -u analytics-worker -n 50",
	}
	switch {
	case f.Starting:
	case f.unread() && f.Leases.Mine == 1:
		out.Says, out.Next = "This worker is starting: its shard is not read yet", claimed
	case f.unread():
		out.Says, out.Next = fmt.Sprintf("This worker is starting: none of its %d shards is read yet", f.Leases.Mine), claimed
	default:
		return nil
	}
	return []Finding{out}
}

// unread reports whether a worker has shards and reads none of them yet.
func (f *Facts) unread() bool {
	return !f.outside() && f.Leases.Mine > 0 && f.Lag.Unread >= f.Leases.Mine
}

// claimed says what a shard waits for that is not read yet.
const claimed = "shards are claimed in the warehouse first, after the loads and claims that are under way; if it stays, see the log"

// blind says what is not known and has to be for it to be well.
func blind(f *Facts) []Finding {
	switch {
	case f.Starting, f.unread():
	case f.outside() && !f.Lag.Known:
		return []Finding{{
			Cause: Unknown, State: Look, Says: "How far loading is behind is not known of all shards",
			Next: "mend first what does not answer", Command: "analytics-worker doctor",
		}}
	case f.outside() && f.Leases.Shared && f.Leases.At.IsZero() && f.Leases.Trouble == nil,
		!f.outside() && f.Leases.At.IsZero() && f.Leases.Trouble == nil,
		!f.outside() && f.Leases.Mine > 0 && !(f.Lag.Known && f.Reads.Known && f.Loads.Known && f.Letters.Known && f.Rejects.Known):
		out := Finding{Cause: Unknown, State: Look, Says: says[Unknown], Next: "see the log of this worker", Command: "journalctl -u analytics-worker -n 50"}
		if n := f.Lag.Unread; n > 0 {
			out.Says += fmt.Sprintf(" on %d of this worker's %d shards, not read yet", n, f.Leases.Mine)
			out.Next = claimed
		}
		return []Finding{out}
	}
	return nil
}
