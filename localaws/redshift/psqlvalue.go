package redshift

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// oids are the types of columns as PostgreSQL numbers them.
var oids = map[string]uint32{
	"bool": pgtype.BoolOID, "int2": pgtype.Int2OID, "int4": pgtype.Int4OID, "int8": pgtype.Int8OID,
	"float4": pgtype.Float4OID, "float8": pgtype.Float8OID, "numeric": pgtype.NumericOID,
	"date": pgtype.DateOID, "time": pgtype.TimeOID, "timestamp": pgtype.TimestampOID, "timestamptz": pgtype.TimestamptzOID,
	"bpchar": pgtype.BPCharOID, "varchar": pgtype.VarcharOID,
}

// oidOf is the type of a column; those that PostgreSQL does not have are texts.
func oidOf(c column) uint32 {
	if oid, ok := oids[c.typeName]; ok {
		return oid
	}
	return pgtype.VarcharOID
}

// formatOf is the format of value i: none given means text, one is for all.
func formatOf(formats []int16, i int) int16 {
	switch {
	case len(formats) == 1:
		return formats[0]
	case i < len(formats):
		return formats[i]
	}
	return pgtype.TextFormatCode
}

func rowDescription(cols []column, formats []int16) *pgproto3.RowDescription {
	out := &pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, len(cols))}
	for i, c := range cols {
		f := pgproto3.FieldDescription{Name: []byte(c.name), DataTypeOID: oidOf(c), DataTypeSize: -1, TypeModifier: -1, Format: formatOf(formats, i)}
		switch {
		case c.typeName == "numeric" && c.precision > 0:
			f.TypeModifier = c.precision<<16 | c.scale + 4
		case (c.typeName == "varchar" || c.typeName == "bpchar") && c.length > 0:
			f.TypeModifier = c.length + 4
		}
		out.Fields[i] = f
	}
	return out
}

// flushRows is after how many rows what is written is sent: a result is never whole in memory.
const flushRows = 500

// rowsSink sends rows while they come from the engine.
type rowsSink struct {
	wire     *pgproto3.Backend
	describe bool
	formats  []int16
	cols     []column
	types    *pgtype.Map
	sent     int
}

func (s *rowsSink) columns(cols []column) error {
	s.cols, s.types = cols, pgtype.NewMap()
	if s.describe {
		s.wire.Send(rowDescription(cols, s.formats))
	}
	return nil
}

func (s *rowsSink) row(values []any) error {
	out := &pgproto3.DataRow{Values: make([][]byte, len(values))}
	for i, v := range values {
		if v == nil {
			continue
		}
		text := wireText(v)
		if formatOf(s.formats, i) == pgtype.TextFormatCode {
			out.Values[i] = []byte(text)
			continue
		}
		var err error
		if out.Values[i], err = s.binary(oidOf(s.cols[i]), text); err != nil {
			return fmt.Errorf("column %s: %w", s.cols[i].name, err)
		}
	}
	s.wire.Send(out)
	if s.sent++; s.sent%flushRows == 0 {
		return s.wire.Flush()
	}
	return nil
}

// binary is a value in PostgreSQL's binary format.
func (s *rowsSink) binary(oid uint32, text string) ([]byte, error) {
	t, ok := s.types.TypeForOID(oid)
	if !ok {
		return []byte(text), nil
	}
	value, err := t.Codec.DecodeValue(s.types, oid, pgtype.TextFormatCode, []byte(text))
	if err != nil {
		return nil, err
	}
	return s.types.Encode(oid, pgtype.BinaryFormatCode, value, []byte{})
}

// wireText is a value in PostgreSQL's text format.
func wireText(v any) string {
	if b, ok := v.(bool); ok {
		return strconv.FormatBool(b)[:1]
	}
	return plainText(v)
}

// mostHeld bounds a result that is held for a client that asks for its columns first.
const mostHeld = 64 << 20

// heldRows keeps a result.
type heldRows struct {
	cols []column
	rows [][]any
	size int
	n    int64
}

func (h *heldRows) columns(cols []column) error {
	h.cols = cols
	return nil
}

func (h *heldRows) row(values []any) error {
	if h.size += rowBytes(values) + 16*len(values); h.size > mostHeld {
		return refusal("the result is larger than %d MB, which is the most for the extended protocol here", mostHeld>>20)
	}
	h.rows = append(h.rows, append([]any(nil), values...))
	return nil
}

func (h *heldRows) give(to sink) error {
	if h.cols == nil {
		return nil
	}
	if err := to.columns(h.cols); err != nil {
		return err
	}
	for _, row := range h.rows {
		if err := to.row(row); err != nil {
			return err
		}
	}
	return nil
}

var bareNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// literal is a parameter as Redshift's SQL has it.
func literal(oid uint32, format int16, value []byte) (string, error) {
	if value == nil {
		return "NULL", nil
	}
	text := string(value)
	if format == pgtype.BinaryFormatCode {
		m := pgtype.NewMap()
		t, ok := m.TypeForOID(oid)
		if !ok {
			return "", fmt.Errorf("the type %d is not known in the binary format", oid)
		}
		v, err := t.Codec.DecodeValue(m, oid, format, value)
		if err != nil {
			return "", err
		}
		b, err := m.Encode(oid, pgtype.TextFormatCode, v, []byte{})
		if err != nil {
			return "", err
		}
		text = string(b)
	}
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID:
		if bareNumber.MatchString(text) {
			return text, nil
		}
	case pgtype.BoolOID:
		if text == "t" || text == "true" {
			return "TRUE", nil
		}
		return "FALSE", nil
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'", nil
}

// sqlPiece is a text, a quoted name, a comment, a parameter, or what is between them.
var sqlPiece = regexp.MustCompile(`(?s)'(?:\\.|[^'\\])*'|"[^"]*"|--[^\n]*|/\*.*?\*/|\$[0-9]+|[^'"$/-]+|.`)

// withParameters puts values, as literals, in the place of $1, $2 and so on, and tells
// how many there are. Without values it is NULL.
func withParameters(sql string, values []string) (text string, used int, err error) {
	text = sqlPiece.ReplaceAllStringFunc(sql, func(piece string) string {
		n, numErr := strconv.Atoi(strings.TrimPrefix(piece, "$"))
		switch {
		case piece[0] != '$' || numErr != nil:
			return piece
		case n < 1 || n > maxPrepared || values != nil && n > len(values):
			err = refusal("there is no parameter $%d", n)
			return piece
		}
		used = max(used, n)
		if values == nil {
			return "NULL"
		}
		return " " + values[n-1] + " "
	})
	return text, used, err
}
