// Package user is the dataplane in user space: it puts headers before frames and
// takes them off, checks Session ID, cookie and sequence in that order
// (RFC 3931 sections 4.5, 4.6 and 8.2), and counts what it drops. A frame's walk
// takes no lock, makes no copy and allocates nothing.
package user

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/pseudowire/framerelay"
	"spanwire/pseudowire/gso"
	"spanwire/pseudowire/hdlc"
	"spanwire/pseudowire/ppp"
)

const (
	// batch is how many frames are handed on at once.
	batch = 256

	// manyLinks bounds the Links whose frames a Receiver has pending.
	manyLinks = 256

	// spareShelves bounds the memory for held frames that a Receiver keeps
	// while none are held.
	spareShelves = 16
)

// A Plane is a dataplane.Plane.
type Plane struct {
	table   table
	senders senders
	drops   drops // of what belongs to no session
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

// A Link is one session. There may be many thousands that carry nothing: what
// only frames need comes from the Plane while they are sent, and from the
// Receiver while they are received.
type Link struct {
	plane      *Plane
	params     dataplane.Params
	isIP       func(frame []byte) bool // of what is sent without a number; nil: nothing is
	route      atomic.Pointer[route]
	deliver    atomic.Pointer[func([]pseudowire.Frame) int] // nil: nowhere
	delivering atomic.Int32                                 // calls of deliver that run

	mu     sync.Mutex // for SetPath, Attach and Close
	closed bool

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
	spares  *spares // the Conn's
	inbound *inbound
}

// An inbound is the receiving half of a Link over one Conn, touched by the one
// goroutine that reads it. A Link that moves to another Conn begins a new one.
type inbound struct {
	link     *Link
	pending  []pseudowire.Frame // judged good in this batch; nil: none
	sequence sequence
	shelf    *shelf // nil: nothing is held
	holding  bool   // in the Receiver's list of those
}

// Open implements dataplane.Plane.
func (p *Plane) Open(params dataplane.Params) (dataplane.Link, error) {
	if err := params.Check(); err != nil {
		return nil, err
	}
	l := &Link{plane: p, params: params}
	if params.PeerSequencing == pseudowire.NonIPSequencing {
		l.isIP = isIP(params.Pseudowire)
	}
	if err := p.table.insert(l); err != nil {
		return nil, err
	}
	return l, nil
}

// Attach implements dataplane.Link.
func (l *Link) Attach(deliver func([]pseudowire.Frame) int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if deliver == nil || l.closed {
		l.deliver.Store(nil)
		return
	}
	l.deliver.Store(&deliver)
}

// SetPath implements dataplane.Link.
func (l *Link) SetPath(conn *transport.Conn, path *transport.Path) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if path == nil || l.closed {
		l.enter(nil)
		return
	}
	c := conn.Config()
	r := &route{
		conn:   conn,
		path:   path,
		peer:   path.Peer(),
		follow: c.Local.Addr().IsUnspecified(),
		header: wire.AppendDataHeader(nil, c.Encap, l.params.PeerSessionID, l.params.SendCookie, l.params.PeerSublayer),
		spares: l.plane.senders.acquire(conn),
	}
	if former := l.route.Load(); former != nil && former.conn == conn {
		r.inbound = former.inbound
	} else {
		r.inbound = &inbound{link: l}
	}
	l.enter(r)
}

// enter has the Link take a route instead of its former one, in one step, so that
// no frame falls between the two.
func (l *Link) enter(r *route) {
	if former := l.route.Swap(r); former != nil {
		l.plane.senders.release(former.conn)
	}
}

// Close implements dataplane.Link.
func (l *Link) Close() {
	l.plane.table.remove(l)
	l.mu.Lock()
	l.closed = true
	l.enter(nil)
	l.deliver.Store(nil)
	l.mu.Unlock()
	// Whoever counts itself as delivering from now on finds no deliver.
	for l.delivering.Load() > 0 {
		time.Sleep(50 * time.Microsecond)
	}
}

// Send implements dataplane.Link.
func (l *Link) Send(frames []pseudowire.Frame) (sent int) {
	r := l.route.Load()
	if r == nil {
		l.drops.add(pseudowire.DropNoPeer, len(frames))
		return 0
	}
	s := r.spares.Get()
	if s == nil {
		s = &sender{writer: r.conn.NewWriter()}
	}
	for _, f := range frames {
		if f.GSO.Kind != pseudowire.GSONone {
			sent += l.cut(r, s, f)
			continue
		}
		if f.GSO.ChecksumStart != 0 {
			var err error
			if f, err = gso.Complete(f); err != nil {
				l.drops.add(pseudowire.DropMalformed, 1)
				continue
			}
		}
		s.packets[s.n] = l.encapsulate(r, f, &s.heads[s.n])
		if s.n++; s.n == batch {
			sent += l.flush(r, s)
		}
	}
	sent += l.flush(r, s)
	r.spares.Put(s)
	return min(sent, len(frames)) // a super-frame is more than one
}

// cut sends the frames that a super-frame stands for, each with headers of its own
// and its part of the payload where it is.
func (l *Link) cut(r *route, s *sender, f pseudowire.Frame) (sent int) {
	if err := s.cutter.Init(f); err != nil {
		l.drops.add(pseudowire.DropMalformed, 1)
		return 0
	}
	numbered := l.params.PeerSequencing != pseudowire.NoSequencing && l.sequenced(f)
	n := len(r.header)
	for s.cutter.Count() > 0 {
		h := append(s.heads[s.n][:0], r.header...)
		if numbered {
			wire.PutSequence(h[n-4:], l.next.Add(1)-1)
		}
		h, payload, _ := s.cutter.Next(h)
		s.packets[s.n] = transport.Packet{Head: h, Body: payload, DSCP: f.SendDSCP}
		if s.n++; s.n == batch {
			sent += l.flush(r, s)
		}
	}
	return sent
}

