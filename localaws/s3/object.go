package s3

import (
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// metaHeader starts the headers that hold an object's metadata.
const metaHeader = "X-Amz-Meta-"

// maxMeta is how many bytes the names and values of an object's metadata have at most.
const maxMeta = 2 << 10

// meta is what of the call's headers stays with the object that it makes.
func (c *call) meta() (map[string]string, *wire.Error) {
	out, size := map[string]string{}, 0
	for name := range c.r.Header {
		value := strings.Join(c.r.Header.Values(name), ",")
		if own, ok := strings.CutPrefix(name, metaHeader); ok {
			size += len(own) + len(value)
			out[name] = value
		}
	}
	for _, name := range []string{"Content-Type", "Content-Disposition", "Content-Language", "Cache-Control", "Expires"} {
		if value := c.r.Header.Get(name); value != "" {
			out[name] = value
		}
	}
	if encoding := withoutChunked(c.r.Header.Get("Content-Encoding")); encoding != "" {
		out["Content-Encoding"] = encoding
	}
	if size > maxMeta {
		return nil, wire.Errorf("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
	}
	return out, nil
}

// written answers a call that wrote a body, with the checksums that came with it.
func (c *call) written(etag string) *wire.Error {
	for name, sum := range c.sums {
		c.w.Header().Set(name, sum)
	}
	c.w.Header().Set("ETag", etag)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) putObject() *wire.Error {
	meta, err := c.meta()
	if err != nil {
		return err
	}
	maps.Copy(meta, c.sums)
	o := newObject(c.key, meta, c.body)
	if err := c.store.put(c.bucket, o, c.checkWrite); err != nil {
		return err
	}
	return c.written(o.etag())
}

// getObject answers GetObject and HeadObject.
func (c *call) getObject() *wire.Error {
	partial := false
	var start, length int64
	o, contents, err := c.store.open(c.bucket, c.key, func(o *object) (int64, int64, *wire.Error) {
		c.w.Header().Set("ETag", o.etag()) // which a refusal has, too
		c.w.Header().Set("Last-Modified", o.modified.UTC().Format(http.TimeFormat))
		if err := checkRead(c.r.Header, "", o); err != nil {
			return 0, 0, err
		}
		var ok bool
		start, length, partial, ok = span(c.r.Header.Get("Range"), o.size)
		if !ok {
			return 0, 0, &wire.Error{
				Code: "InvalidRange", Message: "The requested range is not satisfiable", Status: http.StatusRequestedRangeNotSatisfiable,
			}
		}
		return start, length, nil
	})
	if err != nil {
		return err
	}
	defer func() { _ = contents.Close() }()
	h := c.w.Header()
	// A client checks the checksum that it is given, and a part of an object does
	// not match that of the whole.
	c.show(o, !partial && strings.EqualFold(c.r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED"))
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	status := http.StatusOK
	if partial {
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, start+length-1, o.size))
	}
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		_, _ = io.Copy(c.w, contents) // the client may be gone
	}
	return nil
}

// show writes the headers that came with the object, as the query would have them.
func (c *call) show(o *object, checksums bool) {
	h := c.w.Header()
	h.Set("Content-Type", "binary/octet-stream")
	for name, value := range o.meta {
		switch {
		case strings.HasPrefix(name, metaHeader):
			// S3 writes these names in lower case, and the SDK for Python
			// shows them as they are written.
			h[strings.ToLower(name)] = []string{value}
		case strings.HasPrefix(name, checksumHeader) && !checksums, name == "Last-Modified": // which data of older versions has
		default:
			h.Set(name, value)
		}
	}
	for _, name := range []string{"Content-Type", "Content-Disposition", "Content-Encoding", "Content-Language", "Cache-Control", "Expires"} {
		if v := c.query.Get("response-" + strings.ToLower(name)); v != "" {
			h.Set(name, v)
		}
	}
}

// oneRange is the form of the Range header that S3 follows. With any other it gives
// the whole object.
var oneRange = regexp.MustCompile(`^bytes=(\d{1,18})?-(\d{1,18})?$`)

// span is the part of an object that a Range header asks for; ok is false where there is
// nothing of it.
func span(header string, size int64) (start, length int64, partial, ok bool) {
	m := oneRange.FindStringSubmatch(header)
	if m == nil || m[1] == "" && m[2] == "" {
		return 0, size, false, true
	}
	from, _ := strconv.ParseInt(m[1], 10, 64) // an empty text is 0
	to, noEnd := strconv.ParseInt(m[2], 10, 64)
	switch {
	case m[1] == "": // the last so many
		from, to = max(0, size-to), size-1
	case noEnd != nil:
		to = size - 1
	case to < from:
		return 0, size, false, true
	}
	if from >= size {
		return 0, 0, true, false
	}
	return from, min(to, size-1) - from + 1, true, true
}

// copyObject makes an object of another one, whole.
func (c *call) copyObject() *wire.Error {
	source, failed := url.PathUnescape(c.r.Header.Get("X-Amz-Copy-Source"))
	fromBucket, fromKey, ok := strings.Cut(strings.TrimPrefix(source, "/"), "/")
	switch {
	case failed != nil || !ok || fromKey == "":
		return wire.Errorf("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	case strings.Contains(c.r.Header.Get("X-Amz-Copy-Source"), "?versionId="):
		return notImplemented("This S3 has no versions to copy from.")
	}
	meta, err := c.meta()
	if err != nil {
		return err
	}
	from, contents, err := c.store.open(fromBucket, fromKey, func(o *object) (int64, int64, *wire.Error) {
		if checkRead(c.r.Header, "X-Amz-Copy-Source-", o) != nil {
			return 0, 0, preconditionFailed() // nothing is "not modified" here
		}
		return 0, o.size, nil
	})
	if err != nil {
		return err
	}
	defer func() { _ = contents.Close() }()
	switch directive := c.r.Header.Get("X-Amz-Metadata-Directive"); directive {
	case "", "COPY":
		if fromBucket == c.bucket && fromKey == c.key {
			return wire.Errorf("InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
		}
		meta = from.meta
	case "REPLACE":
		for name, value := range from.meta {
			if strings.HasPrefix(name, checksumHeader) {
				meta[name] = value
			}
		}
	default:
		return wire.Errorf("InvalidArgument", "Unknown metadata directive.")
	}
	body, failed := io.ReadAll(contents)
	if failed != nil {
		return wire.Internal("read the source: " + failed.Error())
	}
	o := newObject(c.key, meta, body)
	if err := c.store.put(c.bucket, o, c.checkWrite); err != nil {
		return err
	}
	return c.writeXML(struct {
		XMLName            xml.Name `xml:"CopyObjectResult"`
		Space              string   `xml:"xmlns,attr"`
		LastModified, ETag string
	}{Space: namespace, LastModified: stamp(o.modified), ETag: o.etag()})
}

func (c *call) deleteObject() *wire.Error {
	if err := c.store.remove(c.bucket, c.key, c.checkWrite); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// maxDelete is how many keys one DeleteObjects takes.
const maxDelete = 1000

func (c *call) deleteObjects() *wire.Error {
	if c.r.Header.Get("Content-Md5") == "" && len(c.sums) == 0 {
		// What is gone is not to have been read wrong.
		return wire.Errorf("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	var in struct {
		XMLName xml.Name `xml:"Delete"`
		Quiet   bool
		Object  []struct{ Key, VersionId, ETag string }
	}
	if err := c.readXML(&in); err != nil {
		return err
	}
	if len(in.Object) == 0 || len(in.Object) > maxDelete {
		return malformed()
	}
	if err := c.store.has(c.bucket); err != nil {
		return err
	}
	type deleted struct{ Key string }
	type failed struct{ Key, Code, Message string }
	out := struct {
		XMLName xml.Name `xml:"DeleteResult"`
		Space   string   `xml:"xmlns,attr"`
		Deleted []deleted
		Error   []failed
	}{Space: namespace}
	for _, one := range in.Object {
		err := c.store.remove(c.bucket, one.Key, func(was *object) *wire.Error {
			switch {
			case one.VersionId != "" && one.VersionId != "null":
				return wire.Errorf("NoSuchVersion", "The specified version does not exist.")
			case one.ETag != "" && was == nil:
				return noSuchKey()
			case one.ETag != "" && !names(one.ETag, was.etag()):
				return preconditionFailed()
			}
			return nil
		})
		switch {
		case err != nil:
			out.Error = append(out.Error, failed{one.Key, err.Code, err.Message})
		case !in.Quiet:
			out.Deleted = append(out.Deleted, deleted{one.Key})
		}
	}
	return c.writeXML(out)
}
