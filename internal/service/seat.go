package service

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Seat is a locked file that holds the name of the process that sits on it. The
// system drops the lock when a process ends, in whatever way, so whoever finds the
// file unlocked knows that the process named in it has ended, and may take over
// its leases at once. One that is merely frozen still holds its lock.
//
// What is read there is believed, and what is there is written over. So the file
// must be nobody else's: a regular one with one name, of the user's own, in a
// folder that only the user can write to.
type Seat struct {
	Predecessor string   // who sat here before, and has ended; empty = nobody
	lock        *os.File // held until the process ends, however it ends; nil = no seat
}

// Beside is the path of a file that whoever sits on this seat next finds again, and
// that nobody else writes; empty = there is no seat.
func (s Seat) Beside(suffix string) string {
	if s.lock == nil {
		return ""
	}
	return s.lock.Name() + suffix
}

// seats bounds how many workers of one stream can tell their predecessors on a
// machine; more than these just wait for the lease time.
const seats = 64

// seatKept is how long ago somebody must have sat down on a seat of another scope,
// and have left it since, for it to be removed.
const seatKept = 7 * 24 * time.Hour

// TakeSeat takes the first free seat among those of the scope, and leaves name
// on it. Workers of a scope are those that can replace each other: of one stream, with
// the same leases, on this machine. The folder is made if it is not there. Where all
// seats are taken, it returns one without a predecessor, which is no seat.
func TakeSeat(folder, scope, name string) (Seat, error) {
	if err := ownFolder(folder); err != nil {
		return Seat{}, err
	}
	removeOldSeats(folder, scope)
	for n := range seats {
		s, err := sit(filepath.Join(folder, fmt.Sprintf("%s-%d", scope, n)), name)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) {
			return s, err
		}
	}
	return Seat{}, nil
}

// Leave gives the seat up. That it is called at the end also keeps the lock
// while the worker runs: a file that nothing refers to any more is closed.
func (s Seat) Leave() {
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

// ownFolder makes a folder that is the user's alone, or sees that it is: others may
// have been first.
func ownFolder(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || st.Uid != uint32(os.Getuid()) || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is not a folder that is this user's alone: remove it", path)
	}
	return nil
}

// openSeat opens and locks a file, and refuses what is not a seat of ours. It does
// not wait: opening a pipe would, for whoever writes into it.
func openSeat(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Asked once it is locked: from then on nobody removes it.
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.Mode().IsRegular() || st.Nlink != 1 || st.Uid != uint32(os.Getuid()) {
		return nil, errors.Join(fmt.Errorf("%s is not a file of this worker's own: remove it", path), f.Close())
	}
	return f, nil
}

func sit(path, name string) (Seat, error) {
	f, err := openSeat(path, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return Seat{}, err
	}
	const longest = 512 // of a name; host names have up to 253 characters
	before, err := io.ReadAll(io.LimitReader(f, longest))
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(name), 0)
	}
	if err != nil {
		return Seat{}, errors.Join(err, f.Close())
	}
	return Seat{Predecessor: string(before), lock: f}, nil
}

// removeOldSeats removes what workers of other scopes left behind. One that ran for
// long and comes back later than this one waits for the lease time, no more.
func removeOldSeats(folder, scope string) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < seatKept || strings.HasPrefix(e.Name(), scope+"-") {
			continue
		}
		path := filepath.Join(folder, e.Name())
		if f, err := openSeat(path, os.O_RDWR); err == nil {
			_ = os.Remove(path)
			_ = f.Close()
		}
	}
}
