package aws

import (
	"encoding/base64"
	"encoding/binary"
)

// bad marks a character that base64 does not have.
const bad = 1 << 31

// sextets holds, for each character and each of its four places in a quantum,
// its six bits already shifted to where they belong. It is never written to.
var sextets = func() (t [4][256]uint32) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for place := range t {
		for c := range t[place] {
			t[place][c] = bad
		}
		for v, c := range []byte(alphabet) {
			t[place][c] = uint32(v) << (18 - 6*place)
		}
	}
	return t
}()

// decodedLen is the number of bytes that well-formed base64 text stands for.
func decodedLen(src []byte) int {
	n := len(src) / 4 * 3
	if n > 0 && src[len(src)-1] == '=' {
		n--
		if src[len(src)-2] == '=' {
			n--
		}
	}
	return n
}

// decodeBase64 decodes standard padded base64 into dst, which must have at
// least decodedLen(src) bytes; bytes behind those may be overwritten. It reads
// eight characters at a time. It accepts nothing that encoding/base64 refuses;
// what it refuses (line breaks, for one) may still be good.
func decodeBase64(dst, src []byte) (int, bool) {
	if len(src)%4 != 0 {
		return 0, false
	}
	n := 0
	var seen uint32
	// A store of 8 bytes carries 6 decoded ones. The last quantum is left to the
	// standard decoder, which knows about padding.
	for len(src) > 8 && len(dst)-n >= 8 {
		w := binary.LittleEndian.Uint64(src)
		hi := sextets[0][byte(w)] | sextets[1][byte(w>>8)] | sextets[2][byte(w>>16)] | sextets[3][byte(w>>24)]
		lo := sextets[0][byte(w>>32)] | sextets[1][byte(w>>40)] | sextets[2][byte(w>>48)] | sextets[3][byte(w>>56)]
		seen |= hi | lo
		binary.BigEndian.PutUint64(dst[n:], uint64(hi)<<40|uint64(lo)<<16)
		n += 6
		src = src[8:]
	}
	if seen&bad != 0 {
		return 0, false
	}
	last, err := base64.StdEncoding.Decode(dst[n:], src)
	return n + last, err == nil
}
