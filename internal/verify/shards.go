package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// settleTime is how old a record is when it becomes a fault that nobody has begun
// with its shard: a new child has to be found and claimed first.
const settleTime = time.Minute

// reach is what was read of a shard: from the first record to the later
// checkpoint.
type reach struct {
	first string // sequence number
	to    stream.Position
}

// readStream reads every shard as far as it is loaded, and looks for those that
// are not.
func (v *verifier) readStream(ctx context.Context) error {
	shards, err := v.Shards(ctx)
	if err != nil {
		return fmt.Errorf("list shards: %w", err)
	}
	listed, started := make(map[string]bool), time.Now()
	for _, s := range shards {
		listed[s.ID] = true
	}
	var oldest time.Time // arrival of a record that is not loaded
	for i, s := range shards {
		v.mend.shards = append(v.mend.shards, s.ID)
		unread, err := v.readShard(ctx, i, s)
		if err != nil {
			return fmt.Errorf("read shard %s: %w", s.ID, err)
		}
		v.judgeShard(s, unread, listed)
		if !unread.IsZero() && (oldest.IsZero() || unread.Before(oldest)) {
			oldest = unread
		}
	}
	v.past.read(v.Identity, v.began, time.Since(started))
	if len(shards) > 0 {
		until := v.began.UTC()
		if !oldest.IsZero() && oldest.Before(until) {
			until = oldest.UTC()
		}
		v.report.Until = &until
	}
	if !oldest.IsZero() && v.report.Records+v.report.Early == 0 {
		v.report.Gaps = []Gap{{Why: v.nothingRead(oldest)}}
	}
	for id, p := range v.after {
		if !listed[id] && !p.IsZero() && p.Sequence != stream.ShardEnd {
			v.report.note(Difference{Kind: "checkpoint of a shard that is not listed", Key: id, Warehouse: p.String()})
		}
	}
	return nil
}

// nothingRead says why there is nothing to compare.
func (v *verifier) nothingRead(oldest time.Time) string {
	why := "every shard is still at its start"
	if len(v.after) == 0 {
		why = "no shard has a checkpoint"
	} else if !slices.ContainsFunc(slices.Collect(maps.Values(v.after)), isPlace) {
		why = "no checkpoint is a position in this stream"
	}
	return fmt.Sprintf("nothing is loaded yet: %s, and the stream holds records since %s", why, oldest.UTC().Format(time.RFC3339))
}

// judgeShard looks for what a shard cannot be, and for records that somebody
// should have begun to load. unread is the arrival of its first record that is
// not loaded, zero where there is none.
func (v *verifier) judgeShard(s stream.Shard, unread time.Time, listed map[string]bool) {
	p, claimed := v.after[s.ID]
	if p.Sequence == stream.ShardEnd && !s.Closed {
		v.report.note(Difference{
			Kind: "open shard at its end", Key: s.ID,
			Stream: "the shard is open, so records may come", Warehouse: stream.ShardEnd + ", so they are not read",
		})
	}
	if claimed {
		v.blind = v.blind || !isPlace(p)
		return
	}
	waits := slices.ContainsFunc(s.Parents, func(parent string) bool {
		return listed[parent] && v.after[parent].Sequence != stream.ShardEnd
	})
	if waits || unread.IsZero() {
		return
	}
	v.blind = true
	if v.began.Sub(unread) > settleTime {
		v.report.Gaps = append(v.report.Gaps, Gap{s.ID, "it has no checkpoint, and holds records since " + unread.UTC().Format(time.RFC3339)})
	}
}

// readShard reads a shard from its oldest record to the later checkpoint. It
// returns when the first record arrived that lies behind the earlier checkpoint,
// or zero where it came to the shard's tip without one.
func (v *verifier) readShard(ctx context.Context, number int, s stream.Shard) (unread time.Time, err error) {
	sr := ShardReport{ID: s.ID, Checkpoint: "none"}
	defer func() { v.report.Shards = append(v.report.Shards, sr) }()
	before, after := v.before[s.ID], v.after[s.ID]
	if !after.IsZero() {
		sr.Checkpoint = after.String()
	}
	if !isPlace(before) {
		before = stream.Position{}
	}
	if !isPlace(after) { // then one record is looked at, and nothing is covered
		after = stream.Position{}
	}
	var start stream.Position
	if v.Start != nil {
		start = v.Start(s)
	}
	reader := v.Open(s, stream.Position{Sequence: stream.TrimHorizon})
	for {
		page, err := nextPage(ctx, reader)
		if err != nil {
			return unread, err
		}
		for _, r := range page.Records {
			v.past.arrived(r.ArrivedAt)
			settled := covers(before, r)
			if !settled && unread.IsZero() {
				unread = r.ArrivedAt
			}
			if !covers(after, r) {
				return unread, nil
			}
			if sr.Records++; sr.Records == 1 {
				v.read[s.ID] = reach{strings.Clone(r.SequenceNumber), after}
			}
			w := when{early: precedes(r, start) || claimedLater(r, before) || claimedLater(r, after), settled: settled}
			if err := v.addRecord(number, s.ID, r, w); err != nil {
				return unread, err
			}
		}
		v.Tell(fmt.Sprintf("read %s of shard %s", plural.Of(sr.Records, "record"), s.ID))
		if page.Ended || len(page.Records) == 0 && page.Behind == 0 {
			if after.IsSequence() && !v.before[s.ID].IsZero() && !page.Ended && sr.Records == 0 {
				sr.Note = "its records are past the retention"
			}
			return unread, nil
		}
	}
}

