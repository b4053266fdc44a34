// Package lease decides which worker owns which shard.
//
// Leases are rows of a table that all workers share, in the layout of the
// Kinesis Client Library 2.x, so that KCL's tools can read it and a KCL
// application can be replaced in place. A pure planner (Plan) says what a
// worker should do about the rows that it sees; the Holder does it, renews what
// it holds, and runs the caller's Own for as long as a lease can be trusted.
//
// A lease alone does not keep a frozen worker from writing late. Each stretch
// of ownership therefore has a term that only grows, and the warehouse refuses
// the writes of an older one.
package lease
