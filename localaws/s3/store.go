package s3

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/johannesboyne/gofakes3"
)

// store keeps the buckets. It implements gofakes3.Backend.
type store struct {
	folder folder // where the bodies are; "" is memory

	mu         sync.RWMutex // guards what follows
	buckets    map[string]*bucket
	uploads    map[gofakes3.UploadID]*upload
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
	meta     map[string]string
	md5      []byte // of the body; of an upload in parts, of the sums of its parts
	parts    int    // of an upload in parts
	size     int64
	modified time.Time
	body     []byte // in memory
	file     string // on disk, and then body is nil
	offset   int64  // where the body starts in file
}

// etag is the object's entity tag.
func (o *object) etag() string {
	tag := hex.EncodeToString(o.md5)
	if o.parts > 0 {
		tag += "-" + strconv.Itoa(o.parts)
	}
	return `"` + tag + `"`
}

var _ gofakes3.Backend = (*store)(nil)

func openStore(dir string) (*store, error) {
	s := &store{folder: folder(dir), buckets: map[string]*bucket{}, uploads: map[gofakes3.UploadID]*upload{}}
	if dir == "" {
		return s, nil
	}
	var err error
	s.buckets, err = s.folder.load()
	return s, err
}

// keyMissing is S3's NoSuchKey, which names the key.
type keyMissing struct {
	gofakes3.ErrorResponse
	Key string
}

func noSuchKey(key string) error {
	return &keyMissing{
		gofakes3.ErrorResponse{Code: gofakes3.ErrNoSuchKey, Message: "The specified key does not exist."}, key,
	}
}

// find returns the object. The caller holds mu.
func (s *store) find(bucketName, key string) (*object, error) {
	b := s.buckets[bucketName]
	if b == nil {
		return nil, gofakes3.BucketNotFound(bucketName)
	}
	o := b.objects[key]
	if o == nil {
		return nil, noSuchKey(key)
	}
	return o, nil
}

func (s *store) has(bucketName, key string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, err := s.find(bucketName, key)
	return err == nil
}

// stamp is the entity tag of an object and when it was written.
func (s *store) stamp(bucketName, key string) (etag string, modified time.Time, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, err := s.find(bucketName, key)
	if err != nil {
		return "", time.Time{}, false
	}
	return o.etag(), o.modified, true
}

func (s *store) keys(bucketName, prefix string) ([]string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.buckets[bucketName]
	if b == nil {
		return nil, gofakes3.BucketNotFound(bucketName)
	}
	var keys []string
	for k := range b.objects {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// ListBuckets implements gofakes3.Backend.
func (s *store) ListBuckets() ([]gofakes3.BucketInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]gofakes3.BucketInfo, 0, len(s.buckets))
	for _, name := range slices.Sorted(maps.Keys(s.buckets)) {
		out = append(out, gofakes3.BucketInfo{
			Name: name, CreationDate: gofakes3.NewContentTime(s.buckets[name].created),
		})
	}
	return out, nil
}

// ListBucket implements gofakes3.Backend. It matches prefix and delimiter by
// itself: the library's matching trims delimiters off the front of keys.
func (s *store) ListBucket(name string, p *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	if p == nil {
		p = &gofakes3.Prefix{}
	}
	keys, err := s.keys(name, p.Prefix)
	if err != nil {
		return nil, err
	}
	if page.Marker != "" {
		keys = keys[afterMarker(keys, page.Marker, p):]
	}
	out := gofakes3.NewObjectList()
	var entries int64
	var group, last string // the common prefix in progress, and the last entry
	for _, k := range keys {
		common := commonPrefix(k, p)
		if common != "" && common == group {
			continue
		}
		if page.MaxKeys > 0 && entries == page.MaxKeys {
			out.IsTruncated, out.NextMarker = true, last
			break
		}
		group, last = common, k
		if common != "" {
			out.AddPrefix(common)
			last = common
		} else if c := s.content(name, k); c != nil {
			out.Add(c)
		} else {
			continue // deleted since the keys were read
		}
		entries++
	}
	return out, nil
}

// commonPrefix is what of the key stands up to the first delimiter after the
// prefix, or "" if there is none.
func commonPrefix(key string, p *gofakes3.Prefix) string {
	if p.Delimiter == "" {
		return ""
	}
	if i := strings.Index(key[len(p.Prefix):], p.Delimiter); i >= 0 {
		return key[:len(p.Prefix)+i+len(p.Delimiter)]
	}
	return ""
}

// afterMarker is the place of the first key after the marker. A marker that is
// itself a common prefix stands for all keys under it.
func afterMarker(keys []string, marker string, p *gofakes3.Prefix) int {
	whole := len(marker) >= len(p.Prefix) && strings.HasPrefix(marker, p.Prefix) && commonPrefix(marker, p) == marker
	i, found := slices.BinarySearch(keys, marker)
	if found && !whole {
		return i + 1
	}
	for whole && i < len(keys) && strings.HasPrefix(keys[i], marker) {
		i++
	}
	return i
}

func (s *store) content(bucketName, key string) *gofakes3.Content {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, err := s.find(bucketName, key)
	if err != nil {
		return nil
	}
	return &gofakes3.Content{
		Key: key, LastModified: gofakes3.NewContentTime(o.modified),
		ETag: o.etag(), Size: o.size, StorageClass: gofakes3.StorageStandard,
	}
}

// CreateBucket implements gofakes3.Backend.
func (s *store) CreateBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[name] != nil {
		return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
	}
	if err := s.folder.createBucket(name); err != nil {
		return err
	}
	s.buckets[name] = &bucket{created: time.Now(), objects: map[string]*object{}}
	return nil
}