// covers reports whether r lies before the position, which may be a time.
func covers(p stream.Position, r stream.Record) bool { return p.Covers(r) || claimedLater(r, p) }

// claimedLater reports whether the position is a time, at which the shard was to
// begin, and r arrived before it.
func claimedLater(r stream.Record, p stream.Position) bool {
	return p.Sequence == stream.AtTimestamp && r.ArrivedAt.Before(p.Time())
}

// precedes reports whether r lies before the start.
func precedes(r stream.Record, start stream.Position) bool {
	return start.IsSequence() && start.Covers(r) || claimedLater(r, start)
}

// wasRead reports whether the place of a letter lies in what was read of its
// shard, so that its record must have been met.
func (v *verifier) wasRead(place string) bool {
	shard, at, _ := strings.Cut(place, " ")
	sequence, sub, _ := strings.Cut(at, "/")
	read, ok := v.read[shard]
	n, err := strconv.ParseInt(sub, 10, 64)
	if !ok || err != nil || stream.CompareSequence(sequence, read.first) < 0 {
		return false
	}
	return read.to.Covers(stream.Record{SequenceNumber: sequence, SubSequence: n})
}

// nextPage reads one page, waiting out throttles: other consumers share the
// stream's limits.
func nextPage(ctx context.Context, r Reader) (stream.Page, error) {
	for tries := 1; ; tries++ {
		timer := time.NewTimer(max(0, time.Until(r.NotBefore())))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return stream.Page{}, context.Cause(ctx)
		}
		page, err := r.Next(ctx)
		if err == nil || tries == readTries || ctx.Err() != nil {
			return page, err
		}
	}
}

const readTries = 20

// when is where a record lies between the start and the checkpoints.
type when struct {
	early   bool // before the start
	settled bool // before the earlier checkpoint
}

// lateShard marks an event that went in after its position had moved on. Of events
// of one instant it need not be the one that stays, as if it were of another shard.
const lateShard = 1 << 31

func (v *verifier) addRecord(shard int, id string, r stream.Record, w when) error {
	e := entry{kind: kindEvent, shard: uint32(shard), settled: w.settled && !w.early, arrived: r.ArrivedAt.UnixMilli()}
	p := placeOf(id, stream.Position{Sequence: r.SequenceNumber, Sub: r.SubSequence})
	bad := event.Decode(r.Data, r.ArrivedAt, &v.event) != nil
	// Of a family that is left out any letter will do, be it one of when nobody knew
	// the family. What was loaded before it was left out went with its table where
	// that is gone.
	lettered := v.lettered[v.spool.hash(p)]
	rejected := bad || v.refused[p] || lettered && !v.late[p] && !v.loads(v.event.Family())
	if !bad {
		e.settled = e.settled && !v.absent[v.event.Family()]
		e.row = v.rows[v.event.Family()].event(&v.event)
		v.past.ahead = max(v.past.ahead, time.UnixMicro(e.row.Time).Sub(r.ArrivedAt))
	}
	switch {
	case w.early:
		v.report.Early++
	case rejected:
		v.report.Rejected++
		v.report.Records++
	default:
		v.report.Records++
	}
	if v.late[p] {
		e.shard |= lateShard
	}
	if rejected {
		if err := v.spool.add(p, entry{kind: kindRejected, place: p, settled: w.settled && !w.early, shard: e.shard, arrived: e.arrived}); bad || err != nil {
			return err
		}
		e.settled = false // what the warehouse refused once may be in it by now
	}
	if e.letter = lettered; e.letter && !rejected {
		if err := v.spool.add(p, entry{kind: kindTaken, place: p}); err != nil {
			return err
		}
	}
	return v.spool.add(e.row.hashed(), e)
}
