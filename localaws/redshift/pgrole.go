package redshift

import (
	"context"
	"errors"
	"fmt"
)

// apiRole is whom the statements of the Data API run as where the URL's user may
// do more than a user of Redshift: a superuser of PostgreSQL reads and writes the
// server's files. It cannot log in, and is of the whole server.
const apiRole = "localaws_api"

// powerful asks whether the URL's user can do what no statement of a stranger
// should: be anybody, or reach the server's files and programs.
const powerful = `SELECT rolsuper OR pg_has_role(current_user, 'pg_read_server_files', 'member') OR pg_has_role(current_user, 'pg_write_server_files', 'member')
	OR pg_has_role(current_user, 'pg_execute_server_program', 'member') FROM pg_roles WHERE rolname = current_user`

// confine makes the role and gives it the warehouse: every table of users is its
// own, so that it can do with them what Redshift's statements do. It reports
// whether statements have to run as the role.
func confine(ctx context.Context, c conn) (bool, error) {
	var t textSink
	if _, err := c.run(ctx, powerful, &t); err != nil {
		return false, err
	}
	if len(t.rows) != 1 || t.rows[0][0] != "true" {
		return false, nil
	}
	for _, sql := range confinement() {
		if _, err := c.run(ctx, sql, nil); err != nil {
			return false, errors.Join(fmt.Errorf("make the role %s, which statements run as: give a URL whose user is a superuser, or one that may not reach the server's files", apiRole), err)
		}
	}
	return true, nil
}

func confinement() []string {
	const users = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'localaws') AND n.nspname NOT LIKE 'pg\\_%'"
	out := []string{
		// Another process may make it in the same moment, in another database.
		`DO 'BEGIN CREATE ROLE ` + apiRole + ` NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END'`,
		`DO 'BEGIN EXECUTE format(''GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO ` + apiRole + `'', current_database()); END'`,
		"GRANT USAGE ON SCHEMA localaws TO " + apiRole,
		"GRANT SELECT ON ALL TABLES IN SCHEMA localaws TO " + apiRole,
		"GRANT INSERT ON localaws.load_errors TO " + apiRole,
		"GRANT USAGE, CREATE ON SCHEMA public TO " + apiRole,
	}
	for _, each := range []string{
		`SELECT format('ALTER SCHEMA %I OWNER TO ` + apiRole + `', n.nspname) AS sql FROM pg_namespace n WHERE n.nspname <> 'public' AND ` + users,
		// What an extension brings, and the sequence of a column, go with their owners.
		`SELECT format('ALTER %s %I.%I OWNER TO ` + apiRole + `', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname) AS sql
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND ` + users + `
			AND c.relowner <> '` + apiRole + `'::regrole AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'a', 'i') AND (d.deptype = 'e' OR c.relkind = 'S'))`,
	} {
		out = append(out, "DO "+quoteText("DECLARE r record; BEGIN FOR r IN "+each+" LOOP EXECUTE r.sql; END LOOP; END"))
	}
	// Who looks after the warehouse by another way makes tables for it too.
	return append(out, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO "+apiRole, "ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO "+apiRole)
}

// become makes the connection the role's. DISCARD ALL makes it the URL's user
// again.
func (c *pgConn) become(ctx context.Context) error {
	if !c.home.confined {
		return nil
	}
	_, err := c.run(ctx, "SET ROLE "+apiRole, nil)
	return err
}
