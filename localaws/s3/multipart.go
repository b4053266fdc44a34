package s3

import (
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// upload is a multipart upload under way. Uploads are in memory, also with a
// data directory: what is not complete is gone with the process.
type upload struct {
	number          int // in the order of creation
	id, bucket, key string
	meta            map[string]string
	started         time.Time
	parts           map[int]part
}

type part struct {
	body     []byte
	sum      [md5.Size]byte
	uploaded time.Time
}

func (p part) etag() string { return `"` + hex.EncodeToString(p.sum[:]) + `"` }

// maxPart is the highest number of a part.
const maxPart = 10_000

// upload finds the upload that the call names. The caller holds mu.
func (c *call) upload() (*upload, *wire.Error) {
	if _, err := c.store.bucket(c.bucket); err != nil {
		return nil, err
	}
	u := c.store.uploads[c.query.Get("uploadId")]
	if u == nil || u.bucket != c.bucket || u.key != c.key {
		return nil, &wire.Error{
			Code: "NoSuchUpload", Status: http.StatusNotFound,
			Message: "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
		}
	}
	return u, nil
}

func (c *call) createUpload() *wire.Error {
	meta, err := c.meta()
	if err != nil {
		return err
	}
	s := c.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.bucket(c.bucket); err != nil {
		return err
	}
	s.lastUpload++
	now := time.Now()
	// The time keeps the ids of two runs apart.
	id := strconv.FormatInt(now.UnixNano(), 36) + "-" + strconv.Itoa(s.lastUpload)
	s.uploads[id] = &upload{number: s.lastUpload, id: id, bucket: c.bucket, key: c.key, meta: meta, started: now, parts: map[int]part{}}
	return c.writeXML(struct {
		XMLName               xml.Name `xml:"InitiateMultipartUploadResult"`
		Space                 string   `xml:"xmlns,attr"`
		Bucket, Key, UploadId string
	}{Space: namespace, Bucket: c.bucket, Key: c.key, UploadId: id})
}

func (c *call) uploadPart() *wire.Error {
	number, err := strconv.Atoi(c.query.Get("partNumber"))
	if err != nil || number < 1 || number > maxPart {
		return wire.Errorf("InvalidArgument", "Part number must be an integer between 1 and %d, inclusive", maxPart)
	}
	p := part{body: c.body, sum: md5.Sum(c.body), uploaded: time.Now()}
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	u, refused := c.upload()
	if refused != nil {
		return refused
	}
	u.parts[number] = p
	return c.written(p.etag())
}

func (c *call) abortUpload() *wire.Error {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	u, err := c.upload()
	if err != nil {
		return err
	}
	delete(c.store.uploads, u.id)
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// completeUpload makes an object of the parts. An upload that is refused stays, so that
// it can be completed rightly.
func (c *call) completeUpload() *wire.Error {
	var in struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Part    []struct {
			PartNumber int
			ETag       string
		}
	}
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	u, err := c.upload()
	if err != nil {
		return err
	}
	if err := c.readXML(&in); err != nil {
		return err
	}
	if len(in.Part) == 0 {
		return malformed()
	}
	var body, sums []byte
	for i, want := range in.Part {
		p, ok := u.parts[want.PartNumber]
		switch {
		case i > 0 && want.PartNumber <= in.Part[i-1].PartNumber:
			return wire.Errorf("InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number.")
		case !ok || strings.Trim(want.ETag, `"`) != strings.Trim(p.etag(), `"`):
			return wire.Errorf("InvalidPart", "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.")
		}
		body, sums = append(body, p.body...), append(sums, p.sum[:]...)
	}
	o := newObject(c.key, u.meta, body)
	sum := md5.Sum(sums)
	o.md5, o.parts = sum[:], len(in.Part)
	if err := c.store.putLocked(c.bucket, o, c.checkWrite); err != nil {
		return err
	}
	delete(c.store.uploads, u.id)
	return c.writeXML(struct {
		XMLName                     xml.Name `xml:"CompleteMultipartUploadResult"`
		Space                       string   `xml:"xmlns,attr"`
		Location, Bucket, Key, ETag string
	}{Space: namespace, Location: "http://" + c.r.Host + "/" + c.bucket + "/" + c.key, Bucket: c.bucket, Key: c.key, ETag: o.etag()})
}

func (c *call) listParts() *wire.Error {
	type one struct {
		PartNumber         int
		LastModified, ETag string
		Size               int
	}
	marker, err := c.number("part-number-marker", 0, 1<<31-1, 0)
	if err != nil {
		return err
	}
	most, err := c.number("max-parts", 0, maxListed, maxListed)
	if err != nil {
		return err
	}
	c.store.mu.RLock()
	defer c.store.mu.RUnlock()
	u, err := c.upload()
	if err != nil {
		return err
	}
	out := struct {
		XMLName                             xml.Name `xml:"ListPartsResult"`
		Space                               string   `xml:"xmlns,attr"`
		Bucket, Key, UploadId, StorageClass string
		PartNumberMarker                    int
		NextPartNumberMarker                int `xml:",omitempty"`
		MaxParts                            int
		IsTruncated                         bool
		Part                                []one
	}{Space: namespace, Bucket: c.bucket, Key: c.key, UploadId: u.id, StorageClass: "STANDARD", PartNumberMarker: marker, MaxParts: most}
	for _, number := range slices.Sorted(maps.Keys(u.parts)) {
		if number <= marker {
			continue
		}
		if len(out.Part) == most {
			out.IsTruncated = most > 0
			break
		}
		p := u.parts[number]
		out.NextPartNumberMarker = number
		out.Part = append(out.Part, one{number, stamp(p.uploaded), p.etag(), len(p.body)})
	}
	return c.writeXML(out)
}

// listUploads lists by key, and of one key the oldest first.
func (c *call) listUploads() *wire.Error {
	type one struct{ Key, UploadId, StorageClass, Initiated string }
	if c.query.Get("delimiter") != "" || c.query.Get("encoding-type") != "" {
		return notImplemented("This S3 lists uploads without delimiter and encoding-type.")
	}
	most, err := c.number("max-uploads", 0, maxListed, maxListed)
	if err != nil {
		return err
	}
	out := struct {
		XMLName                           xml.Name `xml:"ListMultipartUploadsResult"`
		Space                             string   `xml:"xmlns,attr"`
		Bucket, KeyMarker, UploadIdMarker string
		NextKeyMarker, NextUploadIdMarker string `xml:",omitempty"`
		Prefix                            string
		MaxUploads                        int
		IsTruncated                       bool
		Upload                            []one
	}{
		Space: namespace, Bucket: c.bucket, KeyMarker: c.query.Get("key-marker"), UploadIdMarker: c.query.Get("upload-id-marker"),
		Prefix: c.query.Get("prefix"), MaxUploads: most,
	}
	s := c.store
	s.mu.RLock()
	defer s.mu.RUnlock()
	if _, err := s.bucket(c.bucket); err != nil {
		return err
	}
	all := slices.SortedFunc(maps.Values(s.uploads), func(a, b *upload) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.number, b.number))
	})
	for _, u := range all {
		if u.bucket != c.bucket || !strings.HasPrefix(u.key, out.Prefix) || s.before(u, out.KeyMarker, out.UploadIdMarker) {
			continue
		}
		if len(out.Upload) == most {
			if out.IsTruncated = most > 0; out.IsTruncated {
				last := out.Upload[most-1]
				out.NextKeyMarker, out.NextUploadIdMarker = last.Key, last.UploadId
			}
			break
		}
		out.Upload = append(out.Upload, one{u.key, u.id, "STANDARD", stamp(u.started)})
	}
	return c.writeXML(out)
}

// before reports whether the upload stands at or before the markers.
func (s *store) before(u *upload, key, id string) bool {
	if key == "" || u.key > key {
		return false
	}
	at := s.uploads[id]
	return u.key < key || at == nil || u.number <= at.number
}
