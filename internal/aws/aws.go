// Package aws is the only importer of the AWS SDK: it reads and writes Kinesis,
// runs SQL through the Redshift Data API, keeps objects in S3 and publishes
// metrics. It speaks in the types of the packages that use it, and turns each
// AWS error into one of theirs exactly once (errors.go).
package aws

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go/middleware"

	"github.com/cloudcafe/analytics-worker/internal/pulse"
)

// The SDK has no response timeout of its own, so every call gets a deadline.
const (
	callTimeout   = 30 * time.Second // of a call with small request and reply, the SDK's retries included
	objectTimeout = 2 * time.Minute  // of a call that moves megabytes
	loginTimeout  = 15 * time.Second // of finding credentials
)

// Options says which account to open and how.
type Options struct {
	Region     string       // empty: found as any AWS program does; see Open
	Log        *slog.Logger // nil: slog.Default()
	HTTPClient *http.Client // nil: one tuned client for all services; Open takes a copy
	// Scribble overwrites the memory of pages when it is given back, for tests:
	// whoever still uses a record then shows.
	Scribble bool
}

// Account is an AWS account in one region. It is safe for concurrent use.
type Account struct {
	cfg     sdk.Config
	found   string // what named the region
	log     *slog.Logger
	http    *http.Client
	kinesis *kinesis.Client
	reading reading
	clock   clock
}

// fallbackRegion is taken where nothing names one.
const fallbackRegion = "us-east-1"

// Open finds region and credentials as any program of the AWS SDK does: from
// the environment (AWS_ENDPOINT_URL included), the shared config files and the
// instance. Without credentials it fails at once, saying what to set; the error is
// Unreached where something should have them and did not answer.
func Open(ctx context.Context, o Options) (*Account, error) {
	a := &Account{log: o.Log}
	if o.HTTPClient != nil {
		client := *o.HTTPClient
		if client.Transport == nil {
			client.Transport = http.DefaultTransport
		}
		client.Transport = exactBodies{client.Transport}
		a.http = &client
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	// The ways to credentials get the guard on replies too.
	load := []func(*config.LoadOptions) error{
		config.WithRetryer(newRetryer), config.WithLogger(sdkLog{a.log}), config.WithAPIOptions([]func(*middleware.Stack) error{guardReplies}),
	}
	if a.http == nil {
		load = append(load, config.WithHTTPClient(buildableClient()))
	} else {
		load = append(load, config.WithHTTPClient(a.http))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err == nil {
		// Who gives credentials is asked in the region too, so it comes first.
		name, found := region(ctx, cfg, o.Region)
		a.found = found
		if name != cfg.Region {
			load = append(load, config.WithRegion(name))
			cfg, err = config.LoadDefaultConfig(ctx, load...)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	if b, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		// Left as it is, each service would copy it and keep connections of its
		// own. Its transport is taken now because loading added AWS_CA_BUNDLE.
		a.http = &http.Client{
			Transport:     exactBodies{b.GetTransport()},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		cfg.HTTPClient = a.http
	}
	cfg.APIOptions = append(cfg.APIOptions, a.clock.install)
	if cfg.Credentials != nil {
		cfg.Credentials = sdk.NewCredentialsCache(&renewed{now: cfg.Credentials, load: func(ctx context.Context) (sdk.CredentialsProvider, error) {
			again, err := config.LoadDefaultConfig(ctx, load...)
			return again.Credentials, err
		}})
	}
	a.cfg = cfg
	if err := a.checkCredentials(ctx); err != nil {
		return nil, err
	}
	a.reading.pages.scribble = o.Scribble
	a.openKinesis()
	return a, nil
}

// Region is the region that the account was opened in, and what named it.
func (a *Account) Region() (name, found string) { return a.cfg.Region, a.found }

// Close closes the idle connections. The account stays usable.
func (a *Account) Close() { a.http.CloseIdleConnections() }

// newRetryer is the SDK's standard retryer without its token bucket: every
// caller of ours paces itself, and the bucket is shared: one bad shard would take
// the retries of all the others.
func newRetryer() sdk.Retryer { return retry.NewStandard(standard) }

func standard(o *retry.StandardOptions) {
	o.RateLimiter = ratelimit.None
	o.Backoff = retry.BackoffDelayerFunc(backoff)
}

// backoff tries a broken connection again sooner than the SDK's second: a
// shard or a load waits for it. A throttled call waits that long.
func backoff(attempt int, err error) (time.Duration, error) {
	first := 50 * time.Millisecond
	if throttled(refusalOf(err).Code) {
		first = 500 * time.Millisecond
	}
	longest := min(first<<min(attempt, 10), 5*time.Second)
	return longest/2 + rand.N(longest/2), nil
}

// buildableClient keeps an idle connection for each shard (the SDK's default
// of 10 a host is reopened again and again) and does not wait for ever.
func buildableClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) {
		d.Timeout = 5 * time.Second
		d.KeepAlive = 30 * time.Second
	}).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns = 0 // bounded a host
		t.MaxIdleConnsPerHost = 256
		t.IdleConnTimeout = 90 * time.Second
		t.TLSHandshakeTimeout = 5 * time.Second
		t.ResponseHeaderTimeout = 25 * time.Second
		t.MaxResponseHeaderBytes = maxHeader
		t.ReadBufferSize = 64 << 10 // pages of megabytes: fewer reads
		t.WriteBufferSize = 64 << 10
		t.DisableCompression = true // a reply's Content-Length must be its size
	})
}

// exactBodies ends each request body at its Content-Length by itself. The SDK
// closes a request's body as soon as the response head is in; net/http may then
// still be looking for the body's end, would find a closed body, and would drop
// the connection in mid-response: the SDK makes the call again, and what was put is
// put twice.
type exactBodies struct{ next http.RoundTripper }

func (t exactBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength <= 0 {
		return t.next.RoundTrip(r)
	}
	r = r.WithContext(r.Context()) // a shallow copy: the caller's request stays as it is
	r.Body = &exactBody{rc: r.Body, left: r.ContentLength}
	return t.next.RoundTrip(r)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport.
func (t exactBodies) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

type exactBody struct {
	rc   io.ReadCloser
	left int64
}

func (b *exactBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.EOF
	}
	n, err := b.rc.Read(p)
	b.left -= int64(n)
	return n, err
}

func (b *exactBody) Close() error { return b.rc.Close() }

// bounded is ctx with a deadline that says what it was. It is what a call begins with,
// so the work that ctx is for gets on.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	pulse.Beat(ctx)
	return context.WithTimeoutCause(ctx, d, noAnswer(d))
}

// noAnswer is the end of a call by its own deadline.
type noAnswer time.Duration

func (d noAnswer) Error() string { return "no answer within " + time.Duration(d).String() }

// why is why ctx ended, for people too: Go's words for a deadline say nothing of who
// did not answer.
func why(ctx context.Context) error {
	err := context.Cause(ctx)
	if err == context.DeadlineExceeded {
		return late{}
	}
	return err
}

// late is context.DeadlineExceeded.
type late struct{}

func (late) Error() string { return "no answer in time" }

func (late) Is(target error) bool { return target == context.DeadlineExceeded }

// ended gives the reason why ctx ended in place of err, where it has.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return why(ctx)
	}
	return err
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	pulse.Beat(ctx)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return why(ctx)
	}
}
