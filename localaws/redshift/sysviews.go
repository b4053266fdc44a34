package redshift

import "github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"

// systemViews makes those of Redshift's views of its catalog that an engine can
// answer for.
func systemViews(e dialect.Engine) []string {
	views := []string{
		"stv_db_isolation_level AS SELECT 'dev' AS db_name, 'Snapshot Isolation' AS db_isolation_level",
		// Internal errors of Redshift's engine, which has none here; errors of SQL are not
		// in it at AWS either.
		`stl_error AS SELECT CAST(100 AS INTEGER) AS userid, CAST('' AS VARCHAR) AS process, CAST('2000-01-01 00:00:00' AS TIMESTAMP) AS recordtime,
			CAST(0 AS INTEGER) AS pid, CAST(0 AS INTEGER) AS errcode, CAST('' AS VARCHAR) AS file, CAST(0 AS INTEGER) AS linenum,
			CAST('' AS VARCHAR) AS context, CAST('' AS VARCHAR) AS error WHERE 1 = 0`,
	}
	if e == dialect.Postgres {
		views = append(views, postgresViews()...)
	} else {
		views = append(views, duckViews()...)
	}
	out := make([]string, len(views))
	for i, v := range views {
		out[i] = "CREATE OR REPLACE VIEW localaws." + v
	}
	return out
}

func duckViews() []string {
	const public = "CASE schema_name WHEN 'main' THEN 'public' ELSE schema_name END"
	const own = "NOT internal AND schema_name <> 'localaws'"
	return []string{
		`svv_tables AS SELECT 'dev' AS table_catalog, CASE table_schema WHEN 'main' THEN 'public' ELSE table_schema END AS table_schema,
			table_name, table_type, NULL::VARCHAR AS remarks FROM information_schema.tables WHERE table_schema <> 'localaws'`,
		// The bound of a string is a constraint here; see package dialect.
		`svv_columns AS SELECT 'dev' AS table_catalog, ` + public + ` AS table_schema, table_name, column_name, column_index AS ordinal_position,
			column_default, CASE WHEN is_nullable THEN 'YES' ELSE 'NO' END AS is_nullable,
			CASE WHEN data_type = 'VARCHAR' THEN 'character varying' WHEN data_type LIKE 'DECIMAL%' THEN 'numeric' WHEN data_type = 'DOUBLE' THEN 'double precision'
				WHEN data_type = 'FLOAT' THEN 'real' WHEN data_type = 'TIMESTAMP' THEN 'timestamp without time zone' ELSE lower(data_type) END AS data_type,
			(SELECT max(CAST(regexp_extract(k.expression, '\d+') AS INTEGER)) FROM duckdb_constraints() k WHERE k.table_oid = c.table_oid
				AND k.constraint_type = 'CHECK' AND k.constraint_column_names[1] = c.column_name) AS character_maximum_length,
			numeric_precision, numeric_scale FROM duckdb_columns() c WHERE ` + own,
		`pg_table_def AS SELECT table_schema AS schemaname, table_name AS tablename, column_name AS "column",
			data_type || CASE WHEN character_maximum_length IS NOT NULL THEN '(' || character_maximum_length || ')'
				WHEN data_type = 'numeric' THEN '(' || numeric_precision || ',' || numeric_scale || ')' ELSE '' END AS "type",
			'none' AS encoding, false AS distkey, 0 AS sortkey, is_nullable = 'NO' AS "notnull" FROM localaws.svv_columns`,
		`svv_table_info AS SELECT 'dev' AS "database", ` + public + ` AS "schema", table_oid AS table_id, table_name AS "table",
			'N' AS encoded, estimated_size AS tbl_rows FROM duckdb_tables() WHERE ` + own,
	}
}

func postgresViews() []string {
	const own = "NOT IN ('localaws', 'information_schema', 'pg_catalog', 'pg_toast')"
	return []string{
		// DuckDB's locks are not its own (see lock.go), so there is no such view there.
		`svv_transactions AS SELECT a.usename::text AS txn_owner, a.datname::text AS txn_db, a.backend_xid::text::bigint AS xid, l.pid,
			a.xact_start AT TIME ZONE 'UTC' AS txn_start, l.mode AS lock_mode, l.locktype AS lockable_object_type, l.relation::bigint AS relation, l.granted
			FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
			WHERE l.locktype IN ('relation', 'transactionid') AND a.datname = current_database()`,
		`svv_tables AS SELECT 'dev' AS table_catalog, table_schema::text, table_name::text, table_type::text, NULL::text AS remarks
			FROM information_schema.tables WHERE table_schema ` + own,
		`svv_columns AS SELECT 'dev' AS table_catalog, table_schema::text, table_name::text, column_name::text, ordinal_position::integer, column_default::text,
			is_nullable::text, data_type::text, character_maximum_length::integer, numeric_precision::integer, numeric_scale::integer
			FROM information_schema.columns WHERE table_schema ` + own,
		`pg_table_def AS SELECT n.nspname::text AS schemaname, c.relname::text AS tablename, a.attname::text AS "column", format_type(a.atttypid, a.atttypmod) AS "type",
			'none' AS encoding, false AS distkey, 0 AS sortkey, a.attnotnull AS "notnull" FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
			JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND n.nspname ` + own,
		`svv_table_info AS SELECT 'dev' AS "database", n.nspname::text AS "schema", c.oid::bigint AS table_id, c.relname::text AS "table",
			'N' AS encoded, greatest(c.reltuples, 0)::bigint AS tbl_rows FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind = 'r' AND n.nspname ` + own,
	}
}
