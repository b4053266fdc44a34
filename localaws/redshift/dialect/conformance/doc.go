// Package conformance holds the tests that run translated statements on real
// engines. They stand apart so that package dialect itself does not link DuckDB.
package conformance
