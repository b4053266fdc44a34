package warehouse

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// Staging keeps the files that COPY reads.
type Staging interface {
	// Put stores an object and returns its URL, s3://bucket/key.
	Put(ctx context.Context, name string, body []byte) (url string, err error)
	// URL is what Put returns for the name.
	URL(name string) string
	// Delete removes objects; names that are not there are no error. The error is
	// fs.ErrPermission where the caller may not.
	Delete(ctx context.Context, names ...string) error
}

// StagingError is a failure of the bucket that loads are staged in: the warehouse was
// not asked.
type StagingError struct{ Err error }

func (e *StagingError) Error() string { return e.Err.Error() }

// Unwrap gives the bucket's error.
func (e *StagingError) Unwrap() error { return e.Err }

// Copy fills loads by one COPY of a gzip CSV file through a manifest: the way
// for volume.
type Copy struct {
	Staging Staging
	IAMRole string // the ARN that Redshift reads the bucket with, or empty for the cluster's default role
	Region  string // of the bucket, where it is not the cluster's; empty otherwise
	Log     *slog.Logger

	once    sync.Once
	buffer  chan *bytes.Buffer // one, used again by each load: loads come one after another
	removal *remover
}

func (c *Copy) open() {
	c.once.Do(func() {
		c.buffer = make(chan *bytes.Buffer, 1)
		c.removal = &remover{staging: c.Staging, log: c.Log}
	})
}

// Close removes what loads have staged and is not removed yet, until ctx ends.
// No load may be under way.
func (c *Copy) Close(ctx context.Context) {
	c.open()
	c.removal.close(ctx)
}

// Encoder writes lines of CSV.
func (c *Copy) Encoder() Encoder { return newEncoder(csvNotation) }

func (c *Copy) notation() notation { return csvNotation }

// copyRows bounds a load. At about 35 bytes a row after compression this is a
// file of 3 to 4 MB, well inside the 1 MB to 1 GB that Redshift recommends.
const copyRows = 100_000

// Fits tells how many of the leading rows one load takes.
func (c *Copy) Fits(rows []Row) int { return min(len(rows), copyRows) }

// Prepare uploads the moves and the rows in one file, and a manifest, and
// returns the COPY. Done has the objects removed, and does not wait for it.
func (c *Copy) Prepare(ctx context.Context, b Batch) (Filling, error) {
	buf := c.takeBuffer()
	defer c.putBuffer(buf)
	if err := writeCSV(buf, b, b.proposals(), 0); err != nil {
		return Filling{}, err
	}
	id := fileID()
	data, manifest := id+"/rows.csv.gz", id+"/manifest.json"
	done := func() { c.removal.later(ctx, data, manifest) }
	url, err := c.Staging.Put(ctx, data, buf.Bytes())
	if err != nil {
		return Filling{}, &StagingError{fmt.Errorf("stage %s: %w", plural.Of(len(b.Rows), "row"), err)}
	}
	body, err := json.Marshal(manifestOf(url))
	if err != nil {
		done()
		return Filling{}, fmt.Errorf("write manifest: %w", err)
	}
	manifestURL, err := c.Staging.Put(ctx, manifest, body)
	if err != nil {
		done()
		return Filling{}, &StagingError{fmt.Errorf("stage manifest: %w", err)}
	}
	return Filling{
		Statements: []string{c.statement(manifestURL)}, Done: done,
		Blame: func(ctx context.Context, db DB, _ int) (Blame, bool) { return refusedLine(ctx, db, url, b) },
	}, nil
}

// fileID names the folder of a load's files, by when it was made and by chance.
func fileID() string { return time.Now().UTC().Format("20060102T150405Z-") + rand.Text() }

func manifestOf(urls ...string) any {
	type entry struct {
		URL       string `json:"url"`
		Mandatory bool   `json:"mandatory"` // false by default: a missing file would be passed over in silence
	}
	m := struct {
		Entries []entry `json:"entries"`
	}{}
	for _, u := range urls {
		m.Entries = append(m.Entries, entry{u, true})
	}
	return m
}

