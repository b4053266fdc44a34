// Package event turns the bytes of a record into a typed row, or into a
// rejection with a reason from a closed list. It is pure: no I/O, no clock.
//
// The JSON is read by hand, in one pass over the bytes: the pass checks the
// grammar of the whole text and notes where the known fields lie, and only
// then are the fields judged, in the order of the columns. So a text that is
// not JSON is always called that, whatever stood in its first fields.
package event
