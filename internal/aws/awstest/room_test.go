package awstest

import (
	"errors"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// A reader asks for room before it takes the memory for a page. Where there is
// none the read is given up at once, and the page is there for the next one.
func TestG9_AReadForWhichThereIsNoRoomIsMadeAgain(t *testing.T) {
	_, s := startStream(t, 1)
	put(t, s, 0, 400)
	noRoom, room, asked := errors.New("no room"), false, []int(nil)
	r := s.BoundedReader(shards(t, s)[0], horizon, func(bytes int) error {
		asked = append(asked, bytes)
		if !room {
			return noRoom
		}
		return nil
	})
	before := time.Now()
	if page, err := r.Next(t.Context()); !errors.Is(err, noRoom) || len(page.Records) > 0 {
		t.Fatalf("without room: %d records, %v", len(page.Records), err)
	}
	if len(asked) != 1 {
		t.Errorf("room was asked for %d times in one read", len(asked))
	}
	if r.NotBefore().Before(before.Add(200 * time.Millisecond)) {
		t.Error("what was read in vain does not count for the shard's limits")
	}
	room = true
	page, err := r.Next(t.Context())
	if err != nil || len(page.Records) != 400 || stream.CompareSequence(page.Records[0].SequenceNumber, page.Records[399].SequenceNumber) >= 0 {
		t.Fatalf("with room: %d records, %v", len(page.Records), err)
	}
	if len(asked) != 2 || asked[0] != asked[1] || asked[1] < 400*len("order 100") {
		t.Errorf("room was asked for %v bytes", asked)
	}
}
