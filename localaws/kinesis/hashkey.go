package kinesis

import (
	"crypto/md5"
	"encoding/binary"
	"math/big"
	"math/bits"
)

// hashKey is a place in the hash range of a stream, 0 to 2^128-1.
type hashKey struct{ hi, lo uint64 }

var lastHashKey = hashKey{^uint64(0), ^uint64(0)}

// hashOf is where a record with this partition key belongs: its MD5, read as
// an unsigned big-endian number.
func hashOf(partitionKey []byte) hashKey {
	sum := md5.Sum(partitionKey)
	return hashKey{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])}
}

// parseHashKey reads a decimal hash key; ok is false for anything that is not
// a number from 0 to 2^128-1 without leading zeros.
func parseHashKey(text string) (h hashKey, ok bool) {
	if text == "" || len(text) > 39 || (text[0] == '0' && len(text) > 1) {
		return h, false
	}
	for i := range len(text) {
		digit := uint64(text[i] - '0')
		if text[i] < '0' || text[i] > '9' {
			return h, false
		}
		carry, lo := bits.Mul64(h.lo, 10)
		over, hi := bits.Mul64(h.hi, 10)
		lo, c := bits.Add64(lo, digit, 0)
		hi, c = bits.Add64(hi, carry, c)
		if over != 0 || c != 0 {
			return h, false
		}
		h = hashKey{hi, lo}
	}
	return h, true
}

// share is the k-th of n equal parts of the hash range: floor(2^128 * k / n).
// Equal fractions give equal keys (2/4 is 3/6), so a change of the number of
// shards meets the bounds that are already there.
func share(k, n int) hashKey {
	v := new(big.Int).Lsh(big.NewInt(int64(k)), 128)
	v.Div(v, big.NewInt(int64(n)))
	return hashKey{new(big.Int).Rsh(v, 64).Uint64(), new(big.Int).And(v, new(big.Int).SetUint64(^uint64(0))).Uint64()}
}

func (h hashKey) String() string {
	v := new(big.Int).SetUint64(h.hi)
	return v.Lsh(v, 64).Add(v, new(big.Int).SetUint64(h.lo)).String()
}

func (h hashKey) less(o hashKey) bool { return h.hi < o.hi || (h.hi == o.hi && h.lo < o.lo) }

func (h hashKey) next() hashKey {
	lo, c := bits.Add64(h.lo, 1, 0)
	return hashKey{h.hi + c, lo}
}

func (h hashKey) previous() hashKey {
	lo, b := bits.Sub64(h.lo, 1, 0)
	return hashKey{h.hi - b, lo}
}
