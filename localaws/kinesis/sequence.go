package kinesis

import "strconv"

// sequence is the place of a record. Its text is 56 decimal digits, as long as
// those of AWS, in fields of fixed width from the most significant down:
//
//	49 | stream created, unix ms (15) | arrived, unix ms (15) | ordinal in the shard (14) | shard (10)
//
// So numbers grow within a shard and across the streams that bear a name one
// after another, they differ between shards, and they are not dense. A shard's
// own StartingSequenceNumber has the ordinal 0; its records start at 1.
type sequence struct {
	created int64
	at      int64
	ordinal uint64
	shard   int
}

const (
	sequenceDigits = 56
	sequencePrefix = "49"
)

func (q sequence) String() string { return string(q.append(nil)) }

func (q sequence) append(b []byte) []byte {
	b = append(b, sequencePrefix...)
	b = appendDigits(b, uint64(q.created), 15)
	b = appendDigits(b, uint64(q.at), 15)
	b = appendDigits(b, q.ordinal, 14)
	return appendDigits(b, uint64(q.shard), 10)
}

// parseSequence reads a number that append wrote.
func parseSequence(text string) (q sequence, ok bool) {
	if len(text) != sequenceDigits || text[:2] != sequencePrefix {
		return q, false
	}
	var field [4]uint64
	at := 2
	for i, width := range [...]int{15, 15, 14, 10} {
		v, err := strconv.ParseUint(text[at:at+width], 10, 64)
		if err != nil {
			return q, false
		}
		field[i], at = v, at+width
	}
	return sequence{created: int64(field[0]), at: int64(field[1]), ordinal: field[2], shard: int(field[3])}, true
}

// appendDigits appends v in exactly width digits, with leading zeros.
func appendDigits(b []byte, v uint64, width int) []byte {
	const zeros = "000000000000000"
	start := len(b)
	b = append(b, zeros[:width]...)
	for i := start + width - 1; v > 0 && i >= start; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
	return b
}

// appendSeconds appends a time in unix milliseconds as the JSON protocol writes
// it: seconds with a fraction.
func appendSeconds(b []byte, ms int64) []byte {
	b = strconv.AppendInt(b, ms/1000, 10)
	b = append(b, '.')
	return appendDigits(b, uint64(ms%1000), 3)
}
