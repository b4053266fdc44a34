package fleet

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

const (
	// gatherTime is how long a load waits for workers that were in the last one, from
	// when there is something to load.
	gatherTime = 500 * time.Millisecond
	// gatherLast is the same for a worker that was told to stop, as the others may have
	// been: there is no time for a whole load more. It is also the longest that a load
	// waits for those who were in the last one, from when that ended.
	gatherLast = 3 * time.Second
	gatherStep = 200 * time.Millisecond
	// listEvery is how often it is looked for what is staged, at most.
	listEvery = time.Second
	// sweepEvery is how often a worker that is alone looks for what others left.
	sweepEvery = time.Minute
	// mostRows bounds a load: at 35 bytes a row, some 35 MB in several files.
	mostRows = 1_000_000
	// readers is how many batches' objects are read at one time.
	readers = 8
)

// loader is what the worker that loads knows. Of Run's goroutine alone, but for
// what says so.
type loader struct {
	folder  string
	listed  time.Time
	batches map[string]batch    // staged, by id
	over    map[string]finished // in, stale or given back, whose objects may still be listed
	unread  map[string]unread   // listed, and not a batch that could be read
	last    []string            // the workers that were in the last load
	started time.Time           // of the last load
	ended   time.Time
	call    time.Duration  // that the bucket takes for a listing, of late
	gap     time.Duration  // between the starts of two loads: wider after throttles
	most    int            // batches of a load; 0 = no bound
	failed  int            // loads that failed in turn, in a way that is nobody's fault
	words   sync.WaitGroup // that are written and not waited for

	// Guarded by Fleet.mu.
	busy    bool // batches wait: signs are given
	shut    bool // a load is about to begin
	spoken  bool // a word was written since this worker began to load
	number  int64
	loading []string
	step    *step // how far the load under way has got
	since   time.Time
	idle    time.Time     // when a load was last seen to wait to be started, or for the lock
	gathers time.Time     // when the batches of the next load are to be staged; before then it may not begin
	took    time.Duration // the last load that went in, without such a wait; written by Run's goroutine alone
	loads   int64
	looks   int64
	waiting []string
	oldest  time.Time
	done    []outcome
	gone    bool
}

func newLoader() loader {
	return loader{batches: make(map[string]batch), over: make(map[string]finished), unread: make(map[string]unread)}
}

// Run loads for the fleet while this worker is the one to do so, until ctx ends or
// Close is called.
func (f *Fleet) Run(ctx context.Context) {
	defer close(f.done)
	ctx, abort := context.WithCancel(ctx)
	defer abort()
	f.mu.Lock()
	f.end = abort
	f.mu.Unlock()
	var beside sync.WaitGroup
	running, end := context.WithCancel(ctx)
	beside.Go(func() { f.giveSigns(running) })
	beside.Go(func() { f.checkBeliefs(running) })
	for ctx.Err() == nil && !f.closed() {
		f.pause(ctx, f.round(ctx))
	}
	end()
	beside.Wait()
	f.loader.words.Wait()
	f.c.Copy.Remove(ctx, f.news.sent.names()...)
	f.sayGone(ctx)
}

// sayGone says that this worker loads no more for others, if any has heard of it.
func (f *Fleet) sayGone(ctx context.Context) {
	f.mu.Lock()
	f.loader.gone = true
	spoken := f.loader.spoken
	f.mu.Unlock()
	if spoken && ctx.Err() == nil {
		f.say(ctx)
	}
}

func (f *Fleet) closed() bool {
	select {
	case <-f.stop:
		return true
	default:
		return false
	}
}

// wake asks for a round at once.
func (f *Fleet) wake() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// pause waits for d, or for a reason to go on earlier.
func (f *Fleet) pause(ctx context.Context, d time.Duration) {
	pulse.Beat(ctx)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.kick:
	case <-f.stop:
	case <-ctx.Done():
	}
}

