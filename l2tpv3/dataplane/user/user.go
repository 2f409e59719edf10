// Package user is the dataplane in user space: it puts headers before frames and
// takes them off, checks Session ID, cookie and sequence in that order
// (RFC 3931 sections 4.5, 4.6 and 8.2), and counts what it drops. A frame's walk
// takes no lock, makes no copy and allocates nothing.
package user

import (
	"net/netip"
	"sync/atomic"
	"time"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
)

// batch is how many frames are handed on at once.
const batch = 64

// A Plane is a dataplane.Plane.
type Plane struct {
	table table
	drops drops // of what belongs to no session
}

// New returns a plane without sessions.
func New() *Plane { return new(Plane) }

// Drop implements dataplane.Plane.
func (p *Plane) Drop(why pseudowire.Drop) { p.drops.add(why, 1) }

// Drops implements dataplane.Plane.
func (p *Plane) Drops() [pseudowire.Drops]uint64 { return p.drops.load() }

// drops counts frames by the reason for which they were dropped.
type drops [pseudowire.Drops]atomic.Uint64

func (d *drops) add(why pseudowire.Drop, n int) {
	if n > 0 {
		d[why].Add(uint64(n))
	}
}

func (d *drops) load() (n [pseudowire.Drops]uint64) {
	for i := range d {
		n[i] = d[i].Load()
	}
	return n
}

// A Link is one session.
type Link struct {
	plane   *Plane
	params  dataplane.Params
	route   atomic.Pointer[route]
	deliver atomic.Pointer[func([]pseudowire.Frame) int]

	// Sending.
	next               atomic.Uint32 // the next sequence number
	txPackets, txBytes atomic.Uint64

	// Receiving.
	rxPackets, rxBytes, rxOOS, rxReordered, rxLost atomic.Uint64
	lastReceived                                   atomic.Int64 // Unix nanoseconds
	misread                                        atomic.Int32 // frames in a row that make sense only 4 octets off

	drops drops
}

// A route is how a Link reaches its peer. It does not change once it is stored.
type route struct {
	conn    *transport.Conn
	path    *transport.Path
	peer    netip.AddrPort
	follow  bool // the socket is bound to no address: answer from the one addressed
	header  []byte
	spares  *spares
	inbound *inbound
}

// An inbound is the receiving half of a Link over one Conn, touched by the one
// goroutine that reads it. A Link that moves to another Conn begins a new one.
type inbound struct {
	link     *Link
	pending  []pseudowire.Frame // judged good in this batch
	sequence sequence
	shelf    *shelf // nil: nothing is held
	holding  bool   // in the Receiver's list of those
}

// A sender is what one call of Send needs of memory.
type sender struct {
	writer  *transport.Writer
	packets [batch]transport.Packet
	heads   [batch][wire.MaxDataHeaderLen]byte // for frames without headroom
}

// spares are senders that no one uses now: one for each goroutine that is likely
// to send at the same time.
type spares [4]atomic.Pointer[sender]

func (p *spares) get() *sender {
	for i := range p {
		if s := p[i].Swap(nil); s != nil {
			return s
		}
	}
	return nil
}

func (p *spares) put(s *sender) {
	for i := range p {
		if p[i].CompareAndSwap(nil, s) {
			return
		}
	}
}

// Open implements dataplane.Plane.
func (p *Plane) Open(params dataplane.Params) (dataplane.Link, error) {
	if err := params.Check(); err != nil {
		return nil, err
	}
	l := &Link{plane: p, params: params}
	if err := p.table.insert(l); err != nil {
		return nil, err
	}
	return l, nil
}

// Close takes the session out of the plane.
func (l *Link) Close() {
	l.plane.table.remove(l)
	l.route.Store(nil)
}

// Attach implements dataplane.Link.
func (l *Link) Attach(deliver func([]pseudowire.Frame) int) { l.deliver.Store(&deliver) }

