package s3

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// subresources are the query parameters that choose an operation, with the
// noun that they put in its name.
var subresources = map[string]string{
	"acl": "Acl", "tagging": "Tagging", "retention": "Retention", "legal-hold": "LegalHold",
	"torrent": "Torrent", "attributes": "Attributes", "policy": "Policy", "policyStatus": "PolicyStatus",
	"lifecycle": "LifecycleConfiguration", "cors": "Cors", "website": "Website", "encryption": "Encryption",
	"logging": "Logging", "notification": "NotificationConfiguration", "replication": "Replication",
	"versioning": "Versioning", "versions": "Versions", "location": "Location", "object-lock": "LockConfiguration",
	"accelerate": "AccelerateConfiguration", "requestPayment": "RequestPayment",
	"publicAccessBlock": "PublicAccessBlock", "ownershipControls": "OwnershipControls",
	"inventory": "InventoryConfiguration", "metrics": "MetricsConfiguration",
	"analytics": "AnalyticsConfiguration", "intelligent-tiering": "IntelligentTieringConfiguration",
	"restore": "Restore", "select": "Select", "session": "Session", "renameObject": "Rename",
}

// operationOf names the operation that the request calls, as S3's API does.
func operationOf(r *http.Request) string {
	bucket, key := target(r)
	q := r.URL.Query()
	has := func(name string) bool { _, ok := q[name]; return ok }
	switch {
	case bucket == "" && r.Method == http.MethodGet:
		return "ListBuckets"
	case bucket == "":
		return "Unknown"
	case has("uploadId"), has("uploads"):
		return multipartOperation(r, has("uploads"), key != "")
	case r.Method == http.MethodPost && has("delete"):
		return "DeleteObjects"
	}
	level := "Bucket"
	if key != "" {
		level = "Object"
	}
	for name, noun := range subresources {
		if has(name) {
			return verb(r.Method) + level + noun
		}
	}
	if key == "" {
		return bucketOperation(r.Method, q.Get("list-type") == "2")
	}
	return objectOperation(r)
}

func verb(method string) string {
	if method == "" {
		return "Unknown"
	}
	return method[:1] + strings.ToLower(method[1:])
}

func bucketOperation(method string, v2 bool) string {
	switch method {
	case http.MethodGet:
		if v2 {
			return "ListObjectsV2"
		}
		return "ListObjects"
	case http.MethodPut:
		return "CreateBucket"
	case http.MethodDelete:
		return "DeleteBucket"
	case http.MethodHead:
		return "HeadBucket"
	case http.MethodPost:
		return "PostObject"
	}
	return "Unknown"
}

func objectOperation(r *http.Request) string {
	switch r.Method {
	case http.MethodGet:
		return "GetObject"
	case http.MethodHead:
		return "HeadObject"
	case http.MethodDelete:
		return "DeleteObject"
	case http.MethodPut:
		if r.Header.Get("X-Amz-Copy-Source") != "" {
			return "CopyObject"
		}
		return "PutObject"
	}
	return "Unknown"
}

func multipartOperation(r *http.Request, start, hasKey bool) string {
	switch {
	case !hasKey && start && r.Method == http.MethodGet:
		return "ListMultipartUploads"
	case !hasKey:
		return "Unknown"
	case start && r.Method == http.MethodPost:
		return "CreateMultipartUpload"
	case start:
		return "Unknown"
	case r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		return "UploadPartCopy"
	case r.Method == http.MethodPut:
		return "UploadPart"
	case r.Method == http.MethodPost:
		return "CompleteMultipartUpload"
	case r.Method == http.MethodDelete:
		return "AbortMultipartUpload"
	case r.Method == http.MethodGet:
		return "ListParts"
	}
	return "Unknown"
}

// target is the bucket and the key that the request names, in its host or in
// its path.
func target(r *http.Request) (bucket, key string) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if b := bucketOfHost(r.Host); b != "" {
		return b, path
	}
	bucket, key, _ = strings.Cut(path, "/")
	return bucket, key
}

// bucketOfHost is the bucket of a virtual-hosted request: what stands before
// ".s3." or ".s3-region." or, for a laptop, before ".localhost". It is "" for
// path style.
func bucketOfHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ""
	}
	for _, mark := range []string{".s3.", ".s3-"} {
		if b, _, ok := strings.Cut(host, mark); ok {
			return b
		}
	}
	if b, ok := strings.CutSuffix(host, ".localhost"); ok && b != "s3" && !strings.HasPrefix(b, "s3.") {
		return b
	}
	return ""
}
