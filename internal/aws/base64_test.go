package aws

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"testing"
)

func TestDecodeBase64AgreesWithTheStandardDecoder(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		want := make([]byte, n)
		for i := range want {
			want[i] = byte(rng.Uint32())
		}
		src := []byte(base64.StdEncoding.EncodeToString(want))
		if got := decodedLen(src); got != n {
			t.Fatalf("decodedLen of %d bytes: got %d", n, got)
		}
		dst := make([]byte, n)
		got, ok := decodeBase64(dst, src)
		if !ok || got != n || !bytes.Equal(dst, want) {
			t.Fatalf("%d bytes: got %d, %v", n, got, ok)
		}
	}
}

func TestDecodeBase64RefusesEveryForeignCharacterAtEveryPlace(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xA5}, 30))
	for at := range good {
		for c := range 256 {
			src := []byte(good)
			src[at] = byte(c)
			dst := make([]byte, 40)
			n, ok := decodeBase64(dst, src)
			want, err := base64.StdEncoding.DecodeString(string(src))
			if ok && (err != nil || !bytes.Equal(dst[:n], want)) {
				t.Fatalf("%q accepted as %x, the standard decoder says %x, %v", src, dst[:n], want, err)
			}
			if !ok && err == nil && c != '\n' && c != '\r' {
				t.Fatalf("%q refused, the standard decoder takes it", src)
			}
		}
	}
}

func FuzzDecodeBase64(f *testing.F) {
	for _, s := range []string{"", "aGVsbG8gd29ybGQsIGhlbGxv", "aGVsbG8=", "aA==", "====", "aGVs\nbG8=", "aGVsbG8gd29ybGQsIGhlbGxv=", "////++++aaaa"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		dst := make([]byte, decodedLen(src)+8)
		n, ok := decodeBase64(dst, src)
		want, err := base64.StdEncoding.DecodeString(string(src))
		if ok && (err != nil || !bytes.Equal(dst[:n], want)) {
			t.Fatalf("%q: got %x, the standard decoder says %x, %v", src, dst[:n], want, err)
		}
	})
}

func BenchmarkBase64(b *testing.B) {
	src := []byte(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("orders"), 36)))
	dst := make([]byte, 400)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(int64(len(src)))
		for b.Loop() {
			decodeBase64(dst, src)
		}
	})
	b.Run("standard", func(b *testing.B) {
		b.SetBytes(int64(len(src)))
		for b.Loop() {
			_, _ = base64.StdEncoding.Decode(dst, src)
		}
	})
}