// statement is the COPY. NULL AS '\000' names the one value that no field can
// hold: with the default, an order whose customer is called \N would lose it.
func (c *Copy) statement(manifestURL string) string {
	role := "default"
	if c.IAMRole != "" && c.IAMRole != "default" {
		role = Quote(c.IAMRole)
	}
	region := ""
	if c.Region != "" {
		region = " REGION " + Quote(c.Region)
	}
	return `COPY load_incoming (` + list("", incoming().Names()) + `)
FROM ` + Quote(manifestURL) + ` IAM_ROLE ` + role + ` FORMAT AS CSV GZIP MANIFEST NULL AS '\000'
TIMEFORMAT 'auto' COMPUPDATE OFF STATUPDATE OFF` + region
}

func (c *Copy) takeBuffer() *bytes.Buffer {
	c.open()
	select {
	case b := <-c.buffer:
		b.Reset()
		return b
	default:
		return new(bytes.Buffer)
	}
}

func (c *Copy) putBuffer(b *bytes.Buffer) {
	select {
	case c.buffer <- b:
	default:
	}
}

// csvChunk is how much CSV is handed to the compressor at a time.
const csvChunk = 64 << 10

// writeCSV writes the moves, and the batch's rows, as gzip CSV. The rows name their
// moves by numbers that are first higher than in the batch. Speed before size: the
// file is read once, within the same region.
func writeCSV(out *bytes.Buffer, batch Batch, moves []proposal, first int) error {
	zip, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	b := make([]byte, 0, csvChunk+2048)
	for _, p := range moves {
		b = appendMoveCSV(b, p)
	}
	for i, r := range batch.Rows {
		r.Move += first
		b = appendRowCSV(b, batch.ordinal(i), r)
		if len(b) >= csvChunk {
			if _, err := zip.Write(b); err != nil {
				return fmt.Errorf("compress: %w", err)
			}
			b = b[:0]
		}
	}
	if _, err := zip.Write(b); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if err := zip.Close(); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return nil
}

// A line of the file has a field for each column of load_incoming. rowBegins and
// rowEnds are what stands around a row's own fields, and moveBegins what stands
// before a move's: the fields of others, which are empty.
var rowBegins, rowEnds, moveBegins = func() (begins, ends [event.MaxFamilies]string, move string) {
	all := len(incoming().Columns)
	before := len(incomingRow)
	for i, f := range factTables {
		begins[i] = f.Family.String() + strings.Repeat(",", 1+before-len(incomingRow))
		before += len(f.Columns)
		ends[i] = strings.Repeat(",", all-before) + "\n"
	}
	return begins, ends, strings.Repeat(",", all-len(incomingMove))
}()

func appendRowCSV(b []byte, ordinal int, r Row) []byte {
	b = strconv.AppendInt(b, int64(r.Move), 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, int64(ordinal), 10)
	b = append(b, ',')
	b = append(b, rowBegins[r.Family]...)
	b = append(b, r.Line...)
	return append(b, rowEnds[r.Family]...)
}

// appendMoveCSV appends a move, of which the first field is the number that rows
// name it by.
func appendMoveCSV(b []byte, p proposal) []byte {
	b = strconv.AppendInt(b, int64(p.index), 10)
	b = append(b, moveBegins...)
	b = appendCSV(b, p.stream)
	b = append(b, ',')
	b = appendCSV(b, p.Shard)
	b = append(b, ',')
	b = strconv.AppendInt(b, p.Term, 10)
	b = append(b, ',')
	b = appendCSV(b, p.From.Sequence)
	b = append(b, ',')
	b = strconv.AppendInt(b, p.From.Sub, 10)
	b = append(b, ',')
	b = appendCSV(b, p.To.Sequence)
	b = append(b, ',')
	b = strconv.AppendInt(b, p.To.Sub, 10)
	b = append(b, ',')
	if !p.ArrivedUntil.IsZero() {
		b = new(clock).append(b, p.ArrivedUntil.UnixMicro())
	}
	return append(b, '\n')
}

// appendCSV appends a field, always quoted: only the quote is special inside.
func appendCSV(b []byte, s string) []byte {
	b = append(b, '"')
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			break
		}
		b = append(b, s[:i+1]...)
		b = append(b, '"')
		s = s[i+1:]
	}
	b = append(b, s...)
	return append(b, '"')
}
