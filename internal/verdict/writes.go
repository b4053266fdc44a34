package verdict

import (
	"fmt"
	"strings"
	"time"
)

func keeping(f *Facts) []Finding {
	w := &f.Letters
	const stops = ", and nothing is loaded before it has what was rejected"
	look := "analytics-worker doctor"
	if path, is := strings.CutPrefix(f.Names.Letters, "file://"); is {
		look = "df -h " + path
	}
	switch {
	case w.Trouble != nil && w.Trouble.Kind == Full:
		return []Finding{{
			Cause: LettersFull, State: Act, Stops: true, Says: "The dead-letter store is full" + stops,
			Next: w.Trouble.next(), Command: look,
		}}
	case w.Trouble != nil:
		out := f.denied(LettersFailing, Act, "The dead-letter store "+f.Names.Letters+" refuses or cannot be reached"+stops, w.Trouble)
		out.State, out.Stops = Act, true
		return []Finding{out}
	case w.Waiting >= slowAnswer:
		return []Finding{{
			Cause: LettersFailing, State: state(w.Waiting), Stops: w.Waiting > missing, Says: fmt.Sprintf("The dead-letter store has not answered for %s%s", words(w.Waiting), stops),
			Next: "see whether it can be reached", Command: look,
		}}
	}
	return nil
}

// state is one to look at, until an answer counts as missing.
func state(waited time.Duration) State {
	if waited > missing {
		return Act
	}
	return Look
}

const kept = "; orders are read and not loaded, and nothing is lost"

func loading(f *Facts) []Finding {
	w := &f.Loads.Write
	switch {
	case w.Trouble != nil && w.Staging:
		out := f.denied(StagingFailing, Act, "The bucket of STAGING_URL refuses or cannot be reached"+kept, w.Trouble)
		out.State, out.Stops = Act, true
		return []Finding{out}
	case w.Trouble != nil:
		return []Finding{f.refused(w.Trouble)}
	case w.Waiting >= slowAnswer && w.Phase == Queued:
		return []Finding{f.paused(w.Waiting)}
	case w.Waiting >= slowAnswer && w.Phase == Locking:
		return []Finding{{
			Cause: WarehouseLocked, State: state(w.Waiting), Stops: w.Waiting > missing, Command: "analytics-worker doctor",
			Says: fmt.Sprintf("Loads have waited for worker_load_lock for %s: another session holds it", words(w.Waiting)),
			Next: "unless it is a load or a claim of another worker, end that session (docs/OPERATIONS.md, \"Somebody holds worker_load_lock\"); doctor names it where it may see it",
		}}
	case w.Waiting >= slowAnswer && w.Phase == NotKnown:
		return []Finding{{
			Cause: WarehousePaused, State: state(w.Waiting), Stops: w.Waiting > missing, Says: fmt.Sprintf("The warehouse has not answered for %s", words(w.Waiting)),
			Next: "see whether it is paused, resizing or overloaded", Command: f.describe(),
		}}
	case w.Waiting >= slowLoad:
		return []Finding{f.slow(fmt.Sprintf("The warehouse is slow: a load has been running for %s", words(w.Waiting)), w.Waiting)}
	case w.Took > slowLoad && (f.Now.Sub(w.Last) < slowJust || w.Waiting > 0 && f.Now.Sub(w.Last) < slowLately):
		return []Finding{f.slow(fmt.Sprintf("The warehouse is slow: the last load took %s", words(w.Took)), 0)}
	}
	return append(f.apart(), f.staged()...)
}

// apart tells of a worker that may not do what loading together takes. Orders arrive all
// the same, if later.
func (f *Facts) apart() []Finding {
	if f.Loads.Apart == nil {
		return nil
	}
	out := f.denied(LoadsApart, Look, "This worker may not do all in the bucket that loading with others takes: it loads for itself, and the more workers do, the later orders arrive", f.Loads.Apart)
	out.State = Look
	return []Finding{out}
}

