// Package bridge joins ports: where frames enter and leave.
package bridge

import "spanwire/pseudowire"

// A Port is where frames enter and leave: a TAP, a session, and later whatever
// else can carry a frame.
type Port interface {
	// Send puts frames out through the port and reports how many it took; the
	// rest it has dropped and counted. It uses them until it returns, and may
	// overwrite their headroom. It is safe for concurrent use.
	Send([]pseudowire.Frame) int

	// Attach says where frames go that come in through the port. They may be
	// used until deliver returns.
	Attach(deliver func([]pseudowire.Frame) int)
}

// Patch joins two ports: what comes in through one goes out through the other.
// It is a bridge of two ports, which needs no table.
func Patch(a, b Port) {
	a.Attach(b.Send)
	b.Attach(a.Send)
}
