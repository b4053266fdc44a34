package s3

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// folder keeps objects in files: a folder for each bucket, a file for each
// object, named by the hash of its key (a key may be longer than a file name,
// and hold any byte). A file is one line of JSON and then the body. The empty
// folder keeps nothing: the store then holds the bodies in memory.
//
// A file is written beside its place and renamed into it, so a killed process
// leaves the old object or the new one. It is not synced: losing power is not
// among the things that a laptop's stand-in for S3 has to survive.
type folder string

// partial ends the names of files that are being written.
const partial = ".partial"

// fileHead is the first line of an object's file.
type fileHead struct {
	Key      string            `json:"key"`
	Meta     map[string]string `json:"meta,omitempty"`
	MD5      []byte            `json:"md5"`
	Parts    int               `json:"parts,omitempty"`
	Modified time.Time         `json:"modified"`
}

func (f folder) createBucket(name string) error {
	if f == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(string(f), name), 0o700); err != nil {
		return fmt.Errorf("create bucket %s: %w", name, err)
	}
	return nil
}

func (f folder) deleteBucket(name string) error {
	if f == "" {
		return nil
	}
	// The bucket is empty; what is left may be a file that was being written
	// when an earlier process was killed.
	if err := os.RemoveAll(filepath.Join(string(f), name)); err != nil {
		return fmt.Errorf("delete bucket %s: %w", name, err)
	}
	return nil
}

// save moves the object's body from memory to its file.
func (f folder) save(bucketName string, o *object) error {
	if f == "" {
		return nil
	}
	head, err := json.Marshal(fileHead{Key: o.key, Meta: o.meta, MD5: o.md5, Parts: o.parts, Modified: o.modified})
	if err != nil {
		return fmt.Errorf("describe object %s: %w", o.key, err)
	}
	head = append(head, '\n')
	hash := sha256.Sum256([]byte(o.key))
	name := filepath.Join(string(f), bucketName, hex.EncodeToString(hash[:]))
	err = os.WriteFile(name+partial, append(head, o.body...), 0o600)
	if err == nil {
		err = os.Rename(name+partial, name)
	}
	if err != nil {
		return fmt.Errorf("keep object %s in %s: %w", o.key, f, err)
	}
	o.file, o.offset, o.body = name, int64(len(head)), nil
	return nil
}

func (f folder) remove(o *object) error {
	if f == "" {
		return nil
	}
	if err := os.Remove(o.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete object %s: %w", o.key, err)
	}
	return nil
}

// load finds the buckets and objects that are in the folder.
func (f folder) load() (map[string]*bucket, error) {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(string(f))
	if err != nil {
		return nil, err
	}
	buckets := map[string]*bucket{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		b := &bucket{created: info.ModTime(), objects: map[string]*object{}}
		if err := b.load(filepath.Join(string(f), e.Name())); err != nil {
			return nil, err
		}
		buckets[e.Name()] = b
	}
	return buckets, nil
}

func (b *bucket) load(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			continue
		}
		if strings.HasSuffix(name, partial) {
			if err := os.Remove(name); err != nil {
				return fmt.Errorf("clear away a half-written object: %w", err)
			}
			continue
		}
		o, err := loadObject(name)
		if err != nil {
			return fmt.Errorf("%s is not an object that was stored here; move it away: %w", name, err)
		}
		b.objects[o.key] = o
	}
	return nil
}

func loadObject(name string) (*object, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	line, err := bufio.NewReader(file).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("read its first line: %w", err)
	}
	var head fileHead
	if err := json.Unmarshal(bytes.TrimSpace(line), &head); err != nil {
		return nil, fmt.Errorf("read its first line: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return &object{
		key: head.Key, meta: head.Meta, md5: head.MD5, parts: head.Parts, modified: head.Modified,
		size: info.Size() - int64(len(line)), file: name, offset: int64(len(line)),
	}, nil
}

// openFile opens a span of a file.
func openFile(name string, offset, length int64) (io.ReadCloser, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(file, offset, length), file}, nil
}