// SetPath implements dataplane.Link.
func (l *Link) SetPath(conn *transport.Conn, path *transport.Path) {
	if path == nil {
		l.route.Store(nil)
		return
	}
	c := conn.Config()
	r := &route{
		conn:   conn,
		path:   path,
		peer:   path.Peer(),
		follow: c.Local.Addr().IsUnspecified(),
		header: wire.AppendDataHeader(nil, c.Encap, l.params.PeerSessionID, l.params.SendCookie, l.params.Sublayer),
		spares: new(spares),
	}
	if former := l.route.Load(); former != nil && former.conn == conn {
		r.inbound = former.inbound
	} else {
		r.inbound = l.newInbound()
	}
	l.route.Store(r)
}

func (l *Link) newInbound() *inbound {
	in := &inbound{link: l, pending: make([]pseudowire.Frame, 0, batch)}
	if l.params.ReorderTimeout > 0 {
		in.shelf = new(shelf)
	}
	return in
}

// Send implements dataplane.Link.
func (l *Link) Send(frames []pseudowire.Frame) (sent int) {
	r := l.route.Load()
	if r == nil {
		l.drops.add(pseudowire.DropNoPeer, len(frames))
		return 0
	}
	s := r.spares.get()
	if s == nil {
		s = &sender{writer: r.conn.NewWriter()}
	}
	for len(frames) > 0 {
		n := min(len(frames), batch)
		for i, f := range frames[:n] {
			s.packets[i] = l.encapsulate(r, f, &s.heads[i])
		}
		result := s.writer.Write(r.path, s.packets[:n])
		l.count(r, result)
		sent += result.Packets
		frames = frames[n:]
	}
	r.spares.put(s)
	return sent
}

// encapsulate puts the session's header in front of a frame: into its headroom
// or, where that is too small, into head.
func (l *Link) encapsulate(r *route, f pseudowire.Frame, head *[wire.MaxDataHeaderLen]byte) transport.Packet {
	n := len(r.header)
	var p transport.Packet
	var h []byte
	if f.Headroom() >= n {
		p.Body = f.Prepend(n)
		h = p.Body[:n]
	} else {
		h = head[:n]
		p.Head, p.Body = h, f.Bytes()
	}
	copy(h, r.header)
	if l.params.Sequencing != pseudowire.NoSequencing && l.sequenced(f) {
		wire.PutSequence(h[n-4:], l.next.Add(1)-1)
	}
	return p
}

// sequenced reports whether the frame carries a number. RFC 3931 section 5.4.4:
// "if an implementation is unable to perform such classification within L2
// frames, all packets MUST be provided with sequence numbers".
func (l *Link) sequenced(f pseudowire.Frame) bool {
	if l.params.Sequencing == pseudowire.NonIPSequencing && l.ethernet() {
		return !ethernet.IsIP(f.Bytes())
	}
	return true
}

func (l *Link) ethernet() bool {
	return l.params.Pseudowire == pseudowire.Ethernet || l.params.Pseudowire == pseudowire.EthernetVLAN
}

func (l *Link) count(r *route, s transport.Sent) {
	l.txPackets.Add(uint64(s.Packets))
	l.txBytes.Add(uint64(s.Octets - s.Packets*len(r.header)))
	if s.Err == nil {
		return
	}
	l.drops.add(pseudowire.DropTooBig, s.TooBig)
	l.drops.add(pseudowire.DropUnreachable, s.Unreachable)
	l.drops.add(pseudowire.DropNoBuffer, s.NoBuffer)
	l.drops.add(pseudowire.DropSend, s.Failed)
}

// A Receiver is where the goroutine that reads one Conn puts data messages.
type Receiver struct {
	plane   *Plane
	conn    *transport.Conn
	touched []*inbound // with frames pending
	holding []*inbound // with frames on the shelf
}

// NewReceiver implements dataplane.Plane.
func (p *Plane) NewReceiver(conn *transport.Conn) dataplane.Receiver {
	return &Receiver{plane: p, conn: conn}
}

