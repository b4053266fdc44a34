// Package deadletter keeps the records that could not be loaded, whole and with
// their reason and place, so that they can be looked at and replayed.
//
// # Each letter once
//
// A letter must be stored before the load that moves its shard's checkpoint
// past it (nothing is lost), and a crash between the two must not store it
// again (nothing is counted twice). The argument, in steps:
//
//   - An object is called
//     <stream>/<shard>/<hour of arrival>/<first place>_<last place>.ndjson,
//     a place being <sequence number>-<sub-sequence number>, and it holds
//     letters of that hour between those places. The hour belongs to the record
//     and not to the attempt, so whoever puts a letter, whenever, looks for it
//     and stores it under the same prefix.
//   - On the first Put for a shard and hour in a process (or after Forget), the
//     prefix is listed. The names alone tell which objects can hold a letter of
//     the batch; those are read, and only letters that none of them holds are
//     written. Committed work leaves objects that end at or before the
//     checkpoint, so only what an attempt left unfinished is ever read again,
//     and a shard's history is never walked.
//   - Objects are never changed and never replaced (put if absent). A name that
//     is there already holds at least its first letter; it is read, and what it
//     holds is subtracted, until nothing is left to write.
//
// So repeated attempts may cut a batch as they like, larger or smaller than
// before, over any number of crashes. Keeping a prefix for each checkpoint that
// a batch starts from would be simpler, but it would store letters twice where
// a repeated batch is smaller than the first: its commit moves the checkpoint,
// and the rest of the letters would be looked for under the new one.
//
// Two live writers of one shard (one of them with a lease that it has lost) can
// both find a letter absent, and store it in two objects. Readers tell letters
// apart by their place, so All returns it once even then.
package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Bucket keeps named objects that never change. Names are paths with "/"
// between their elements.
type Bucket interface {
	// PutIfAbsent stores body under name unless the name exists, whole or not
	// at all, and durably. Where it exists, created is false and err is nil.
	// After an error the object may be there or not.
	PutIfAbsent(ctx context.Context, name string, body []byte) (created bool, err error)
	// Get returns an object, durable by then. The error for a name that does
	// not exist is one that errors.Is calls fs.ErrNotExist.
	Get(ctx context.Context, name string) ([]byte, error)
	// List returns every name that starts with prefix, in byte order. What was
	// put before List was called is in it.
	List(ctx context.Context, prefix string) ([]string, error)
}

// maxObject bounds the bytes of an object, so that readers can hold one in
// memory. A single letter may be larger; it then stands alone.
const maxObject = 4 << 20

// Store is the dead letters of one stream. It is safe for concurrent use.
type Store struct {
	bucket Bucket
	stream string

	mu     sync.Mutex        // guards shards
	shards map[string]*shard // what this process knows, by shard
}

// shard is what this process knows about one shard's letters ahead of its
// checkpoint. All of it can be found anew from the bucket.
type shard struct {
	mu     sync.Mutex                   // guards what follows, through calls to the bucket
	listed map[string]bool              // hours whose objects are known
	unread []object                     // known objects not read yet
	stored map[stream.Position]struct{} // letters known to be stored
}

// New returns the store of the stream's dead letters in b.
func New(b Bucket, streamName string) *Store {
	return &Store{bucket: b, stream: streamName, shards: map[string]*shard{}}
}

// Put stores the letters, all of one shard, that are not stored yet. from is
// the shard's position committed in the warehouse; the letters lie behind it.
// The load that moves the checkpoint past them may start once Put returned nil.
// After an error some of them may be stored; putting them again is right.
func (s *Store) Put(ctx context.Context, from stream.Position, letters []Letter) error {
	if len(letters) == 0 {
		return nil
	}
	shardID := letters[0].ShardID
	for _, l := range letters {
		if l.ShardID != shardID || l.ShardID == "" || l.SequenceNumber == "" {
			return fmt.Errorf("put dead letters: record %q of shard %q among those of shard %q", l.SequenceNumber, l.ShardID, shardID)
		}
	}
	// Letters that the warehouse refused may come after those that the decoder
	// refused; names need the order of the shard.
	letters = slices.Clone(letters)
	slices.SortStableFunc(letters, func(a, b Letter) int { return compare(a.Place(), b.Place()) })

	sh := s.shard(shardID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if err := s.put(ctx, sh, from, letters); err != nil {
		sh.reset() // a failed write may have taken effect
		return fmt.Errorf("put %s of %s %s: %w", plural.Of(len(letters), "dead letter"), s.stream, shardID, err)
	}
	return nil
}

// Forget drops what this process remembers of a shard, so that the next Put
// looks into the bucket again. Call it when the shard is claimed: another
// worker may have stored letters while it owned the shard.
func (s *Store) Forget(shardID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.shards, shardID)
}

func (s *Store) shard(id string) *shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.shards[id]
	if sh == nil {
		sh = &shard{}
		sh.reset()
		s.shards[id] = sh
	}
	return sh
}

func (sh *shard) reset() {
	sh.listed, sh.unread, sh.stored = map[string]bool{}, nil, map[stream.Position]struct{}{}
}

