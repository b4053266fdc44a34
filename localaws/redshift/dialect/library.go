package dialect

// Schema is where an engine keeps what Redshift has and the engine does not. A
// connection has it at the end of its search path.
const Schema = "localaws"

// Library makes the functions of Redshift that the engine lacks and that need no
// more than an expression. It runs once for each database, again and again.
func Library(e Engine) []string {
	if e == Postgres {
		return append(pgAggregates(), pgFunctions()...)
	}
	return duckMacros()
}

func duckMacros() []string {
	var out []string
	for _, m := range []string{
		`initcap(s) AS array_to_string(list_transform(regexp_extract_all(s, '[A-Za-z0-9]+|[^A-Za-z0-9]+'),
			lambda w: upper(left(w, 1)) || lower(substr(w, 2))), '')`,
		`replicate(s, n) AS repeat(s, n)`,
		`db_collation() AS 'case_sensitive'`,
		`dexp(x) AS exp(x)`,
		`dlog1(x) AS ln(x)`,
		`dlog10(x) AS log10(x)`,
		`regexp_substr(s, p) AS regexp_extract(s, p)`,
		`regexp_count(s, p) AS CAST(len(regexp_extract_all(s, p)) AS INTEGER)`,
		`regexp_instr(s, p) AS CASE WHEN regexp_matches(s, p) THEN strpos(s, regexp_extract(s, p)) ELSE 0 END`,
		`func_sha1(s) AS sha1(s)`,
		`sha2(s, n) AS CASE WHEN n IN (0, 256) THEN sha256(s) ELSE error('SHA2 has 256 bits here') END`,
		`strtol(s, base) AS CAST(list_reduce(list_prepend(0::BIGINT, list_transform(string_split(lower(s), ''),
			lambda c: strpos('0123456789abcdefghijklmnopqrstuvwxyz', c) - 1)), lambda a, d: a * base + d) AS BIGINT)`,
		`json_extract_array_element_text(j, i) AS json_extract_string(j, CAST(i AS BIGINT))`,
		`is_valid_json_array(j) AS coalesce(json_valid(j) AND json_type(TRY_CAST(j AS JSON)) = 'ARRAY', false)`,
		`date_cmp(a, b) AS CASE WHEN a::DATE < b::DATE THEN -1 WHEN a::DATE > b::DATE THEN 1 ELSE 0 END`,
		`months_between(a, b) AS CASE WHEN (day(a::DATE) = day(b::DATE)) OR (a::DATE = last_day(a::DATE) AND b::DATE = last_day(b::DATE))
			THEN ((year(a::DATE) - year(b::DATE)) * 12 + month(a::DATE) - month(b::DATE))::DOUBLE
			ELSE (year(a::DATE) - year(b::DATE)) * 12 + month(a::DATE) - month(b::DATE) + (day(a::DATE) - day(b::DATE)) / 31.0::DOUBLE END`,
		`next_day(d, w) AS d::DATE + CAST((strpos('sumotuwethfrsa', lower(left(w, 2))) + 1) // 2 + 5 - dayofweek(d::DATE) AS INTEGER) % 7 + 1`,
	} {
		out = append(out, "CREATE OR REPLACE MACRO "+Schema+"."+m)
	}
	return out
}

