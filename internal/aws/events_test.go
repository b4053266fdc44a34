package aws

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// severalEvents is a reply with a record of three events between two of one.
func severalEvents(next string) answer {
	one := `{"order_id":"ord-%d","customer_id":"c","store_id":1,"total_amount":1}`
	record := func(sequence, data string) string {
		return fmt.Sprintf(`{"SequenceNumber":%q,"Data":%q,"PartitionKey":"k","ApproximateArrivalTimestamp":1795162530}`, sequence, base64.StdEncoding.EncodeToString([]byte(data)))
	}
	three := fmt.Sprintf(one+"\n"+one+"\n"+one+"\n", 2, 3, 4)
	return answer{"GetRecords", 200, `{"MillisBehindLatest":0,"NextShardIterator":"` + next + `","Records":[` +
		record("5", fmt.Sprintf(one, 1)) + "," + record("6", three) + "," + record("7", fmt.Sprintf(one, 5)) + `]}`}
}

// A reader that starts within a record opens at it and goes on with its next
// event, in both languages in which the service answers.
func TestReaderGoesOnWithinARecordOfSeveralEvents(t *testing.T) {
	all := []string{"5/0", "6/0", "6/1", "6/2", "7/0"}
	for _, cborToo := range []int32{-1, 1} {
		for i := range len(all) + 1 {
			s, a := scripted(t, iterator("a"), severalEvents("b"))
			a.reading.spoken.Store(cborToo)
			from := stream.BeforeSequence("5")
			if i > 0 {
				from = stream.Position{Sequence: all[i-1][:1], Sub: int64(all[i-1][2] - '0')}
			}
			page, err := a.Stream("orders").Reader(shard0, from).Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range page.Records {
				got = append(got, fmt.Sprintf("%s/%d", r.SequenceNumber, r.SubSequence))
			}
			if !slices.Equal(got, all[i:]) || page.Trimmed {
				t.Errorf("behind %v: %v, want %v", from, got, all[i:])
			}
			if at := s.asked[0]; at["ShardIteratorType"] != "AT_SEQUENCE_NUMBER" || at["StartingSequenceNumber"] != from.Sequence {
				t.Errorf("behind %v it asked for %v", from, at)
			}
			if held := cap(page.Records) * recordSize; page.Bytes < held {
				t.Errorf("the page of %d bytes counts as %d", held, page.Bytes)
			}
		}
	}
}

// An iterator that expires between two pages is taken anew behind the last
// event of the last record.
func TestReaderRenewsBehindSeveralEvents(t *testing.T) {
	s, a := scripted(t, iterator("a"), severalEvents("b"), refuse("GetRecords", "ExpiredIteratorException"), iterator("c"), severalEvents("d"))
	r := a.Stream("orders").Reader(shard0, stream.After(stream.Record{SequenceNumber: "6", SubSequence: 0}))
	first, err := r.Next(t.Context())
	if err != nil || len(first.Records) != 3 {
		t.Fatalf("%d records, %v", len(first.Records), err)
	}
	second, err := r.Next(t.Context())
	if err != nil || len(second.Records) != 0 {
		t.Errorf("%d records come again, %v", len(second.Records), err)
	}
	if at := s.asked[3]; at["StartingSequenceNumber"] != "7" {
		t.Errorf("asked for %v", at)
	}
}

// Memory that a page of small events took is not kept for other pages.
func TestPagesOfSmallEventsAreNotKept(t *testing.T) {
	var p pages
	m := p.take(1 << 20)
	m.records = make([]stream.Record, 0, mostRecords*cap(m.body)/recordSize+1)
	p.give(m)
	if m.records != nil {
		t.Error("the records are kept")
	}
	m.records = make([]stream.Record, 0, cap(m.body)/100)
	p.give(m)
	if m.records == nil {
		t.Error("the records of an honest page are not kept")
	}
}
