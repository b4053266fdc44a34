package s3

import (
	"net/http"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func preconditionFailed() *wire.Error {
	return &wire.Error{
		Code: "PreconditionFailed", Status: http.StatusPreconditionFailed,
		Message: "At least one of the pre-conditions you specified did not hold",
	}
}

// checkRead refuses to read the object where the conditions of the headers that
// begin with prefix do not hold, as S3 does: If-Match before If-None-Match, and
// dates only where there is no tag.
func checkRead(h http.Header, prefix string, o *object) *wire.Error {
	same := &wire.Error{Code: "NotModified", Message: "Not Modified", Status: http.StatusNotModified}
	since := func(header string) (time.Time, bool) {
		t, err := http.ParseTime(h.Get(prefix + header))
		return t, err == nil
	}
	modified := o.modified.Truncate(time.Second) // as Last-Modified shows it
	if match := h.Get(prefix + "If-Match"); match != "" {
		if !names(match, o.etag()) {
			return preconditionFailed()
		}
	} else if t, given := since("If-Unmodified-Since"); given && modified.After(t) {
		return preconditionFailed()
	}
	if match := h.Get(prefix + "If-None-Match"); match != "" {
		if names(match, o.etag()) {
			return same
		}
	} else if t, given := since("If-Modified-Since"); given && !modified.After(t) {
		return same
	}
	return nil
}

// checkWrite refuses to write over what is there, nil for nothing, where the call's
// conditions do not hold.
func (c *call) checkWrite(was *object) *wire.Error {
	if v := c.r.Header.Get("If-None-Match"); v != "" && v != "*" {
		return notImplemented("If-None-Match takes only * where an object is written.")
	} else if v == "*" && was != nil {
		return preconditionFailed()
	}
	if match := c.r.Header.Get("If-Match"); match != "" && was == nil {
		return noSuchKey()
	} else if match != "" && !names(match, was.etag()) {
		return preconditionFailed()
	}
	return nil
}

// names reports whether a list of entity tags has this one.
func names(list, tag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == "*" || strings.Trim(one, `"`) == strings.Trim(tag, `"`) {
			return true
		}
	}
	return false
}
