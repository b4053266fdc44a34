package s3

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/johannesboyne/gofakes3"
)

// upload is a multipart upload under way. Uploads are in memory, also with a
// data directory: what is not complete is gone with the process.
type upload struct {
	number      int // in the order of creation
	id          gofakes3.UploadID
	bucket, key string
	meta        map[string]string
	started     time.Time
	parts       map[int]part
}

type part struct {
	body     []byte
	sum      [md5.Size]byte
	uploaded time.Time
}

func (p part) etag() string { return `"` + hex.EncodeToString(p.sum[:]) + `"` }

var _ gofakes3.MultipartBackend = (*store)(nil)

// upload finds an upload. The caller holds mu.
func (s *store) upload(bucketName, key string, id gofakes3.UploadID) (*upload, error) {
	u := s.uploads[id]
	if u == nil || u.bucket != bucketName || u.key != key {
		return nil, gofakes3.ErrorMessage(gofakes3.ErrNoSuchUpload,
			"The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
	}
	return u, nil
}

// CreateMultipartUpload implements gofakes3.MultipartBackend.
func (s *store) CreateMultipartUpload(bucketName, key string, meta map[string]string) (gofakes3.UploadID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastUpload++
	now := time.Now()
	// The time keeps the ids of two runs apart.
	id := gofakes3.UploadID(strconv.FormatInt(now.UnixNano(), 36) + "-" + strconv.Itoa(s.lastUpload))
	s.uploads[id] = &upload{
		number: s.lastUpload, id: id, bucket: bucketName, key: key, meta: maps.Clone(meta), started: now, parts: map[int]part{},
	}
	return id, nil
}

// UploadPart implements gofakes3.MultipartBackend.
func (s *store) UploadPart(bucketName, key string, id gofakes3.UploadID, number int, size int64, in io.Reader) (string, error) {
	body, err := gofakes3.ReadAll(in, size)
	if err != nil {
		return "", err
	}
	p := part{body: body, sum: md5.Sum(body), uploaded: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.upload(bucketName, key, id)
	if err != nil {
		return "", err
	}
	u.parts[number] = p
	return p.etag(), nil
}

// AbortMultipartUpload implements gofakes3.MultipartBackend.
func (s *store) AbortMultipartUpload(bucketName, key string, id gofakes3.UploadID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.upload(bucketName, key, id); err != nil {
		return err
	}
	delete(s.uploads, id)
	return nil
}

// CompleteMultipartUpload implements gofakes3.MultipartBackend. An upload that
// is refused stays, so that it can be completed rightly.
func (s *store) CompleteMultipartUpload(bucketName, key string, id gofakes3.UploadID, in *gofakes3.CompleteMultipartUploadRequest) (
	version gofakes3.VersionID, etag string, err error,
) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.upload(bucketName, key, id)
	if err != nil {
		return "", "", err
	}
	b := s.buckets[bucketName]
	switch {
	case b == nil:
		return "", "", gofakes3.BucketNotFound(bucketName)
	case len(in.Parts) == 0:
		return "", "", gofakes3.ErrorMessage(gofakes3.ErrMalformedXML, gofakes3.ErrMalformedXML.Message())
	}
	var body, sums []byte
	for i, want := range in.Parts {
		p, ok := u.parts[want.PartNumber]
		switch {
		case i > 0 && want.PartNumber <= in.Parts[i-1].PartNumber:
			return "", "", gofakes3.ErrorMessage(gofakes3.ErrInvalidPartOrder, "The list of parts was not in ascending order. Parts must be ordered by part number.")
		case !ok || strings.Trim(want.ETag, `"`) != strings.Trim(p.etag(), `"`):
			return "", "", gofakes3.ErrorMessage(gofakes3.ErrInvalidPart,
				"One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.")
		}
		body, sums = append(body, p.body...), append(sums, p.sum[:]...)
	}
	sum := md5.Sum(sums)
	o := &object{
		key: key, meta: u.meta, md5: sum[:], parts: len(in.Parts), size: int64(len(body)), modified: time.Now(), body: body,
	}
	if err := s.folder.save(bucketName, o); err != nil {
		return "", "", err
	}
	b.objects[key] = o
	delete(s.uploads, id)
	return "", o.etag(), nil
}

// ListParts implements gofakes3.MultipartBackend.
func (s *store) ListParts(bucketName, key string, id gofakes3.UploadID, marker int, limit int64) (*gofakes3.ListMultipartUploadPartsResult, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	u, err := s.upload(bucketName, key, id)
	if err != nil {
		return nil, err
	}
	out := &gofakes3.ListMultipartUploadPartsResult{
		Bucket: bucketName, Key: key, UploadID: id, MaxParts: limit, PartNumberMarker: marker, StorageClass: gofakes3.StorageStandard,
	}
	for _, number := range slices.Sorted(maps.Keys(u.parts)) {
		if number <= marker {
			continue
		}
		if int64(len(out.Parts)) == limit {
			out.IsTruncated = true
			break
		}
		p := u.parts[number]
		out.NextPartNumberMarker = number
		out.Parts = append(out.Parts, gofakes3.ListMultipartUploadPartItem{
			PartNumber: number, LastModified: gofakes3.NewContentTime(p.uploaded), ETag: p.etag(), Size: int64(len(p.body)),
		})
	}
	return out, nil
}

// ListMultipartUploads implements gofakes3.MultipartBackend: by key, and of one
// key the oldest first. Common prefixes are not made.
func (s *store) ListMultipartUploads(bucketName string, marker *gofakes3.UploadListMarker, prefix gofakes3.Prefix, limit int64) (
	*gofakes3.ListMultipartUploadsResult, error,
) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := &gofakes3.ListMultipartUploadsResult{Bucket: bucketName, Prefix: prefix.Prefix, Delimiter: prefix.Delimiter, MaxUploads: limit}
	all := slices.SortedFunc(maps.Values(s.uploads), func(a, b *upload) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.number, b.number))
	})
	for _, u := range all {
		if u.bucket != bucketName || !strings.HasPrefix(u.key, prefix.Prefix) || s.before(u, marker) {
			continue
		}
		if int64(len(out.Uploads)) == limit {
			out.IsTruncated = true
			break
		}
		out.NextKeyMarker, out.NextUploadIDMarker = u.key, u.id
		out.Uploads = append(out.Uploads, gofakes3.ListMultipartUploadItem{
			Key: u.key, UploadID: u.id, StorageClass: gofakes3.StorageStandard, Initiated: gofakes3.NewContentTime(u.started),
		})
	}
	if !out.IsTruncated {
		out.NextKeyMarker, out.NextUploadIDMarker = "", ""
	}
	return out, nil
}

// before reports whether the upload stands at or before the marker.
func (s *store) before(u *upload, marker *gofakes3.UploadListMarker) bool {
	if marker == nil || marker.Object == "" || u.key > marker.Object {
		return false
	}
	at := s.uploads[marker.UploadID]
	return u.key < marker.Object || at == nil || u.number <= at.number
}
