package redshift_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// bucket is an object store in memory.
type bucket struct {
	mu      sync.Mutex
	objects map[string][]byte // by bucket/key
}

func newBucket() *bucket { return &bucket{objects: make(map[string][]byte)} }

func (b *bucket) put(path string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[path] = data
}

func (b *bucket) Open(_ context.Context, name, key string) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, ok := b.objects[name+"/"+key]
	if !ok {
		return nil, fmt.Errorf("NoSuchKey: s3://%s/%s", name, key)
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (b *bucket) List(_ context.Context, name, prefix string) ([]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for path := range b.objects {
		if key, ok := strings.CutPrefix(path, name+"/"); ok && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}
