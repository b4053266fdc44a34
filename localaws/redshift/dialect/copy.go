package dialect

import (
	"math"
	"strconv"
	"strings"
)

// Copy is a COPY command from Amazon S3.
type Copy struct {
	Table   string   // lower case, without the schema "public"
	Columns []string // empty: all of the table's, in its order
	From    string   // s3://bucket/prefix, or s3://bucket/key of a manifest

	Manifest bool
	Gzip     bool
	Zstd     bool

	Format    string // CSV, JSON or DELIMITED
	JSONPaths string // "auto", "auto ignorecase", "noshred" or s3://...
	Delimiter byte   // '|' for DELIMITED, ',' for CSV where not given
	Quote     byte   // of CSV
	Escape    bool   // a backslash escapes the character after it (DELIMITED)
	// RemoveQuotes takes quotation marks off around fields (DELIMITED).
	RemoveQuotes bool
	FillRecord   bool // missing fields at the end of a line are NULL

	NullAs           *string // nil: \N
	EmptyAsNull      bool
	BlanksAsNull     bool
	TrimBlanks       bool
	TruncateColumns  bool
	RoundDecimals    bool
	AcceptAnyDate    bool
	AcceptInvChars   bool
	InvCharsAs       byte // stands for each invalid byte; '?' where not given
	IgnoreBlankLines bool
	IgnoreHeader     int
	MaxError         int
	IgnoreAllErrors  bool
	NoLoad           bool // check the files only
	ExplicitIDs      bool

	TimeFormat string // "" = default, auto, epochsecs, epochmillisecs, or a pattern
	DateFormat string // "" = default, auto, or a pattern

	IAMRole    string // ARN, or "default"; empty with keys
	Region     string
	StatUpdate *bool // nil: only an empty table's statistics are updated
	CompUpdate *bool
}

// maxCopyErrors is the largest MAXERROR.
const maxCopyErrors = 100000

// copyParser reads the options of COPY, which come in any order.
type copyParser struct {
	t    *translation
	at   int
	c    *Copy
	auth bool
}

func (t *translation) copy() error {
	name, at, err := t.tableName(1)
	if err != nil {
		return err
	}
	c := &Copy{Table: nameOf(name)}
	p := &copyParser{t: t, at: at, c: c}
	if err := p.columns(); err != nil {
		return err
	}
	if !t.at(p.at).is("from") {
		return t.unexpected(p.at)
	}
	p.at++
	if c.From, err = p.text(false); err != nil {
		return err
	}
	if !strings.HasPrefix(c.From, "s3://") {
		return unsupported("COPY from " + excerpt(c.From))
	}
	for p.at < len(t.toks) {
		if err := p.option(); err != nil {
			return err
		}
	}
	if err := p.finish(); err != nil {
		return err
	}
	t.out.Copy = c
	t.out.Writes = []string{c.Table}
	return nil
}

func (p *copyParser) columns() error {
	t := p.t
	if !t.at(p.at).is("(") {
		return nil
	}
	for _, a := range t.arguments(p.at) {
		if a.hi != a.lo+1 || !t.at(a.lo).name() {
			return t.unexpected(a.lo)
		}
		p.c.Columns = append(p.c.Columns, t.at(a.lo).text)
	}
	p.at = t.match[p.at] + 1
	return nil
}

// option reads one option and its value.
func (p *copyParser) option() error {
	k := p.t.at(p.at)
	if k.kind != word {
		return p.t.unexpected(p.at)
	}
	if f := p.flag(k.text); f != nil {
		*f = true
		p.at++
		return nil
	}
	p.at++
	switch k.text {
	case "format":
		return p.format()
	case "csv", "json":
		p.at--
		return p.format()
	case "avro", "parquet", "orc", "fixedwidth", "shapefile", "bzip2", "lzop", "encrypted", "master_symmetric_key", "ssh", "readratio":
		return unsupported("COPY option " + strings.ToUpper(k.text))
	case "comprows":
		_, err := p.number(math.MaxInt32)
		return err
	case "ignoreheader":
		return p.setNumber(&p.c.IgnoreHeader, math.MaxInt32)
	case "maxerror":
		return p.setNumber(&p.c.MaxError, maxCopyErrors)
	case "compupdate":
		return p.onOff(&p.c.CompUpdate)
	case "statupdate":
		return p.onOff(&p.c.StatUpdate)
	case "acceptinvchars":
		p.c.AcceptInvChars, p.c.InvCharsAs = true, '?'
		if p.t.at(p.at).kind == text || p.t.at(p.at).is("as") {
			return p.char(&p.c.InvCharsAs)
		}
		return nil
	case "encoding":
		return p.encoding()
	}
	return p.textOption(k.text)
}

