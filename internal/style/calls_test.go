package style

import (
	"go/ast"
	"go/token"
	"regexp"
	"strings"
	"testing"
)

// Places that break a rule of calls, each with its reason.
var callExceptions = []exception{
	{"localaws/redshift/postgres.go", "context", "closing a connection must work when every caller is gone"},
	{"localaws/redshift/duck.go", "context", "closing a connection must work when every caller is gone"},
}

// checkCalls finds calls that are not made here.
func checkCalls(files []*file) []problem {
	fakeClock := map[string]bool{} // folders whose tests run on synctest's clock
	for _, f := range files {
		if _, ok := f.imports()["testing/synctest"]; ok {
			fakeClock[f.dir()] = true
		}
	}
	var out []problem
	for _, f := range files {
		c := calls{file: f, imports: f.imports(), fakeClock: fakeClock[f.dir()]}
		for _, d := range f.ast.Decls {
			c.declaration(d)
		}
		for _, group := range f.ast.Comments {
			for _, comment := range group.List {
				c.comment(comment)
			}
		}
		out = append(out, c.found...)
	}
	return out
}

type calls struct {
	file      *file
	imports   map[string]string
	fakeClock bool
	found     []problem
}

func (c *calls) add(n ast.Node, rule, text string) {
	c.found = append(c.found, problem{c.file.at(n), rule, text})
}

func (c *calls) declaration(d ast.Decl) {
	if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
		c.add(fn, "init", "what a program does is called from main, where it can be read and fail")
	}
	loops := 0
	var stack []ast.Node
	ast.Inspect(d, func(n ast.Node) bool {
		if n == nil {
			if isLoop(stack[len(stack)-1]) {
				loops--
			}
			stack = stack[:len(stack)-1]
			return true
		}
		stack = append(stack, n)
		if isLoop(n) {
			loops++
		}
		switch n := n.(type) {
		case *ast.CallExpr:
			c.call(n, loops > 0)
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && (isErrorText(n.X) || isErrorText(n.Y)) && !c.file.forTests() {
				c.add(n, "error-text", "compare errors with errors.Is or errors.As, not by their words")
			}
		}
		return true
	})
}

func isLoop(n ast.Node) bool {
	switch n.(type) {
	case *ast.ForStmt, *ast.RangeStmt:
		return true
	}
	return false
}

// callee is the import path and name of a called function of another package,
// or "" and the name of a built-in.
func (c *calls) callee(call *ast.CallExpr) (pkg, name string) {
	switch fn := call.Fun.(type) {
	case *ast.Ident:
		return "", fn.Name
	case *ast.SelectorExpr:
		if x, ok := fn.X.(*ast.Ident); ok {
			for p, local := range c.imports {
				if local == x.Name {
					return p, fn.Sel.Name
				}
			}
		}
	}
	return "", ""
}

func (c *calls) call(call *ast.CallExpr, inLoop bool) {
	inCommand := within(c.file.dir(), "cmd")
	tests := c.file.forTests()
	pkg, name := c.callee(call)
	switch {
	case pkg == "time" && name == "Sleep":
		if !tests || !inLoop && !c.fakeClock { // a loop in a test polls for a condition
			c.add(call, "sleep", "wait for the condition, with a timer that the context can end")
		}
	case pkg == "context" && (name == "Background" || name == "TODO"):
		if !inCommand && !tests {
			c.add(call, "context", "take the caller's context (context.WithoutCancel for what must outlive it)")
		}
	case pkg == "os" && name == "Exit":
		if !inCommand && !tests {
			c.add(call, "exit", "return an error; cmd decides about exit statuses")
		}
	case pkg == "fmt" && strings.HasPrefix(name, "Print"):
		if !inCommand && !tests {
			c.add(call, "print", "log with slog, or write to the writer that the caller gave")
		}
	case pkg == "" && name == "panic":
		if !tests && !c.abortsReply(call) {
			c.add(call, "panic", "return an error: no input may end the process")
		}
	case pkg == "strings" && !tests:
		for _, arg := range call.Args {
			if isErrorText(arg) {
				c.add(call, "error-text", "classify errors at the edge by code, not by their words")
			}
		}
	}
}

