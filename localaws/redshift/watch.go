package redshift

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// errCancelled is the cause of the context of a cancelled statement.
var errCancelled = errors.New("cancelled on user's request")

func wire404(format string, args ...any) *wire.Error {
	return wire.Errorf("ResourceNotFoundException", format, args...)
}

// marshal writes a reply without escaping HTML, which AWS does not do.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// epoch is a time as the AWS JSON protocols write it: seconds with a fraction.
func epoch(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func readID(in members) (string, error) {
	var id string
	var p problems
	ok, err := in.read("Id", &id)
	if err != nil {
		return "", err
	}
	if !ok {
		p.add(nil, "id", "Member must not be null")
	}
	return id, p.err()
}

// describeReply is the reply of DescribeStatement.
type describeReply struct {
	ID                string `json:"Id"`
	ClusterIdentifier string `json:",omitempty"`
	WorkgroupName     string `json:",omitempty"`
	SecretArn         string `json:",omitempty"`
	Database          string
	DbUser            string
	SessionID         string `json:"SessionId,omitempty"`
	CreatedAt         float64
	UpdatedAt         float64
	Duration          int64
	Status            status
	Error             string `json:",omitempty"`
	HasResultSet      bool
	QueryParameters   []parameter `json:",omitempty"`
	QueryString       string      `json:",omitempty"`
	RedshiftPid       int64
	RedshiftQueryID   int64 `json:"RedshiftQueryId"`
	ResultFormat      string
	ResultRows        int64
	ResultSize        int64
	SubStatements     []subReply `json:",omitempty"`
}

type subReply struct {
	ID              string `json:"Id"`
	CreatedAt       float64
	UpdatedAt       float64
	Duration        int64
	Status          status
	Error           string `json:",omitempty"`
	HasResultSet    bool
	QueryString     string
	RedshiftQueryID int64 `json:"RedshiftQueryId"`
	ResultRows      int64
	ResultSize      int64
}

func (s *Service) describeStatement(_ context.Context, in members) (any, error) {
	id, err := readID(in)
	if err != nil {
		return nil, err
	}
	j, sub, err := s.jobs.find(id)
	if err != nil {
		return nil, err
	}
	v := j.view()
	out := describeReply{
		ID: id, ClusterIdentifier: j.sub.cluster, WorkgroupName: j.sub.workgroup, SecretArn: j.sub.secret,
		Database: j.sub.database, DbUser: j.sub.user, SessionID: j.session, CreatedAt: epoch(j.created),
		UpdatedAt: epoch(v.updated), Duration: int64(v.took), Status: v.status, Error: v.err,
		HasResultSet: v.hasResultSet, QueryParameters: j.sub.params, RedshiftPid: v.pid,
		ResultFormat: j.sub.format, ResultRows: -1, ResultSize: -1,
	}
	switch {
	case sub > 0:
		p := v.parts[sub-1]
		out.Status, out.Error, out.Duration, out.UpdatedAt = p.status, p.err, int64(p.took), epoch(p.updated)
		out.HasResultSet = p.result != nil
		out.onePart(&p)
	case j.sub.batch:
		for i := range v.parts {
			out.SubStatements = append(out.SubStatements, subStatement(j, i, &v.parts[i]))
		}
	default:
		out.onePart(&v.parts[0])
	}
	return out, nil
}

func (d *describeReply) onePart(p *part) {
	d.QueryString, d.RedshiftQueryID, d.ResultRows = p.sql, p.queryID, p.rows
	d.ResultSize = p.size()
}

func subStatement(j *job, i int, p *part) subReply {
	return subReply{
		ID: subID(j.id, i), CreatedAt: epoch(j.created), UpdatedAt: epoch(p.updated), Duration: int64(p.took),
		Status: p.status, Error: p.err, HasResultSet: p.result != nil, QueryString: p.sql,
		RedshiftQueryID: p.queryID, ResultRows: p.rows, ResultSize: p.size(),
	}
}

// size is the bytes of the result, 0 for a statement without one.
func (p *part) size() int64 {
	switch {
	case p.status != finished:
		return -1
	case p.result == nil:
		return 0
	default:
		return p.result.size
	}
}

func (s *Service) cancelStatement(_ context.Context, in members) (any, error) {
	id, err := readID(in)
	if err != nil {
		return nil, err
	}
	j, sub, err := s.jobs.find(id)
	if err != nil {
		return nil, err
	}
	if sub > 0 {
		return nil, invalid("A sub-statement can't be cancelled; cancel the batch with ID: %s", j.id)
	}
	if st := j.view().status; st.terminal() {
		return nil, invalid("Could not cancel a query that is already in %s state with ID: %s", st, j.id)
	}
	j.cancel(errCancelled)
	return map[string]bool{"Status": true}, nil
}

// statementReply is one entry of ListStatements.
type statementReply struct {
	ID               string `json:"Id"`
	CreatedAt        float64
	UpdatedAt        float64
	IsBatchStatement bool
	QueryParameters  []parameter `json:",omitempty"`
	QueryString      string      `json:",omitempty"`
	QueryStrings     []string    `json:",omitempty"`
	ResultFormat     string
	SecretArn        string `json:",omitempty"`
	SessionID        string `json:"SessionId,omitempty"`
	StatementName    string `json:",omitempty"`
	Status           status
}

// listFilter says which statements a list shows.
type listFilter struct {
	name, status, cluster, workgroup, database string
}

func (f *listFilter) admits(j *job, st status) bool {
	switch {
	case f.status != "" && f.status != "ALL" && status(f.status) != st,
		!strings.HasPrefix(j.sub.name, f.name),
		f.cluster != "" && f.cluster != j.sub.cluster,
		f.workgroup != "" && f.workgroup != j.sub.workgroup,
		f.database != "" && f.database != j.sub.database:
		return false
	}
	return true
}

func (s *Service) listStatements(_ context.Context, in members) (any, error) {
	var f listFilter
	var token string
	for name, v := range map[string]*string{
		"StatementName": &f.name, "Status": &f.status, "ClusterIdentifier": &f.cluster,
		"WorkgroupName": &f.workgroup, "Database": &f.database, "NextToken": &token,
	} {
		if _, err := in.read(name, v); err != nil {
			return nil, err
		}
	}
	size, err := pageSize(in, 100, 100)
	if err != nil {
		return nil, err
	}
	switch status(f.status) {
	case "", "ALL", submitted, picked, started, finished, failed, aborted:
	default:
		return nil, invalid("Status %q is not one of [SUBMITTED, PICKED, STARTED, FINISHED, ABORTED, FAILED, ALL]", f.status)
	}
	// The token holds the id of the next one: new statements come in front.
	after, err := parseListToken(token)
	if err != nil {
		return nil, err
	}
	out := struct {
		Statements []statementReply
		NextToken  string `json:",omitempty"`
	}{Statements: []statementReply{}}
	skipping := after != ""
	for _, j := range s.jobs.newest() {
		if skipping = skipping && j.id != after; skipping {
			continue
		}
		v := j.view()
		if !f.admits(j, v.status) {
			continue
		}
		if len(out.Statements) == size {
			out.NextToken = listToken(j.id)
			break
		}
		out.Statements = append(out.Statements, listed(&v))
	}
	return out, nil
}

func listed(v *view) statementReply {
	r := statementReply{
		ID: v.id, CreatedAt: epoch(v.created), UpdatedAt: epoch(v.updated), IsBatchStatement: v.sub.batch,
		QueryParameters: v.sub.params, ResultFormat: v.sub.format, SecretArn: v.sub.secret,
		SessionID: v.session, StatementName: v.sub.name, Status: v.status,
	}
	if v.sub.batch {
		r.QueryStrings = v.sub.sqls
	} else {
		r.QueryString = v.sub.sqls[0]
	}
	return r
}

const listTokenPrefix = "statement:"

func listToken(id string) string { return nextToken(listTokenPrefix+id, 0) }

func parseListToken(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	id, ok := strings.CutPrefix(tokenList(token), listTokenPrefix)
	if !ok {
		return "", invalid("NextToken is invalid.")
	}
	return id, nil
}

// pageSize reads MaxResults; 0 and none mean the default.
func pageSize(in members, fallback, most int) (int, error) {
	var n int
	if _, err := in.read("MaxResults", &n); err != nil {
		return 0, err
	}
	if n < 0 || n > most {
		return 0, invalid("MaxResults must be between 0 and %d", most)
	}
	if n == 0 {
		return fallback, nil
	}
	return n, nil
}
