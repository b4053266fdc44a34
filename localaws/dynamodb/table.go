package dynamodb

import (
	"cmp"
	"crypto/md5"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// table is a table and its items. The service's lock guards it.
type table struct {
	name       string
	region     string
	keys       keySchema
	attributes []attributeDefinition
	indexes    []*index
	billing    string
	throughput throughput
	created    time.Time
	protected  bool
	ttl        string
	tags       map[string]string

	rows []*row // in the order that Scan has: by the hash of the key, then the key
	size int    // of all items, in bytes
}

// row is an item and its place.
type row struct {
	order string // the hash of the partition key, and the key: what Scan sorts by
	item  item
}

// keySchema is a partition key, and perhaps a sort key.
type keySchema struct {
	hash, sort string
	hashKind   kind
	sortKind   kind
}

// index is a secondary index. It is computed when it is read: tables here are
// small, and so it is never behind.
type index struct {
	name       string
	local      bool
	keys       keySchema
	projection string
	include    []string
	throughput throughput
}

func (k keySchema) names() []string {
	if k.sort == "" {
		return []string{k.hash}
	}
	return []string{k.hash, k.sort}
}

// Longest key values, in bytes.
const (
	maxHashBytes = 2048
	maxSortBytes = 1024
)

// checkKey checks that the attributes are the key, all of it and nothing else.
func (k keySchema) checkKey(key item) *wire.Error {
	if len(key) != len(k.names()) {
		return wire.Errorf("ValidationException", "The provided key element does not match the schema")
	}
	return k.checkParts(key, false)
}

// checkParts checks the key's attributes in an item, or in a key.
func (k keySchema) checkParts(it item, whole bool) *wire.Error {
	for _, name := range k.names() {
		want, longest := k.hashKind, maxHashBytes
		if name == k.sort {
			want, longest = k.sortKind, maxSortBytes
		}
		v, ok := it[name]
		switch {
		case !ok && whole:
			return wire.Errorf("ValidationException", "One or more parameter values were invalid: Missing the key %s in the item", name)
		case !ok:
			return wire.Errorf("ValidationException", "The provided key element does not match the schema")
		case v.kind != want && whole:
			return wire.Errorf("ValidationException", "One or more parameter values were invalid: Type mismatch for key %s expected: %s actual: %s", name, want, v.kind)
		case v.kind != want:
			return wire.Errorf("ValidationException", "The provided key element does not match the schema")
		case v.text == "":
			return wire.Errorf("ValidationException", "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty %s value. Key: %s",
				strings.ToLower(typeName(v.kind)), name)
		case len(v.text) > longest:
			return wire.Errorf("ValidationException", "One or more parameter values were invalid: Size of the key attribute %s has exceeded the maximum size limit of %d bytes", name, longest)
		}
	}
	return nil
}

// checkIndexes checks that an item fits the keys of the indexes, where it has them.
func (t *table) checkIndexes(it item) *wire.Error {
	for _, ix := range t.indexes {
		for _, name := range ix.keys.names() {
			want := ix.keys.hashKind
			if name == ix.keys.sort {
				want = ix.keys.sortKind
			}
			v, ok := it[name]
			switch {
			case !ok:
			case v.kind != want:
				return wire.Errorf("ValidationException", "One or more parameter values were invalid: Type mismatch for Index Key %s Expected: %s Actual: %s IndexName: %s",
					name, want, v.kind, ix.name)
			case v.text == "":
				return wire.Errorf("ValidationException", "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: %s, IndexKey: %s",
					ix.name, name)
			}
		}
	}
	return nil
}

// order is the place of the key in the table. Sort keys are compared as values,
// see compareKeys: the text here only tells rows of one partition apart.
func (k keySchema) order(key item) string {
	h := key[k.hash]
	sum := md5.Sum([]byte(string(h.kind) + h.text))
	return string(sum[:])
}

// compareKeys orders two items as Scan and Query return them.
func (k keySchema) compareKeys(aOrder string, a item, bOrder string, b item) int {
	if c := cmp.Or(cmp.Compare(aOrder, bOrder), cmp.Compare(a[k.hash].text, b[k.hash].text)); c != 0 || k.sort == "" {
		return c
	}
	c, _ := a[k.sort].compare(b[k.sort])
	return c
}

// find is the place of the key among the rows, and whether it is taken.
func (t *table) find(key item) (int, bool) {
	order := t.keys.order(key)
	return slices.BinarySearchFunc(t.rows, key, func(r *row, key item) int {
		return t.keys.compareKeys(r.order, r.item, order, key)
	})
}

// get is the item with the key, or nil.
func (t *table) get(key item) item {
	if i, ok := t.find(key); ok {
		return t.rows[i].item
	}
	return nil
}

// put stores the item in place of the one with its key.
func (t *table) put(it item) {
	i, ok := t.find(it)
	if ok {
		t.size -= t.rows[i].item.bytes()
		t.rows[i] = &row{order: t.rows[i].order, item: it}
	} else {
		t.rows = slices.Insert(t.rows, i, &row{order: t.keys.order(it), item: it})
	}
	t.size += it.bytes()
}

// remove deletes the item with the key, if there is one.
func (t *table) remove(key item) {
	if i, ok := t.find(key); ok {
		t.size -= t.rows[i].item.bytes()
		t.rows = slices.Delete(t.rows, i, i+1)
	}
}

// keyOf is the part of an item that is the key.
func (k keySchema) keyOf(it item) item {
	out := item{}
	for _, name := range k.names() {
		out[name] = it[name]
	}
	return out
}

// in returns the rows of the index, in its order: those of the table that have
// its key, with the attributes that it projects.
func (ix *index) in(t *table) []*row {
	var out []*row
	for _, r := range t.rows {
		if !ix.covers(r.item) {
			continue
		}
		out = append(out, &row{order: ix.keys.order(r.item), item: ix.projected(t, r.item)})
	}
	slices.SortStableFunc(out, func(a, b *row) int { return ix.compare(t, a, b) })
	return out
}

func (ix *index) covers(it item) bool {
	for _, name := range ix.keys.names() {
		if _, ok := it[name]; !ok {
			return false
		}
	}
	return true
}

// compare orders two rows of the index: by its key, then by the table's.
func (ix *index) compare(t *table, a, b *row) int {
	if c := ix.keys.compareKeys(a.order, a.item, b.order, b.item); c != 0 {
		return c
	}
	return t.keys.compareKeys(t.keys.order(a.item), a.item, t.keys.order(b.item), b.item)
}

func (ix *index) projected(t *table, it item) item {
	if ix.projection == "ALL" {
		return it
	}
	out := item{}
	for _, name := range slices.Concat(t.keys.names(), ix.keys.names(), ix.include) {
		if v, ok := it[name]; ok {
			out[name] = v
		}
	}
	return out
}

func (t *table) index(name string) *index {
	for _, ix := range t.indexes {
		if ix.name == name {
			return ix
		}
	}
	return nil
}
