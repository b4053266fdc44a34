// Package event turns the bytes of a record into a typed row, or into a
// rejection with a reason from a closed list. It is pure: no I/O, no clock.
package event