// pgAggregates are SUM and AVG with Redshift's types. They are made of functions
// that PostgreSQL has, as its own aggregates are.
func pgAggregates() []string {
	return []string{
		`CREATE OR REPLACE FUNCTION localaws.avg_end(bigint[]) RETURNS bigint IMMUTABLE PARALLEL SAFE LANGUAGE sql
			AS 'SELECT CASE WHEN $1[1] > 0 THEN $1[2] / $1[1] END'`,
		`CREATE OR REPLACE FUNCTION localaws.avg_next(bigint[], bigint) RETURNS bigint[] IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
			AS 'SELECT ARRAY[$1[1] + 1, $1[2] + $2]'`,
		`CREATE OR REPLACE FUNCTION localaws.avg_end(numeric[]) RETURNS numeric IMMUTABLE PARALLEL SAFE LANGUAGE sql
			AS 'SELECT CASE WHEN $1[1] > 0 THEN round($1[2] / $1[1], scale($1[2])) END'`,
		`CREATE OR REPLACE FUNCTION localaws.avg_next(numeric[], numeric) RETURNS numeric[] IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql
			AS 'SELECT ARRAY[$1[1] + 1, $1[2] + $2]'`,
		"CREATE OR REPLACE AGGREGATE localaws.sum(smallint) (SFUNC = int2_sum, STYPE = bigint, COMBINEFUNC = int8pl, PARALLEL = SAFE)",
		"CREATE OR REPLACE AGGREGATE localaws.sum(integer) (SFUNC = int4_sum, STYPE = bigint, COMBINEFUNC = int8pl, PARALLEL = SAFE)",
		"CREATE OR REPLACE AGGREGATE localaws.sum(bigint) (SFUNC = int8pl, STYPE = bigint, COMBINEFUNC = int8pl, PARALLEL = SAFE)",
		"CREATE OR REPLACE AGGREGATE localaws.sum(numeric) (SFUNC = numeric_add, STYPE = numeric, COMBINEFUNC = numeric_add, PARALLEL = SAFE)",
		"CREATE OR REPLACE AGGREGATE localaws.sum(double precision) (SFUNC = float8pl, STYPE = double precision, COMBINEFUNC = float8pl, PARALLEL = SAFE)",
		"CREATE OR REPLACE AGGREGATE localaws.sum(interval) (SFUNC = interval_pl, STYPE = interval, COMBINEFUNC = interval_pl, PARALLEL = SAFE)",
		"CREATE OR REPLACE AGGREGATE localaws.avg(smallint) (SFUNC = int2_avg_accum, STYPE = bigint[], INITCOND = '{0,0}', FINALFUNC = localaws.avg_end)",
		"CREATE OR REPLACE AGGREGATE localaws.avg(integer) (SFUNC = int4_avg_accum, STYPE = bigint[], INITCOND = '{0,0}', FINALFUNC = localaws.avg_end)",
		"CREATE OR REPLACE AGGREGATE localaws.avg(bigint) (SFUNC = localaws.avg_next, STYPE = bigint[], INITCOND = '{0,0}', FINALFUNC = localaws.avg_end)",
		"CREATE OR REPLACE AGGREGATE localaws.avg(numeric) (SFUNC = localaws.avg_next, STYPE = numeric[], INITCOND = '{0,0}', FINALFUNC = localaws.avg_end)",
		"CREATE OR REPLACE AGGREGATE localaws.avg(double precision) (SFUNC = float8_accum, STYPE = double precision[], INITCOND = '{0,0,0}', FINALFUNC = float8_avg)",
	}
}

func pgFunctions() []string {
	const end = " IMMUTABLE PARALLEL SAFE LANGUAGE sql AS "
	var out []string
	for _, f := range []string{
		`replicate(text, integer) RETURNS text` + end + `'SELECT repeat($1, $2)'`,
		`db_collation() RETURNS text` + end + `'SELECT ''case_sensitive''::text'`,
		`dlog1(double precision) RETURNS double precision` + end + `'SELECT ln($1)'`,
		`trunc(timestamp) RETURNS date` + end + `'SELECT $1::date'`,
		`sha2(text, integer) RETURNS text` + end + `'SELECT encode(CASE $2 WHEN 224 THEN sha224(convert_to($1, ''UTF8''))
			WHEN 384 THEN sha384(convert_to($1, ''UTF8'')) WHEN 512 THEN sha512(convert_to($1, ''UTF8'')) ELSE sha256(convert_to($1, ''UTF8'')) END, ''hex'')'`,
		`strtol(text, integer) RETURNS bigint` + end + `'SELECT sum((strpos(''0123456789abcdefghijklmnopqrstuvwxyz'', d.c) - 1) * power($2::numeric, length($1) - d.i))::bigint
			FROM regexp_split_to_table(lower($1), '''') WITH ORDINALITY AS d(c, i)'`,
		`json_extract_array_element_text(text, integer) RETURNS text` + end + `'SELECT $1::json ->> $2'`,
		`json_array_length(text) RETURNS integer` + end + `'SELECT pg_catalog.json_array_length($1::json)'`,
		`is_valid_json(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
			'BEGIN PERFORM $1::json; RETURN true; EXCEPTION WHEN data_exception THEN RETURN false; END'`,
		`is_valid_json_array(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
			'BEGIN RETURN coalesce(json_typeof($1::json) = ''array'', false); EXCEPTION WHEN data_exception THEN RETURN false; END'`,
		`date_cmp(date, date) RETURNS integer` + end + `'SELECT CASE WHEN $1 < $2 THEN -1 WHEN $1 > $2 THEN 1 ELSE 0 END'`,
		`months_between(date, date) RETURNS double precision` + end + `'SELECT (extract(year FROM $1) - extract(year FROM $2)) * 12 + extract(month FROM $1) - extract(month FROM $2)
			+ CASE WHEN extract(day FROM $1) = extract(day FROM $2) OR extract(day FROM $1 + 1) = 1 AND extract(day FROM $2 + 1) = 1 THEN 0
				ELSE (extract(day FROM $1) - extract(day FROM $2)) / 31.0 END'`,
		`next_day(date, text) RETURNS date` + end + `'SELECT $1 + (((strpos(''sumotuwethfrsa'', lower(left($2, 2))) + 1) / 2 + 5 - extract(dow FROM $1)::integer) % 7 + 1)'`,
	} {
		out = append(out, "CREATE OR REPLACE FUNCTION "+Schema+"."+f)
	}
	return out
}
