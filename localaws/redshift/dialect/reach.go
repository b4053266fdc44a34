package dialect

import "strings"

// catalogFunctions are those of Redshift whose names start as PostgreSQL's own do
// that reach into the server.
var catalogFunctions = wordSet(`pg_backend_pid pg_last_copy_id pg_last_copy_count pg_last_query_id pg_last_unload_id pg_last_unload_count
	pg_get_viewdef pg_get_userbyid pg_get_expr pg_get_indexdef pg_get_constraintdef pg_table_is_visible pg_function_is_visible
	pg_type_is_visible pg_encoding_to_char pg_client_encoding pg_typeof`)

// reaching are functions that read files, run a text as SQL or change what the
// session may do. Neither engine lets a stranger go far by them (DuckDB has no
// access to files, PostgreSQL runs statements as a role without rights), so this
// is the second lock of that door.
var reaching = wordSet(`glob getenv query query_table getvariable set_config dblink dblink_exec dblink_connect dblink_open dblink_send_query
	query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema table_to_xml table_to_xmlschema
	table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema schema_to_xml_and_xmlschema database_to_xml database_to_xmlschema
	database_to_xml_and_xmlschema ts_stat ts_rewrite xpath_table crosstab crosstabn crosstab2 crosstab3 crosstab4 connectby
	lo_import lo_export lo_creat lo_create lo_open lo_close lo_get lo_put lo_from_bytea lo_unlink lo_lseek lo_lseek64 lo_tell lo_tell64
	lo_truncate lo_truncate64 loread lowrite`)

// refuseReach refuses to call the function, however its name is written. DuckDB's
// functions of these families read files or look into the engine.
func refuseReach(name string) error {
	for _, family := range []string{"read_", "parquet_", "sniff_", "duckdb_", "pragma_", "pg_", "binary_upgrade_"} {
		if strings.HasPrefix(name, family) && !catalogFunctions[name] {
			return fail("function %s does not exist", excerpt(name))
		}
	}
	if reaching[name] {
		return fail("function %s does not exist", excerpt(name))
	}
	return nil
}