// BucketExists implements gofakes3.Backend.
func (s *store) BucketExists(name string) (bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.buckets[name] != nil, nil
}

// DeleteBucket implements gofakes3.Backend.
func (s *store) DeleteBucket(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[name]
	switch {
	case b == nil:
		return gofakes3.BucketNotFound(name)
	case len(b.objects) > 0:
		return gofakes3.ErrorMessage(gofakes3.ErrBucketNotEmpty, "The bucket you tried to delete is not empty")
	}
	delete(s.buckets, name)
	return s.folder.deleteBucket(name)
}

// ForceDeleteBucket implements gofakes3.Backend. Nothing calls it: the header
// that asks for it is taken off.
func (s *store) ForceDeleteBucket(name string) error { return s.DeleteBucket(name) }

// HeadObject implements gofakes3.Backend.
func (s *store) HeadObject(bucketName, key string) (*gofakes3.Object, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, err := s.find(bucketName, key)
	if err != nil {
		return nil, err
	}
	return o.describe(io.NopCloser(strings.NewReader(""))), nil
}

// partsHeader tells the reply how many parts an object was uploaded in: the
// library makes the tag of the hash alone.
const partsHeader = "X-Localaws-Parts"

// describe is the object as the library takes it. The metadata is a copy: the
// library edits what it is given.
func (o *object) describe(contents io.ReadCloser) *gofakes3.Object {
	meta := maps.Clone(o.meta)
	if o.parts > 0 {
		meta[partsHeader] = strconv.Itoa(o.parts)
	}
	return &gofakes3.Object{Name: o.key, Metadata: meta, Size: o.size, Hash: o.md5, Contents: contents}
}

// GetObject implements gofakes3.Backend.
func (s *store) GetObject(bucketName, key string, want *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	// Under the lock the file that the object names is there; once open, it
	// stays readable whatever happens to its name.
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, err := s.find(bucketName, key)
	if err != nil {
		return nil, err
	}
	span, err := want.Range(o.size)
	if err != nil {
		return nil, err
	}
	start, length := int64(0), o.size
	if span != nil {
		start, length = span.Start, span.Length
	}
	contents, err := o.open(start, length)
	if errors.Is(err, fs.ErrNotExist) { // somebody emptied the data directory under us
		return nil, noSuchKey(key)
	}
	if err != nil {
		return nil, err
	}
	out := o.describe(contents)
	out.Range = span
	return out, nil
}

func (o *object) open(start, length int64) (io.ReadCloser, error) {
	if o.file != "" {
		return openFile(o.file, o.offset+start, length)
	}
	return io.NopCloser(bytes.NewReader(o.body[start : start+length])), nil
}

// PutObject implements gofakes3.Backend. Conditions are checked and the object
// put in its place under one lock.
func (s *store) PutObject(bucketName, key string, meta map[string]string, in io.Reader, size int64,
	conditions *gofakes3.PutConditions,
) (result gofakes3.PutObjectResult, err error) {
	body, err := gofakes3.ReadAll(in, size)
	if err != nil {
		return result, err
	}
	sum := md5.Sum(body)
	meta = maps.Clone(meta)
	delete(meta, "X-Amz-Copy-Source")
	delete(meta, partsHeader) // a copy is in one piece
	o := &object{key: key, meta: meta, md5: sum[:], size: size, modified: time.Now(), body: body}

	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.buckets[bucketName]
	if b == nil {
		return result, gofakes3.BucketNotFound(bucketName)
	}
	if conditions != nil {
		was := b.objects[key]
		info := &gofakes3.ConditionalObjectInfo{Exists: was != nil}
		if was != nil {
			info.Hash = was.md5
		}
		if err := gofakes3.CheckPutConditions(conditions, info); err != nil {
			return result, err
		}
	}
	if err := s.folder.save(bucketName, o); err != nil {
		return result, err
	}
	b.objects[key] = o
	return result, nil
}

// CopyObject implements gofakes3.Backend.
func (s *store) CopyObject(srcBucket, srcKey, dstBucket, dstKey string, meta map[string]string) (gofakes3.CopyObjectResult, error) {
	return gofakes3.CopyObject(s, srcBucket, srcKey, dstBucket, dstKey, meta)
}

// DeleteObject implements gofakes3.Backend.
func (s *store) DeleteObject(bucketName, key string) (result gofakes3.ObjectDeleteResult, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(bucketName, key)
	if gofakes3.HasErrorCode(err, gofakes3.ErrNoSuchKey) {
		return result, nil // deleting what is not there succeeds
	}
	if err != nil {
		return result, err
	}
	if err := s.folder.remove(o); err != nil {
		return result, err
	}
	delete(s.buckets[bucketName].objects, key)
	return result, nil
}

// maxDelete is how many keys one DeleteObjects takes.
const maxDelete = 1000

// DeleteMulti implements gofakes3.Backend.
func (s *store) DeleteMulti(bucketName string, keys ...string) (result gofakes3.MultiDeleteResult, err error) {
	if len(keys) == 0 || len(keys) > maxDelete {
		return result, gofakes3.ErrorMessage(gofakes3.ErrMalformedXML, gofakes3.ErrMalformedXML.Message())
	}
	for _, k := range keys {
		if _, err := s.DeleteObject(bucketName, k); err != nil {
			failed := gofakes3.ErrorResultFromError(err)
			failed.Key = k
			result.Error = append(result.Error, failed)
			continue
		}
		result.Deleted = append(result.Deleted, gofakes3.ObjectID{Key: k})
	}
	return result, nil
}