// Receive implements dataplane.Receiver. RFC 3931 section 4.5: "the Cookie field
// check occurs after looking up the session context by the Session ID".
func (r *Receiver) Receive(d *transport.Datagram, sessionID uint32) {
	l := r.plane.table.lookup(sessionID)
	if l == nil {
		r.plane.Drop(pseudowire.DropSession)
		return
	}
	if why := r.judge(l, d); why != pseudowire.NotDropped {
		l.drops.add(why, 1)
	}
}

func (r *Receiver) judge(l *Link, d *transport.Datagram) pseudowire.Drop {
	f, p := d.Frame, &l.params
	if f.Len() < p.ReceiveCookie.Len()+p.Sublayer.Len() {
		return pseudowire.DropShort
	}
	if !p.ReceiveCookie.Match(f.Bytes()) {
		return pseudowire.DropCookie
	}
	route := l.route.Load()
	if route == nil || route.conn != r.conn || route.peer != d.From {
		return pseudowire.DropSource
	}
	if route.follow && route.path.Local() != d.To {
		l.answerFrom(route, d.To)
	}
	in, f := route.inbound, f.Skip(p.ReceiveCookie.Len())
	if p.Sublayer == pseudowire.NoSublayer {
		return r.pend(in, f)
	}
	n, sequenced, _ := wire.Sequence(f.Bytes())
	f = f.Skip(p.Sublayer.Len())
	switch {
	case p.Sequencing == pseudowire.NoSequencing:
		// RFC 3931 section 5.4.4: "If sequence numbers are sent, they will be
		// ignored upon receipt."
		return r.pend(in, f)
	case !sequenced && p.Sequencing == pseudowire.AllSequencing:
		return pseudowire.DropSequence
	case !sequenced:
		return r.pend(in, f)
	}
	return r.sequence(in, f, n)
}

// answerFrom makes what we send leave from the address that the peer sends to.
func (l *Link) answerFrom(r *route, local netip.Addr) {
	cfg := r.path.Config()
	cfg.Local = local
	path, err := r.conn.NewPath(cfg)
	if err != nil {
		return
	}
	next := *r
	next.path = path
	l.route.CompareAndSwap(r, &next)
}

// sequence delivers, holds or drops a frame by its number.
func (r *Receiver) sequence(in *inbound, f pseudowire.Frame, n uint32) pseudowire.Drop {
	l, hold := in.link, in.shelf != nil
	for hold && in.shelf.count > 0 && in.sequence.beyond(n) {
		r.release(in, in.shelf.gap(in.sequence.expected)) // it has waited in vain
	}
	v, lost, oos := in.sequence.judge(n, hold)
	if oos {
		l.rxOOS.Add(1)
	}
	if lost > 0 {
		l.rxLost.Add(uint64(lost))
	}
	if v == old && l.silent() {
		in.sequence.accept(n)
		v = inOrder
	}
	switch v {
	case old:
		return pseudowire.DropSequence
	case early:
		if !in.shelf.put(n, f.Bytes()) {
			return pseudowire.DropSequence // a duplicate
		}
		if in.shelf.count == 1 {
			in.shelf.until = time.Now().Add(l.params.ReorderTimeout)
		}
		if !in.holding {
			in.holding = true
			r.holding = append(r.holding, in)
		}
		return pseudowire.NotDropped
	}
	why := r.pend(in, f)
	if hold && in.shelf.count > 0 {
		r.release(in, 0)
	}
	return why
}

// silent reports whether nothing has come for so long that an old number is no
// late one: the peer has begun to count anew, or a long dropout hides how far it
// has counted.
func (l *Link) silent() bool {
	return time.Now().UnixNano()-l.lastReceived.Load() > int64(resyncSilence)
}

// release delivers the held frames that are next, passing over up to skip numbers
// in all that did not come. It flushes, for the memory of what it delivers is the
// shelf's.
func (r *Receiver) release(in *inbound, skip int) {
	for in.shelf.count > 0 {
		f, ok := in.shelf.take(in.sequence.expected)
		if !ok && skip == 0 {
			break
		}
		in.sequence.accept(in.sequence.expected)
		if !ok {
			skip--
			in.link.rxLost.Add(1)
			continue
		}
		in.link.rxReordered.Add(1)
		if why := r.pend(in, f); why != pseudowire.NotDropped {
			in.link.drops.add(why, 1)
		}
	}
	in.flush(time.Now())
}

