package worker

import (
	"context"
	"errors"
	"slices"
	"time"
)

// The memory of pages is one budget: what is set aside for reads under way, and
// what their rows take that wait or are being loaded. What a read will bring is
// not known before its reply begins, so it is guessed first (fetch), set right
// when the reply tells its length (fetch.room), and counted once it is decoded.

// turn is a read that waits for memory.
type turn struct {
	n       int64
	granted chan struct{} // closed once the memory is set aside
}

// fits reports whether another n bytes may be taken. A page that is larger than
// all of the budget is taken alone. The caller holds mu.
func (q *queue) fits(n int64) bool {
	used := q.reading + q.held
	return used == 0 || used+n <= q.limit
}

// reserve sets n bytes aside for a read. Reads that wait get it in the order in
// which they came, so that small pages do not keep a large one waiting for ever.
func (q *queue) reserve(ctx context.Context, n int64) (waited bool, err error) {
	q.mu.Lock()
	if len(q.turns) == 0 && q.fits(n) {
		q.reading += n
		q.mu.Unlock()
		return false, nil
	}
	t := &turn{n, make(chan struct{})}
	q.turns = append(q.turns, t)
	q.tellIfFull()
	q.mu.Unlock()
	select {
	case <-t.granted:
		return true, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if at := slices.Index(q.turns, t); at >= 0 {
		q.turns = slices.Delete(q.turns, at, at+1)
	} else {
		q.reading -= n // granted meanwhile
	}
	q.admit()
	return true, context.Cause(ctx)
}

// enlarge sets more bytes aside for a read whose reply is there already, past
// those that wait, or reports that there is no room for it.
func (q *queue) enlarge(have, want int64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if others := q.reading + q.held - have; others > 0 && others+want > q.limit {
		return false
	}
	q.reading += want - have
	return true
}

// release gives back what was set aside.
func (q *queue) release(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.reading -= n
	q.admit()
}

// admit lets waiting reads go on while there is room. The caller holds mu.
func (q *queue) admit() {
	for len(q.turns) > 0 && q.fits(q.turns[0].n) {
		q.reading += q.turns[0].n
		close(q.turns[0].granted)
		q.turns = q.turns[1:]
	}
	q.tellIfFull()
}

// full reports whether reading waits for a load, and not for other reads. The
// caller holds mu.
func (q *queue) full() bool { return len(q.turns) > 0 && q.reading == 0 }

func (q *queue) tellIfFull() {
	if q.full() {
		q.broadcast()
	}
}

const (
	// fullPage is the most data of one reply.
	fullPage = 10 << 20
	// shardRate is how many bytes a second a shard takes at the most.
	shardRate = 1 << 20
	// readsAtOnce bounds the reads under way, however small: each takes buffers
	// of its connection and of the SDK beside its page.
	readsAtOnce = 64
	// usualCost is the memory that a byte of a reply is taken to cost until pages
	// have shown it: itself, up to a quarter more as pages come in sizes, and the
	// lines that it becomes.
	usualCost = 2
	// tellingBytes is how long a reply must be for its cost to tell something.
	tellingBytes = 64 << 10
)

// errNoRoom ends a read whose reply is larger than what was set aside, and for
// which there is no room now. It is made again, at its turn.
var errNoRoom = errors.New("there is no memory for the reply yet")

// fetch is the memory of one shard's reads.
type fetch struct {
	queue  *queue
	poll   time.Duration
	set    int64     // set aside now
	asked  time.Time // when the last read began; zero before the first
	body   int64     // bytes of the reply under way; 0 = not known
	expect int64     // bytes of a reply, as they were of late
	cost   float64   // memory for each of them, as it was of late
}

func newFetch(q *queue, poll time.Duration) *fetch {
	return &fetch{queue: q, poll: poll, expect: fullPage, cost: usualCost}
}

// memory is what a reply of so many bytes takes.
func (f *fetch) memory(body int64) int64 {
	n := max(int64(float64(body)*f.cost), f.queue.limit/readsAtOnce)
	return min(n, f.queue.limit)
}

// guess is what the next read may take: what replies took of late, and after a
// wait that is longer than usual what may have arrived meanwhile.
func (f *fetch) guess() int64 {
	body := f.expect
	if since := time.Since(f.asked); since > 2*f.poll {
		body = max(body, min(fullPage, int64(since.Seconds()*shardRate)))
	}
	return f.memory(body)
}

// begin sets memory aside for a read, and waits for it.
func (f *fetch) begin(ctx context.Context) error {
	for {
		f.set = f.guess()
		waited, err := f.queue.reserve(ctx, f.set)
		if err != nil {
			f.set = 0
			return err
		}
		if !waited || f.grow(f.guess()) {
			break
		}
		f.end() // more may have arrived while it waited: once more, for all that can be
		f.expect = max(f.expect, fullPage)
	}
	f.asked, f.body = time.Now(), 0
	return nil
}

func (f *fetch) grow(want int64) bool {
	if want <= f.set {
		return true
	}
	if !f.queue.enlarge(f.set, want) {
		return false
	}
	f.set = want
	return true
}

// room is asked before the memory for a reply is taken.
func (f *fetch) room(bytes int) error {
	f.body = int64(bytes)
	if f.grow(f.memory(f.body)) {
		return nil
	}
	f.expect = f.body
	return errNoRoom
}

// learn notes what a page took.
func (f *fetch) learn(page, decoded int64) {
	body := f.body
	if body == 0 {
		body = page
	}
	f.expect = max(min(2*body, max(body, fullPage)), f.expect/2)
	if body >= tellingBytes {
		cost := float64(decoded) / float64(body)
		f.cost = max(cost, f.cost-(f.cost-cost)/4)
	}
}

// end gives back what was set aside: the page is queued, and counted there.
func (f *fetch) end() {
	f.queue.release(f.set)
	f.set = 0
}
