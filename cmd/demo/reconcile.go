package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cloudcafe/analytics-worker/internal/verify"
)

// compare asks the product's own verify command.
func (d *demo) compare(ctx context.Context) (verify.Report, error) {
	var r verify.Report
	p, err := start(ctx, d.env, d.dir, filepath.Join(d.bin, "analytics-worker"), "verify", "--format", "json")
	if err != nil {
		return r, err
	}
	<-p.ended
	if err := json.Unmarshal(p.stdout.Bytes(), &r); err != nil {
		return r, p.failed()
	}
	return r, nil
}

// reconcile compares what was published with what arrived.
func (d *demo) reconcile(ctx context.Context) error {
	r, err := d.compare(ctx)
	if err != nil {
		return err
	}
	published := d.published.Load()
	fmt.Printf("\nReconciliation\n")
	ok := check("published = loaded + rejected", published == r.Records,
		"%d = %d + %d", published, r.Records-r.Rejected, r.Rejected)
	ok = check("rejected = dead letters", r.Rejected == r.Letters && r.LettersMissing == 0, "%d = %d", r.Rejected, r.Letters) && ok
	for _, t := range r.Tables {
		ok = check("distinct "+t.Family+" = rows of "+t.Table, t.Keys == t.Facts && t.Missing+t.Surplus == 0, "%d = %d", t.Keys, t.Facts) && ok
	}
	ok = check("each row is its newest event", r.Differing == 0, "%d differ", r.Differing) && ok
	ok = check("rollups = facts", r.RollupsDiffering == 0, "%d rollups, %d differ", r.Rollups, r.RollupsDiffering) && ok
	for _, difference := range r.Differences {
		fmt.Printf("  %s: %s\n    stream    %s\n    warehouse %s\n", difference.Kind, difference.Key, difference.Stream, difference.Warehouse)
	}
	if !ok || !r.OK {
		return errors.New("the reconciliation failed")
	}
	fmt.Println(green("Every record took effect exactly once."))
	return nil
}

func check(what string, ok bool, format string, args ...any) bool {
	mark := green("ok  ")
	if !ok {
		mark = red("FAIL")
	}
	fmt.Printf("  %s  %-46s %s\n", mark, what, fmt.Sprintf(format, args...))
	return ok
}
