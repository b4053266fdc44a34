package deadletter_test

import (
	"errors"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
)

// TestFates: the decoder's letters have no row to try; the warehouse's are parked
// until a mark says more, and a row that is in is in, whatever another owner of
// the shard noted.
func TestFates(t *testing.T) {
	s := deadletter.New(openDir(t, t.TempDir()), streamName)
	var refused []deadletter.Letter
	for _, sequence := range []string{"10", "11", "12", "13"} {
		l := letter(sequence, 0, morning)
		l.Reason = deadletter.RefusedByWarehouse
		refused = append(refused, l)
	}
	mustPut(t, s, trimHorizon, append(refused, letter("14", 0, morning))...)
	if err := errors.Join(
		s.MarkFate(t.Context(), refused[1], deadletter.Loaded),
		s.MarkFate(t.Context(), refused[1], deadletter.Loaded), // after a lost reply
		s.MarkFate(t.Context(), refused[2], deadletter.Final),
		s.MarkFate(t.Context(), refused[3], deadletter.Final),
		s.MarkFate(t.Context(), refused[3], deadletter.Loaded),
	); err != nil {
		t.Fatal(err)
	}
	fates, err := s.Fates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]deadletter.Fate{
		"10": deadletter.Parked, "11": deadletter.Loaded, "12": deadletter.Final, "13": deadletter.Loaded, "14": deadletter.Kept,
	}
	for _, l := range all(t, s) {
		if got := fates.Of(l); got != want[l.SequenceNumber] {
			t.Errorf("letter %s is %q, want %q", l.SequenceNumber, got, want[l.SequenceNumber])
		}
		delete(want, l.SequenceNumber)
	}
	if len(want) > 0 {
		t.Errorf("no letter for %v: the marks are taken for letters, or hide some", want)
	}
}
