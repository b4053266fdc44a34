package event

// field is a key of an event that the decoder looks at, by a number of its own.
type field uint8

const (
	// maxFields is how many such keys there may be: one more ends every program at
	// its start, and so every test.
	maxFields = 32
	// unknown is a key that the decoder does not know.
	unknown field = maxFields
)

// The keys that events of several families have. Those of one family stand in its
// file.
var (
	fieldOrderID        = key("order_id")
	fieldCustomerID     = key("customer_id")
	fieldStoreID        = key("store_id")
	fieldEventType      = key("event_type")
	fieldStatus         = key("status")
	fieldEventTimestamp = key("event_timestamp")
	fieldTimestamp      = key("timestamp")
)

// fieldTable has all of them.
var fieldTable keyTable

// key is the field of a key. Whoever asks first makes it known to the decoder, so
// it is asked for by the variables of this package alone.
func key(name string) field { return fieldTable.add(name) }

// keySlots is well above maxFields, so that most keys that nobody knows are at once
// seen to be none.
const (
	keyBits  = 7
	keySlots = 1 << keyBits
)

// keyTable finds fields by their keys.
type keyTable struct {
	slots  [keySlots]keySlot // a key stands in its slot, or in the next that was free
	names  [maxFields]string // by field
	quoted [maxFields]string // the same as an event has them
	known  field             // how many there are
}

type keySlot struct {
	name  string // empty = free
	bytes [2]uint64
	field field
}

// packed is how many bytes of a key packed tells.
const packed = 16

// pack is the bytes of a key, as far as there is room: no two keys of one length
// up to packed have the same.
func pack(name string) (first, last uint64) {
	n := len(name)
	switch {
	case n >= 8:
		return word(name), word(name[n-8:])
	case n >= 4:
		return half(name), half(name[n-4:])
	case n > 0:
		return uint64(name[0]) | uint64(name[n/2])<<8, uint64(name[n-1])
	}
	return 0, 0
}

// word and half are the first eight or four bytes as a number, which the compiler
// reads at once.
func word(s string) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func half(s string) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}

// slotOf spreads keys over the slots.
func slotOf(first, last uint64) uint64 {
	const odd = 0x9E3779B97F4A7C15
	return ((first*odd ^ last) * odd) >> (64 - keyBits)
}

func (t *keyTable) add(name string) field {
	if f := t.find(name); f != unknown {
		return f
	}
	first, last := pack(name)
	at := slotOf(first, last)
	for t.slots[at].name != "" {
		at = (at + 1) % keySlots
	}
	f := t.known
	t.slots[at] = keySlot{name, [2]uint64{first, last}, f}
	t.names[f], t.quoted[f] = name, `"`+name+`"`
	t.known++
	return f
}

// find is the field of a key, or unknown.
func (t *keyTable) find(name string) field {
	first, last := pack(name)
	for at := slotOf(first, last); ; at = (at + 1) % keySlots {
		switch s := &t.slots[at]; {
		case s.name == "":
			return unknown
		case s.bytes == [2]uint64{first, last} && len(s.name) == len(name) && (len(name) <= packed || s.name == name):
			return s.field
		}
	}
}
