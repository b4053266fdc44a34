package event

import "math"

// numberEnd finds the end of the JSON number at i; where there is none, ok is
// false and end is the place where it went wrong.
func numberEnd(b []byte, i int) (end int, ok bool) {
	if i < len(b) && b[i] == '-' {
		i++
	}
	start := i
	i = digitsEnd(b, i)
	switch {
	case i == start:
		return i, false
	case b[start] == '0' && i > start+1:
		return start + 1, false // JSON has no leading zeros
	}
	if i == len(b) || b[i] != '.' && b[i]|' ' != 'e' {
		return i, true
	}
	return fractionEnd(b, i)
}

// fractionEnd finds the end of what may follow the whole part of a number: a
// fraction and an exponent.
func fractionEnd(b []byte, i int) (end int, ok bool) {
	if i < len(b) && b[i] == '.' {
		start := i + 1
		if i = digitsEnd(b, start); i == start {
			return i, false
		}
	}
	if i < len(b) && b[i]|' ' == 'e' {
		start := i + 1
		if start < len(b) && (b[start] == '+' || b[start] == '-') {
			start++
		}
		if i = digitsEnd(b, start); i == start {
			return i, false
		}
	}
	return i, true
}

func digitsEnd(b []byte, i int) int {
	for i < len(b) && b[i]-'0' < 10 {
		i++
	}
	return i
}

// isNumeral reports whether a string spells a number: as JSON writes them, but
// zeros may lead, or the one before the point may be missing. No blanks, no
// plus, no separators.
func isNumeral(b []byte) bool {
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	i := digitsEnd(b, 0)
	if i == 0 && (len(b) == 0 || b[0] != '.') {
		return false
	}
	end, ok := fractionEnd(b, i)
	return ok && end == len(b)
}

// decimal is a number of any length, exact as far as any column can tell:
// ±coef × 10^exp, and where more is set a part of one unit of coef beyond that.
type decimal struct {
	coef uint64 // the first digits from the first that is not 0, up to maxDigits
	exp  int64
	neg  bool
	more bool // digits that are not 0 were left out
}

const (
	maxDigits = 19 // the most decimal digits that always fit 64 bits
	// farExponent stands for every larger exponent: no text is long enough for
	// its digits to bring such a number back into a column's range.
	farExponent = 1 << 50
)

// parseDecimal reads a text that numberEnd or isNumeral accepted.
func parseDecimal(text []byte) (d decimal) {
	if text[0] == '-' {
		d.neg = true
		text = text[1:]
	}
	digits, fraction := 0, int64(0)
	for i, c := range text {
		switch {
		case c == '.':
			fraction = 1
		case c|' ' == 'e':
			d.exp += parseExponent(text[i+1:])
			return d
		case digits == maxDigits:
			d.more = d.more || c != '0'
			d.exp += 1 - fraction
		default:
			d.coef = d.coef*10 + uint64(c-'0')
			d.exp -= fraction
			if d.coef != 0 {
				digits++
			}
		}
	}
	return d
}

func parseExponent(text []byte) int64 {
	sign := int64(1)
	switch text[0] {
	case '-':
		sign = -1
		text = text[1:]
	case '+':
		text = text[1:]
	}
	n := int64(0)
	for _, c := range text {
		n = n*10 + int64(c-'0')
		if n > farExponent {
			return sign * farExponent
		}
	}
	return sign * n
}

// tooLarge is the whole part of a number that 64 bits do not hold.
const tooLarge = math.MaxUint64

// scale multiplies the size of d by 10^places and cuts it: the whole part,
// whether anything was cut off, and whether that was half or more.
func (d decimal) scale(places int64) (whole uint64, rest, half bool) {
	e := d.exp + places
	switch {
	case d.coef == 0:
		return 0, false, false
	case e < -maxDigits:
		return 0, true, false
	case e < 0:
		unit := uint64(1)
		for ; e < 0; e++ {
			unit *= 10
		}
		left := d.coef % unit
		return d.coef / unit, left != 0 || d.more, left >= unit/2
	}
	for whole = d.coef; e > 0; e-- { // ends after 20 rounds, however large e is
		if whole > tooLarge/10 {
			return tooLarge, d.more, false
		}
		whole *= 10
	}
	return whole, d.more, false
}

// integer is the value of d if that is an integer. From 10^18 on it is some
// value of its sign outside of 32 bits, whatever follows the point: digits were
// left out, and which side of the point they stood on is no longer known.
func (d decimal) integer() (n int64, ok bool) {
	const wide = 1_000_000_000_000_000_000
	whole, rest, _ := d.scale(0)
	if whole >= wide {
		whole, rest = wide, false
	}
	if d.neg {
		return -int64(whole), !rest
	}
	return int64(whole), !rest
}
