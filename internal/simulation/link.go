package simulation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// How a link to a service is cut.
const (
	refused = "refused" // calls fail at once and have no effect
	silent  = "silent"  // calls have no effect, and no answer comes
	deaf    = "deaf"    // calls take effect, and no answer comes
)

var (
	errDead = errors.New("the process is dead")
	errCut  = errors.New("connection reset by peer")
)

// link is one worker's way to the services. It stands between the worker's SDK
// and the wire, and is where a single machine's troubles are made: its death,
// its freezing, and its partition from one service.
type link struct {
	next  http.RoundTripper
	tally *tally

	mu     sync.Mutex // guards what follows
	dead   chan struct{}
	thawed chan struct{}   // closed by thaw; nil while the machine runs
	held   bool            // the freezing has held a call
	cuts   map[string]*cut // by service
}

type cut struct {
	how    string
	healed chan struct{}
	struck bool // a call
}

func newLink(next http.RoundTripper, t *tally) *link {
	return &link{next: next, tally: t, dead: make(chan struct{}), cuts: make(map[string]*cut)}
}

// trouble returns what stands in the way of a call to the service, and counts
// it when it does so for the first time.
func (l *link) trouble(service string) (thawed chan struct{}, c *cut) {
	l.mu.Lock()
	defer l.mu.Unlock()
	thawed, c = l.thawed, l.cuts[service]
	switch {
	case l.isDead():
	case thawed != nil && !l.held:
		l.held = true
		l.tally.struck("a worker frozen")
	case thawed == nil && c != nil && !c.struck:
		c.struck = true
		l.tally.struck("a worker parted from " + service + ", " + c.how)
	}
	return thawed, c
}

// signedAs has a worker's calls signed with its name as the access key, so that a
// fault of a service can strike it alone.
type signedAs struct {
	next http.RoundTripper
	name string
}

func (s signedAs) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "Credential=local/", "Credential="+s.name+"/", 1))
	return s.next.RoundTrip(r)
}

// serviceOf names the service that a request is for, as faults do.
func serviceOf(r *http.Request) string {
	target := r.Header.Get("X-Amz-Target")
	for prefix, service := range map[string]string{"Kinesis_": "kinesis", "DynamoDB_": "dynamodb", "RedshiftData.": "redshift-data"} {
		if strings.HasPrefix(target, prefix) {
			return service
		}
	}
	return "s3"
}

// RoundTrip makes one call, as far as the machine and the network allow it.
func (l *link) RoundTrip(r *http.Request) (*http.Response, error) {
	r, err := whole(r)
	if err != nil {
		return nil, err
	}
	thawed, c := l.trouble(serviceOf(r))
	switch {
	case l.isDead():
		return nil, errDead
	case thawed != nil:
		return l.late(r, thawed)
	case c == nil:
		return l.answer(r)
	case c.how == deaf:
		if response, err := l.next.RoundTrip(r.WithContext(context.WithoutCancel(r.Context()))); err == nil {
			_ = response.Body.Close()
		}
	case c.how == refused:
		return nil, errCut
	}
	select {
	case <-c.healed:
		return nil, errCut
	case <-l.dead:
		return nil, errDead
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
}

// whole is the request with its body in memory: it may leave when the caller,
// who owns the body, has given up.
func whole(r *http.Request) (*http.Request, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return r, nil
	}
	body, err := io.ReadAll(r.Body)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r, nil
}

// answer makes the call. The answer to a machine that froze meanwhile is seen
// when it thaws, that to a dead one never.
func (l *link) answer(r *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(r)
	l.mu.Lock()
	thawed := l.thawed
	l.mu.Unlock()
	if thawed != nil {
		select {
		case <-thawed:
		case <-l.dead:
		case <-r.Context().Done():
		}
	}
	if l.isDead() {
		if err == nil {
			_ = response.Body.Close()
		}
		return nil, errDead
	}
	return response, err
}

// late makes the call when the machine thaws, even if the caller's deadline has
// passed then: a stopped process is stopped between looking at the clock and
// sending, and this is the call that a fence must refuse.
func (l *link) late(r *http.Request, thawed <-chan struct{}) (*http.Response, error) {
	type result struct {
		response *http.Response
		err      error
	}
	out := make(chan result)
	caller := r.Context()
	go func() {
		var o result
		select {
		case <-thawed:
			o.response, o.err = l.answer(r.WithContext(context.WithoutCancel(caller)))
		case <-l.dead:
			o.err = errDead
		}
		select {
		case out <- o:
		case <-caller.Done():
			if o.err == nil {
				_ = o.response.Body.Close()
			}
		}
	}()
	select {
	case o := <-out:
		return o.response, o.err
	case <-caller.Done():
		return nil, context.Cause(caller)
	}
}

func (l *link) isDead() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// troubled reports whether something stands in the way of calls now.
func (l *link) troubled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isDead() || l.thawed != nil || len(l.cuts) > 0
}

// kill ends every call, for good.
func (l *link) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isDead() {
		close(l.dead)
	}
}

func (l *link) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.thawed == nil {
		l.thawed, l.held = make(chan struct{}), false
	}
}

func (l *link) thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.thawed != nil {
		close(l.thawed)
		l.thawed = nil
	}
}

// cut parts the machine from a service.
func (l *link) cut(service, how string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cuts[service] == nil {
		l.cuts[service] = &cut{how: how, healed: make(chan struct{})}
	}
}

func (l *link) heal(service string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.cuts[service]; c != nil {
		close(c.healed)
		delete(l.cuts, service)
	}
}

// restore ends the freezing and every cut.
func (l *link) restore() {
	l.thaw()
	for _, s := range services {
		l.heal(s)
	}
}

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport.
func (l *link) CloseIdleConnections() {
	if t, ok := l.next.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
