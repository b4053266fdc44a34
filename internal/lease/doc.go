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
//
// # The states of a lease
//
//	            create                      take: term+1
//	(no row) ------------> FREE ------------------------------> OWNED
//	   ^                   ^ ^                                   | | |
//	   |                   | |   release: position, no owner     | | | Own returns
//	   |                   | +----------- DRAINING <-------------+ | | ErrEnded
//	   |                   |   SIGTERM, or the stream is           | |
//	   |                   |   another one than before             | |
//	   |                   |                                       | |
//	   |                   |   row not renewed for a TTL           | |
//	   |                   +--- LOST <-----------------------------+ |
//	   |                        trust ran out, or the row            |
//	   |                        is another worker's or gone          |
//	   |  delete: every child is under way                           |
//	   +---------------------- ENDED <-------------------------------+
//	                           children's rows first, then SHARD_END
//
// FREE is what the table says; whoever takes the lease moves it to OWNED by one
// conditional write. DRAINING and LOST are states of the worker alone: in the
// first the row is still its own and renewed, while what was read is loaded; in
// the second it drops what is not committed, and the row becomes free for the
// others once they have watched it unchanged for the lease time, or at once where
// its owner's process is known to have ended. A steal is a take of a row that is
// OWNED elsewhere; its victim is then LOST. An Own that returns an error of its
// own leaves the lease OWNED and is started again under the next term. A FREE
// lease waits until all parents of its shard are ENDED.
//
// ENDED is final, with two exceptions, in which the row is taken as if it were
// FREE at the oldest record: a shard that is listed as open has no end, and a row
// of a stream that was deleted says nothing of the one that took its name. A shard
// that is no longer listed, and that nobody owns, is made ENDED by whoever
// notices, who says that it was never read to its end; the row of one of another
// stream is deleted. The children of a shard that ended while draining may have no
// rows yet: whoever plans next creates them.
package lease
