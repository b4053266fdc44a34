package warehouse

import (
	"errors"
	"strings"
)

// Grants returns the statements that let a user work with tables which another one
// owns: load, claim, verify, report, and put positions elsewhere. The user's name
// is that of the catalog, such as loader or IAMR:role, and is quoted here.
//
// AWS does not say what LOCK asks for. PostgreSQL 8.0, which Redshift comes from,
// and PostgreSQL today want UPDATE or DELETE on the table.
func (n Names) Grants(user, database string) ([]Statement, error) {
	if user == "" || len(user) > 127 || strings.ContainsFunc(user, func(r rune) bool { return r < ' ' }) {
		return nil, errors.New("not the name of a user: 1 to 127 characters, none of them a control character")
	}
	to := " TO " + identifier(user)
	schema, why := "public", "The schema that the tables stand in: public, as REDSHIFT_SCHEMA names none."
	if n.schema != "" {
		schema, why = identifier(n.schema), "The schema that the tables stand in (REDSHIFT_SCHEMA)."
	}
	var loaded []string
	for _, t := range tables() {
		if t != checkpoints && t != loadLock {
			loaded = append(loaded, n.Of(t.Name))
		}
	}
	return []Statement{
		{why, "GRANT USAGE ON SCHEMA " + schema + to},
		{"A load stages its rows in temporary tables.", "GRANT TEMP ON DATABASE " + identifier(database) + to},
		{"Rows are replaced by DELETE and INSERT.", "GRANT SELECT, INSERT, DELETE ON " + strings.Join(loaded, ", ") + to},
		{"Positions.", "GRANT SELECT, INSERT, UPDATE, DELETE ON " + n.Of(CheckpointTable) + to},
		{"LOCK wants a right to change the table. Nobody else should have one.", "GRANT SELECT, UPDATE, DELETE ON " + n.Of(LockTable) + to},
	}, nil
}

// identifier quotes a name.
func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
