package main

import (
	"encoding"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// jsonKey is one key of a document, as jq reaches it.
type jsonKey struct{ path, value, says string }

// keysOf lists the keys of what a value is printed as, in their order. A type that is
// met again is not told twice.
func keysOf(t *testing.T, shape any) []jsonKey {
	t.Helper()
	k := &keys{t: t, told: make(map[reflect.Type]string)}
	k.within("", reflect.TypeOf(shape))
	return k.out
}

type keys struct {
	t    *testing.T
	told map[reflect.Type]string // where
	out  []jsonKey
}

var (
	timeType = reflect.TypeFor[time.Time]()
	textType = reflect.TypeFor[encoding.TextMarshaler]()
)

// within adds the keys below a path; a type that has none adds nothing.
func (k *keys) within(path string, typ reflect.Type) {
	for {
		switch typ.Kind() {
		case reflect.Pointer:
			typ = typ.Elem()
			continue
		case reflect.Slice, reflect.Array:
			path, typ = path+"[]", typ.Elem()
			continue
		case reflect.Struct:
			if typ != timeType && !typ.Implements(textType) && k.told[typ] == "" {
				k.told[typ] = path
				k.fields(path, typ)
			}
		}
		return
	}
}

func (k *keys) fields(path string, typ reflect.Type) {
	said := commentsOf(k.t, folderOf(typ)).fields[typ.Name()]
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && name == "":
			k.fields(path, f.Type)
			continue
		}
		value := k.valueOf(f.Type)
		if options == "omitempty" {
			value += ", or not there"
		}
		at := path + "." + name
		k.out = append(k.out, jsonKey{at, value, said[f.Name]})
		k.within(at, f.Type)
	}
}

// valueOf is a type in words.
func (k *keys) valueOf(typ reflect.Type) string {
	switch {
	case typ.Kind() == reflect.Pointer:
		return k.valueOf(typ.Elem()) + " or null"
	case typ == timeType:
		return "time"
	case typ.Implements(textType):
		return "text"
	}
	switch typ.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Slice, reflect.Array:
		if typ.Elem().Kind() == reflect.Uint8 {
			return "text in base64"
		}
		if k.told[typ.Elem()] != "" {
			return "list, as `" + k.told[typ.Elem()] + "`"
		}
		return "list"
	case reflect.Map:
		return "object"
	case reflect.Struct:
		if k.told[typ] != "" {
			return "object, as `" + k.told[typ] + "`"
		}
		return "object"
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return "whole number"
	case reflect.Float64:
		return "number"
	}
	k.t.Errorf("%v is a type that the reference does not know", typ)
	return ""
}

// folderOf is where the package of a type is, from here.
func folderOf(typ reflect.Type) string {
	_, inside, found := strings.Cut(typ.PkgPath(), "/analytics-worker/")
	if !found || inside == "cmd/analytics-worker" {
		return "."
	}
	return "../../" + inside
}

// comments are what a package says of the fields of its types and of its constants.
type comments struct {
	fields    map[string]map[string]string // by type
	constants map[string]string
}

func commentsOf(t *testing.T, folder string) comments {
	t.Helper()
	out := comments{make(map[string]map[string]string), make(map[string]string)}
	files, err := filepath.Glob(folder + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", folder, err)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	for _, name := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok {
					out.fields[n.Name.Name] = fieldComments(s)
				}
			case *ast.ValueSpec:
				out.constants[n.Names[0].Name] = words(n.Names[0].Name, n.Doc, n.Comment)
			}
			return true
		})
	}
	return out
}

func fieldComments(s *ast.StructType) map[string]string {
	out := make(map[string]string)
	for _, f := range s.Fields.List {
		for _, name := range f.Names {
			out[name.Name] = words(name.Name, f.Doc, f.Comment)
		}
	}
	return out
}

// words are a comment without the name that it begins with.
func words(name string, of ...*ast.CommentGroup) string {
	var parts []string
	for _, c := range of {
		if text := strings.Join(strings.Fields(c.Text()), " "); text != "" {
			parts = append(parts, strings.TrimSuffix(text, "."))
		}
	}
	text := strings.Join(parts, "; ")
	return regexp.MustCompile("^"+name+"( is| are|:) ").ReplaceAllString(text, "")
}
