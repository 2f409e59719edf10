package l2tpv3

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A Call is one call of L2TPv2 with the session that carries it, and by its methods a
// port: its frames are those of PPP, from the address field on, without the escapes and
// check sequence of a line. There may be many thousands.
type Call struct {
	channel *channel
	id      l2tpv2.CallID
	config  string
	name    string

	sending atomic.Pointer[dataplane.LinkV2] // nil: nothing is sent now
	noPeer  atomic.Uint64                    // frames dropped meanwhile

	// Written under channel.mu and mu.
	mu       sync.Mutex
	tunnel   *tunnelV2 // nil: it waits for one
	params   l2tpv2.Params
	link     dataplane.LinkV2 // nil: there is none yet; it is kept for its counters
	closed   bool             // the Link is
	sequence bool             // of the Link
	deliver  func([]pseudowire.Frame) int
	holding  bool               // there was no deliver yet
	early    []pseudowire.Frame // that came meanwhile
	mtu      int
	notify   func(mtu int)

	place int // in tunnel.calls; the channel's
}

// Indicate has us, as a LAC, indicate an incoming call to the LNS at the other end of a
// tunnel, which is dialled if need be.
func (e *Endpoint) Indicate(tunnel string, call l2tpv2.IncomingCall) (*Call, error) {
	return e.channel.begin(tunnel, func(now time.Time) (l2tpv2.CallID, error) {
		return e.channel.node.Indicate(now, tunnel, call)
	})
}

// Request has us, as an LNS, request an outgoing call of the LAC at the other end of a
// tunnel, which is dialled if need be.
func (e *Endpoint) Request(tunnel string, call wire.OCRQV2) (*Call, error) {
	return e.channel.begin(tunnel, func(now time.Time) (l2tpv2.CallID, error) {
		return e.channel.node.Request(now, tunnel, call)
	})
}

// begin begins a call of ours.
func (c *channel) begin(tunnel string, call func(now time.Time) (l2tpv2.CallID, error)) (p *Call, _ error) {
	return p, c.do(func(now time.Time) error {
		if d := c.tunnels[tunnel]; d != nil && d.other != nil && d.path != nil {
			return fmt.Errorf("tunnel %s: its peer speaks L2TPv3", tunnel)
		}
		id, err := call(now)
		if err != nil {
			return err
		}
		p = c.addCall(id, c.configOf(tunnel), tunnel)
		return nil
	})
}

// Name returns the call's name, "phones#17/4711": its tunnel's and its ID.
func (p *Call) Name() string { return p.name }

// ID returns the call's ID.
func (p *Call) ID() l2tpv2.CallID { return p.id }

// Config returns the name of the Version2Config that the call is of.
func (p *Call) Config() string { return p.config }

// Tunnel returns the name of its tunnel, "phones#17".
func (p *Call) Tunnel() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tunnel == nil { // which only one that we dial can be
		return p.config
	}
	return p.tunnel.name
}

// Params returns what is known of the call.
func (p *Call) Params() l2tpv2.Params {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.params
}

// Peer returns what the peer has told of itself; the zero value: there is no tunnel yet.
func (p *Call) Peer() l2tpv2.Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tunnel == nil {
		return l2tpv2.Peer{}
	}
	return p.tunnel.peer
}

// PeerAddress returns where the peer is, or was last; not valid: there is no tunnel yet.
func (p *Call) PeerAddress() netip.AddrPort {
	p.channel.mu.Lock()
	defer p.channel.mu.Unlock()
	if p.tunnel == nil {
		return netip.AddrPort{}
	}
	return p.tunnel.at.Peer
}

// Up reports whether frames can be sent.
func (p *Call) Up() bool { return p.sending.Load() != nil }

// Send sends frames to the peer, see dataplane.Link.
func (p *Call) Send(frames []pseudowire.Frame) int {
	if l := p.sending.Load(); l != nil {
		return (*l).Send(frames)
	}
	p.noPeer.Add(uint64(len(frames)))
	return 0
}

// Attach says where frames from the peer go, see dataplane.Link. What is handed them
// may end calls. The first time it is handed those that came before, too.
func (p *Call) Attach(deliver func([]pseudowire.Frame) int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deliver = deliver
	for p.holding && deliver != nil && len(p.early) > 0 {
		// What comes meanwhile waits its turn: a proof that overtakes the last
		// Configure-Ack comes to nothing.
		early := p.early
		p.early = nil
		p.mu.Unlock()
		deliver(early)
		p.mu.Lock()
	}
	p.holding = p.holding && deliver == nil
	if p.link != nil && !p.holding {
		p.link.Attach(deliver)
	}
}