// Missing returns those of the letters, all of one shard and in its order, that are
// not stored. from is as for Put.
func (s *Store) Missing(ctx context.Context, from stream.Position, letters []Letter) ([]Letter, error) {
	if len(letters) == 0 {
		return nil, nil
	}
	sh := s.shard(letters[0].ShardID)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	fresh, err := s.fresh(ctx, sh, from, slices.Clone(letters))
	if err != nil {
		sh.reset()
		return nil, fmt.Errorf("look for %s of %s %s: %w", plural.Of(len(letters), "dead letter"), s.stream, letters[0].ShardID, err)
	}
	return fresh, nil
}

// fresh are those of the letters that are not stored. It writes over letters.
func (s *Store) fresh(ctx context.Context, sh *shard, from stream.Position, letters []Letter) ([]Letter, error) {
	sh.settle(from, hour(letters[0]))
	if err := s.learn(ctx, sh, letters); err != nil {
		return nil, err
	}
	fresh := letters[:0]
	for _, l := range letters {
		if _, ok := sh.stored[l.Place()]; ok {
			continue
		}
		if n := len(fresh); n > 0 && fresh[n-1].Place() == l.Place() {
			continue // given twice
		}
		if l.Stream == "" {
			l.Stream = s.stream
		}
		fresh = append(fresh, l)
	}
	return fresh, nil
}

func (s *Store) put(ctx context.Context, sh *shard, from stream.Position, letters []Letter) error {
	fresh, err := s.fresh(ctx, sh, from, letters) // letters is Put's own copy
	if err != nil {
		return err
	}
	for len(fresh) > 0 {
		n, err := s.write(ctx, sh, fresh)
		if err != nil {
			return err
		}
		fresh = slices.DeleteFunc(fresh[n:], func(l Letter) bool {
			_, ok := sh.stored[l.Place()]
			return ok
		})
	}
	return nil
}

// settle forgets what the checkpoint has left behind, which bounds what a
// shard's state holds by one batch and what a crash left before it.
func (sh *shard) settle(from stream.Position, first string) {
	for h := range sh.listed {
		if h < first { // such an hour is listed again if records do go back to it
			delete(sh.listed, h)
		}
	}
	if !from.IsSequence() {
		return
	}
	for p := range sh.stored {
		if compare(p, from) <= 0 {
			delete(sh.stored, p)
		}
	}
	sh.unread = slices.DeleteFunc(sh.unread, func(o object) bool { return compare(o.last, from) <= 0 })
}

// learn finds out which of the letters are stored already.
func (s *Store) learn(ctx context.Context, sh *shard, letters []Letter) error {
	for _, l := range letters {
		h := hour(l)
		if sh.listed[h] {
			continue
		}
		names, err := s.bucket.List(ctx, prefix(s.stream, l.ShardID, h))
		if err != nil {
			return fmt.Errorf("list what is stored: %w", err)
		}
		for _, name := range names {
			// A name that says no range is none of ours: All reads it, but no
			// attempt to store these letters can have made it.
			if o, ok := parseName(name); ok && !slices.Contains(sh.unread, o) {
				sh.unread = append(sh.unread, o)
			}
		}
		sh.listed[h] = true
	}
	first, last := letters[0].Place(), letters[len(letters)-1].Place()
	var later []object
	for _, o := range sh.unread {
		if compare(o.last, first) < 0 || compare(o.first, last) > 0 {
			later = append(later, o)
		} else if err := s.read(ctx, sh, o.name); err != nil {
			return err
		}
	}
	sh.unread = later
	return nil
}

// read notes the letters of one object as stored.
func (s *Store) read(ctx context.Context, sh *shard, name string) error {
	body, err := s.bucket.Get(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // someone took it away between two calls; what it held counts as not stored
	}
	if err != nil {
		return fmt.Errorf("read what is stored: %w", err)
	}
	found, err := decode(name, body)
	if err != nil {
		return err
	}
	for _, l := range found {
		sh.stored[l.Place()] = struct{}{}
	}
	return nil
}

// write puts one object made of the first of the letters and says how many of
// them it took. It may take none where the object is there already; then at
// least the first one is known as stored.
func (s *Store) write(ctx context.Context, sh *shard, letters []Letter) (int, error) {
	var body bytes.Buffer
	n := 0
	for ; n < len(letters); n++ {
		text, err := letters[n].MarshalJSON()
		if err != nil {
			return 0, err
		}
		tooMuch := body.Len()+len(text)+1 > maxObject
		if n > 0 && (tooMuch || hour(letters[n]) != hour(letters[0]) || !nameable(letters[0], letters[n])) {
			break
		}
		body.Write(text)
		body.WriteByte('\n')
	}
	name := objectName(s.stream, letters[0], letters[n-1])
	created, err := s.bucket.PutIfAbsent(ctx, name, body.Bytes())
	if err != nil {
		return 0, err
	}
	if created {
		for _, l := range letters[:n] {
			place := l.Place()
			place.Sequence = strings.Clone(place.Sequence) // the letter's text may not outlive the call
			sh.stored[place] = struct{}{}
		}
		return n, nil
	}
	if err := s.read(ctx, sh, name); err != nil {
		return 0, err
	}
	if _, ok := sh.stored[letters[0].Place()]; !ok {
		return 0, corrupt(name, 1, errors.New("the object exists and does not begin with the letter that its name tells"))
	}
	return 0, nil
}

// hour names the hour in which the record arrived. Kinesis tells the same
// arrival time at each reading.
func hour(l Letter) string { return hourAt(l.ArrivedAt) }

const hourFormat = "2006-01-02T15"

func hourAt(t time.Time) string { return writable(t).Truncate(time.Hour).Format(hourFormat) }
