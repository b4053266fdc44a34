package redshift

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// members are the members of a JSON object under their exact names. The Data
// API tells "name" from "Name", which decoding into a struct would not.
type members map[string]json.RawMessage

func parseMembers(body []byte) (members, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return members{}, nil
	}
	var m members
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, wire.Errorf("SerializationException", "the body is not a JSON object: %v", err)
	}
	return m, nil
}

// read decodes the member into v and reports whether it was there. A null
// counts as absent.
func (m members) read(name string, v any) (bool, error) {
	raw, ok := m[name]
	if !ok || bytes.Equal(raw, []byte("null")) {
		return false, nil
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return false, wire.Errorf("SerializationException", "%s: %v", name, err)
	}
	return true, nil
}

// invalid writes a ValidationException.
func invalid(format string, args ...any) *wire.Error {
	return wire.Errorf("ValidationException", format, args...)
}

// problems collects what is wrong with a request, to report it all at once.
type problems []string

func (p *problems) add(value any, member, constraint string) {
	shown := "null"
	if value != nil {
		shown = fmt.Sprintf("'%v'", value)
	}
	*p = append(*p, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", shown, member, constraint))
}

func (p problems) err() error {
	switch len(p) {
	case 0:
		return nil
	case 1:
		return invalid("1 validation error detected: %s", p[0])
	default:
		return invalid("%d validation errors detected: %s", len(p), strings.Join(p, "; "))
	}
}

// parameter is one named parameter; its members are in lower case on the wire.
type parameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// submission is a checked ExecuteStatement or BatchExecuteStatement call.
type submission struct {
	operation string
	batch     bool
	sqls      []string
	params    []parameter
	cluster   string
	workgroup string
	secret    string
	database  string
	user      string
	token     string
	name      string
	format    string // "JSON" or "CSV"
	sessionID string
	keepAlive int // seconds; -1 means that none was asked for
}

// values returns the parameters as a map, nil where there are none.
func (s *submission) values() map[string]string {
	if len(s.params) == 0 {
		return nil
	}
	out := make(map[string]string, len(s.params))
	for _, p := range s.params {
		out[p.Name] = p.Value
	}
	return out
}

// identity is who asks and where, as every operation that connects takes it.
type identity struct {
	cluster, workgroup, secret, database, user string
}

func readIdentity(in members, databaseMember string) (identity, error) {
	var id identity
	for name, v := range map[string]*string{
		"ClusterIdentifier": &id.cluster, "WorkgroupName": &id.workgroup, "SecretArn": &id.secret,
		databaseMember: &id.database, "DbUser": &id.user,
	} {
		if _, err := in.read(name, v); err != nil {
			return id, err
		}
	}
	return id, nil
}

// check admits exactly the five ways to authenticate.
func (id identity) check() error {
	switch {
	case id.cluster != "" && id.workgroup != "":
		return invalid("ClusterIdentifier and WorkgroupName can't be specified together.")
	case id.cluster == "" && id.workgroup == "" && id.secret == "":
		return invalid("Either ClusterIdentifier or WorkgroupName needs to be specified.")
	case id.secret != "" && id.user != "":
		return invalid("SecretArn and DbUser can't be specified together.")
	case id.workgroup != "" && id.user != "":
		return invalid("DbUser can't be specified with WorkgroupName.")
	case id.database == "":
		return invalid("Database name is required.")
	}
	return nil
}

// dbUser is the database user that the identity maps to.
func (id identity) dbUser() string {
	if id.user != "" {
		return id.user
	}
	return "IAMR:localaws"
}

func readSubmission(in members, operation string) (submission, error) {
	s := submission{operation: operation, batch: operation == "BatchExecuteStatement", format: "JSON", keepAlive: -1}
	var p problems
	if err := s.readSQL(in, &p); err != nil {
		return s, err
	}
	if err := s.readParameters(in, &p); err != nil {
		return s, err
	}
	if err := s.readOptions(in, &p); err != nil {
		return s, err
	}
	id, err := readIdentity(in, "Database")
	if err != nil {
		return s, err
	}
	if err := p.err(); err != nil {
		return s, err
	}
	s.cluster, s.workgroup, s.secret, s.database = id.cluster, id.workgroup, id.secret, id.database
	s.user = id.dbUser()
	if s.sessionID == "" {
		if err := id.check(); err != nil {
			return s, err
		}
	}
	return s, s.checkSizes()
}

func (s *submission) readSQL(in members, p *problems) error {
	if !s.batch {
		var sql string
		ok, err := in.read("Sql", &sql)
		if !ok {
			p.add(nil, "sql", "Member must not be null")
		}
		s.sqls = []string{sql}
		return err
	}
	var sqls []*string
	ok, err := in.read("Sqls", &sqls)
	switch {
	case err != nil:
		return err
	case !ok:
		p.add(nil, "sqls", "Member must not be null")
	case len(sqls) == 0:
		p.add("[]", "sqls", "Member must have length greater than or equal to 1")
	case len(sqls) > maxBatch:
		p.add(fmt.Sprintf("[%d statements]", len(sqls)), "sqls", fmt.Sprintf("Member must have length less than or equal to %d", maxBatch))
	}
	for i, sql := range sqls {
		if sql == nil {
			p.add(nil, fmt.Sprintf("sqls.%d.member", i+1), "Member must not be null")
			continue
		}
		s.sqls = append(s.sqls, *sql)
	}
	return nil
}

var parameterName = regexp.MustCompile(`^[0-9a-zA-Z_]+$`)

func (s *submission) readParameters(in members, p *problems) error {
	var list []members
	ok, err := in.read("Parameters", &list)
	if err != nil || !ok {
		return err
	}
	if len(list) == 0 {
		p.add("[]", "parameters", "Member must have length greater than or equal to 1")
	}
	seen := make(map[string]bool, len(list))
	for i, m := range list {
		var name, value string
		at := fmt.Sprintf("parameters.%d.member", i+1)
		named, err := m.read("name", &name)
		if err != nil {
			return err
		}
		valued, err := m.read("value", &value)
		if err != nil {
			return err
		}
		switch {
		case !named:
			p.add(nil, at+".name", "Member must not be null")
		case !parameterName.MatchString(name):
			p.add(name, at+".name", "Member must satisfy regular expression pattern: "+parameterName.String())
		case seen[name]:
			return invalid("Duplicate parameter name: %s", name)
		}
		switch {
		case !valued:
			p.add(nil, at+".value", "Member must not be null")
		case value == "":
			p.add("", at+".value", "Member must have length greater than or equal to 1")
		}
		seen[name] = true
		s.params = append(s.params, parameter{name, value})
	}
	return nil
}

func (s *submission) readOptions(in members, p *problems) error {
	for _, m := range []struct {
		name string
		v    *string
	}{{"ClientToken", &s.token}, {"SessionId", &s.sessionID}, {"StatementName", &s.name}} {
		given, err := in.read(m.name, m.v)
		if err != nil {
			return err
		}
		if given && *m.v == "" && m.v != &s.name {
			p.add("", lowerFirst(m.name), "Member must have length greater than or equal to 1")
		}
	}
	if n := utf8.RuneCountInString(s.token); n > 64 {
		p.add(s.token, "clientToken", "Member must have length less than or equal to 64")
	}
	if n := utf8.RuneCountInString(s.name); n > 2048 {
		p.add(fmt.Sprintf("%d characters", n), "statementName", "Member must have length less than or equal to 2048")
	}
	var withEvent bool // nobody listens for events here
	if _, err := in.read("WithEvent", &withEvent); err != nil {
		return err
	}
	if _, err := in.read("ResultFormat", &s.format); err != nil {
		return err
	}
	if s.format != "JSON" && s.format != "CSV" {
		p.add(s.format, "resultFormat", "Member must satisfy enum value set: [JSON, CSV]")
	}
	given, err := in.read("SessionKeepAliveSeconds", &s.keepAlive)
	if err != nil {
		return err
	}
	if given && (s.keepAlive < 0 || s.keepAlive > maxKeepAlive) {
		p.add(s.keepAlive, "sessionKeepAliveSeconds", fmt.Sprintf("Member must be between 0 and %d", maxKeepAlive))
	}
	return nil
}

func (s *submission) checkSizes() error {
	for i, sql := range s.sqls {
		if len(sql) > maxStatementBytes {
			return invalid("Cannot process query string larger than 100kB (statement %d has %d bytes)", i+1, len(sql))
		}
		if strings.TrimSpace(sql) == "" {
			return invalid("SQL statement %d is empty", i+1)
		}
	}
	return nil
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
