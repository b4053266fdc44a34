package deadletter

import (
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

func TestHintSaysWhatToDo(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		syscall.ENOSPC:  "free some space",
		syscall.EDQUOT:  "free some space",
		syscall.EROFS:   "mount the file system writable",
		syscall.EPERM:   "hard links",
		syscall.EXDEV:   "hard links",
		syscall.EACCES:  "write access",
		syscall.ENOTDIR: "must name a directory",
	} {
		if got := hint(&fs.PathError{Op: "link", Path: "x", Err: errno}); !strings.Contains(got, want) {
			t.Errorf("hint(%v) = %q, want it to say %q", errno, got, want)
		}
	}
	if got := hint(syscall.EIO); got != "" {
		t.Errorf("hint(EIO) = %q: there is nothing to advise", got)
	}
}
