package kinesis

import (
	"sync"
	"time"
)

// The documented rates of a shard. Reads are shared by all who poll it.
const (
	writeBytesPerSecond   = 1 << 20
	writeRecordsPerSecond = 1000
	readBytesPerSecond    = 2 << 20
	readsPerSecond        = 5
	iteratorsPerSecond    = 5
)

// window counts the calls and bytes of one shard since it was opened. It lasts
// a second, and longer where more bytes were let through than a second
// carries: after a reply of 10 MiB at 2 MiB/s nothing is read for 5 s, as AWS
// documents. The caller holds the lock of what the window belongs to.
type window struct {
	opened time.Time
	until  time.Time
	calls  int
	bytes  int
}

// admits reports whether another call of this size, if it is known yet, is
// within the rates, and counts the call if so. Its bytes are added later.
func (w *window) admits(now time.Time, calls, bytesPerSecond, size int) bool {
	if !now.Before(w.until) || now.Before(w.opened) { // over, or the clock was put back
		*w = window{opened: now, until: now.Add(time.Second)}
	}
	if w.calls >= calls {
		return false
	}
	// A first call goes through whatever its size: a record may be larger than
	// what a second carries.
	if bytesPerSecond > 0 && w.bytes > 0 && (w.bytes >= bytesPerSecond || w.bytes+size > bytesPerSecond) {
		return false
	}
	w.calls++
	return true
}

// add counts the bytes of a call that was let through. What is more than a
// second carries by itself is paid for from now on, not from when the window
// was opened.
func (w *window) add(now time.Time, bytesPerSecond, size int) {
	carries := func(bytes int) time.Duration {
		return time.Duration(float64(bytes) / float64(bytesPerSecond) * float64(time.Second))
	}
	w.bytes += size
	from, bytes := w.opened, w.bytes
	if size > bytesPerSecond {
		from, bytes = now, size
	}
	if end := from.Add(carries(bytes)); end.After(w.until) {
		w.until = end
	}
}

// accountRates are the calls a second that the account may make, where AWS
// documents so few that a laptop would notice.
var accountRates = map[string]int{
	"CreateStream": 5, "DeleteStream": 5, "ListStreams": 5,
	"DescribeStream": 10, "DescribeStreamSummary": 20, "DescribeLimits": 1,
	"SplitShard": 5, "MergeShards": 5, "ListShards": 1000,
}

// account counts the calls of an account by operation.
type account struct {
	mu      sync.Mutex // guards windows
	windows map[string]*window
}

func (a *account) admits(operation string, now time.Time) bool {
	rate, limited := accountRates[operation]
	if !limited {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	w := a.windows[operation]
	if w == nil {
		w = &window{}
		a.windows[operation] = w
	}
	return w.admits(now, rate, 0, 0)
}
