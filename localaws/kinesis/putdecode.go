package kinesis

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// putScratch is the memory of one PutRecords, used again by the next.
type putScratch struct {
	inputs []putInput
	puts   []put
	data   []byte // every record's data, decoded
}

// putTarget is what a PutRecords names beside its records.
type putTarget struct {
	target
	given bool // Records is there
}

func (s *putScratch) reset() {
	clear(s.inputs) // or the last call's body would be kept
	clear(s.puts)
	s.inputs, s.puts, s.data = s.inputs[:0], s.puts[:0], s.data[:0]
}

// decode reads a PutRecords request. The scanner takes the plain form that the
// SDKs write; whatever it does not know goes to encoding/json, which also finds
// the words for what is wrong.
func (s *putScratch) decode(body []byte) (putTarget, *wire.Error) {
	// Decoded data is shorter than its base64, so it never outgrows the body,
	// and slices of it stay good while more is appended.
	if cap(s.data) < len(body) {
		s.data = make([]byte, 0, len(body))
	}
	scan := putScanner{text: body, scratch: s}
	if scan.request() {
		return scan.to, nil
	}
	s.reset()
	var in struct {
		target
		Records []struct {
			Data            *string
			PartitionKey    *string
			ExplicitHashKey *string
		}
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &in); err != nil {
			return putTarget{}, undecodable(err)
		}
	}
	for _, r := range in.Records {
		var p putInput
		if r.Data != nil {
			var err error
			if p.data, err = base64.StdEncoding.DecodeString(*r.Data); err != nil {
				return putTarget{}, notBase64("Data", err)
			}
			p.hasData = true
		}
		if r.PartitionKey != nil {
			p.key, p.hasKey = []byte(*r.PartitionKey), true
		}
		if r.ExplicitHashKey != nil {
			p.hash, p.explicit = []byte(*r.ExplicitHashKey), true
		}
		s.inputs = append(s.inputs, p)
	}
	return putTarget{in.target, in.Records != nil}, nil
}

// putScanner reads the plain form of PutRecords: the known members, each at
// most once, strings without escapes. Every method reports false for anything
// else, and the caller then starts over with encoding/json.
type putScanner struct {
	text    []byte
	at      int
	scratch *putScratch
	to      putTarget
}

func (p *putScanner) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// take skips space and the byte, if it comes next.
func (p *putScanner) take(c byte) bool {
	p.space()
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// string is the next value, a string without escapes or control characters.
func (p *putScanner) string() ([]byte, bool) {
	if !p.take('"') {
		return nil, false
	}
	n := bytes.IndexByte(p.text[p.at:], '"')
	if n < 0 {
		return nil, false
	}
	s := p.text[p.at : p.at+n]
	p.at += n + 1
	return s, true
}

// plain reports whether the bytes mean themselves in a JSON string.
func plain(s []byte) bool {
	ascii := true
	for _, c := range s {
		if c < 0x20 || c == '\\' {
			return false
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return ascii || utf8.Valid(s)
}

// members reads an object, calling member for each name.
func (p *putScanner) members(member func(name []byte) bool) bool {
	if !p.take('{') {
		return false
	}
	if p.take('}') {
		return true
	}
	for {
		name, ok := p.string()
		if !ok || !p.take(':') || !member(name) {
			return false
		}
		if p.take('}') {
			return true
		}
		if !p.take(',') {
			return false
		}
	}
}

func (p *putScanner) request() bool {
	ok := p.members(func(name []byte) bool {
		switch string(name) {
		case "Records":
			return !p.to.given && p.records()
		case "StreamName":
			return p.text1(&p.to.StreamName)
		case "StreamARN":
			return p.text1(&p.to.StreamARN)
		}
		return false
	})
	p.space()
	return ok && p.at == len(p.text)
}

func (p *putScanner) text1(to **string) bool {
	s, ok := p.string()
	if !ok || *to != nil || !plain(s) {
		return false
	}
	text := string(s)
	*to = &text
	return true
}

func (p *putScanner) records() bool {
	p.to.given = true
	if !p.take('[') {
		return false
	}
	if p.take(']') {
		return true
	}
	for {
		if !p.record() {
			return false
		}
		if p.take(']') {
			return true
		}
		if !p.take(',') {
			return false
		}
	}
}

func (p *putScanner) record() bool {
	p.scratch.inputs = append(p.scratch.inputs, putInput{})
	in := &p.scratch.inputs[len(p.scratch.inputs)-1]
	return p.members(func(name []byte) bool {
		s, ok := p.string()
		if !ok {
			return false
		}
		switch string(name) {
		case "Data":
			from := len(p.scratch.data)
			// The decoder refuses all that would not mean itself in a JSON
			// string but line breaks, which it skips.
			if in.hasData || bytes.IndexByte(s, '\n') >= 0 || bytes.IndexByte(s, '\r') >= 0 {
				return false
			}
			var err error
			p.scratch.data, err = base64.StdEncoding.AppendDecode(p.scratch.data, s)
			in.data, in.hasData = p.scratch.data[from:], true
			return err == nil
		case "PartitionKey":
			again := in.hasKey
			in.key, in.hasKey = s, true
			return !again && plain(s)
		case "ExplicitHashKey":
			again := in.explicit
			in.hash, in.explicit = s, true
			return !again && plain(s)
		}
		return false
	})
}
