package copyload

import "testing"

// TestAutoDates: 'auto' takes more forms than the default format does.
func TestAutoDates(t *testing.T) {
	for in, want := range map[string]string{
		"2026-01-02": "2026-01-02", "2026/01/02": "2026-01-02", "2026.01.02": "2026-01-02", "20260102": "2026-01-02",
		"01/02/2026": "2026-01-02", "01-02-2026": "2026-01-02", "Jan-02-2026": "2026-01-02", "02-Jan-2026": "2026-01-02",
		"2026-Jan-02": "2026-01-02", "Jan 2, 2026": "2026-01-02", "2026-13-02": "", "Jan": "", "": "", "20261302": "",
	} {
		got, err := Date(in, "auto")
		if (err != nil) != (want == "") || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"2026-01-02T03:04:05Z": "2026-01-02 03:04:05.000000", "01/02/2026 03:04": "2026-01-02 03:04:00.000000",
		"20260102 03:04:05.5": "2026-01-02 03:04:05.500000", "Jan 2, 2026 03:04:05": "2026-01-02 03:04:05.000000", "Jan 2, 2026": "2026-01-02 00:00:00.000000",
		"Jan 2,": "", "Jan ,": "", "T": "",
	} {
		got, err := Timestamp(in, "auto", false)
		if (err != nil) != (want == "") || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
}
