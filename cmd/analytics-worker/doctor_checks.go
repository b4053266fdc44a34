package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// nextStepAt is what to do after a call to a service failed; otherwise is what to do if
// it was the call that was wrong.
func nextStepAt(service string, err error, otherwise string) string {
	return cmp.Or(nextStepOf(service, err), otherwise)
}

// checkStream looks at the stream, then at each shard where its loading stands.
func (d *doctor) checkStream(ctx context.Context) []finding {
	s := d.survey
	var waiting sync.WaitGroup
	var werr error
	waiting.Go(func() { // beside the stream: a cold warehouse takes its time
		werr = s.askWarehouse(ctx)
		s.note(&s.asked.warehouse, werr)
	})
	sctx, cancel := quick(ctx)
	defer cancel()
	err := s.askStream(sctx)
	s.note(&s.asked.stream, err)
	if err != nil {
		waiting.Wait()
		return []finding{{
			"stream", levelFail, err.Error(),
			nextStepAt("Kinesis", err, "check KINESIS_STREAM_NAME and AWS_REGION"),
		}}
	}
	open := 0
	for _, sh := range s.shards {
		if !sh.Closed {
			open++
		}
	}
	f := finding{"stream", levelOK, fmt.Sprintf("%s is %s, %s of %d, %gh retention",
		s.summary.Name, strings.ToLower(s.summary.Status), plural.Of(open, "open shard"), len(s.shards), s.summary.Retention.Hours()), ""}
	if s.summary.Status == "DELETING" {
		f.Level, f.Next = levelFail, "create the stream anew once it is gone"
	}
	waiting.Wait()
	rctx, cancel := quick(ctx)
	defer cancel()
	return append([]finding{f}, d.checkShards(rctx, werr)...)
}

// checkShards takes an iterator and reads from each shard, from where loading
// stands if the warehouse tells, else from its oldest record.
func (d *doctor) checkShards(ctx context.Context, warehouseErr error) []finding {
	s := d.survey
	type result struct {
		place place
		err   error
	}
	results := make([]result, len(s.shards))
	var all sync.WaitGroup
	slots := make(chan struct{}, 16)
	for i, sh := range s.shards {
		at := stream.Position{Sequence: stream.TrimHorizon}
		if c, known := s.checkpoints[sh.ID]; known && !s.foreign(c) {
			at = c.Position
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if c := s.checkpoints[sh.ID]; c.Position.Sequence == stream.ShardEnd && !sh.Closed {
				results[i].err = s.askClosed(ctx, sh)
			} else {
				results[i].place, results[i].err = s.askPlace(ctx, sh, at)
			}
			_, claimed := s.checkpoints[sh.ID]
			s.mu.Lock()
			defer s.mu.Unlock()
			switch {
			case results[i].err != nil:
				s.asked.reads[sh.ID] = results[i].err
			case claimed:
				s.places[sh.ID] = results[i].place
			}
		})
	}
	all.Wait()
	failed, lag, asked := 0, time.Duration(0), true
	var first error
	for _, r := range results {
		if r.err != nil {
			failed++
			first = r.err
		}
		asked = asked && r.place.known
		lag = max(lag, r.place.behind)
	}
	reads := finding{"reads", levelOK, "an iterator and a read on each of " + plural.Of(len(results), "shard"), ""}
	if failed > 0 {
		reads = finding{"reads", levelFail, fmt.Sprintf("%d of %s: %v", failed, plural.Of(len(results), "shard"), first), nextStepAt("Kinesis", first, "see analytics-worker status for each shard")}
	}
	return []finding{reads, d.retention(lag, asked && warehouseErr == nil)}
}

// retention tells the lag. Whether that is too much is the verdict's.
func (d *doctor) retention(lag time.Duration, known bool) finding {
	if !known {
		return finding{"retention", levelWarn, "the lag is not known: the warehouse or a shard did not answer", "mend that first"}
	}
	behind := lag.Milliseconds()
	return finding{"retention", levelOK, fmt.Sprintf("lag %s of %gh", millis(&behind), d.survey.summary.Retention.Hours()), ""}
}

// checkLeases reads the table, and tries an update under a condition that no
// row can meet: it changes nothing, and is refused as forbidden or as unmet.
func (d *doctor) checkLeases(ctx context.Context) []finding {
	if d.config.LeaseTable == service.NoLeaseTable {
		return []finding{{"leases", levelOK, "not shared: LEASE_TABLE is none, so there may be one worker only", ""}}
	}
	name := d.config.leaseTableName(d.account)
	table := d.account.LeaseTable(name)
	err := d.survey.askLeases(ctx)
	d.survey.note(&d.survey.asked.leases, err)
	if d.survey.noLeases {
		return []finding{{
			"leases", levelWarn, "the table " + name + " is not there yet",
			"start a worker, which makes it if its role allows dynamodb:CreateTable",
		}}
	}
	if err == nil {
		nobody := lease.Row{Shard: "analytics-worker-doctor"}
		if _, err = table.Update(ctx, nobody, nobody); errors.Is(err, lease.ErrConflict) {
			err = nil
		}
	}
	if err != nil {
		d.survey.note(&d.survey.asked.leases, err)
		return []finding{{"leases", levelFail, err.Error(), nextStepAt("DynamoDB", err, "check LEASE_TABLE and AWS_REGION")}}
	}
	return []finding{{"leases", levelOK, fmt.Sprintf("%s holds %s, and can be written", name, plural.Of(len(d.survey.leases), "lease")), ""}}
}

