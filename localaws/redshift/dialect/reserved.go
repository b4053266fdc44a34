package dialect

import "strings"

// reserved are the words that Redshift's guide reserves ("Reserved words"): in
// quotes alone can they be names.
var reserved = wordSet(`aes128 aes256 all allowoverwrite analyse analyze and any array as asc authorization az64 backup between
	binary blanksasnull both bytedict bzip2 case cast check collate column constraint create credentials cross current_date current_time
	current_timestamp current_user current_user_id default deferrable deflate defrag delta delta32k desc disable distinct do else
	emptyasnull enable encode encrypt encryption end except explicit false for foreign freeze from full globaldict256 globaldict64k
	grant group gzip having identity ignore ilike in initially inner intersect interval into is isnull join leading left like limit
	localtime localtimestamp lun luns lzo lzop minus mostly16 mostly32 mostly8 natural new not notnull null nulls off offline offset
	oid old on only open or order outer overlaps parallel partition percent permissions pivot placing primary raw readratio recover
	references rejectlog resort respect restore right select session_user similar snapshot some sysdate system table tag tdes text255
	text32k then timestamp to top trailing true truncatecolumns union unique unnest unpivot user using verbose wallet when where with
	without`)

// namesOnly are those of them that have no meaning of their own in a query or a
// change of data: there they could be nothing but a name. (OID is left out, as the
// catalog's tables have a column of that name.)
var namesOnly = wordSet(`aes128 aes256 allowoverwrite analyse authorization az64 backup blanksasnull bytedict bzip2 credentials
	deferrable deflate defrag delta delta32k disable emptyasnull enable encode encrypt encryption explicit foreign freeze
	globaldict256 globaldict64k grant gzip initially lun luns lzo lzop mostly16 mostly32 mostly8 new off offline old open parallel
	percent permissions placing raw readratio recover references rejectlog resort restore snapshot system tag tdes text255 text32k top
	truncatecolumns verbose wallet`)

func wordSet(words string) map[string]bool {
	set := make(map[string]bool)
	for _, w := range strings.Fields(words) {
		set[w] = true
	}
	return set
}

// isReserved reports whether the token cannot be a name as it is written.
func (t token) isReserved() bool { return t.kind == word && reserved[t.text] }

// refuseReserved refuses reserved words that stand for names in the tokens [lo,hi)
// of a query or a change of data. After AS in a select list and after a dot every
// word is a name, as in the PostgreSQL that Redshift comes from.
func (t *translation) refuseReserved(lo, hi int) error {
	clauses := []string{""} // the clause at each depth of parentheses
	for i := lo; i < hi; i++ {
		k := t.toks[i]
		clause := &clauses[len(clauses)-1]
		switch {
		case k.is("("):
			clauses = append(clauses, "")
		case k.is(")"):
			clauses = clauses[:len(clauses)-1]
		case k.kind != word || t.at(i-1).is("."):
		case k.is("select", "from", "where", "group", "having", "order", "limit", "set", "values", "using", "on"):
			*clause = k.text
		case k.is("join"):
			*clause = "from"
		case t.at(i-1).is("as") && *clause == "select":
		case k.is("top") && t.topOfSelect(i):
		case namesOnly[k.text], t.at(i-1).is("as") && *clause == "from" && k.isReserved():
			return t.unexpected(i)
		}
		if len(clauses) == 0 { // [lo,hi) ends inside a parenthesis
			return nil
		}
	}
	return nil
}

// topOfSelect reports whether TOP at i limits the query: SELECT [DISTINCT] TOP n.
func (t *translation) topOfSelect(i int) bool {
	return t.at(i-1).is("select", "distinct", "all") && t.at(i+1).kind == number
}
