// Package interop tests Spanwire against the L2TP implementations of others. Its
// tests are the package: they need root and the programs that `make interop`
// installs.
package interop
