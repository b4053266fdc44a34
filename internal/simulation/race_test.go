//go:build race

package simulation

// detector says that the race detector is on. It makes virtual time cost three times
// as much. So all that there is runs without it (make test), and with it one or two of
// each kind: the others run the same code with other data (make test-race).
const detector = true
