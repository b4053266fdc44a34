package verify

import (
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// Report is the outcome of a comparison. Counts cover what the checkpoints cover.
type Report struct {
	OK     bool   `json:"ok"`     // nothing differs, and there are no gaps
	Stream string `json:"stream"` // its name

	// Until is up to when the comparison goes: what arrived earlier was held against
	// the warehouse, but for the gaps. Null = up to no time.
	Until *time.Time `json:"until"`

	Early    int64 `json:"early"`    // on the stream from before the start: they need not be loaded, and count nowhere else
	Records  int64 `json:"records"`  // on the stream, up to the checkpoints
	Rejected int64 `json:"rejected"` // of them, those that are no event, or none that is loaded
	Orders   int64 `json:"orders"`   // distinct orders among the others

	// Tables has the counts of each family's table, and these are their sums.

	Facts        int64 `json:"facts"`        // rows of the tables
	Missing      int64 `json:"missing"`      // keys that have no row
	Surplus      int64 `json:"surplus"`      // rows that no event accounts for
	Differing    int64 `json:"differing"`    // rows that are not their key's newest event
	Unverifiable int64 `json:"unverifiable"` // rows whose events are past the stream's retention
	Uncompared   int64 `json:"uncompared"`   // rows that may be of a shard that was not read

	Letters        int64 `json:"letters"`         // dead letters
	LettersLoaded  int64 `json:"letters_loaded"`  // of them, rows that the warehouse refused and took at a later try; not among the rejected
	LettersParked  int64 `json:"letters_parked"`  // of them, rows that the warehouse refused and that may go in yet
	LettersMissing int64 `json:"letters_missing"` // rejected records that are not in the dead letters
	LettersSurplus int64 `json:"letters_surplus"` // letters of records that the stream never had

	Rollups          int64 `json:"rollups"`           // rows of the rollups
	RollupsDiffering int64 `json:"rollups_differing"` // of them, those that are not what the facts add up to

	Tables []TableReport `json:"tables"` // by family

	Shards      []ShardReport `json:"shards"`      // by id
	Differences []Difference  `json:"differences"` // the first ones
	Gaps        []Gap         `json:"gaps"`        // what should have been compared, and was not

	Mend *Mend `json:"mend"` // what would mend the differences, as far as that is known; null = nothing
}

// TableReport is what was found of one table of facts.
type TableReport struct {
	Family           string `json:"family"`            // orders, inventory or payments
	Table            string `json:"table"`             // its name
	Rollup           string `json:"rollup,omitempty"`  // the table of its rollups, if it has one
	Keys             int64  `json:"keys"`              // distinct keys among its events
	Facts            int64  `json:"facts"`             // rows
	Missing          int64  `json:"missing"`           // keys that have no row
	Surplus          int64  `json:"surplus"`           // rows that no event accounts for, or that are there twice
	Differing        int64  `json:"differing"`         // rows that are not their key's newest event
	Unverifiable     int64  `json:"unverifiable"`      // rows whose events are past the stream's retention
	Uncompared       int64  `json:"uncompared"`        // rows that may be of a shard that was not read
	Rollups          int64  `json:"rollups"`           // rows of the rollup
	RollupsDiffering int64  `json:"rollups_differing"` // that are not what the facts add up to; 1000 at most
}

// Gap is a part of the stream that should be loaded by now and is not, so that
// there is nothing to compare it with.
type Gap struct {
	Shard string `json:"shard,omitempty"` // empty = all of them
	Why   string `json:"why"`             // in words
}

// ShardReport is what was read of one shard.
type ShardReport struct {
	ID         string `json:"id"`             // shard id
	Checkpoint string `json:"checkpoint"`     // position in the warehouse, or none
	Records    int64  `json:"records"`        // that were read
	Note       string `json:"note,omitempty"` // what is to be said of it
}

// Difference is one thing that is not as it should be.
type Difference struct {
	Kind      string `json:"kind"`                // what is wrong, as OPERATIONS.md lists them
	Key       string `json:"key"`                 // of the row, or place of the record
	Stream    string `json:"stream,omitempty"`    // what the stream says
	Warehouse string `json:"warehouse,omitempty"` // what the warehouse says
}

// differencesKept bounds the examples of a report.
const differencesKept = 20

func (r *Report) note(d Difference) {
	if len(r.Differences) < differencesKept {
		r.Differences = append(r.Differences, d)
	}
}

func (r *Report) finish() {
	slices.SortFunc(r.Shards, func(a, b ShardReport) int { return strings.Compare(a.ID, b.ID) })
	r.Orders = r.Tables[event.Orders].Keys
	for _, t := range r.Tables {
		r.Facts += t.Facts
		r.Missing += t.Missing
		r.Surplus += t.Surplus
		r.Differing += t.Differing
		r.Unverifiable += t.Unverifiable
		r.Uncompared += t.Uncompared
		r.Rollups += t.Rollups
		r.RollupsDiffering += t.RollupsDiffering
	}
	r.OK = len(r.Differences) == 0 && len(r.Gaps) == 0
}
