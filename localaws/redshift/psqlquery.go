package redshift

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// prepared is a statement of Parse.
type prepared struct {
	sql   string
	types []uint32 // of its parameters, as far as the client told them
}

// portal is a statement with its parameters, of Bind.
type portal struct {
	sql     string
	formats []int16
	// Of one that was described before it ran: it has run.
	held *heldRows
}

// converse answers messages until the client leaves.
func (c *client) converse(ctx context.Context) error {
	for {
		m, err := c.wire.Receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *pgproto3.Terminate:
			return nil
		case *pgproto3.Query:
			c.simple(ctx, m.String)
			c.skip = false
			c.ready()
		case *pgproto3.Sync:
			clear(c.portals)
			c.skip = false
			c.ready()
		case *pgproto3.Flush:
		case *pgproto3.CopyData, *pgproto3.CopyDone, *pgproto3.CopyFail: // of a COPY that was refused
			continue
		default:
			if !c.skip {
				if err := c.extended(ctx, m); err != nil {
					c.wire.Send(errorResponse(err))
					c.skip = true
				}
			}
			continue
		}
		if err := c.wire.Flush(); err != nil {
			return err
		}
	}
}

// simple runs the statements of one message. Several are one transaction, unless they
// say otherwise.
func (c *client) simple(ctx context.Context, text string) {
	statements, err := dialect.Split(text)
	if err != nil {
		c.b.fail(ctx)
		c.wire.Send(errorResponse(err))
		return
	}
	if len(statements) == 0 {
		c.wire.Send(&pgproto3.EmptyQueryResponse{})
		return
	}
	implied := false // the transaction that is open is this message's own
	for _, sql := range statements {
		st, _ := c.b.asks.Translate(sql, c.b.conn.dialect(), nil) // run tells what is wrong with it
		switch {
		case st.Verb == "BEGIN" && implied:
			implied = false // it goes on as the client's
		case len(statements) > 1 && !c.b.block && st.Verb != "BEGIN" && st.Verb != "VACUUM":
			implied = true
			err = c.b.begin(ctx)
		}
		if err == nil {
			out := &rowsSink{wire: c.wire, describe: true}
			var n int64
			if n, err = c.run(ctx, sql, out); err == nil {
				c.wire.Send(&pgproto3.CommandComplete{CommandTag: []byte(commandTag(st, n))})
				continue
			}
		}
		c.wire.Send(errorResponse(err))
		if implied {
			c.b.fail(ctx)
			_ = c.b.end(ctx, false) // undone already
		}
		return
	}
	if implied {
		if err := c.b.end(ctx, true); err != nil {
			c.wire.Send(errorResponse(err))
		}
	}
}

// extended answers a message of the extended protocol.
func (c *client) extended(ctx context.Context, m pgproto3.FrontendMessage) error {
	switch m := m.(type) {
	case *pgproto3.Parse:
		if len(c.statements) >= maxPrepared {
			return &sqlError{message: fmt.Sprintf("ERROR: more than %d prepared statements on one connection", maxPrepared)}
		}
		c.statements[m.Name] = prepared{m.Query, append([]uint32(nil), m.ParameterOIDs...)}
		c.wire.Send(&pgproto3.ParseComplete{})
	case *pgproto3.Bind:
		return c.bind(m)
	case *pgproto3.Describe:
		return c.describe(ctx, m)
	case *pgproto3.Execute:
		p := c.portals[m.Portal]
		if p == nil {
			return refusal(`portal "%s" does not exist`, m.Portal)
		}
		return c.execute(ctx, p)
	case *pgproto3.Close:
		if m.ObjectType == 'S' {
			delete(c.statements, m.Name)
		} else {
			delete(c.portals, m.Name)
		}
		c.wire.Send(&pgproto3.CloseComplete{})
	default:
		return refusal("the message %T is not supported", m)
	}
	return nil
}

func (c *client) bind(m *pgproto3.Bind) error {
	st, ok := c.statements[m.PreparedStatement]
	if !ok {
		return refusal(`prepared statement "%s" does not exist`, m.PreparedStatement)
	}
	if len(c.portals) >= maxPrepared {
		return refusal("more than %d portals on one connection", maxPrepared)
	}
	values := make([]string, len(m.Parameters))
	for i, v := range m.Parameters {
		var kind uint32
		if i < len(st.types) {
			kind = st.types[i]
		}
		text, err := literal(kind, formatOf(m.ParameterFormatCodes, i), v)
		if err != nil {
			return refusal("parameter $%d: %v", i+1, err)
		}
		values[i] = text
	}
	sql, _, err := withParameters(st.sql, values)
	if err != nil {
		return err
	}
	c.portals[m.DestinationPortal] = &portal{sql: sql, formats: append([]int16(nil), m.ResultFormatCodes...)}
	c.wire.Send(&pgproto3.BindComplete{})
	return nil
}