// flag returns the setting that an option without a value switches on.
func (p *copyParser) flag(name string) *bool {
	c := p.c
	switch name {
	case "manifest":
		return &c.Manifest
	case "gzip":
		return &c.Gzip
	case "zstd":
		return &c.Zstd
	case "escape":
		return &c.Escape
	case "removequotes":
		return &c.RemoveQuotes
	case "fillrecord":
		return &c.FillRecord
	case "emptyasnull":
		return &c.EmptyAsNull
	case "blanksasnull":
		return &c.BlanksAsNull
	case "trimblanks":
		return &c.TrimBlanks
	case "truncatecolumns":
		return &c.TruncateColumns
	case "roundec":
		return &c.RoundDecimals
	case "acceptanydate":
		return &c.AcceptAnyDate
	case "ignoreblanklines":
		return &c.IgnoreBlankLines
	case "ignoreallerrors":
		return &c.IgnoreAllErrors
	case "noload":
		return &c.NoLoad
	case "explicit_ids":
		return &c.ExplicitIDs
	}
	return nil
}

// textOption reads an option whose value is a literal.
func (p *copyParser) textOption(name string) error {
	c := p.c
	var err error
	switch name {
	case "delimiter":
		return p.char(&c.Delimiter)
	case "quote":
		return p.char(&c.Quote)
	case "null":
		var s string
		s, err = p.text(true)
		c.NullAs = &s
	case "timeformat":
		c.TimeFormat, err = p.text(true)
	case "dateformat":
		c.DateFormat, err = p.text(true)
	case "region":
		c.Region, err = p.text(true)
	case "iam_role":
		p.auth = true
		if p.t.at(p.at).is("default") {
			c.IAMRole = "default"
			p.at++
			return nil
		}
		c.IAMRole, err = p.text(false)
	case "credentials", "with":
		return p.credentials(name)
	case "access_key_id", "secret_access_key", "session_token":
		p.auth = true
		_, err = p.text(true)
	default:
		p.at--
		return p.t.unexpected(p.at)
	}
	return err
}

// credentials reads [WITH] CREDENTIALS [AS] 'aws_iam_role=...' or
// 'aws_access_key_id=...;aws_secret_access_key=...'.
func (p *copyParser) credentials(name string) error {
	if name == "with" {
		if !p.t.at(p.at).is("credentials") {
			return p.t.unexpected(p.at)
		}
		p.at++
	}
	s, err := p.text(true)
	if err != nil {
		return err
	}
	p.auth = true
	for part := range strings.SplitSeq(s, ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch key {
		case "aws_iam_role":
			p.c.IAMRole = value
		case "aws_access_key_id", "aws_secret_access_key", "token", "master_symmetric_key", "":
		default:
			return fail("Invalid credentials. Unknown field %s", excerpt(key))
		}
	}
	return nil
}

// format reads [FORMAT [AS]] CSV [QUOTE [AS] 'c'] and JSON [AS] 'paths'.
func (p *copyParser) format() error {
	if p.t.at(p.at).is("as") {
		p.at++
	}
	k := p.t.at(p.at)
	p.at++
	if p.c.Format != "" {
		p.at--
		return p.t.unexpected(p.at)
	}
	switch {
	case k.is("csv"):
		p.c.Format = "CSV"
	case k.is("json"):
		p.c.Format, p.c.JSONPaths = "JSON", "auto"
		if p.t.at(p.at).kind == text || p.t.at(p.at).is("as") {
			paths, err := p.text(true)
			if err != nil {
				return err
			}
			p.c.JSONPaths = paths
		}
	case k.is("avro", "parquet", "orc", "fixedwidth", "shapefile"):
		return unsupported("COPY format " + strings.ToUpper(k.text))
	default:
		p.at--
		return p.t.unexpected(p.at)
	}
	return nil
}

