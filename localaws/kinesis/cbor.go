package kinesis

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// The CBOR form of the protocol, which the AWS SDK for Java speaks, says the
// same as the JSON form with two differences: blobs are byte strings, and times
// are unix milliseconds instead of seconds. So the service thinks in JSON, and
// CBOR is translated at the door.

const timestampTag = 1

// isTimestamp tells the members that are times: AWS names them all alike.
func isTimestamp(member string) bool { return strings.HasSuffix(member, "Timestamp") }

func cborToJSON(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, nil
	}
	mode, err := cbor.DecOptions{MaxNestedLevels: 32, MaxArrayElements: 1 << 16}.DecMode()
	if err != nil {
		return nil, err
	}
	var v any
	if err := mode.Unmarshal(body, &v); err != nil {
		return nil, err
	}
	v, err = fromCBOR("", v)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

func fromCBOR(member string, v any) (any, error) {
	switch v := v.(type) {
	case map[any]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			name, ok := key.(string)
			if !ok {
				return nil, fmt.Errorf("a map has the key %v, which is not a string", key)
			}
			var err error
			if out[name], err = fromCBOR(name, value); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		for i := range v {
			var err error
			if v[i], err = fromCBOR(member, v[i]); err != nil {
				return nil, err
			}
		}
		return v, nil
	case []byte:
		return base64.StdEncoding.EncodeToString(v), nil
	case time.Time: // the tag 1 says seconds, and AWS means milliseconds
		return float64(v.Unix()) / 1000, nil
	case uint64:
		if isTimestamp(member) {
			return float64(v) / 1000, nil
		}
	case int64:
		if isTimestamp(member) {
			return float64(v) / 1000, nil
		}
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%s is not a finite number", member)
		}
		if isTimestamp(member) {
			return v / 1000, nil
		}
	}
	return v, nil
}

func jsonToCBOR(text []byte) ([]byte, error) {
	if len(text) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return nil, err
	}
	v, err := toCBOR("", v)
	if err != nil {
		return nil, err
	}
	return cbor.Marshal(v)
}

func toCBOR(member string, v any) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			var err error
			if v[name], err = toCBOR(name, value); err != nil {
				return nil, err
			}
		}
	case []any:
		for i := range v {
			var err error
			if v[i], err = toCBOR(member, v[i]); err != nil {
				return nil, err
			}
		}
	case string:
		if member == "Data" {
			return base64.StdEncoding.DecodeString(v)
		}
	case json.Number:
		if isTimestamp(member) {
			s, err := v.Float64()
			return cbor.Tag{Number: timestampTag, Content: milliseconds(s)}, err
		}
		return v.Int64()
	}
	return v, nil
}

// The major types of CBOR (RFC 8949) that a page is written with.
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
)

// appendHead appends the head of an item: its type, and its value or length.
func appendHead(b []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n <= math.MaxUint8:
		return append(b, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(b, major|27), n)
	}
}

func appendText(b []byte, text string) []byte {
	return append(appendHead(b, majorText, uint64(len(text))), text...)
}
