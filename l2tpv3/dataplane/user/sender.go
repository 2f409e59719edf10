package user

import (
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire/gso"
	"spanwire/pseudowire/pool"
)

// A sender is what one call of Send needs of memory, some 110 KB.
type sender struct {
	writer  *transport.Writer
	cutter  gso.Cutter
	packets [batch]transport.Packet
	// heads are for frames without headroom, and for those that a super-frame is
	// cut into, which have headers of their own.
	heads [batch][wire.MaxDataHeaderLen + gso.HeaderMax]byte
	n     int // packets that wait to be written
}

// spares are the senders of one Conn that no one uses now, whichever Link sends.
type spares struct {
	pool.Pool[sender]
	routes int // that use the Conn, under the lock of routes
}
