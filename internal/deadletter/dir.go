package deadletter

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// tempPrefix begins the names of files that are still being written. The dot
// hides them from List and from people's *.ndjson.
const tempPrefix = ".writing-"

// DirBucket is a Bucket in a directory of a file system with hard links. Any
// number of processes may share it.
type DirBucket struct {
	root *os.Root // keeps every name inside the directory, through symbolic links too
	path string   // for messages
	// looking: nobody relies on what is read still being there after a crash of the
	// machine. To make sure of that takes four syncs for each object.
	looking bool
}

// Dir opens the bucket in the directory, and makes the directory if it is not
// there. It removes what processes that died left half written.
func Dir(path string) (*DirBucket, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open dead-letter directory %q: %w", path, err)
	}
	if err := os.MkdirAll(abs, 0o750); err != nil {
		return nil, fmt.Errorf("open dead-letter directory: %w", &FolderError{err})
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open dead-letter directory: %w", &FolderError{err})
	}
	d := &DirBucket{root: root, path: abs}
	if err := d.sweep(); err != nil {
		return nil, errors.Join(fmt.Errorf("clean dead-letter directory %s: %w", abs, &FolderError{err}), root.Close())
	}
	return d, nil
}

// DirAsItIs opens the bucket in a directory for reading, and changes nothing there: it
// makes no directory and removes nothing. The error is fs.ErrNotExist where there
// is no directory.
func DirAsItIs(path string) (*DirBucket, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open dead-letter directory %q: %w", path, err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open dead-letter directory: %w", err)
	}
	return &DirBucket{root: root, path: abs, looking: true}, nil
}

// Close releases the directory.
func (d *DirBucket) Close() error { return d.root.Close() }

// PutIfAbsent stores body under name; see Bucket. The bytes reach the disk under
// another name first and are then linked, so name is whole from its first
// moment on, and link(2) itself refuses a name that exists.
func (d *DirBucket) PutIfAbsent(ctx context.Context, name string, body []byte) (created bool, err error) {
	if err := d.check(ctx, name); err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write dead-letter object %s in %s: %w", name, d.path, &FolderError{err})
		}
	}()
	// A sweep of another process can take the file between its creation and
	// its lock; more than once in a row is no accident.
	for range 3 {
		created, err = d.link(name, body)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return false, err
	}
	// A name that was there may be fresh from a process that died before this:
	// the caller relies on it all the same.
	return created, d.syncAbove(name)
}

// link writes body to a file of its own and links it to name.
func (d *DirBucket) link(name string, body []byte) (created bool, err error) {
	if err := d.root.MkdirAll(path.Dir(name), 0o750); err != nil {
		return false, err
	}
	temp := tempPrefix + rand.Text()
	f, err := d.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return false, err
	}
	defer func() {
		if e := d.root.Remove(temp); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
		err = errors.Join(err, f.Close()) // last: it ends the lock
	}()
	// The lock ends with the process, however it ends. See sweep.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return false, fmt.Errorf("lock %s: %w", temp, err)
	}
	if _, err := f.Write(body); err != nil {
		return false, err
	}
	if err := f.Sync(); err != nil {
		return false, err
	}
	err = d.root.Link(temp, name)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	return err == nil, err
}

// Get returns an object; see Bucket.
func (d *DirBucket) Get(ctx context.Context, name string) ([]byte, error) {
	if err := d.check(ctx, name); err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read dead-letter object from %s: %w", d.path, &FolderError{err})
	}
	body, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read dead-letter object %s from %s: %w", name, d.path, err)
	}
	if d.looking {
		return body, nil
	}
	return body, d.syncAbove(name)
}

// List returns the names that start with prefix; see Bucket. Hidden files and
// anything but regular files are not objects.
func (d *DirBucket) List(ctx context.Context, prefix string) ([]string, error) {
	start := "."
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		start = prefix[:i]
	}
	if err := d.check(ctx, start); start != "." && err != nil {
		return nil, err
	}
	var names []string
	err := fs.WalkDir(d.root.FS(), start, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nothing there, or something that went while we looked
		}
		if err := cmp.Or(ctx.Err(), err); err != nil {
			return err
		}
		if name == start && e.IsDir() {
			return nil
		}
		if e.Name()[0] == '.' || !strings.HasPrefix(name, prefix) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if e.Type().IsRegular() {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list dead-letter directory %s: %w", d.path, &FolderError{err})
	}
	slices.Sort(names) // the walk sorts by element, which puts "a-b" after "a/b"
	return names, nil
}

func (d *DirBucket) check(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ok := fs.ValidPath(name) && !strings.ContainsAny(name, "\\\x00")
	for e := range strings.SplitSeq(name, "/") {
		ok = ok && !strings.HasPrefix(e, ".") && len(e) <= 255
	}
	if !ok {
		return fmt.Errorf("dead-letter object %q: not a name that a directory can hold", name)
	}
	return nil
}

// syncAbove makes the directory entries that lead to name durable. Directories
// that did not change cost next to nothing.
func (d *DirBucket) syncAbove(name string) error {
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		f, err := d.root.Open(dir)
		if err != nil {
			return err
		}
		err = f.Sync()
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EROFS) {
			err = nil // a file system that keeps its directories by itself
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", dir, err)
		}
		if dir == "." {
			return nil
		}
	}
}

// sweep removes the half-written files of processes that died: those that
// nobody holds a lock on. They all lie in the directory itself, so that opening
// a bucket does not walk through years of letters.
func (d *DirBucket) sweep() error {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !e.Type().IsRegular() {
			continue
		}
		f, err := d.root.Open(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // finished meanwhile
		}
		if err != nil {
			return err
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err = d.root.Remove(e.Name())
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// FolderError is an error of the file system about the folder of dead letters.
type FolderError struct{ Err error }

func (e *FolderError) Error() string { return e.Err.Error() }

// Unwrap gives the error of the file system.
func (e *FolderError) Unwrap() error { return e.Err }
