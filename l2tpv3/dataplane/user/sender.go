package user

import (
	"sync"

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
	users int // Links, under the lock of senders
}

// senders has the spares of each Conn, as long as a Link uses it.
type senders struct {
	mu    sync.Mutex
	conns map[*transport.Conn]*spares
}

func (p *senders) acquire(conn *transport.Conn) *spares {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.conns[conn]
	if s == nil {
		if p.conns == nil {
			p.conns = make(map[*transport.Conn]*spares)
		}
		s = new(spares)
		p.conns[conn] = s
	}
	s.users++
	return s
}

func (p *senders) release(conn *transport.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.conns[conn]
	if s.users--; s.users == 0 {
		delete(p.conns, conn)
	}
}
