package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
)

// Bounds of the log on disk: the file and those that were moved away.
const (
	logFileBytes = 32 << 20
	logFilesKept = 3 // beside the one that is written
)

// logFile is a log that others follow by its name, as the CloudWatch agent does. A
// full one is moved to the name with .1 behind it, and so on; whoever has it open reads it to
// its end. What the process dies of, a panic or the watchdog's signal, goes there too.
// It is safe for concurrent use.
type logFile struct {
	path string
	most int64 // bytes

	mu   sync.Mutex // guards what follows
	f    *os.File   // nil after a failure: the next line tries again
	size int64
}

// openLogFile opens the file of the name to go on with it, or makes it, in a folder
// that is there.
func openLogFile(path string, most int64) (*logFile, error) {
	l := &logFile{path: path, most: most}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return fmt.Errorf("open the log file: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", l.path)
	}
	if err == nil {
		err = debug.SetCrashOutput(f, debug.CrashOptions{})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open the log file: %w", err), f.Close())
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write appends a line. Where the file is full it is moved away first; where that fails, as
// on a full disk, the line is in the journal alone.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil && l.size > 0 && l.size+int64(len(line)) > l.most {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	if l.f == nil {
		if err := l.open(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(line)
	l.size += int64(n)
	return n, err
}

func (l *logFile) rotate() error {
	err := l.f.Close()
	l.f = nil
	for n := logFilesKept; n > 0; n-- {
		from := l.path
		if n > 1 {
			from += "." + strconv.Itoa(n-1)
		}
		if e := os.Rename(from, l.path+"."+strconv.Itoa(n)); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// Close ends it. What comes later opens it again.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err := errors.Join(debug.SetCrashOutput(nil, debug.CrashOptions{}), l.f.Close())
	l.f = nil
	return err
}
