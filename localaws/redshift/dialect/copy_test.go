package dialect

import (
	"reflect"
	"testing"
)

func TestCopy(t *testing.T) {
	ptr := func(s string) *string { return &s }
	on, off := true, false
	tests := []struct {
		in   string
		want Copy
	}{
		{`COPY t FROM 's3://b/k' IAM_ROLE DEFAULT`, Copy{Table: "t", From: "s3://b/k", Format: "DELIMITED", Delimiter: '|', IAMRole: "default"}},
		{
			`copy public.T (A, "b") from 's3://b/m' manifest gzip format as json 'auto' timeformat 'auto' statupdate off compupdate off iam_role 'arn:r' region as 'eu-west-1'`,
			Copy{
				Table: "t", Columns: []string{"a", "b"}, From: "s3://b/m", Manifest: true, Gzip: true, Format: "JSON", JSONPaths: "auto",
				TimeFormat: "auto", StatUpdate: &off, CompUpdate: &off, IAMRole: "arn:r", Region: "eu-west-1",
			},
		},
		{
			`COPY t FROM 's3://b/k' CREDENTIALS AS 'aws_iam_role=arn:x' CSV QUOTE AS '%' DELIMITER ';' NULL AS '\\N' IGNOREHEADER 1 MAXERROR AS 10`,
			Copy{Table: "t", From: "s3://b/k", IAMRole: "arn:x", Format: "CSV", Quote: '%', Delimiter: ';', NullAs: ptr(`\N`), IgnoreHeader: 1, MaxError: 10},
		},
		{
			`COPY t FROM 's3://b/k' ACCESS_KEY_ID 'a' SECRET_ACCESS_KEY 'b' DELIMITER '\t' ESCAPE REMOVEQUOTES FILLRECORD EMPTYASNULL BLANKSASNULL TRIMBLANKS TRUNCATECOLUMNS ACCEPTINVCHARS '^' COMPUPDATE`,
			Copy{
				Table: "t", From: "s3://b/k", Format: "DELIMITED", Delimiter: '\t', Escape: true, RemoveQuotes: true, FillRecord: true, EmptyAsNull: true,
				BlanksAsNull: true, TrimBlanks: true, TruncateColumns: true, AcceptInvChars: true, InvCharsAs: '^', CompUpdate: &on,
			},
		},
		{
			`COPY t FROM 's3://b/k' IAM_ROLE default JSON AS 'auto ignorecase' DATEFORMAT 'YYYY' IGNOREALLERRORS`,
			Copy{Table: "t", From: "s3://b/k", IAMRole: "default", Format: "JSON", JSONPaths: "auto ignorecase", DateFormat: "YYYY", IgnoreAllErrors: true},
		},
		{
			`COPY t FROM 's3://b/k' IAM_ROLE default NULL AS '\000' DELIMITER '\\001'`,
			Copy{Table: "t", From: "s3://b/k", IAMRole: "default", Format: "DELIMITED", Delimiter: 1, NullAs: ptr("\x00")},
		},
	}
	for _, tt := range tests {
		s, err := Translate(tt.in, DuckDB, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
		} else if !reflect.DeepEqual(*s.Copy, tt.want) || s.SQL != "" || s.Verb != "COPY" || s.Writes[0] != "t" {
			t.Errorf("%s\ngot  %+v\nwant %+v", tt.in, *s.Copy, tt.want)
		}
	}
}

func TestCopyRefusals(t *testing.T) {
	tests := []struct{ in, want string }{
		{`COPY t FROM 's3://b/k' IAM_ROLE default FASTER`, `ERROR: syntax error at or near "FASTER"`},
		{`COPY t FROM 's3://b/k' IAM_ROLE default CSV JSON`, `ERROR: syntax error at or near "JSON"`},
		{`COPY t FROM 's3://b/k' IAM_ROLE default CSV ESCAPE`, "ERROR: CSV is not compatible with ESCAPE or REMOVEQUOTES"},
		{`COPY t FROM 's3://b/k' IAM_ROLE default MAXERROR 100001`, "ERROR: value 100001 is out of range (0 to 100000)"},
		{`COPY t FROM 's3://b/k' IAM_ROLE default MAXERROR 1 IGNOREALLERRORS`, "ERROR: MAXERROR and IGNOREALLERRORS cannot be used together"},
		{`COPY t FROM 's3://b/k'`, "ERROR: COPY has no credentials"},
		{`COPY t FROM 's3://b/k' IAM_ROLE`, "ERROR: syntax error at end of input"},
		{`COPY t FROM x IAM_ROLE default`, `ERROR: syntax error at or near "x"`},
		{`COPY t FROM 'emr://x' IAM_ROLE default`, "ERROR: COPY from emr://x is not supported"},
		{`COPY t TO 's3://b/k'`, `ERROR: syntax error at or near "TO"`},
		{`COPY t FROM 's3://b/k' IAM_ROLE default PARQUET`, "ERROR: COPY option PARQUET is not supported"},
		{`COPY t FROM 's3://b/k' IAM_ROLE default DELIMITER 'ab'`, "ERROR: COPY delimiter must be a single character"},
	}
	for _, tt := range tests {
		_, err := Translate(tt.in, DuckDB, nil)
		e, ok := err.(*Error)
		if !ok || e.Message != tt.want {
			t.Errorf("%s\ngot  %v\nwant %s", tt.in, err, tt.want)
		}
	}
}
