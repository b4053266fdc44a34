//go:build browser

package browsertest

import (
	"os"
	"testing"
	"time"
)

// TestPicturesOfARunningWorker takes pictures of the worker at DASHBOARD_URL,
// for documents.
func TestPicturesOfARunningWorker(t *testing.T) {
	url := os.Getenv("DASHBOARD_URL")
	if url == "" {
		t.Skip("DASHBOARD_URL names no running worker")
	}
	b := open(t)
	b.look(1440, 1000, "light")
	b.visit(url)
	b.await("sales are shown", `document.querySelectorAll("#stores tbody tr").length > 0 && document.querySelectorAll("#flow path").length > 2`)
	for _, look := range []struct {
		name, scheme  string
		width, height int
	}{
		{"light", "light", 1440, 900}, {"dark", "dark", 1440, 1000}, {"phone", "light", 390, 844}, {"wall", "dark", 2560, 1440},
	} {
		b.look(look.width, look.height, look.scheme)
		time.Sleep(1500 * time.Millisecond)
		b.picture(look.name)
	}
	if troubles := b.complaints(); len(troubles) > 0 {
		t.Errorf("the page complains: %q", troubles)
	}
}