// What is kept of frames that come before somebody is attached.
const (
	mostEarly   = 4
	earlyOctets = 1600 // of each
)

// hold keeps the first frames until somebody is attached: a peer's first request comes
// right behind the ICCN, before its owner knows of the call, and would be repeated after
// seconds alone.
func (p *Call) hold(frames []pseudowire.Frame) int {
	p.mu.Lock()
	if deliver := p.deliver; !p.holding && deliver != nil {
		p.mu.Unlock()
		return deliver(frames)
	}
	defer p.mu.Unlock()
	n := 0
	for _, f := range frames {
		if len(p.early) < mostEarly && f.Len() <= earlyOctets {
			b := append(make([]byte, pseudowire.Headroom, pseudowire.Headroom+f.Len()), f.Bytes()...)
			p.early = append(p.early, pseudowire.NewFrame(b, pseudowire.Headroom))
			n++
		}
	}
	return n
}

// NotifyMTU has notify called with the octets of the longest PPP packet, without its
// address, control and protocol fields, that the path carries whole: now if it is
// known, and whenever it changes. It must not hold its caller up.
func (p *Call) NotifyMTU(notify func(mtu int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notify = notify
	if p.mtu != 0 {
		notify(p.mtu)
	}
}

// Stats returns the call's counters.
func (p *Call) Stats() (s dataplane.Stats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != nil {
		s = p.link.Stats()
	}
	s.Drops[pseudowire.DropNoPeer] += p.noPeer.Load()
	return s
}

// Number has us, as the LNS, send with sequence numbers from now on, or without, which
// the LAC follows.
func (p *Call) Number(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != nil {
		p.link.Number(on)
	}
}

// Close ends the call and tells the peer why; its SessionDown follows. It is an error
// if it has ended.
func (p *Call) Close(why wire.CDNV2) error {
	return p.channel.do(func(now time.Time) error { return p.channel.node.Hangup(now, p.id, why) })
}

// SetLink has us, as the LNS, tell the LAC what PPP agreed upon.
func (p *Call) SetLink(m wire.SLIV2) error {
	return p.channel.do(func(now time.Time) error { return p.channel.node.SetLink(now, p.id, m) })
}

// Answer has us, as the LAC, tell the LNS that an outgoing call was placed.
func (p *Call) Answer(m wire.OCCNV2) error {
	return p.channel.do(func(now time.Time) error { return p.channel.node.Answer(now, p.id, m) })
}

// Report has us, as the LAC, tell the LNS of errors on the line: "not more than once
// every 60 seconds", RFC 2661 section 6.13.
func (p *Call) Report(errors wire.CallErrors) error {
	return p.channel.do(func(now time.Time) error { return p.channel.node.Report(now, p.id, errors) })
}

// dataplaneParams puts a call's parameters as planes take them.
func (p *Call) dataplaneParams() dataplane.ParamsV2 {
	q := &p.params
	return dataplane.ParamsV2{
		Name:          p.name,
		TunnelID:      q.TunnelID,
		SessionID:     q.SessionID,
		PeerTunnelID:  q.PeerTunnelID,
		PeerSessionID: q.PeerSessionID,
		LNS:           !q.LAC,
		Sequence:      q.Sequence,
	}
}

// packetMTU returns what the path of a tunnel leaves for a PPP packet behind the outer
// headers, the session's, and PPP's address, control and protocol.
func (t *tunnelV2) packetMTU() int {
	const before, least, most = 2 + 2, 68, 65535
	return min(max(min(t.mtu, 65535)-new(dataplane.ParamsV2).Overhead(t.at.Peer.Addr().Is6())-before, least), most)
}

// open takes the Link that may receive from now on.
func (p *Call) open(l dataplane.LinkV2) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.Attach(p.deliver)
	if p.deliver == nil {
		p.holding = true
		l.Attach(p.hold)
	}
	p.link, p.closed, p.sequence = l, false, p.params.Sequence
}

// use has the call send.
func (p *Call) use() {
	l := p.link
	p.sending.Store(&l)
}

// stop has the call send nothing any more, and returns the Link to be closed; nil: there
// is none.
func (p *Call) stop() dataplane.LinkV2 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sending.Store(nil)
	p.holding, p.early = false, nil
	if p.closed {
		return nil
	}
	p.closed = p.link != nil
	return p.link
}

func (p *Call) setPath(conn *transport.Conn, path *transport.Path) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link.SetPath(conn, path)
}

func (p *Call) setMTU(mtu int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if mtu == p.mtu {
		return
	}
	p.mtu = mtu
	if p.notify != nil {
		p.notify(mtu)
	}
}
