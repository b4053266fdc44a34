//go:build !slow

package main

// everyTrouble has all sixteen tried; make test-slow does.
const everyTrouble = false
