// Package bridge joins ports: two by a Patch, any number by a Hub, which learns
// where stations are. An NSP stands before a port whose frames have other tags.
package bridge

import "spanwire/pseudowire"

// A Port is where frames enter and leave: a TAP, an interface, a session, and later
// whatever else can carry a frame.
type Port interface {
	// Send puts frames out through the port and reports how many it took; the
	// rest it has dropped and counted. It uses them until it returns. It may
	// overwrite their headroom and complete a partial checksum where it stands,
	// as gso.Complete does; all else, and the slice, it leaves as it was. So
	// frames may be sent through one port after another if their checksums are
	// complete; super-frames are as they are. It is safe for concurrent use.
	Send([]pseudowire.Frame) int

	// Attach says where frames go that come in through the port. They are
	// deliver's, slice and octets, until it returns, and it may change them. It
	// reports how many it took; the rest it has dropped.
	Attach(deliver func([]pseudowire.Frame) int)
}

// Patch joins two ports: what comes in through one goes out through the other.
// It is a bridge of two ports, which needs no table.
func Patch(a, b Port) {
	a.Attach(b.Send)
	b.Attach(a.Send)
}
