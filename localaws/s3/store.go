package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// store keeps the buckets.
type store struct {
	folder folder // where the bodies are; "" is memory

	mu         sync.RWMutex // guards what follows
	buckets    map[string]*bucket
	uploads    map[string]*upload
	lastUpload int
}

type bucket struct {
	created time.Time
	objects map[string]*object
}

// object is one object. It is never changed: a new version of a key is a new
// object, so that a reader of the old one is not disturbed.
type object struct {
	key      string
	meta     map[string]string // headers that come back with it, by their canonical names
	md5      []byte            // of the body; of an upload in parts, of the sums of its parts
	parts    int               // of an upload in parts
	size     int64
	modified time.Time
	body     []byte // in memory
	file     string // on disk, and then body is nil
	offset   int64  // where the body starts in file
}

func newObject(key string, meta map[string]string, body []byte) *object {
	sum := md5.Sum(body)
	return &object{key: key, meta: meta, md5: sum[:], size: int64(len(body)), modified: time.Now(), body: body}
}

// etag is the object's entity tag.
func (o *object) etag() string {
	tag := hex.EncodeToString(o.md5)
	if o.parts > 0 {
		tag += "-" + strconv.Itoa(o.parts)
	}
	return `"` + tag + `"`
}

func openStore(dir string) (*store, error) {
	s := &store{folder: folder(dir), buckets: map[string]*bucket{}, uploads: map[string]*upload{}}
	if dir == "" {
		return s, nil
	}
	var err error
	s.buckets, err = s.folder.load()
	return s, err
}

func noSuchBucket() *wire.Error {
	return &wire.Error{Code: "NoSuchBucket", Message: "The specified bucket does not exist", Status: http.StatusNotFound}
}

func noSuchKey() *wire.Error {
	return &wire.Error{Code: "NoSuchKey", Message: "The specified key does not exist.", Status: http.StatusNotFound}
}

// bucket finds a bucket. The caller holds mu.
func (s *store) bucket(name string) (*bucket, *wire.Error) {
	if b := s.buckets[name]; b != nil {
		return b, nil
	}
	return nil, noSuchBucket()
}

// createBucket makes a bucket, unless one of that name is there.
func (s *store) createBucket(name string) (existed bool, err *wire.Error) {
	if !validBucket(name) {
		return false, wire.Errorf("InvalidBucketName", "The specified bucket is not valid.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] != nil {
		return true, nil
	}
	if err := s.folder.createBucket(name); err != nil {
		return false, wire.Internal(err.Error())
	}
	s.buckets[name] = &bucket{created: time.Now(), objects: map[string]*object{}}
	return false, nil
}

func (s *store) deleteBucket(name string) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(name)
	switch {
	case err != nil:
		return err
	case len(b.objects) > 0:
		return &wire.Error{Code: "BucketNotEmpty", Message: "The bucket you tried to delete is not empty", Status: http.StatusConflict}
	}
	delete(s.buckets, name)
	if err := s.folder.deleteBucket(name); err != nil {
		return wire.Internal(err.Error())
	}
	return nil
}

// has says whether the bucket is there.
func (s *store) has(name string) *wire.Error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, err := s.bucket(name)
	return err
}

// list is the objects of a bucket whose keys begin with prefix, by their keys.
func (s *store) list(bucketName, prefix string) ([]*object, *wire.Error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return nil, err
	}
	var out []*object
	for key, o := range b.objects {
		if strings.HasPrefix(key, prefix) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *object) int { return strings.Compare(a.key, b.key) })
	return out, nil
}

// open finds an object and opens the part of it that span wants, or all of it.
func (s *store) open(bucketName, key string, span func(*object) (start, length int64, err *wire.Error)) (
	o *object, contents io.ReadCloser, err *wire.Error,
) {
	// Under the lock the file that the object names is there; once open, it
	// stays readable whatever happens to its name.
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return nil, nil, err
	}
	if o = b.objects[key]; o == nil {
		return nil, nil, noSuchKey()
	}
	start, length := int64(0), o.size
	if span != nil {
		if start, length, err = span(o); err != nil {
			return nil, nil, err
		}
	}
	if o.file == "" {
		return o, io.NopCloser(bytes.NewReader(o.body[start : start+length])), nil
	}
	contents, failed := openFile(o.file, o.offset+start, length)
	switch {
	case errors.Is(failed, fs.ErrNotExist): // somebody emptied the data directory under us
		return nil, nil, noSuchKey()
	case failed != nil:
		return nil, nil, wire.Internal(failed.Error())
	}
	return o, contents, nil
}

// put keeps the object, if check does not mind what is there by its key, which may be
// nil: both under one lock.
func (s *store) put(bucketName string, o *object, check func(was *object) *wire.Error) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.putLocked(bucketName, o, check)
}

// putLocked is put for one who holds mu.
func (s *store) putLocked(bucketName string, o *object, check func(was *object) *wire.Error) *wire.Error {
	b, err := s.bucket(bucketName)
	if err != nil {
		return err
	}
	if err := check(b.objects[o.key]); err != nil {
		return err
	}
	if err := s.folder.save(bucketName, o); err != nil {
		return wire.Internal(err.Error())
	}
	b.objects[o.key] = o
	return nil
}

// remove deletes an object, if check does not mind. Deleting what is not there succeeds.
func (s *store) remove(bucketName, key string, check func(was *object) *wire.Error) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.bucket(bucketName)
	if err != nil {
		return err
	}
	o := b.objects[key]
	if err := check(o); err != nil || o == nil {
		return err
	}
	if err := s.folder.remove(o); err != nil {
		return wire.Internal(err.Error())
	}
	delete(b.objects, key)
	return nil
}