// pend puts a good frame among those that the next flush delivers.
func (r *Receiver) pend(in *inbound, f pseudowire.Frame) pseudowire.Drop {
	if in.link.ethernet() && f.Len() < ethernet.HeaderLen {
		return pseudowire.DropRunt
	}
	if len(in.pending) == cap(in.pending) {
		in.flush(time.Now())
	}
	if len(in.pending) == 0 {
		r.touched = append(r.touched, in)
	}
	in.pending = append(in.pending, f)
	return pseudowire.NotDropped
}

// Flush implements dataplane.Receiver.
func (r *Receiver) Flush(now time.Time) (next time.Time) {
	for _, in := range r.touched {
		in.flush(now)
	}
	clear(r.touched)
	r.touched = r.touched[:0]
	waiting := r.holding[:0]
	for _, in := range r.holding {
		if !now.Before(in.shelf.until) {
			// Give up the numbers before the first held frame; what is still
			// held after it waits from now.
			r.release(in, in.shelf.gap(in.sequence.expected))
			in.shelf.until = now.Add(in.link.params.ReorderTimeout)
		}
		if in.shelf.count == 0 {
			in.holding = false
			continue
		}
		waiting = append(waiting, in)
		if next.IsZero() || in.shelf.until.Before(next) {
			next = in.shelf.until
		}
	}
	clear(r.holding[len(waiting):])
	r.holding = waiting
	return next
}

// flush delivers what is pending.
func (in *inbound) flush(now time.Time) {
	if len(in.pending) == 0 {
		return
	}
	l := in.link
	if l.ethernet() {
		l.suspect(in.pending[0])
	}
	octets := 0
	for i := range in.pending {
		octets += in.pending[i].Len()
	}
	l.rxPackets.Add(uint64(len(in.pending)))
	l.rxBytes.Add(uint64(octets))
	l.lastReceived.Store(now.UnixNano())
	if deliver := l.deliver.Load(); deliver == nil {
		l.drops.add(pseudowire.DropDetached, len(in.pending))
	} else {
		l.drops.add(pseudowire.DropPortWrite, len(in.pending)-(*deliver)(in.pending))
	}
	in.pending = in.pending[:0]
}

// suspect looks whether a frame makes sense only four octets off: then one side
// has a sublayer and the other has none.
func (l *Link) suspect(f pseudowire.Frame) {
	if ethernet.Plausible(f.Bytes()) {
		if l.misread.Load() != 0 {
			l.misread.Store(0)
		}
		return
	}
	const off = 4
	var shifted []byte
	switch {
	case l.params.Sublayer == pseudowire.NoSublayer:
		shifted = f.Bytes()[off:]
	case f.Headroom() >= off:
		shifted = f.Prepend(off)
	}
	if ethernet.Plausible(shifted) {
		l.misread.Add(1)
	}
}

// Stats implements dataplane.Link.
func (l *Link) Stats() dataplane.Stats {
	s := dataplane.Stats{
		TxPackets:    l.txPackets.Load(),
		TxBytes:      l.txBytes.Load(),
		RxPackets:    l.rxPackets.Load(),
		RxBytes:      l.rxBytes.Load(),
		RxOOSPackets: l.rxOOS.Load(),
		RxReordered:  l.rxReordered.Load(),
		RxLost:       l.rxLost.Load(),
		Drops:        l.drops.load(),
		Misread:      l.misread.Load() >= misreadFrames,
	}
	if t := l.lastReceived.Load(); t != 0 {
		s.LastReceived = time.Unix(0, t)
	}
	return s
}

// misreadFrames is how many frames in a row must make sense only four octets off
// before status says so.
const misreadFrames = 4