// round looks whether this worker is the one that loads and, if it is, loads what is
// staged. It returns when to look again.
func (f *Fleet) round(ctx context.Context) time.Duration {
	l, p := &f.loader, f.place()
	if !p.ours() {
		if l.folder != "" {
			if p.folder == "" { // the leases still name it
				f.sayGone(ctx)
			}
			f.resign()
		}
		return f.tellNews(ctx, p)
	}
	if l.folder != p.folder {
		f.resign()
		l.folder = p.folder
		f.inherit(ctx)
	}
	every := min(listEvery, max(f.c.LoadInterval, gatherStep))
	switch {
	case time.Since(l.ended) < listEvery: // those who waited for it come again
		every = gatherStep
	case !p.shared() && !f.waitedFor():
		every = sweepEvery
	}
	if wait := time.Until(l.listed.Add(every)); wait > 0 && !f.waitedFor() {
		return min(wait, listEvery)
	}
	if err := f.list(ctx); err != nil {
		if f.refused(err) {
			return listEvery
		}
		f.c.Log.Warn("what others have staged cannot be listed; they load for themselves meanwhile", "error", err)
	}
	if !f.gather(ctx) {
		return every
	}
	if f.sweep(ctx); !f.busy() {
		return every
	}
	f.load(ctx, f.withNews(f.pick()))
	l.ended = time.Now()
	if l.failed > 0 {
		return listEvery
	}
	return 0
}

// resign forgets what a worker knew as the one that loads.
func (f *Fleet) resign() {
	l := &f.loader
	clear(l.batches)
	clear(l.over)
	clear(l.unread)
	l.folder, l.listed, l.last, l.most, l.failed, l.gap = "", time.Time{}, nil, 0, 0, 0
	f.mu.Lock()
	defer f.mu.Unlock()
	l.gone = false
	l.busy, l.spoken, l.loading, l.step, l.waiting, l.done = false, false, nil, nil, nil, nil
}

// inherit goes on telling what the one before has told of late: who waits for it may
// not have looked yet. None of it is loaded again, though its objects may be there
// until the one before has removed them. If that died first, they are loaded once more
// when they are still there later, and removed.
func (f *Fleet) inherit(ctx context.Context) {
	f.look(ctx, f.loader.folder)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, o := range f.word.Done {
		o.at = time.Now()
		f.loader.done = append(f.loader.done, o)
		f.loader.over[o.ID] = finished{until: o.at.Add(keepWords)}
	}
}

// waitedFor reports whether this process has staged something that is not in.
func (f *Fleet) waitedFor() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.mine {
		if _, answered := f.answers[id]; !answered && !f.loader.isOver(id) {
			return true
		}
	}
	return false
}

// count says how much waits, as was just looked for or is known.
func (f *Fleet) count(looked bool) {
	l := &f.loader
	var waiting []string
	var oldest time.Time
	for _, b := range l.batches {
		if b.News {
			continue
		}
		if waiting = append(waiting, b.ID); oldest.IsZero() || b.At.Before(oldest) {
			oldest = b.At
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l.waiting, l.oldest, l.busy = waiting, oldest, waiting != nil
	if looked {
		l.looks++
	}
}

// gather waits until a load may start and those are there who were in the last one,
// or had time to be. It reports whether there is anything to load.
func (f *Fleet) gather(ctx context.Context) bool {
	l, began := &f.loader, time.Now()
	f.speakUp(ctx)
	defer f.open()
	for ctx.Err() == nil && !f.closed() {
		if !f.busy() {
			return false
		}
		now := time.Now()
		early := time.Until(l.started.Add(f.interval()))
		late := max(early, began.Add(f.patientFor()).Sub(now), l.ended.Add(l.comeBack()).Sub(now))
		switch {
		case early > gatherTime:
			f.pause(ctx, min(early-gatherTime, listEvery))
			began = time.Now()
		case late <= 0, early <= 0 && f.complete():
			return true
		case f.complete():
			f.pause(ctx, early)
		default:
			f.pause(ctx, max(gatherStep/4, gatherStep-l.call))
		}
		if late < 4*l.call { // for longer than it takes to stage a batch and to find it
			f.shut(ctx)
		}
		if err := f.list(ctx); err != nil {
			return f.busy()
		}
	}
	return false
}

// interval is the least time between the starts of two loads. Whoever was told to stop
// does not wait for that which is there to make loads large.
func (f *Fleet) interval() time.Duration {
	l := &f.loader
	f.mu.Lock()
	hurried := f.leaving
	f.mu.Unlock()
	for _, b := range l.batches {
		hurried = hurried || b.Leaves
	}
	if hurried {
		return max(min(f.c.LoadInterval, time.Second), l.gap)
	}
	return max(f.c.LoadInterval, l.gap)
}

// shut says that what is staged from now on may miss the load. It is not waited for.
func (f *Fleet) shut(ctx context.Context) {
	f.mu.Lock()
	l := &f.loader
	first := !l.shut && l.took >= worthHolding
	l.shut = l.shut || first
	f.mu.Unlock()
	if first {
		l.words.Go(func() { f.say(ctx) })
	}
}

// open ends that.
func (f *Fleet) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loader.shut = false
}

// patientFor is how long a load waits for those who were in the last one.
func (f *Fleet) patientFor() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaving {
		return gatherLast
	}
	return gatherTime
}