// flush writes the packets that wait.
func (l *Link) flush(r *route, s *sender) int {
	if s.n == 0 {
		return 0
	}
	result := s.writer.Write(r.path, s.packets[:s.n])
	clear(s.packets[:s.n])
	s.n = 0
	l.count(r, result)
	return result.Packets
}

// encapsulate puts the session's header in front of a frame: into its headroom
// or, where that is too small, into head.
func (l *Link) encapsulate(r *route, f pseudowire.Frame, head *[wire.MaxDataHeaderLen + gso.HeaderMax]byte) transport.Packet {
	n := len(r.header)
	p := transport.Packet{DSCP: f.SendDSCP}
	var h []byte
	if f.Headroom() >= n {
		p.Body = f.Prepend(n)
		h = p.Body[:n]
	} else {
		h = head[:n]
		p.Head, p.Body = h, f.Bytes()
	}
	copy(h, r.header)
	if l.params.PeerSequencing != pseudowire.NoSequencing && l.sequenced(f) {
		wire.PutSequence(h[n-4:], l.next.Add(1)-1)
	}
	return p
}

// sequenced reports whether the frame carries a number. RFC 3931 section 5.4.4:
// "if an implementation is unable to perform such classification within L2
// frames, all packets MUST be provided with sequence numbers".
func (l *Link) sequenced(f pseudowire.Frame) bool {
	return l.isIP == nil || !l.isIP(f.Bytes())
}

// isIP returns what tells the IP packets among the frames of a type, nil for a type
// whose frames cannot be classified.
func isIP(t pseudowire.Type) func(frame []byte) bool {
	switch t {
	case pseudowire.Ethernet, pseudowire.EthernetVLAN:
		return ethernet.IsIP
	case pseudowire.FrameRelay:
		return framerelay.IsIP
	case pseudowire.HDLC:
		return hdlc.IsIP
	case pseudowire.PPP:
		return ppp.IsIP
	}
	return nil
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

	slabs   [][]pseudowire.Frame // for what is pending, not in use
	shelves []*shelf             // empty ones
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
	l, hold := in.link, in.link.params.ReorderTimeout > 0
	for in.shelf != nil && in.sequence.beyond(n) {
		r.release(in, in.shelf.gap(in.sequence.expected)) // it has waited in vain
	}
	v, lost, oos := in.sequence.judge(n, hold)
	if oos {
		l.rxOOS.Add(1)
	}
	if lost > 0 {
		l.rxLost.Add(uint64(lost))
	}
	if v == old && len(in.pending) == 0 && l.silent() { // what pends came just now
		in.sequence.accept(n)
		v = inOrder
	}
	switch v {
	case old:
		return pseudowire.DropSequence
	case early:
		if in.shelf == nil {
			in.shelf = r.takeShelf()
		}
		if !in.shelf.put(n, f) {
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
	if in.shelf != nil {
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
	r.flush(in, time.Now())
	if in.shelf.count == 0 {
		if len(r.shelves) < spareShelves {
			r.shelves = append(r.shelves, in.shelf)
		}
		in.shelf = nil
	}
}

// takeShelf returns an empty shelf.
func (r *Receiver) takeShelf() (s *shelf) {
	last := len(r.shelves) - 1
	if last < 0 {
		return new(shelf)
	}
	s, r.shelves = r.shelves[last], r.shelves[:last]
	return s
}

// pend puts a good frame among those that the next flush delivers.
func (r *Receiver) pend(in *inbound, f pseudowire.Frame) pseudowire.Drop {
	if in.link.ethernet() && f.Len() < ethernet.HeaderLen {
		return pseudowire.DropRunt
	}
	if len(in.pending) == batch {
		r.flush(in, time.Now())
	}
	if in.pending == nil {
		if len(r.touched) == manyLinks {
			r.flushTouched(time.Now())
		}
		r.touched = append(r.touched, in)
		in.pending = r.takeSlab()
	}
	in.pending = append(in.pending, f)
	return pseudowire.NotDropped
}

// takeSlab returns an empty slab.
func (r *Receiver) takeSlab() (s []pseudowire.Frame) {
	last := len(r.slabs) - 1
	if last < 0 {
		return make([]pseudowire.Frame, 0, batch)
	}
	s, r.slabs = r.slabs[last], r.slabs[:last]
	return s
}

// Flush implements dataplane.Receiver.
func (r *Receiver) Flush(now time.Time) (next time.Time) {
	r.flushTouched(now)
	waiting := r.holding[:0]
	for _, in := range r.holding {
		if in.shelf != nil && !now.Before(in.shelf.until) {
			// Give up the numbers before the first held frame; what is still
			// held after it waits from now.
			r.release(in, in.shelf.gap(in.sequence.expected))
			if in.shelf != nil {
				in.shelf.until = now.Add(in.link.params.ReorderTimeout)
			}
		}
		if in.shelf == nil {
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

func (r *Receiver) flushTouched(now time.Time) {
	for _, in := range r.touched {
		r.flush(in, now)
	}
	clear(r.touched)
	r.touched = r.touched[:0]
}

// flush delivers what is pending.
func (r *Receiver) flush(in *inbound, now time.Time) {
	if in.pending == nil {
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
	// Close relies on this order: first count, then look.
	l.delivering.Add(1)
	if deliver := l.deliver.Load(); deliver == nil {
		l.drops.add(pseudowire.DropDetached, len(in.pending))
	} else {
		l.drops.add(pseudowire.DropPortWrite, len(in.pending)-(*deliver)(in.pending))
	}
	l.delivering.Add(-1)
	r.slabs = append(r.slabs, in.pending[:0])
	in.pending = nil
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
