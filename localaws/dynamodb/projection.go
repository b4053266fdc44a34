package dynamodb

import (
	"fmt"
	"slices"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// parseProjection reads a ProjectionExpression: paths and commas.
func parseProjection(text string, n *names) ([]path, *wire.Error) {
	p := newParser("ProjectionExpression", text, n)
	var out []path
	for p.err == nil {
		out = append(out, p.path())
		if !p.takes(",") {
			break
		}
	}
	if t := p.peek(); t.kind != tokenEnd {
		p.syntax(t)
	}
	var actions []action
	for _, one := range out {
		actions = append(actions, action{path: one})
	}
	p.checkOverlaps(actions)
	if p.err != nil {
		return nil, p.err
	}
	return out, nil
}

// wanted is a tree of the paths that are wanted of an item. A node without
// branches wants all that is there.
type wanted struct {
	names   map[string]*wanted
	indexes map[int]*wanted
}

func wantedOf(paths []path) *wanted {
	root := &wanted{}
	for _, p := range paths {
		at := root
		for _, s := range p {
			at = at.branch(s)
		}
	}
	return root
}

func (w *wanted) branch(s step) *wanted {
	if s.name == "" {
		if w.indexes == nil {
			w.indexes = map[int]*wanted{}
		}
		if w.indexes[s.index] == nil {
			w.indexes[s.index] = &wanted{}
		}
		return w.indexes[s.index]
	}
	if w.names == nil {
		w.names = map[string]*wanted{}
	}
	if w.names[s.name] == nil {
		w.names[s.name] = &wanted{}
	}
	return w.names[s.name]
}

// project is the part of the item at the paths; all of it if there are none.
func project(it item, paths []path) item {
	if len(paths) == 0 || it == nil {
		return it
	}
	return wantedOf(paths).ofMap(it)
}

func (w *wanted) ofMap(m map[string]value) item {
	out := item{}
	for name, sub := range w.names {
		if v, ok := m[name]; ok {
			if part, ok := sub.of(v); ok {
				out[name] = part
			}
		}
	}
	return out
}

func (w *wanted) of(v value) (value, bool) {
	switch {
	case w.names == nil && w.indexes == nil:
		return v, true
	case w.names != nil && v.kind == kindMap:
		m := w.ofMap(v.m)
		return value{kind: kindMap, m: m}, len(m) > 0
	case w.indexes != nil && v.kind == kindList:
		out := value{kind: kindList}
		for i, e := range v.list { // in the list's order, closed up
			if sub := w.indexes[i]; sub != nil {
				if part, ok := sub.of(e); ok {
					out.list = append(out.list, part)
				}
			}
		}
		return out, len(out.list) > 0
	}
	return value{}, false
}

// attributesToGet turns the older AttributesToGet into paths.
func attributesToGet(list []string) ([]path, *wire.Error) {
	var out []path
	for i, name := range list {
		if slices.Contains(list[:i], name) {
			return nil, wire.Errorf("ValidationException", "One or more parameter values were invalid: Duplicate value in attribute name: %s", name)
		}
		out = append(out, path{{name: name}})
	}
	return out, nil
}

// checkKeysUntouched refuses an update of an attribute of the key.
func checkKeysUntouched(actions []action, keys []string) *wire.Error {
	for _, a := range actions {
		if slices.Contains(keys, a.path[0].name) {
			return wire.Errorf("ValidationException", "%s", fmt.Sprintf(
				"One or more parameter values were invalid: Cannot update attribute %s. This attribute is part of the key", a.path[0].name))
		}
	}
	return nil
}
