package stream

import "bytes"

// leastEvent is the least number of bytes that the events of one record have on
// average: an order, in the fewest letters there are, has twice as many. A
// record of smaller objects holds no events, and is not taken apart, since what
// becomes of each costs some hundred bytes: a megabyte of "{}" would cost a
// hundred.
const leastEvent = 32

// appendEvents appends to dst the events that r holds. That is r itself, or,
// where its data is several JSON objects with nothing but white space between
// them, each object, with SubSequences that count on from r's.
//
// Producers that pack records to save on calls write such data (Fluent Bit's
// simple_aggregation, one object a line). An object reaches from its opening
// brace to the one that closes it, and may be any nonsense between: that is for
// its decoder to say, so that it is rejected by itself. Whatever is not all
// objects stays whole, as nobody can tell where the next event would begin.
func appendEvents(dst []Record, r *Record) []Record {
	if !mayHoldSeveral(r.Data) {
		return append(dst, *r)
	}
	before, most := len(dst), len(r.Data)/leastEvent
	for rest := skipSpace(r.Data); len(rest) > 0; {
		n := objectEnd(rest)
		if n < 0 || len(dst)-before == most {
			return append(dst[:before], *r)
		}
		e := *r
		e.SubSequence += int64(len(dst) - before)
		e.Data = rest[:n:n]
		dst = append(dst, e)
		rest = skipSpace(rest[n:])
	}
	if len(dst)-before == 1 {
		return append(dst[:before], *r) // with the white space around it, as it came
	}
	return dst
}

// mayHoldSeveral tells quickly, of almost every record that holds one object,
// that it does: a brace that closes is never followed by one that opens, but in
// a string.
func mayHoldSeveral(data []byte) bool {
	for {
		i := bytes.IndexByte(data, '}')
		if i < 0 {
			return false
		}
		data = skipSpace(data[i+1:])
		if len(data) == 0 {
			return false
		}
		if data[0] == '{' {
			return true
		}
	}
}

// skipSpace cuts off the white space that data begins with, as JSON has it.
func skipSpace(data []byte) []byte {
	for i, c := range data {
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return data[i:]
		}
	}
	return nil
}

// objectEnd is the length of the object that data begins with, by its braces
// alone; -1 where it begins with none, or none of its braces closes it. A
// control character in a string, where JSON has none, is an end too: the string
// was never closed, and what follows would be read inside out.
func objectEnd(data []byte) int {
	if data[0] != '{' {
		return -1
	}
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			n := stringEnd(data[i+1:])
			if n < 0 {
				return -1
			}
			i += n
		}
	}
	return -1
}

// stringEnd is how much of data belongs to the string whose opening quote is
// before it, its closing quote included; -1 where it has none.
func stringEnd(data []byte) int {
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			i++
		case c < ' ':
			return -1
		}
	}
	return -1
}