// describe tells the columns of a statement or portal. A portal runs for that, and what
// it returns is held until Execute. Of a statement, whose parameters are not known
// yet, the columns are those of a query for no row with NULL in their place.
func (c *client) describe(ctx context.Context, m *pgproto3.Describe) error {
	if m.ObjectType == 'P' {
		p := c.portals[m.Name]
		if p == nil {
			return refusal(`portal "%s" does not exist`, m.Name)
		}
		held, err := c.hold(ctx, p.sql)
		if err != nil {
			return err
		}
		p.held = held
		c.sendColumns(held.cols, p.formats)
		return nil
	}
	st, ok := c.statements[m.Name]
	if !ok {
		return refusal(`prepared statement "%s" does not exist`, m.Name)
	}
	sql, used, err := withParameters(st.sql, nil)
	if err != nil {
		return err
	}
	kinds := make([]uint32, used)
	copy(kinds, st.types)
	read, err := c.b.asks.Translate(sql, c.b.conn.dialect(), nil)
	if err != nil {
		return err
	}
	c.wire.Send(&pgproto3.ParameterDescription{ParameterOIDs: kinds})
	if !read.Rows || c.b.failed {
		c.wire.Send(&pgproto3.NoData{})
		return nil
	}
	if read.Verb == "SELECT" {
		sql = "SELECT * FROM (" + strings.TrimRight(sql, "; \t\r\n") + "\n) described WHERE 1 = 0"
	}
	held, err := c.hold(ctx, sql)
	if err != nil {
		return err
	}
	c.sendColumns(held.cols, nil)
	return nil
}

func (c *client) sendColumns(cols []column, formats []int16) {
	if cols == nil {
		c.wire.Send(&pgproto3.NoData{})
		return
	}
	c.wire.Send(rowDescription(cols, formats))
}

// hold runs a statement and keeps what it returns.
func (c *client) hold(ctx context.Context, sql string) (*heldRows, error) {
	held := &heldRows{}
	n, err := c.run(ctx, sql, held)
	held.n = n
	return held, err
}

func (c *client) execute(ctx context.Context, p *portal) error {
	if strings.Trim(p.sql, "; \t\r\n") == "" {
		c.wire.Send(&pgproto3.EmptyQueryResponse{})
		return nil
	}
	st, _ := c.b.asks.Translate(p.sql, c.b.conn.dialect(), nil) // run tells what is wrong with it
	out := &rowsSink{wire: c.wire, formats: p.formats}
	n := int64(-1)
	if held := p.held; held != nil {
		n, p.held = held.n, nil
		if err := held.give(out); err != nil {
			return err
		}
	} else {
		var err error
		if n, err = c.run(ctx, p.sql, out); err != nil {
			return err
		}
	}
	c.wire.Send(&pgproto3.CommandComplete{CommandTag: []byte(commandTag(st, n))})
	return nil
}

// commandTag is how PostgreSQL names what a statement has done.
func commandTag(st dialect.Statement, n int64) string {
	n = max(n, 0)
	switch st.Verb {
	case "INSERT":
		return fmt.Sprintf("INSERT 0 %d", n)
	case "SELECT", "UPDATE", "DELETE", "MERGE", "COPY":
		return fmt.Sprintf("%s %d", st.Verb, n)
	case "CREATE TABLE AS":
		return "SELECT"
	}
	return st.Verb
}

// states are SQLSTATEs by the words of an error, where the engine has none.
var states = []struct {
	words *regexp.Regexp
	code  string
}{
	{regexp.MustCompile(`syntax error|cannot insert multiple commands`), "42601"},
	{regexp.MustCompile(`(?i)relation "?[^"]*"? does not exist`), "42P01"},
	{regexp.MustCompile(`column .* does not exist`), "42703"},
	{regexp.MustCompile(`function .* does not exist`), "42883"},
	{regexp.MustCompile(`schema .* does not exist`), "3F000"},
	{regexp.MustCompile(`prepared statement .* does not exist`), "26000"},
	{regexp.MustCompile(`type .* does not exist`), "42704"},
	{regexp.MustCompile(`value too long for type`), "22001"},
	{regexp.MustCompile(`portal .* does not exist`), "34000"},
	{regexp.MustCompile(`already exists`), "42P07"},
	{regexp.MustCompile(`transaction is read-only`), "25006"},
	{regexp.MustCompile(`current transaction is aborted`), "25P02"},
	{regexp.MustCompile(`(?i)cancelled on user's request`), "57014"},
	{regexp.MustCompile(`Serializable isolation violation`), "40001"},
	{regexp.MustCompile(`(?i)divide by zero`), "22012"},
	{regexp.MustCompile(`out of range|overflow`), "22003"},
	{regexp.MustCompile(`(?i)permission denied`), "42501"},
	{regexp.MustCompile(`insert a NULL value`), "23502"},
	{regexp.MustCompile(`is not supported`), "0A000"},
}

// errorResponse is an error on the wire. Clients put ERROR before its words themselves.
func errorResponse(err error) *pgproto3.ErrorResponse {
	if errors.Is(err, errCancelled) || errors.Is(err, context.Canceled) {
		err = refusal("Query cancelled on user's request")
	}
	out := &pgproto3.ErrorResponse{Severity: "ERROR", Code: "XX000", Message: strings.TrimSpace(strings.TrimPrefix(words(err), "ERROR:"))}
	if message, hint, ok := strings.Cut(out.Message, "\n  Hint: "); ok {
		out.Message, out.Hint = message, hint
	}
	for _, s := range states {
		if s.words.MatchString(out.Message) {
			out.Code = s.code
			break
		}
	}
	var engine *pgconn.PgError
	if errors.As(err, &engine) {
		out.Code = engine.Code
	}
	return out
}
