package storm

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Checksum adds the rows of results up. It does not depend on their order, nor on
// how they were cut into pages: each row's SHA-256, together with the query that
// it answers, is a number of 128 bits, and these are added.
type Checksum struct{ hi, lo uint64 }

func (c *Checksum) add(o Checksum) {
	var carry uint64
	c.lo, carry = bits.Add64(c.lo, o.lo, 0)
	c.hi, _ = bits.Add64(c.hi, o.hi, carry)
}

// String is the sum in 32 hexadecimal digits.
func (c Checksum) String() string { return fmt.Sprintf("%016x%016x", c.hi, c.lo) }

// page is a part of a result on its way to the processors.
type page struct {
	query   int // its number; -1 of one that is made up
	columns []string
	rows    [][]warehouse.Value
	bytes   int
	done    func(processed, error) // called by the processor
}

// processed is what became of one page.
type processed struct {
	rows, bytes int
	sum         Checksum
	sha, md5    string // of the JSON
	figures     figures
}

// figures are the revenue metrics in floating point: count, sum and sum of
// squares of the amounts, from which mean and spread follow, and the growth that
// compounds from amount to amount.
type figures struct {
	n            int
	sum, squares float64
	growth       float64 // sum of logarithms of ratios
	largest      float64
}

func (f *figures) take(amount float64) {
	if f.n > 0 && amount > 0 && f.largest > 0 {
		f.growth += math.Log1p(amount / f.largest)
	}
	f.n++
	f.sum += amount
	f.squares += amount * amount
	f.largest = max(f.largest, amount)
}

func (f *figures) merge(o figures) {
	f.n += o.n
	f.sum += o.sum
	f.squares += o.squares
	f.growth += o.growth
	f.largest = max(f.largest, o.largest)
}

// line is a row of the report that a page becomes.
type line struct {
	Key     string            `json:"key"`
	Fields  map[string]string `json:"fields"`
	Revenue float64           `json:"revenue"`
	Items   int64             `json:"items"`
	When    *time.Time        `json:"when,omitempty"`
	Digest  string            `json:"digest"`
}

var errIntegrity = errors.New("a report read back from its JSON is not what was written")

// process turns a page into a report: it decodes the values, builds lines,
// writes them as JSON, reads that back and compares, hashes, and adds up.
func process(p page) (processed, error) {
	out := processed{rows: len(p.rows), bytes: p.bytes}
	lines := make([]line, len(p.rows))
	var text []byte
	for i, row := range p.rows {
		text = binary.BigEndian.AppendUint64(text[:0], uint64(p.query))
		text = appendRow(text, row)
		digest := sha256.Sum256(text)
		out.sum.add(Checksum{binary.BigEndian.Uint64(digest[:8]), binary.BigEndian.Uint64(digest[8:16])})
		lines[i] = lineOf(p.columns, row, digest)
		out.figures.take(lines[i].Revenue)
	}
	written, err := json.Marshal(lines)
	if err != nil {
		return out, fmt.Errorf("write a report of %s: %w", plural.Of(len(lines), "row"), err)
	}
	var back []line
	if err := json.Unmarshal(written, &back); err != nil {
		return out, fmt.Errorf("read a report of %s back: %w", plural.Of(len(lines), "row"), err)
	}
	again, err := json.Marshal(back)
	if err != nil {
		return out, fmt.Errorf("write a report of %s again: %w", plural.Of(len(lines), "row"), err)
	}
	sha, md := sha256.Sum256(written), md5.Sum(written)
	if !bytes.Equal(written, again) || sha != sha256.Sum256(again) || md != md5.Sum(again) {
		return out, errIntegrity
	}
	out.sha, out.md5 = hex.EncodeToString(sha[:]), hex.EncodeToString(md[:])
	return out, nil
}

// appendRow writes a row so that no two different ones look alike.
func appendRow(b []byte, row []warehouse.Value) []byte {
	for _, v := range row {
		if v.Null {
			b = append(b, 0xff)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(v.Text)))
		b = append(b, v.Text...)
	}
	return b
}

// lineOf makes a line of the report: every value decoded as what it looks like.
func lineOf(columns []string, row []warehouse.Value, digest [sha256.Size]byte) line {
	out := line{Fields: make(map[string]string, len(row)), Digest: hex.EncodeToString(digest[:8])}
	var key strings.Builder
	for i, v := range row {
		name := strconv.Itoa(i)
		if i < len(columns) {
			name = columns[i]
		}
		if v.Null {
			continue
		}
		out.Fields[name] = v.Text
		switch n, err := strconv.ParseFloat(v.Text, 64); {
		case err != nil:
			if at, err := warehouse.ParseTimestamp(v.Text); err == nil {
				out.When = &at
			}
			key.WriteString(v.Text)
			key.WriteByte('/')
		case strings.Contains(v.Text, "."):
			out.Revenue += n
		case !math.IsInf(n, 0) && !math.IsNaN(n):
			out.Items += int64(n)
		}
	}
	out.Key = key.String()
	return out
}
