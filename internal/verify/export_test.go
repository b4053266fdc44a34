package verify

// RunPaged is Run with pages of so many rows of fact_orders, and another present.
var RunPaged = run
