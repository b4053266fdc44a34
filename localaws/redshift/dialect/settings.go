package dialect

import (
	"strconv"
	"time"
)

// set accepts session settings. Most mean nothing to a local engine; a time zone
// would change results, and statement_timeout ends statements.
func (t *translation) set() error {
	if err := t.setTimeout(); err != nil {
		return err
	}
	for i, k := range t.toks {
		if k.is("timezone") && t.toks[0].is("set") {
			if v := t.at(len(t.toks) - 1); i < len(t.toks)-1 && lower(v.text) != "utc" && !v.is("default") {
				return unsupported("a session time zone other than UTC")
			}
		}
	}
	return nil
}

// setTimeout reads SET [SESSION|LOCAL] statement_timeout {TO|=} value, in
// milliseconds, and RESET of it or of ALL. LOCAL is taken for SESSION.
func (t *translation) setTimeout() error {
	at := 1
	if t.at(at).is("session") || t.at(at).is("local") {
		at++
	}
	none := time.Duration(0)
	if t.toks[0].is("reset") {
		if t.at(at).is("statement_timeout") || t.at(at).is("all") {
			t.out.Timeout = &none
		}
		return nil
	}
	if !t.at(at).is("statement_timeout") {
		return nil
	}
	value := t.at(len(t.toks) - 1)
	switch {
	case !t.at(at+1).is("to") && !t.at(at+1).is("="):
		return t.unexpected(at + 1)
	case len(t.toks) != at+3:
		return t.unexpected(at + 2)
	}
	if value.is("default") {
		t.out.Timeout = &none
		return nil
	}
	ms, err := strconv.ParseInt(value.text, 10, 32)
	if err != nil || ms < 0 {
		return fail(`invalid value for parameter "statement_timeout": "%s"`, excerpt(value.text))
	}
	d := time.Duration(ms) * time.Millisecond
	t.out.Timeout = &d
	return nil
}

// show answers SHOW name with what a fresh Redshift session says, and with the
// session's own statement_timeout.
func (t *translation) show() error {
	values := map[string]string{
		"search_path": "$user, public", "timezone": "UTC", "server_version": "8.0.2",
		"server_encoding": "UTF8", "client_encoding": "UTF8", "datestyle": "ISO, MDY",
		"statement_timeout": strconv.FormatInt(t.session.Timeout.Milliseconds(), 10), "query_group": "unset", "wlm_query_slot_count": "1",
		"enable_case_sensitive_identifier": "off", "enable_result_cache_for_session": "on",
		"transaction_isolation": "snapshot", "autocommit": "on",
	}
	if len(t.toks) != 2 {
		return unsupported("SHOW with more than a parameter's name")
	}
	name := t.toks[1]
	value, ok := values[name.text]
	if !ok {
		return fail(`unrecognized configuration parameter "%s"`, excerpt(name.text))
	}
	t.out.Rows = true
	t.setSQL([]token{{kind: word, text: "select"}, {kind: text, text: value}, {kind: word, text: "as"}, {kind: quoted, text: name.text}})
	return nil
}
