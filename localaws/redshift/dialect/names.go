package dialect

import "slices"

// nameColumns notes where the outermost select list needs the names that
// Redshift gives: an unnamed call is named by its function, a cast by its type,
// and any other expression ?column?. DuckDB would name them by their text,
// PostgreSQL by what a call is rewritten to.
func (t *translation) nameColumns(main int) {
	if !t.at(main).is("select") {
		return
	}
	t.names = map[int]string{}
	lo := main + 1
	if t.at(lo).is("distinct", "all") {
		lo++
	}
	if t.at(lo).is("top") && t.at(lo+1).kind == number {
		lo += 2
	}
	for i := lo; i <= len(t.toks); i++ {
		k := t.at(i)
		if k.is("group") && t.at(i-1).is("within") {
			continue
		}
		if i == len(t.toks) || k.is(",", ")", "from", "union", "intersect", "except", "minus", "where", "group", "order", "limit", "offset", "having", "qualify", "into") {
			if name, call := t.itemName(lo, i); name != "" && (call || t.engine == DuckDB) {
				t.names[i] = name
			}
			if lo = i + 1; !k.is(",") {
				return
			}
		} else if t.match[i] > 0 {
			i = t.match[i]
		}
	}
}

// itemName is the name of the item [lo,hi) of a select list, "" where it has
// one already: an alias, or that of its column. call says that it is a call.
func (t *translation) itemName(lo, hi int) (name string, call bool) {
	if lo >= hi || !t.operand(hi-1) || t.aliased(lo, hi) || t.isColumn(lo, hi) {
		return "", false
	}
	if t.match[lo] == hi-1 && !t.at(lo+1).is("select", "with") { // (a)
		if name, _ = t.itemName(lo+1, hi-1); name == "" {
			return t.at(hi - 2).text, false
		}
		return name, false
	}
	return t.expressionName(lo, hi)
}

func (t *translation) expressionName(lo, hi int) (name string, call bool) {
	if t.at(lo).is("approximate") {
		lo++
	}
	first := t.at(lo)
	cast := 0
	for i := lo; i < hi; i++ {
		switch k := t.at(i); {
		case k.is("::"):
			cast = i
		case k.is("at") && t.at(i+1).is("time"):
			return "timezone", false
		case k.kind == op && !k.is(".", "(", "["), k.is("and", "or", "not", "is", "in", "like", "ilike", "between", "similar"):
			return unnamed, false
		case t.match[i] > 0:
			i = t.match[i]
		case k.is("case"):
			for depth := 0; i < hi; i++ {
				if t.at(i).is("case") {
					depth++
				}
				if t.at(i).is("end") {
					if depth--; depth == 0 {
						break
					}
				}
			}
		}
	}
	switch {
	case cast > 0:
		return t.castName(span{lo, cast}, cast+1), false
	case first.is("case"):
		return "case", false
	case first.kind == word && t.at(lo+1).is("("):
		return t.nameOfCall(lo)
	case first.kind == quoted && t.at(lo+1).is("("), first.is("sysdate"):
		return first.text, false
	case first.is("current_user", "session_user", "user"):
		return "current_user", false
	case first.kind == word && hi == lo+2 && t.at(lo+1).kind == text:
		return t.castName(span{}, lo), false // DATE '2026-01-02'
	case first.is("interval"):
		return "interval", false
	}
	return unnamed, false
}

// unnamed is Redshift's name for what has none.
const unnamed = "?column?"

// nameOfCall is the column name of the call at i.
func (t *translation) nameOfCall(i int) (string, bool) {
	function := t.at(i).text
	args := t.arguments(i + 1)
	switch {
	case function == "nvl":
		return "coalesce", true
	case function == "extract":
		return "date_part", true
	case function == "cast" && len(args) == 1:
		as := args[0].lo
		for as < args[0].hi && !t.at(as).is("as") {
			as = max(as, t.match[as]) + 1
		}
		return t.castName(span{args[0].lo, as}, as+1), false
	case function == "convert" && len(args) == 2:
		return t.castName(args[1], args[0].lo), true
	}
	return function, true
}

// castName is the name of a cast of x to the type at i: that of the column or
// call in it, else the type's.
func (t *translation) castName(x span, i int) string {
	if x.hi > x.lo {
		if t.isColumn(x.lo, x.hi) {
			return t.at(x.hi - 1).text
		}
		if name, _ := t.expressionName(x.lo, x.hi); name != unnamed {
			return name
		}
	}
	d, _, err := t.dataType(i, "")
	if err != nil {
		return unnamed // told when the cast itself is rewritten
	}
	return d.internal()
}

// isColumn reports whether the range is a column's name, qualified or not. What
// the dialect rewrites is none.
func (t *translation) isColumn(lo, hi int) bool {
	if hi-lo == 1 && t.at(lo).is("true", "false", "null", "sysdate", "current_user", "session_user", "user") {
		return false
	}
	for i := lo; i < hi; i++ {
		if k := t.at(i); (i-lo)%2 == 0 && !k.name() || (i-lo)%2 == 1 && !k.is(".") {
			return false
		}
	}
	return (hi-lo)%2 == 1
}

// aliased reports whether the item ends in a name of its own.
func (t *translation) aliased(lo, hi int) bool {
	for i := lo; i < hi; i++ {
		if t.at(i).is("as") {
			return true
		}
		if t.match[i] > 0 {
			i = t.match[i]
		}
	}
	last := t.at(hi - 1)
	switch {
	case hi-lo < 2 || !last.name() || !t.operand(hi-2):
		return false
	case last.is("isnull", "notnull", "precision", "varying", "zone"):
		return false
	case last.is("end"):
		return !t.at(lo).is("case")
	case t.at(hi - 3).is("interval"): // INTERVAL '1' day
		return t.at(hi-2).kind != text
	}
	return true
}

// operand reports whether an operand can end with the token at i.
func (t *translation) operand(i int) bool {
	k := t.at(i)
	if i < 0 {
		return false
	}
	if k.kind != word {
		return k.kind != op || k.is(")", "]")
	}
	if t.at(i - 1).is(".") {
		return true // a name, whatever word it is
	}
	return !slices.Contains(notOperands, k.text)
}

// notOperands are the words of an expression that another operand follows.
var notOperands = []string{
	"select", "distinct", "all", "top", "where", "on", "having", "by", "and", "or", "not", "is", "in", "like", "ilike", "between",
	"similar", "to", "case", "when", "then", "else", "escape", "collate", "over", "interval", "timestamp", "date", "at", "time", "zone",
}