// comeBack is how long it takes after a load until those who were in it have staged
// what came meanwhile: they read the word, and put two objects, and this worker lists
// and reads them. Who is missed waits for a whole load more. So a load that takes long
// may be waited with for longer than one that is over at once.
func (l *loader) comeBack() time.Duration {
	return min(gatherTime+5*l.call, gatherLast, max(gatherTime, l.took/2))
}

func (f *Fleet) busy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loader.busy
}

// complete reports whether all are there who may be expected: who was in the last
// load, and where loads take long whoever owns shards, as each holds back what would
// have missed the load before.
func (f *Fleet) complete() bool {
	l := &f.loader
	owners, _ := f.c.Owners()
	expected := l.last
	if l.took >= worthHolding {
		expected = f.speaking(owners)
	}
	for _, worker := range expected {
		there := !slices.Contains(owners, worker)
		for _, b := range l.batches {
			there = there || b.Worker == worker && !b.News
		}
		if !there {
			return false
		}
	}
	return true
}

// speaking are the workers of whom no sign was missed of late.
func (f *Fleet) speaking(owners []string) []string {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(owners), func(o string) bool { return f.silent[o].lasts(now) })
}

// pick chooses what goes into the next load: the oldest first, and news where nothing
// else moves their shards.
func (f *Fleet) pick() []batch {
	l := &f.loader
	var all, out []batch
	for _, b := range l.batches {
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b batch) int {
		if a.News != b.News {
			if a.News {
				return 1
			}
			return -1
		}
		return strings.Compare(a.ID, b.ID)
	})
	var taken []warehouse.Staged
	rows := 0
	for _, b := range all {
		s := b.staged()
		n := s.Total()
		if len(taken) > 0 && rows+n > mostRows || l.most > 0 && len(taken) >= l.most || s.Apart(taken) != nil {
			continue
		}
		out, taken, rows = append(out, b), append(taken, s), rows+n
	}
	return out
}

// speakUp gives a sign when there is something to wait for and there was none yet.
func (f *Fleet) speakUp(ctx context.Context) {
	f.mu.Lock()
	silent := f.loader.busy && time.Since(f.heard) >= f.c.Patience/3
	f.mu.Unlock()
	if silent {
		f.say(ctx)
	}
}

// giveSigns writes a word now and then while anybody may wait for one.
func (f *Fleet) giveSigns(ctx context.Context) {
	each(ctx, f.c.Patience/3, func() {
		if f.busy() {
			f.say(ctx)
		}
	})
}

// each does something every d until ctx ends.
func each(ctx context.Context, d time.Duration, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// say writes the word, and reports whether it could. If not, the next one mends it.
func (f *Fleet) say(ctx context.Context) (said bool) {
	select { // no mutex: it would be held for as long as the bucket takes
	case f.saying <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-f.saying }()
	f.mu.Lock()
	l, now := &f.loader, time.Now()
	l.done = slices.DeleteFunc(l.done, func(o outcome) bool { return now.Sub(o.at) > keepWords })
	l.number++
	l.spoken = true
	w := word{
		Loader: f.c.Self, Number: l.number, At: now.UTC(), Shut: l.shut, Loading: l.loading, Step: l.step.known(), Since: l.since, Took: l.took, Rest: max(0, l.gathers.Sub(now)), Loads: l.loads, Looks: l.looks,
		Waiting: l.waiting, Oldest: l.oldest, Gone: l.gone, Done: slices.Clone(l.done),
	}
	folder := l.folder
	f.mu.Unlock()
	if folder == "" {
		return false
	}
	body, err := json.Marshal(w)
	if err == nil {
		bounded, cancel := context.WithTimeout(ctx, f.c.Patience)
		_, err = f.c.Bucket.Put(bounded, folder+wordName, body)
		cancel()
	}
	if err != nil {
		if ctx.Err() == nil && !f.refused(err) {
			f.c.Log.Warn("the word for the workers that wait cannot be written; they load for themselves if it stays so", "error", err)
		}
		return false
	}
	w.raw = body
	f.mu.Lock()
	defer f.mu.Unlock()
	f.word, f.heard = w, now
	f.broadcast()
	return true
}
