package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
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
	lost int   // lines that could not be written since the last one that was
	why  error // of the latest of them
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

// Write appends a line, whole or not at all. Where the file is full it is moved away
// first. A line that cannot be written, as on a full disk, is in the journal alone; the
// next one that can is preceded by one that says how many are missing.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := line
	if l.lost > 0 {
		text = append(l.gap(), line...)
	}
	if err := l.put(text); err != nil {
		l.lost++
		l.why = err
		return 0, err
	}
	l.lost, l.why = 0, nil
	return len(line), nil
}

// gap is the line that stands for those that are missing.
func (l *logFile) gap() []byte {
	var b bytes.Buffer
	slog.New(slog.NewJSONHandler(&b, nil)).Warn("lines of the log are missing here", "lines", l.lost, "error", l.why)
	return b.Bytes()
}

func (l *logFile) put(text []byte) error {
	if l.f == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	if l.size > 0 && l.size+int64(len(text)) > l.most {
		if err := errors.Join(l.rotate(), l.open()); err != nil {
			return fmt.Errorf("move the full log file away: %w", err)
		}
	}
	n, err := l.f.Write(text)
	if err != nil {
		if n > 0 { // or the next line would stand behind half of this one
			err = errors.Join(err, l.f.Truncate(l.size))
		}
		return err
	}
	l.size += int64(n)
	return nil
}

// rotate moves the files on by one, from the oldest: what cannot be moved is not
// written over either.
func (l *logFile) rotate() error {
	err := l.f.Close()
	l.f = nil
	for n := logFilesKept; n > 0 && err == nil; n-- {
		from := l.path
		if n > 1 {
			from += "." + strconv.Itoa(n-1)
		}
		if err = os.Rename(from, l.path+"."+strconv.Itoa(n)); errors.Is(err, os.ErrNotExist) {
			err = nil
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