// staged tells of a batch that waits for long: the load that is to have it takes long,
// or nobody makes it. Where none is known to run its owner loads it after a minute, if
// it lives.
func (f *Facts) staged() []Finding {
	s := f.Loads.Staged
	return one(s.Oldest() > stagedLate, Finding{
		Cause: StagedLate, State: Look, Says: fmt.Sprintf("A batch has been staged for %s, and %s, which loads for all workers, has not loaded it", words(s.Oldest()), s.Loader),
		Next: "see the log of that worker, whose load may take long or fail; no record is lost", Command: "analytics-worker status",
	})
}

func (f *Facts) slow(says string, waiting time.Duration) Finding {
	return Finding{
		Cause: WarehouseSlow, State: Look, Stops: waiting > 5*time.Minute, Says: says,
		Next: "see what else runs there, and whether fewer and larger loads help (STAGING_URL, LOAD_INTERVAL)", Command: f.describe(),
	}
}

func (f *Facts) paused(waited time.Duration) Finding {
	out := Finding{
		Cause: WarehousePaused, State: state(waited), Stops: waited > missing,
		Says: fmt.Sprintf("The warehouse took a statement %s ago and has not started it: it is paused, resizing or overloaded; nothing is lost", words(waited)),
		Next: "if it is paused, resume it", Command: "aws redshift resume-cluster --cluster-identifier " + f.Names.Cluster,
	}
	if f.Names.Workgroup != "" {
		out.Next, out.Command = "see how the workgroup is", f.describe()
	}
	return out
}

// describe is the command that shows how the warehouse is.
func (f *Facts) describe() string {
	if f.Names.Workgroup != "" {
		return "aws redshift-serverless get-workgroup --workgroup-name " + f.Names.Workgroup
	}
	return "aws redshift describe-clusters --cluster-identifier " + f.Names.Cluster
}

// refused judges a load or a question that the warehouse did not take.
func (f *Facts) refused(t *Trouble) Finding {
	out := Finding{State: Act, Stops: true, Next: t.next(), Command: f.describe()}
	switch t.Kind {
	case Full:
		out.Cause, out.Says = WarehouseFull, "The warehouse is full"+kept+": "+t.Says
	case Denied, Credentials, Key:
		out = f.denied(WarehouseDenied, Act, "The warehouse refuses this caller"+kept, t)
		out.Stops = true
	case NoTable:
		out.Cause, out.Says = NoTables, "The warehouse lacks a table or a column of the worker's: "+t.Says
		out.Next, out.Command = "make what is missing", "analytics-worker schema --apply"
	case Unreached:
		out.Cause, out.Says = WarehouseSilent, "The Redshift Data API cannot be reached"+kept+": "+t.Says
		out.Command = "analytics-worker doctor"
	case Throttled, Conflict:
		out.Cause, out.State, out.Says = WarehouseFailing, Look, "The warehouse asks for fewer calls: "+t.Says
		if t.Kind == Conflict {
			out.Says = "Loads conflict with another transaction: " + t.Says
		}
	default:
		out.Cause, out.Says, out.Command = WarehouseFailing, "The warehouse refuses"+kept+": "+t.Says, "analytics-worker doctor"
	}
	return out
}

// denied judges trouble with a service that is not about its data: what is missing
// is named by the error itself.
func (f *Facts) denied(cause Cause, otherwise State, what string, t *Trouble) Finding {
	out := Finding{Cause: cause, State: otherwise, Says: what + ": " + t.Says, Next: t.next(), Command: "analytics-worker doctor"}
	switch t.Kind {
	case Credentials:
		out.State, out.Command = Act, "aws sts get-caller-identity"
	case Denied, Key, Gone:
		out.State = Act
	}
	if cause == MetricsFailing {
		out.State = Look // orders arrive all the same
	}
	return out
}
