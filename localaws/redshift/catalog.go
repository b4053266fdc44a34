package redshift

import (
	"context"
	"path"
	"slices"
	"strings"
)

// catalogQuery is what the operations that list tables and the like share.
type catalogQuery struct {
	identity
	schema, table string // patterns with % and _
	token         string
	size          int
}

func readCatalogQuery(in members, schemaMember, tableMember string) (catalogQuery, error) {
	var q catalogQuery
	id, err := readIdentity(in, "Database")
	if err != nil {
		return q, err
	}
	q.identity = id
	for name, v := range map[string]*string{schemaMember: &q.schema, tableMember: &q.table, "NextToken": &q.token} {
		if _, err := in.read(name, v); err != nil {
			return q, err
		}
	}
	if q.size, err = pageSize(in, 1000, 1000); err != nil {
		return q, err
	}
	return q, q.check()
}

// names runs a catalog query of one database session.
func (s *Service) names(ctx context.Context, id identity, sql string) (rows [][]string, err error) {
	b, err := s.connect(ctx, submission{database: id.database, user: id.dbUser()})
	if err != nil {
		return nil, err
	}
	defer b.close()
	var t textSink
	if _, err := b.conn.run(ctx, sql, &t); err != nil {
		return nil, invalid("%s", words(err))
	}
	return t.rows, nil
}

func (s *Service) listDatabases(_ context.Context, in members) (any, error) {
	q, err := readCatalogQuery(in, "", "")
	if err != nil {
		return nil, err
	}
	return struct{ Databases []string }{[]string{q.database}}, nil
}

// hiddenSchema reports the engines' own schemas, which Redshift does not have
// or does not list.
func hiddenSchema(s string) bool {
	return s == "information_schema" || s == "localaws" || strings.HasPrefix(s, "pg_")
}

// shownSchema is Redshift's name for the schema: DuckDB calls public main.
func shownSchema(s string) string {
	if s == "main" {
		return "public"
	}
	return s
}

func (s *Service) listSchemas(ctx context.Context, in members) (any, error) {
	q, err := readCatalogQuery(in, "SchemaPattern", "")
	if err != nil {
		return nil, err
	}
	rows, err := s.names(ctx, q.identity, "SELECT DISTINCT schema_name FROM information_schema.schemata")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, r := range rows {
		if name := shownSchema(r[0]); !hiddenSchema(r[0]) && like(q.schema, name) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	page, next, err := cut(all, q, "schemas")
	return struct {
		Schemas   []string
		NextToken string `json:",omitempty"`
	}{page, next}, err
}

type tableReply struct {
	Name   string `json:"name"`
	Schema string `json:"schema"`
	Type   string `json:"type"`
}

func (s *Service) listTables(ctx context.Context, in members) (any, error) {
	q, err := readCatalogQuery(in, "SchemaPattern", "TablePattern")
	if err != nil {
		return nil, err
	}
	rows, err := s.names(ctx, q.identity, "SELECT table_schema, table_name, table_type FROM information_schema.tables ORDER BY table_schema, table_name")
	if err != nil {
		return nil, err
	}
	var all []tableReply
	for _, r := range rows {
		t := tableReply{Name: r[1], Schema: shownSchema(r[0]), Type: strings.TrimPrefix(r[2], "BASE ")}
		if !hiddenSchema(r[0]) && like(q.schema, t.Schema) && like(q.table, t.Name) {
			all = append(all, t)
		}
	}
	page, next, err := cut(all, q, "tables")
	return struct {
		Tables    []tableReply
		NextToken string `json:",omitempty"`
	}{page, next}, err
}

func (s *Service) describeTable(ctx context.Context, in members) (any, error) {
	q, err := readCatalogQuery(in, "Schema", "Table")
	if err != nil {
		return nil, err
	}
	if q.table == "" {
		return nil, invalid("Table is required.")
	}
	name := q.table
	if q.schema != "" && q.schema != "public" {
		name = q.schema + "." + q.table
	}
	b, err := s.connect(ctx, submission{database: q.database, user: q.dbUser()})
	if err != nil {
		return nil, err
	}
	defer b.close()
	targets, err := b.conn.targets(ctx, strings.ToLower(name))
	if err != nil {
		return nil, invalid("%s", words(err))
	}
	if len(targets) == 0 {
		return nil, invalid("ERROR: relation %q does not exist", q.table)
	}
	cols := make([]column, len(targets))
	for i, c := range targets {
		cols[i] = c.described()
		cols[i].table, cols[i].schema = q.table, q.schema
		if q.schema == "" {
			cols[i].schema = "public"
		}
	}
	page, next, err := cut(columnReplies(cols), q, "columns")
	return struct {
		TableName  string
		ColumnList []columnReply
		NextToken  string `json:",omitempty"`
	}{q.table, page, next}, err
}

// described is the column as DescribeTable tells it.
func (t target) described() column {
	c := column{name: t.Name, typeName: t.Type, nullable: 1}
	if t.NotNull {
		c.nullable = 0
	}
	switch t.Type {
	case "smallint":
		c.typeName, c.precision = "int2", 5
	case "integer":
		c.typeName, c.precision = "int4", 10
	case "bigint":
		c.typeName, c.precision = "int8", 19
	case "real":
		c.typeName, c.precision, c.scale = "float4", 8, 8
	case "double precision":
		c.typeName, c.precision, c.scale = "float8", 17, 17
	case "decimal":
		c.typeName, c.precision, c.scale = "numeric", int32(t.Precision), int32(t.Scale)
	case "boolean":
		c.typeName, c.precision = "bool", 1
	case "date":
		c.precision = 13
	case "timestamp":
		c.precision, c.scale = 29, 6
	case "timestamptz", "timestamp with time zone":
		c.typeName, c.precision, c.scale = "timestamptz", 35, 6
	case "char", "varchar":
		c.length = int32(t.Length)
		if c.precision = c.length; t.Type == "char" {
			c.typeName = "bpchar"
		}
	case "json", "jsonb":
		c.typeName = "super"
	case "blob", "bytea":
		c.typeName = "varbyte"
	}
	return c
}

// cut returns the page of all that the query asks for.
func cut[T any](all []T, q catalogQuery, list string) ([]T, string, error) {
	from, err := parseToken(q.token, list, len(all))
	if err != nil {
		return nil, "", err
	}
	to := min(from+q.size, len(all))
	next := ""
	if to < len(all) {
		next = nextToken(list, to)
	}
	return append([]T{}, all[from:to]...), next, nil
}

// like matches a SQL LIKE pattern; the empty one matches everything.
func like(pattern, s string) bool {
	if pattern == "" {
		return true
	}
	glob := strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `\`, `\\`, `%`, `*`, `_`, `?`).Replace(pattern)
	ok, err := path.Match(glob, s)
	return err == nil && ok
}
