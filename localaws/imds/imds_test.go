package imds

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsimds "github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, s *Service) *endpoint.Running {
	t.Helper()
	return endpoint.New(endpoint.Options{Services: []wire.Service{s}, Admin: map[string]http.Handler{"imds": s.Admin()}}).Start(t)
}

func call(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestNoticesReachTheSDK(t *testing.T) {
	local := serve(t, New())
	url := local.URL
	c := awsimds.New(awsimds.Options{Endpoint: url, HTTPClient: local.Client(), Retryer: aws.NopRetryer{}})
	read := func(path string) (string, int) {
		t.Helper()
		out, err := c.GetMetadata(t.Context(), &awsimds.GetMetadataInput{Path: path})
		var re interface{ HTTPStatusCode() int }
		if errors.As(err, &re) {
			return "", re.HTTPStatusCode()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = out.Content.Close() }()
		text, err := io.ReadAll(out.Content)
		if err != nil {
			t.Fatal(err)
		}
		return string(text), 200
	}
	if id, _ := read("instance-id"); id != "i-0123456789abcdef0" {
		t.Errorf("instance-id %q", id)
	}
	region, err := c.GetRegion(t.Context(), &awsimds.GetRegionInput{})
	if err != nil || region.Region != "us-east-1" {
		t.Errorf("region %+v, %v", region, err)
	}
	notices := []string{"spot/instance-action", "autoscaling/target-lifecycle-state", "events/recommendations/rebalance", "iam/info"}
	for _, path := range notices {
		if _, status := read(path); status != 404 {
			t.Errorf("%s: status %d before it is set", path, status)
		}
	}
	status, text := call(t, http.MethodPut, url+"/_localaws/imds", `{
		"spot/instance-action": {"action": "terminate", "time": "2026-11-23T08:00:00Z"},
		"autoscaling/target-lifecycle-state": "Terminated",
		"events/recommendations/rebalance": "{\"noticeTime\":\"2026-11-23T08:00:00Z\"}",
		"placement/region": "eu-west-1"}`)
	if status != 200 {
		t.Fatalf("set: %d %s", status, text)
	}
	if got, _ := read("spot/instance-action"); got != `{"action":"terminate","time":"2026-11-23T08:00:00Z"}` {
		t.Errorf("the notice reads %s", got)
	}
	if got, _ := read("autoscaling/target-lifecycle-state"); got != "Terminated" {
		t.Errorf("the state reads %s", got)
	}
	if got, _ := read("placement/"); got != "availability-zone\nregion" {
		t.Errorf("the folder reads %q", got)
	}
	if region, err := c.GetRegion(t.Context(), &awsimds.GetRegionInput{}); err != nil || region.Region != "eu-west-1" {
		t.Errorf("region %+v, %v", region, err)
	}
	if status, _ := call(t, http.MethodPut, url+"/_localaws/imds", `{"spot/instance-action": null}`); status != 200 {
		t.Errorf("take away: %d", status)
	}
	if _, status := read("spot/instance-action"); status != 404 {
		t.Errorf("taken away, and status %d", status)
	}
	if status, _ := call(t, http.MethodDelete, url+"/_localaws/imds", ""); status != 204 {
		t.Errorf("clear: %d", status)
	}
	if _, status := read("autoscaling/target-lifecycle-state"); status != 404 {
		t.Errorf("cleared, and status %d", status)
	}
}

func TestTokenRules(t *testing.T) {
	url := serve(t, New()).URL
	_, token := call(t, http.MethodPut, url+tokenPath, "", ttlHeader, "60")
	for _, tt := range []struct {
		name, method, path string
		header             []string
		want               int
	}{
		{"a token", http.MethodPut, tokenPath, []string{ttlHeader, "21600"}, 200},
		{"no time to live", http.MethodPut, tokenPath, nil, 400},
		{"a time to live of nothing", http.MethodPut, tokenPath, []string{ttlHeader, "0"}, 400},
		{"too long a time to live", http.MethodPut, tokenPath, []string{ttlHeader, "21601"}, 400},
		{"a time to live that is none", http.MethodPut, tokenPath, []string{ttlHeader, "1h"}, 400},
		{"through a proxy", http.MethodPut, tokenPath, []string{ttlHeader, "60", "X-Forwarded-For", "10.0.0.1"}, 403},
		{"asking for a token by GET", http.MethodGet, tokenPath, []string{ttlHeader, "60"}, 405},
		{"without a token", http.MethodGet, "/latest/meta-data/instance-id", nil, 401},
		{"with another's token", http.MethodGet, "/latest/meta-data/instance-id", []string{tokenHeader, New().sign(time.Now().Add(time.Hour))}, 401},
		{"with a token", http.MethodGet, "/latest/meta-data/instance-id", []string{tokenHeader, token}, 200},
		{"the root", http.MethodGet, "/latest/meta-data/", []string{tokenHeader, token}, 200},
		{"what is not there", http.MethodGet, "/latest/user-data", []string{tokenHeader, token}, 404},
		{"writing", http.MethodPost, "/latest/meta-data/instance-id", []string{tokenHeader, token}, 405},
		{"a bucket named latest", http.MethodGet, "/latest/meta-data/x", []string{"Authorization", "AWS4-HMAC-SHA256 ..."}, 400}, // S3 is not here to take it
	} {
		if got, text := call(t, tt.method, url+tt.path, "", tt.header...); got != tt.want {
			t.Errorf("%s: status %d, want %d: %s", tt.name, got, tt.want, text)
		}
	}
}

func TestTokensEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		token := s.sign(time.Now().Add(time.Minute))
		time.Sleep(59 * time.Second) // of the bubble's clock
		if !s.valid(token, time.Now()) {
			t.Error("a token ended early")
		}
		time.Sleep(time.Second)
		if s.valid(token, time.Now()) {
			t.Error("a token outlived its time")
		}
	})
}

func TestWrongSettingsChangeNothing(t *testing.T) {
	url := serve(t, New()).URL + "/_localaws/imds"
	_, before := call(t, http.MethodGet, url, "")
	for _, body := range []string{
		`[]`, `null`, `{`, `{"instance-id": 7}`, `{"instance-id": ""}`, `{"/spot": "x"}`, `{"": "x"}`,
		`{"instance-id": "i-1", "spot/instance-action": "soon"}`,
		`{"spot/instance-action": {"action": "explode", "time": "2026-11-23T08:00:00Z"}}`,
		`{"events/recommendations/rebalance": {"noticeTime": "later"}}`,
	} {
		status, text := call(t, http.MethodPut, url, body)
		if status != 400 || !strings.Contains(text, `"problems":["`) {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	if _, after := call(t, http.MethodGet, url, ""); after != before {
		t.Errorf("the settings went from %s to %s", before, after)
	}
	if status, _ := call(t, http.MethodPatch, url, "{}"); status != 405 {
		t.Errorf("PATCH: %d", status)
	}
}