// text reads a literal, after an AS where optional.
func (p *copyParser) text(as bool) (string, error) {
	if as && p.t.at(p.at).is("as") {
		p.at++
	}
	k := p.t.at(p.at)
	if k.kind != text || p.at >= len(p.t.toks) {
		return "", p.t.unexpected(p.at)
	}
	p.at++
	return k.text, nil
}

// char reads a literal of one character. COPY reads backslash sequences in it
// once more than the literal itself: '\\t' is a tab, '\\001' a control character.
func (p *copyParser) char(dst *byte) error {
	s, err := p.text(true)
	if err != nil {
		return err
	}
	if len(s) > 1 && s[0] == '\\' {
		var b strings.Builder
		if n := decodeEscape(&b, s); n == len(s) {
			s = b.String()
		}
	}
	if len(s) != 1 || s[0] >= 0x80 {
		return fail(`COPY delimiter must be a single character`)
	}
	*dst = s[0]
	return nil
}

func (p *copyParser) number(most int) (int, error) {
	if p.t.at(p.at).is("as") {
		p.at++
	}
	k := p.t.at(p.at)
	n, err := strconv.Atoi(k.text)
	if err != nil || k.kind != number && k.kind != text {
		return 0, p.t.unexpected(p.at)
	}
	p.at++
	if n < 0 || n > most {
		return 0, fail("value %d is out of range (0 to %d)", n, most)
	}
	return n, nil
}

func (p *copyParser) setNumber(dst *int, most int) error {
	n, err := p.number(most)
	*dst = n
	return err
}

func (p *copyParser) onOff(dst **bool) error {
	on := true
	switch k := p.t.at(p.at); {
	case k.is("on", "true", "preset"):
		p.at++
	case k.is("off", "false"):
		on = false
		p.at++
	}
	*dst = &on
	return nil
}

func (p *copyParser) encoding() error {
	if p.t.at(p.at).is("as") {
		p.at++
	}
	k := p.t.at(p.at)
	p.at++
	if e := lower(k.text); e != "utf8" && e != "auto" {
		return unsupported("COPY encoding " + excerpt(k.text))
	}
	return nil
}

// finish sets defaults and refuses combinations that Redshift refuses.
func (p *copyParser) finish() error {
	c := p.c
	if !p.auth {
		e := fail("COPY has no credentials")
		e.Hint = "add IAM_ROLE default, IAM_ROLE 'arn:...' or CREDENTIALS '...'"
		return e
	}
	switch {
	case c.Format == "CSV" && (c.Escape || c.RemoveQuotes):
		return fail("CSV is not compatible with ESCAPE or REMOVEQUOTES")
	case c.Format == "JSON" && (c.Escape || c.RemoveQuotes || c.FillRecord || c.Delimiter != 0):
		return fail("JSON is not compatible with DELIMITER, ESCAPE, FILLRECORD or REMOVEQUOTES")
	case c.Format != "CSV" && c.Quote != 0:
		return fail("QUOTE is only allowed with CSV")
	case c.IgnoreAllErrors && c.MaxError > 0:
		return fail("MAXERROR and IGNOREALLERRORS cannot be used together")
	case c.Gzip && c.Zstd:
		return fail("only one compression option is allowed")
	}
	switch c.Format {
	case "":
		c.Format = "DELIMITED"
		if c.Delimiter == 0 {
			c.Delimiter = '|'
		}
	case "CSV":
		if c.Delimiter == 0 {
			c.Delimiter = ','
		}
		if c.Quote == 0 {
			c.Quote = '"'
		}
	}
	return nil
}
