//go:build slow

package main

// everyTrouble has all sixteen tried.
const everyTrouble = true
