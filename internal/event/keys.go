package event

// keyStack holds the keys that the decoder does not know, of all objects that
// are open, to find one given twice. Small objects, which are all that honest
// producers send, need no allocation; a large one moves to a map, so that the
// time stays linear in the text whatever the text is.
type keyStack struct {
	keys [24]string
	used int
	most int // how many were used at a time
}

// fewKeys is how many keys are compared one by one before a map takes over.
const fewKeys = 12

// keySet is the part of the stack that belongs to one object.
type keySet struct {
	base int
	many map[string]struct{} // all keys of the object, once they are many
}

func (k *keyStack) open() keySet      { return keySet{base: k.used} }
func (k *keyStack) close(set *keySet) { k.used = set.base }

// repeats adds key to the set of the innermost open object and tells whether
// it was there before.
func (k *keyStack) repeats(set *keySet, key string) bool {
	if set.many == nil {
		own := k.keys[set.base:k.used]
		for _, other := range own {
			if other == key {
				return true
			}
		}
		if len(own) < fewKeys && k.used < len(k.keys) {
			k.keys[k.used] = key
			k.used++
			k.most = max(k.most, k.used)
			return false
		}
		set.many = make(map[string]struct{}, 4*fewKeys)
		for _, other := range own {
			set.many[other] = struct{}{}
		}
	}
	_, found := set.many[key]
	set.many[key] = struct{}{}
	return found
}
