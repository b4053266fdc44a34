// Package localaws is the local AWS: one endpoint that answers the AWS calls of
// a data pipeline over their real wire protocols, with named faults and a log
// of calls, for laptops, tests and demos.
//
// A test starts one with [Start], whatever it is a test of: the endpoint is an
// address, and the AWS SDK of any language finds it by its environment ([Running.Env]).
// A program that is to hold one has [New]; the command localaws is such a program.
//
// It links DuckDB, and so it takes cgo and a C++ compiler. A test that needs no SQL
// spares itself that with the services that it needs:
//
//	streams, err := kinesis.New(kinesis.Options{Limits: true})
//	...
//	local := endpoint.New(endpoint.Options{Services: []wire.Service{streams}}).Start(t)
//
// What is served, what the limits and the faults are, and where all this differs from
// AWS, says docs/LOCALAWS.md. The package imports neither the AWS SDK nor anything of
// the worker that it was written for.
package localaws
