package dialect

import (
	"strconv"
	"strings"
)

// rule rewrites a call by template: $1 to $9 are the arguments, $@ all of them.
type rule struct {
	args   int // exact count; -1 = any
	duckDB string
	pg     string // empty: as duckDB; "=": left as it is
}

// ruleFor returns the template for a function of Redshift that the engines
// call otherwise.
func ruleFor(name string, args int) (rule, bool) {
	var r rule
	switch name {
	case "nvl":
		r = rule{-1, "coalesce( $@ )", ""}
	case "isnull":
		r = rule{2, "coalesce( $1 , $2 )", ""}
	case "nvl2":
		r = rule{3, "( CASE WHEN ( $1 ) IS NOT NULL THEN $2 ELSE $3 END )", ""}
	case "len":
		r = rule{1, "length( $1 )", ""}
	case "charindex":
		r = rule{2, "strpos( $2 , $1 )", ""}
	case "octet_length":
		r = rule{1, "strlen( CAST( $1 AS varchar ) )", "="}
	case "concat":
		r = rule{2, "( CAST( $1 AS varchar ) || CAST( $2 AS varchar ) )", ""}
	case "btrim":
		r = rule{-1, "trim( $@ )", "="}
	case "date":
		r = rule{1, "CAST( $1 AS date )", ""}
	case "date_part_year":
		r = rule{1, "CAST( extract( year FROM CAST( $1 AS timestamp ) ) AS integer )", ""}
	case "add_months":
		r = rule{2, "( CAST( $1 AS timestamp ) + ( $2 ) * INTERVAL '1 month' )", ""}
	case "last_day":
		r = rule{1, "last_day( CAST( $1 AS date ) )",
			"CAST( date_trunc( 'month' , CAST( $1 AS timestamp ) ) + INTERVAL '1 month' - INTERVAL '1 day' AS date )"}
	case "convert_timezone":
		if args == 2 {
			r = rule{2, "( ( CAST( $2 AS timestamp ) AT TIME ZONE 'UTC' ) AT TIME ZONE $1 )", ""}
		} else {
			r = rule{3, "( ( CAST( $3 AS timestamp ) AT TIME ZONE $1 ) AT TIME ZONE $2 )", ""}
		}
	case "median":
		r = rule{1, "median( $1 )", "percentile_cont( 0.5 ) WITHIN GROUP ( ORDER BY $1 )"}
	case "any_value":
		r = rule{1, "any_value( $1 )", "min( $1 )"}
	case "json_parse":
		r = rule{1, "CAST( $1 AS json )", "CAST( $1 AS jsonb )"}
	case "json_serialize":
		r = rule{1, "CAST( $1 AS varchar )", ""}
	case "is_valid_json":
		r = rule{1, "json_valid( $1 )", "="}
	default:
		return rule{}, false
	}
	return r, r.args < 0 || r.args == args
}

// call rewrites the function call whose name stands at i and returns the index
// after it.
func (t *translation) call(dst []token, i int) ([]token, int) {
	name, open := t.toks[i].text, i+1
	end := t.match[open] + 1
	args := t.arguments(open)
	if out, ok := t.special(dst, name, i, args); ok {
		return out, end
	}
	if r, ok := ruleFor(name, len(args)); ok {
		tmpl := r.duckDB
		if t.engine == Postgres && r.pg != "" {
			tmpl = r.pg
		}
		if tmpl != "=" {
			return t.fill(dst, tmpl, args), end
		}
	}
	dst = append(dst, t.toks[i], t.toks[open])
	dst = t.expr(dst, open+1, end-1)
	return append(dst, t.toks[end-1]), end
}

// arguments splits the call at its commas.
func (t *translation) arguments(open int) []span {
	end := t.match[open]
	if end == open+1 {
		return nil
	}
	var args []span
	lo := open + 1
	for i := lo; i < end; i++ {
		if t.match[i] > 0 {
			i = t.match[i]
		} else if t.toks[i].is(",") {
			args = append(args, span{lo, i})
			lo = i + 1
		}
	}
	return append(args, span{lo, end})
}

// fill writes a template with the call's arguments in it.
func (t *translation) fill(dst []token, template string, args []span) []token {
	for _, part := range strings.Split(template, " ") {
		switch {
		case part == "$@":
			for i, a := range args {
				if i > 0 {
					dst = t.add(dst, ",")
				}
				dst = t.add(dst, a)
			}
		case strings.HasPrefix(part, "$"):
			n, _ := strconv.Atoi(part[1:])
			dst = t.add(dst, args[n-1])
		default:
			dst = t.add(dst, part)
		}
	}
	return dst
}

// special rewrites the calls that need more than a template.
func (t *translation) special(dst []token, name string, i int, args []span) ([]token, bool) {
	switch {
	case name == "getdate" && len(args) == 0:
		return t.add(dst, t.now(getdate)), true
	case name == "version" && len(args) == 0:
		return t.add(dst, "CAST(", quotedText(version), "AS varchar)"), true
	case name == "pg_last_copy_id" && len(args) == 0:
		return t.add(dst, "CAST("+strconv.FormatInt(t.session.LastCopyID, 10)+" AS integer)"), true
	case name == "pg_backend_pid" && len(args) == 0:
		return t.add(dst, "CAST("+strconv.FormatInt(t.session.PID, 10)+" AS integer)"), true
	case name == "current_database" && len(args) == 0:
		return t.add(dst, "CAST(", quotedText(t.session.Database), "AS varchar)"), true
	case name == "now" && len(args) == 0, name == "age":
		t.leaderOnly()
	}
	return dst, false
}
