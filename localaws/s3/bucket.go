package s3

import (
	"encoding/xml"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// bucketNames are labels of lower-case letters, digits and hyphens, between dots.
var bucketNames = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// validBucket reports whether a new bucket may have the name.
func validBucket(name string) bool {
	_, notAddress := netip.ParseAddr(name)
	return len(name) >= 3 && len(name) <= 63 && bucketNames.MatchString(name) && notAddress != nil && !strings.HasPrefix(name, "xn--")
}

// stampXML is how documents write a time.
const stampXML = "2006-01-02T15:04:05.000Z"

func stamp(t time.Time) string { return t.UTC().Format(stampXML) }

func (c *call) listBuckets() *wire.Error {
	type one struct{ Name, CreationDate string }
	out := struct {
		XMLName xml.Name `xml:"ListAllMyBucketsResult"`
		Space   string   `xml:"xmlns,attr"`
		Owner   struct{ ID, DisplayName string }
		Buckets struct{ Bucket []one }
		Prefix  string `xml:",omitempty"`
		Token   string `xml:"ContinuationToken,omitempty"`
	}{Space: namespace, Prefix: c.query.Get("prefix")}
	out.Owner.ID, out.Owner.DisplayName = "local", "local"
	most, err := c.number("max-buckets", 1, 10_000, 10_000)
	if err != nil {
		return err
	}
	after, err := c.token("")
	if err != nil {
		return err
	}
	c.store.mu.RLock()
	defer c.store.mu.RUnlock()
	for name, b := range c.store.buckets {
		if name > after && strings.HasPrefix(name, out.Prefix) {
			out.Buckets.Bucket = append(out.Buckets.Bucket, one{name, stamp(b.created)})
		}
	}
	slices.SortFunc(out.Buckets.Bucket, func(a, b one) int { return strings.Compare(a.Name, b.Name) })
	if len(out.Buckets.Bucket) > most {
		out.Buckets.Bucket = out.Buckets.Bucket[:most]
		out.Token = tokenFor(out.Buckets.Bucket[most-1].Name)
	}
	return c.writeXML(out)
}

// number is a number in the query, from low to high.
func (c *call) number(name string, low, high, fallback int) (int, *wire.Error) {
	text := c.query.Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || int(n) < low {
		return 0, wire.Errorf("InvalidArgument", "Argument %s must be an integer between %d and 2147483647", name, low)
	}
	return min(int(n), high), nil
}

// createBucket makes a bucket. Of one that is there already, a second creation is a
// success in us-east-1 and an error elsewhere, as S3 has it.
func (c *call) createBucket() *wire.Error {
	existed, err := c.store.createBucket(c.bucket)
	switch {
	case err != nil:
		return err
	case existed && c.region() != "us-east-1":
		return &wire.Error{
			Code: "BucketAlreadyOwnedByYou", Status: http.StatusConflict,
			Message: "Your previous request to create the named bucket succeeded and you already own it.",
		}
	}
	c.w.Header().Set("Location", "/"+c.bucket)
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) deleteBucket() *wire.Error {
	if err := c.store.deleteBucket(c.bucket); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) headBucket() *wire.Error {
	if err := c.store.has(c.bucket); err != nil {
		return err
	}
	c.w.Header().Set("X-Amz-Bucket-Region", c.region()) // all regions share the buckets
	c.w.WriteHeader(http.StatusOK)
	return nil
}

func (c *call) getBucketLocation() *wire.Error {
	if err := c.store.has(c.bucket); err != nil {
		return err
	}
	return c.writeXML(struct {
		XMLName xml.Name `xml:"LocationConstraint"` // empty: us-east-1
		Space   string   `xml:"xmlns,attr"`
	}{Space: namespace})
}

func (c *call) getBucketVersioning() *wire.Error {
	if err := c.store.has(c.bucket); err != nil {
		return err
	}
	return c.writeXML(struct {
		XMLName xml.Name `xml:"VersioningConfiguration"` // empty: it never was on
		Space   string   `xml:"xmlns,attr"`
	}{Space: namespace})
}
