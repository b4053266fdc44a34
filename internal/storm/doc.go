// Package storm is Query Storm: the end of the quarter on demand. It runs many
// analytical queries at once, turns every result into a report, and holds the
// machine's CPU at a target, so that a team sees its alarms, its scaling and its
// dashboards react before the real day comes.
//
// Four parts, each of which can be looked at by itself:
//
//	launcher   queries in flight: how many (limit.go), when one may start
//	shelf      results that wait to be read: the oldest query first (reader.go)
//	pool       one processor per core, which turns pages into reports (process.go)
//	governor   the closed loop: measured CPU in, the pool's duty and the launcher's gate out
//
// Pages of real results come first. Where they do not bring the CPU to the
// target, processors make pages up, and count them apart. Where the warehouse
// shares the machine, its CPU counts too: the gate then holds queries back.
package storm
