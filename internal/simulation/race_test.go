//go:build race

package simulation

// detector says that the race detector is on. It makes virtual time cost three times
// as much, so make test leaves to make simulate, which runs beside it without the
// detector, what compares many fleets with each other.
const detector = true