// ofCheck is the check that tells of a cause in more words than the verdict.
var ofCheck = map[verdict.Cause]string{
	verdict.EndpointDown: "stream", verdict.StreamGone: "stream", verdict.StreamFailing: "stream", verdict.LeasesGone: "leases", verdict.LeasesFailing: "leases", verdict.LeasesThrottled: "leases",
	verdict.WarehouseDenied: "warehouse", verdict.WarehouseSilent: "warehouse", verdict.WarehouseFailing: "warehouse", verdict.WarehousePaused: "warehouse",
	verdict.StagingFailing: "staging", verdict.NoTables: "tables", verdict.ReadsDenied: "reads", verdict.ReadsThrottled: "reads", verdict.ReadsFailing: "reads", verdict.ClockOff: "clock", verdict.Unknown: "retention",
}

// checkTogether is the verdict on all that was asked, and on what the workers say of
// themselves. What a check has said already is not said again, but for what is worst.
func (d *doctor) checkTogether(r statusReport, checked []finding) (out []finding) {
	levels := map[verdict.State]level{verdict.Fine: levelOK, verdict.Look: levelWarn, verdict.Act: levelFail}
	if r.Staged != nil {
		out = append(out, finding{"fleet", levelOK, r.Staged.Says(), ""})
	}
	for i, f := range r.Verdict.All() {
		said := slices.ContainsFunc(checked, func(c finding) bool { return c.Check == ofCheck[f.Cause] && c.Level != levelOK })
		if i == 0 || !said {
			next := f.Step()
			f.Next, f.Command = "", ""
			out = append(out, finding{"verdict", levels[f.State], f.Line(), next})
		}
	}
	return out
}

func (d *doctor) checkStaging(ctx context.Context) []finding {
	if d.config.StagingURL == "" {
		return []finding{{"staging", levelOK, "not used: STAGING_URL is empty, loads are by INSERT", ""}}
	}
	out := d.checkBucket(ctx, "staging", d.config.StagingURL, "")
	if out.Level != levelOK {
		return []finding{out}
	}
	return append([]finding{out}, d.checkSharing(ctx)...)
}

// checkSharing tries whether the worker sees what others stage, and may remove it. Without
// that it works, and orders arrive later the more workers there are.
func (d *doctor) checkSharing(ctx context.Context) []finding {
	const nothing, apart = "analytics-worker-doctor/nothing", "workers cannot load together, each loads for itself, and orders arrive later the more there are"
	bucket, err := d.account.Bucket(d.config.StagingURL)
	if err == nil {
		_, err = bucket.List(ctx, nothing)
	}
	shared := d.config.LeaseTable != service.NoLeaseTable
	if err == nil && shared {
		if _, err = bucket.Get(ctx, nothing); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	switch {
	case err != nil && shared: // who may not list is not told what is not there
		return []finding{{"staging", levelWarn, apart + ": " + err.Error(), "allow s3:ListBucket on the bucket, and s3:GetObject in it, to the worker's role"}}
	case err != nil:
		return nil
	}
	if err = bucket.ProbeDelete(ctx, nothing); err == nil {
		return nil
	}
	costs := "what is staged stays until the bucket's lifecycle rule removes it"
	if shared {
		costs += ", and " + apart
	}
	return []finding{{"staging", levelWarn, costs + ": " + err.Error(), nextStepAt("S3", err, "allow s3:DeleteObject in the bucket to the worker's role")}}
}

// checkBucket looks into the bucket, and tries an object that is refused.
func (d *doctor) checkBucket(ctx context.Context, check, location, more string) finding {
	const nothing = "analytics-worker-doctor/nothing"
	bucket, err := d.account.Bucket(location)
	if err == nil {
		_, err = bucket.List(ctx, nothing)
	}
	if err == nil || errors.Is(err, fs.ErrPermission) && check == "staging" { // see checkSharing
		err = bucket.Probe(ctx, nothing)
	}
	if err != nil {
		return finding{check, levelFail, err.Error(), nextStepAt("S3", err, "create the bucket in AWS_REGION, or correct the URL")}
	}
	return finding{check, levelOK, location + " takes objects" + more, ""}
}

func (d *doctor) checkLetters(ctx context.Context) []finding {
	const check = "dead letters"
	if strings.HasPrefix(d.config.DeadLetterURL, "s3://") {
		return []finding{d.checkBucket(ctx, check, d.config.DeadLetterURL, "")}
	}
	path, err := filepath.Abs(service.LetterFolder(d.config.DeadLetterURL))
	if err != nil {
		return []finding{{check, levelFail, err.Error(), "set DEAD_LETTER_URL to a file:// URL with an absolute path"}}
	}
	at := path // the folder, or the nearest one above it that is there
	for {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			return []finding{{check, levelFail, at + " is not a folder", "move it away, or correct DEAD_LETTER_URL"}}
		}
		gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
		if !gone || at == filepath.Dir(at) {
			break
		}
		at = filepath.Dir(at)
	}
	const readWriteEnter = 7 // access(2): R_OK, W_OK, X_OK
	if err := syscall.Access(at, readWriteEnter); err != nil {
		return []finding{{check, levelFail, fmt.Sprintf("%s: %v", at, err), "give the folder to the user that the worker runs as"}}
	}
	detail := path + " can be written"
	if at != path {
		detail = path + " will be made at the first start"
	}
	return []finding{{check, levelOK, detail, ""}}
}