// abortsReply reports whether call is net/http's own way to drop a connection,
// which the server recovers from.
func (c *calls) abortsReply(call *ast.CallExpr) bool {
	if len(call.Args) != 1 {
		return false
	}
	arg, ok := call.Args[0].(*ast.SelectorExpr)
	if !ok || arg.Sel.Name != "ErrAbortHandler" {
		return false
	}
	x, ok := arg.X.(*ast.Ident)
	return ok && x.Name == c.imports["net/http"]
}

// isErrorText reports whether e is x.Error().
func isErrorText(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok || len(call.Args) != 0 {
		return false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Error"
}

var (
	silenced    = regexp.MustCompile(`^//\s*(nolint|lint:ignore|lint:file-ignore|#nosec)`)
	withAReason = regexp.MustCompile(`^//(lint:(file-)?ignore [A-Z]+[0-9]+(,[A-Z]+[0-9]+)*|nolint:[a-z0-9]+(,[a-z0-9]+)* //) \S+ \S+`)
)

func (c *calls) comment(comment *ast.Comment) {
	if silenced.MatchString(comment.Text) && !withAReason.MatchString(comment.Text) {
		c.add(comment, "silenced", "say which check and why: //lint:ignore CHECK reason, or //nolint:linter // reason")
	}
}

func TestCalls(t *testing.T) { report(t, checkCalls(repository(t)), callExceptions) }

func TestCallsCanFail(t *testing.T) {
	in := func(imported, body string) string {
		return "package p\nimport \"" + imported + "\"\nfunc f() {\n" + body + "\n}\n"
	}
	const worker, test, command = "internal/worker/a.go", "internal/worker/a_test.go", "cmd/analytics-worker/a.go"
	checkSnippets(t, checkCalls, []snippet{
		{worker, in("time", "time.Sleep(1)"), "sleep"},
		{worker, in("time", "for { time.Sleep(1) }"), "sleep"},
		{test, in("time", "time.Sleep(1)"), "sleep"},
		{test, in("time", "for !done() { time.Sleep(1) }"), ""},
		{test, in("time", "for !done() {}\ntime.Sleep(1)"), "sleep"},
		{test, "package p\nimport (\n\"time\"\n\"testing/synctest\"\n)\nfunc f() { time.Sleep(1); synctest.Wait() }\n", ""},
		{worker, "package p\nimport clock \"time\"\nfunc f() { clock.Sleep(1) }\n", "sleep"},
		{worker, in("context", "_ = context.Background()"), "context"},
		{worker, in("context", "_ = context.TODO()"), "context"},
		{command, in("context", "_ = context.Background()"), ""},
		{test, in("context", "_ = context.Background()"), ""},
		{worker, in("os", "os.Exit(1)"), "exit"},
		{worker, in("fmt", "fmt.Println()"), "print"},
		{worker, in("fmt", "_ = fmt.Sprint()"), ""},
		{worker, "package p\nfunc f() { panic(1) }\n", "panic"},
		{worker, in("net/http", "panic(http.ErrAbortHandler)"), ""},
		{worker, "package p\nfunc init() {}\n", "init"},
		{worker, in("strings", "_ = strings.Contains(err.Error(), \"x\")"), "error-text"},
		{worker, in("strings", "_ = strings.HasPrefix(e.cause.Error(), \"x\")"), "error-text"},
		{test, in("strings", "_ = strings.Contains(err.Error(), \"x\")"), ""},
		{worker, "package p\nfunc f(err error) bool { return err.Error() == \"x\" }\n", "error-text"},
		{worker, "package p\n//nolint:errcheck // it cannot fail\nfunc f() {}\n", ""},
		{worker, "package p\n//nolint:errcheck\nfunc f() {}\n", "silenced"},
		{worker, "package p\n//nolint // it cannot fail\nfunc f() {}\n", "silenced"},
		{worker, "package p\n//lint:ignore ST1005\nfunc f() {}\n", "silenced"},
		{worker, "package p\n//lint:ignore ST1005 the service's own words\nfunc f() {}\n", ""},
	})
}
