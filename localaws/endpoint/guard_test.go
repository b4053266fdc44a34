package endpoint_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/kinesis"
	"github.com/cloudcafe/analytics-worker/localaws/memnet"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// A page that a browser on this machine shows must reach nothing, be it by a name
// of its own for 127.0.0.1 or by posting across sites.
func TestPagesOfOtherSitesAreRefused(t *testing.T) {
	d := overTCP(t)
	for name, c := range map[string]struct {
		host   string
		header []string
		status int
	}{
		"a program":                     {"127.0.0.1:4566", nil, http.StatusOK},
		"by name":                       {"localhost:4566", nil, http.StatusOK},
		"by name, in full":              {"LocalHost.", nil, http.StatusOK},
		"IPv6":                          {"[::1]:4566", nil, http.StatusOK},
		"IPv6, no port":                 {"[::1]", nil, http.StatusOK},
		"IPv4 in IPv6":                  {"[::ffff:127.0.0.1]:4566", nil, http.StatusOK},
		"a bucket's name":               {"bucket.localhost:4566", nil, http.StatusOK},
		"a bucket's name under s3":      {"a.bucket.s3.localhost:4566", nil, http.StatusOK},
		"a host that was named":         {"memory", nil, http.StatusOK},
		"a page of this machine":        {"localhost:4566", []string{"Origin", "http://localhost:3000", "Sec-Fetch-Site", "same-site"}, http.StatusOK},
		"the address typed in":          {"localhost:4566", []string{"Sec-Fetch-Site", "none"}, http.StatusOK},
		"rebinding":                     {"attacker.example:4566", nil, http.StatusMisdirectedRequest},
		"rebinding, as a bucket":        {"b.s3.attacker.example", nil, http.StatusMisdirectedRequest},
		"rebinding, like localhost":     {"localhost.attacker.example", nil, http.StatusMisdirectedRequest},
		"rebinding, notlocalhost":       {"notlocalhost", nil, http.StatusMisdirectedRequest},
		"another address":               {"192.0.2.1:4566", nil, http.StatusMisdirectedRequest},
		"any address":                   {"0.0.0.0:4566", nil, http.StatusMisdirectedRequest},
		"a form of another site":        {"127.0.0.1:4566", []string{"Origin", "http://attacker.example"}, http.StatusForbidden},
		"a form of a sandboxed frame":   {"127.0.0.1:4566", []string{"Origin", "null"}, http.StatusForbidden},
		"an image of another site":      {"127.0.0.1:4566", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"an extension of the browser":   {"127.0.0.1:4566", []string{"Origin", "moz-extension://a-b-c"}, http.StatusForbidden},
		"an origin that is none at all": {"127.0.0.1:4566", []string{"Origin", "http://%zz"}, http.StatusForbidden},
	} {
		for _, path := range []string{"/", "/_localaws/health"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url+path, nil)
			if path == "/" {
				r, err = http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+path, strings.NewReader("{}"))
			}
			if err != nil {
				t.Fatal(err)
			}
			r.Host = c.host
			r.Header.Set("X-Amz-Target", "Kinesis_20131202.ListStreams")
			r.Header.Set("Content-Type", "application/x-amz-json-1.1")
			for i := 0; i < len(c.header); i += 2 {
				r.Header.Set(c.header[i], c.header[i+1])
			}
			response, err := d.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || response.StatusCode != c.status {
				t.Errorf("%s, %s: status %d, want %d: %s %v", name, path, response.StatusCode, c.status, text, err)
			}
		}
	}
}

// A body that comes slower than a minute is cut off; an answer may take longer.
func TestSlowBodiesAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams, err := kinesis.New(kinesis.Options{})
		if err != nil {
			t.Fatal(err)
		}
		listener := memnet.Listen()
		served := make(chan error, 1)
		go func() {
			served <- endpoint.New(endpoint.Options{Services: []wire.Service{streams}}).Serve(t.Context(), listener)
		}()
		t.Cleanup(func() {
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		for _, path := range []string{"/", "/_localaws/faults"} {
			c, err := listener.DialContext(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			sent := make(chan error, 1)
			go func() {
				_, err := io.WriteString(c, "PUT "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Amz-Target: Kinesis_20131202.ListStreams\r\nContent-Length: 1000\r\n\r\n")
				for err == nil { // a byte each 10 s: 1000 of them would take hours
					select {
					case <-time.After(10 * time.Second):
						_, err = io.WriteString(c, " ")
					case <-t.Context().Done():
						err = t.Context().Err()
					}
				}
				sent <- err
			}()
			text, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 400 ") {
				t.Errorf("%s: answered %q, %v", path, text, err)
			}
			if took := time.Since(began); took > 2*time.Minute {
				t.Errorf("%s: cut after %v", path, took)
			}
			_ = c.Close()
			<-sent
		}
		transport := &http.Transport{DialContext: listener.DialContext}
		d := &door{t: t, client: &http.Client{Transport: transport}, url: "http://127.0.0.1"}
		d.admin(http.MethodPut, "/faults", `[{"service":"kinesis","fault":"delay","delay":"10m"}]`).is(t, http.StatusOK)
		a, err := d.kinesis("ListStreams", "{}")
		if err != nil {
			t.Fatalf("an answer that takes ten minutes: %v", err)
		}
		a.is(t, http.StatusOK)
		transport.CloseIdleConnections()
	})
}

// All answers are dated by AWS's clock, which is not that of this machine.
func TestAnswersAreDatedByTheServicesClock(t *testing.T) {
	e := endpoint.New(endpoint.Options{Now: func() time.Time { return time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC) }})
	w := &recorder{header: http.Header{}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/_localaws/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	e.ServeHTTP(w, r)
	if got := w.header.Get("Date"); got != "Tue, 06 May 2031 07:08:09 GMT" {
		t.Errorf("dated %q", got)
	}
}

type recorder struct{ header http.Header }

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(int)             {}
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
