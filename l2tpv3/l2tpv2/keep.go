package l2tpv2

import (
	"fmt"
	"time"
)

// A kept call is indicated again and again.
type kept struct {
	call    IncomingCall
	id      CallID    // of the present one; 0: there is none
	at      time.Time // when to indicate it again; zero: when the tunnel is up
	backoff time.Duration
}

// Keep has the LAC indicate a call to the peer at the other end of a tunnel of ours as
// soon as the tunnel is up, and again after its end: at first after RedialMin, and later
// and later where it does not hold.
func (n *Node) Keep(now time.Time, tunnel string, call IncomingCall) error {
	n.now = now
	p := n.peers[tunnel]
	switch {
	case p == nil:
		return fmt.Errorf("l2tpv2: %s: no such tunnel", tunnel)
	case !p.cfg.Dial:
		return fmt.Errorf("l2tpv2: %s is not one tunnel: its peers ask for theirs", tunnel)
	}
	if err := call.fits(); err != nil {
		return err
	}
	p.kept = &kept{call: call}
	p.dialSoon(now)
	p.keep(now)
	return nil
}

// keep indicates the call that is kept, if there is none now and the tunnel is up.
func (p *peer) keep(now time.Time) {
	k := p.kept
	if k == nil {
		return
	}
	k.at = time.Time{} // or its time would have come again and again
	if k.id != 0 || p.down || p.conn == nil || p.conn.state != Established {
		return
	}
	// It may end at once, which gone cannot tell from the end of another call.
	id, err := p.node.Indicate(now, p.cfg.Name, k.call)
	if err != nil {
		p.conn.emit(Event{Kind: Noted, Reason: err.Error()})
		p.keepLater(now)
		return
	}
	if p.node.calls[id] == nil {
		p.keepLater(now)
		return
	}
	k.id = id
}

// lostKept takes the end of the call that is kept. One that held is indicated again as
// if it had been the first.
func (p *peer) lostKept(now, begun time.Time) {
	p.kept.id = 0
	if now.Sub(begun) > max(p.cfg.RedialMax, p.cfg.SetupTimeout) {
		p.kept.backoff = 0
	}
	p.keepLater(now)
}

// keepLater sets the time to indicate the call again, which without a tunnel is when
// there is one.
func (p *peer) keepLater(now time.Time) {
	if p.down || p.node.closing || p.conn == nil || p.conn.state != Established {
		return
	}
	k := p.kept
	k.backoff = min(max(2*k.backoff, p.cfg.RedialMin), p.cfg.RedialMax)
	k.at = now.Add(p.node.jitter.Around(k.backoff))
	p.arrange()
}
