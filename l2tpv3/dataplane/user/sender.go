package user

import (
	"runtime"
	"sync"
	"sync/atomic"

	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire/gso"
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

// spares are the senders of one Conn that no one uses now, whichever Link sends:
// as many as goroutines are likely to send at the same time.
type spares struct {
	slots []atomic.Pointer[sender]
	users int // Links, under the pool's lock
}

func (s *spares) get() *sender {
	for i := range s.slots {
		if free := s.slots[i].Load(); free != nil && s.slots[i].CompareAndSwap(free, nil) {
			return free
		}
	}
	return nil
}

func (s *spares) put(free *sender) {
	for i := range s.slots {
		if s.slots[i].Load() == nil && s.slots[i].CompareAndSwap(nil, free) {
			return
		}
	}
}

// A pool has the spares of each Conn, as long as a Link uses it.
type pool struct {
	mu    sync.Mutex
	conns map[*transport.Conn]*spares
}

func (p *pool) acquire(conn *transport.Conn) *spares {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.conns[conn]
	if s == nil {
		if p.conns == nil {
			p.conns = make(map[*transport.Conn]*spares)
		}
		s = &spares{slots: make([]atomic.Pointer[sender], max(4, runtime.GOMAXPROCS(0)))}
		p.conns[conn] = s
	}
	s.users++
	return s
}

func (p *pool) release(conn *transport.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.conns[conn]
	if s.users--; s.users == 0 {
		delete(p.conns, conn)
	}
}
