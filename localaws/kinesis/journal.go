package kinesis

import "sort"

// chunkBytes is the size at which a chunk is full. A chunk is the unit that
// trimming frees, so it must be small beside a shard's retention, and large
// beside a record.
const chunkBytes = 1 << 20

// journal is the records of one shard, oldest first. Its bytes are only ever
// appended to: a view that was taken under the shard's lock is read without it.
type journal struct {
	chunks []*chunk
	first  uint64 // ordinal of the oldest record that is kept
	next   uint64 // ordinal that the next record will get
}

type chunk struct {
	first   uint64 // ordinal of entries[0]
	text    []byte // of every record in turn: its partition key, then its data
	entries []entry
}

// entry is one record of a chunk; its bytes start where those of the entry
// before it end.
type entry struct {
	at  int64 // arrival, unix ms; never less than that of the entry before
	end uint32
	key uint16 // length of the partition key
}

// view is a run of records of one chunk.
type view struct {
	text    []byte
	entries []entry
	start   uint32 // where entries[0] starts in text
	first   uint64 // ordinal of entries[0]
}

func newJournal() journal { return journal{first: 1, next: 1} }

func (j *journal) append(at int64, key, data []byte) {
	var c *chunk
	switch n := len(j.chunks); {
	case n == 0:
		// Grows from nothing: most shards of a test hold a few records.
		c = &chunk{first: j.next}
		j.chunks = append(j.chunks, c)
	case len(j.chunks[n-1].text)+len(key)+len(data) > chunkBytes:
		// After a full chunk comes another, most likely.
		before := j.chunks[n-1]
		c = &chunk{first: j.next, text: make([]byte, 0, chunkBytes), entries: make([]entry, 0, len(before.entries))}
		j.chunks = append(j.chunks, c)
	default:
		c = j.chunks[n-1]
	}
	c.text = append(append(c.text, key...), data...)
	c.entries = append(c.entries, entry{at: at, end: uint32(len(c.text)), key: uint16(len(key))})
	j.next++
}

// trim forgets the records that arrived at or before horizon.
func (j *journal) trim(horizon int64) {
	for len(j.chunks) > 0 {
		c := j.chunks[0]
		if last := c.entries[len(c.entries)-1]; last.at > horizon {
			i := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].at > horizon })
			j.first = max(j.first, c.first+uint64(i))
			return
		}
		j.first = c.first + uint64(len(c.entries))
		j.chunks[0] = nil // or the array behind the slice would keep it
		j.chunks = j.chunks[1:]
	}
}

// since is the ordinal of the first record that arrived at or after at.
func (j *journal) since(at int64) uint64 {
	i := sort.Search(len(j.chunks), func(i int) bool {
		e := j.chunks[i].entries
		return e[len(e)-1].at >= at
	})
	if i == len(j.chunks) {
		return j.next
	}
	c := j.chunks[i]
	k := sort.Search(len(c.entries), func(k int) bool { return c.entries[k].at >= at })
	return max(j.first, c.first+uint64(k))
}

// find is the chunk that holds the record, which must be kept, and its index there.
func (j *journal) find(ordinal uint64) (chunk, entry int) {
	i := sort.Search(len(j.chunks), func(i int) bool { return j.chunks[i].first > ordinal }) - 1
	return i, int(ordinal - j.chunks[i].first)
}

// arrived is when the record came, for an ordinal that is kept.
func (j *journal) arrived(ordinal uint64) int64 {
	c, e := j.find(ordinal)
	return j.chunks[c].entries[e].at
}

// read appends to views the records from the ordinal on: at most limit of
// them, and at most maxBytes of keys and data, but always one if there is one.
// It returns the ordinal after the last and the bytes taken.
func (j *journal) read(views []view, from uint64, limit, maxBytes int) (_ []view, next uint64, size int) {
	next = max(from, j.first)
	for limit > 0 && next < j.next {
		ci, ei := j.find(next)
		c := j.chunks[ci]
		v := view{text: c.text, first: next}
		if ei > 0 {
			v.start = c.entries[ei-1].end
		}
		to := min(len(c.entries), ei+limit)
		// The ends grow, so the longest run that fits is found by bisection.
		fits := ei + sort.Search(to-ei, func(i int) bool { return size+int(c.entries[ei+i].end-v.start) > maxBytes })
		if fits == ei && size == 0 {
			fits = ei + 1
		}
		if fits == ei {
			break
		}
		v.entries = c.entries[ei:fits]
		size += int(c.entries[fits-1].end - v.start)
		limit -= fits - ei
		next += uint64(fits - ei)
		views = append(views, v)
		if fits < to {
			break
		}
	}
	return views, next, size
}
