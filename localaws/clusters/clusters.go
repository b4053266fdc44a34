// Package clusters is the little of Redshift's own API that people call about a
// cluster when queries do not come back: DescribeClusters, PauseCluster and
// ResumeCluster, over the Query protocol. Queries go through the Data API (package
// redshift).
//
// There is one warehouse here, and every name of a cluster is its name: the list is of
// those that somebody has named, be it to the Data API. It is paused
// by the fault "paused" of the Data API, whoever sets it: PauseCluster sets it,
// ResumeCluster takes it away, and DescribeClusters tells which it is.
package clusters

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	version   = "2012-12-01"
	namespace = "http://redshift.amazonaws.com/doc/2012-12-01/"
	dataAPI   = "redshift-data" // whose fault pauses the warehouse
	maxKnown  = 100             // clusters that are remembered; the oldest go first
	maxName   = 63

	// firstName is what the warehouse is called until somebody gives it a name.
	firstName = "cloudcafe-redshift-dev"
)

// Service is Redshift. It implements wire.Service and is safe for concurrent use.
type Service struct {
	opts Options

	mu    sync.Mutex // guards known
	known []string   // clusters in the order in which they were first named
}

var _ wire.Service = (*Service)(nil)

// Options are the settings of a Service.
type Options struct {
	Faults *fault.Set // of the Data API, which pause the warehouse

	// Endpoint tells where SQL clients reach the warehouse, nil where they do not; may
	// be nil.
	Endpoint func() *net.TCPAddr
}

// New makes a service.
func New(o Options) *Service { return &Service{opts: o} }

// Met remembers a cluster that was named to another service.
func (s *Service) Met(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(name) <= maxName && !slices.Contains(s.known, name) {
		s.known = append(s.known, name)
	}
	if over := len(s.known) - maxKnown; over > 0 {
		s.known = slices.Delete(s.known, 0, over)
	}
}

// Name returns "redshift".
func (s *Service) Name() string { return "redshift" }

// Operations are those that are served.
func (s *Service) Operations() []string {
	return []string{"DescribeClusters", "PauseCluster", "ResumeCluster"}
}

// Match takes the forms that carry the API version of Redshift.
func (s *Service) Match(r *http.Request, body []byte) (string, bool) {
	form := wire.QueryForm(r, body, version)
	if form == nil {
		return "", false
	}
	return form.Get("Action"), true
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, operation string, body []byte) {
	form := wire.QueryForm(r, body, version)
	var out any
	var err *wire.Error
	switch operation {
	case "DescribeClusters":
		out, err = s.describe(r, form)
	case "PauseCluster":
		out, err = s.pause(r, form, true)
	case "ResumeCluster":
		out, err = s.pause(r, form, false)
	default:
		err = wire.UnknownAction(operation, version)
	}
	if err != nil {
		s.Refuse(w, r, err)
		return
	}
	wire.WriteQueryResult(w, namespace, operation, out)
}

// cluster is a cluster as the replies tell of it: what a program can act on.
type cluster struct {
	ClusterIdentifier         string
	ClusterStatus             string // available or paused
	ClusterAvailabilityStatus string // Available or Paused
	NodeType                  string
	NumberOfNodes             int
	DBName                    string
	MasterUsername            string
	Endpoint                  *address `xml:",omitempty"`
}

// address is where SQL clients reach a cluster.
type address struct {
	Address string
	Port    int
}

func (s *Service) cluster(name string) cluster {
	c := cluster{
		ClusterIdentifier: name, ClusterStatus: "available", ClusterAvailabilityStatus: "Available",
		NodeType: "ra3.large", NumberOfNodes: 1, DBName: "dev", MasterUsername: "admin",
	}
	if s.opts.Endpoint != nil {
		if at := s.opts.Endpoint(); at != nil {
			c.Endpoint = &address{at.IP.String(), at.Port}
		}
	}
	if s.opts.Faults.Standing(dataAPI, fault.Paused) {
		c.ClusterStatus, c.ClusterAvailabilityStatus = "paused", "Paused"
	}
	return c
}

type clusters struct {
	Clusters struct {
		Members []cluster `xml:"Cluster"`
	} `xml:"Clusters"`
}

// describe tells of the cluster that is named, or of those that were named before.
func (s *Service) describe(r *http.Request, form url.Values) (any, *wire.Error) {
	names := []string{form.Get("ClusterIdentifier")}
	if names[0] == "" {
		s.mu.Lock()
		names = slices.Clone(s.known)
		s.mu.Unlock()
		if len(names) == 0 {
			names = []string{firstName}
		}
	} else if err := s.meet(r, names[0]); err != nil {
		return nil, err
	}
	var out clusters
	for _, name := range names {
		out.Clusters.Members = append(out.Clusters.Members, s.cluster(name))
	}
	return out, nil
}

type paused struct {
	Cluster cluster `xml:"Cluster"`
}

func (s *Service) pause(r *http.Request, form url.Values, pause bool) (any, *wire.Error) {
	name := form.Get("ClusterIdentifier")
	if err := s.meet(r, name); err != nil {
		return nil, err
	}
	changed := false
	if pause {
		changed = s.opts.Faults.Add(fault.Fault{Service: dataAPI, Kind: fault.Paused})
	} else {
		changed = s.opts.Faults.Remove(dataAPI, fault.Paused)
	}
	if !changed {
		return nil, wire.Errorf("InvalidClusterState", "There is an operation running on the Cluster, or it is not in the state that this one needs. Cluster %s is %s.", name, s.cluster(name).ClusterStatus)
	}
	return paused{s.cluster(name)}, nil
}

// meet remembers a cluster that is named.
func (s *Service) meet(r *http.Request, name string) *wire.Error {
	switch {
	case name == "":
		return wire.Errorf("MissingParameter", "The request must contain the parameter ClusterIdentifier.")
	case len(name) > maxName:
		return wire.Errorf("InvalidParameterValue", "A cluster's identifier has %d characters at most.", maxName)
	}
	wire.Note(r, name)
	s.Met(name)
	return nil
}

// Refuse writes e as the Query protocol does.
func (s *Service) Refuse(w http.ResponseWriter, _ *http.Request, e *wire.Error) {
	wire.WriteQueryError(w, w.Header().Get("X-Amzn-Requestid"), e)
}

// Throttled is the error of a call over its rate.
func (s *Service) Throttled() *wire.Error { return wire.Errorf("Throttling", "Rate exceeded") }
