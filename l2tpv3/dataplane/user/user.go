// Package user is the dataplane in user space: it puts headers before frames and
// takes them off, checks Session ID, cookie, source and sequence in that order
// (RFC 3931 sections 4.5, 4.6 and 8.2), and counts what it drops. L2TPv2 has no cookie:
// there the source is all that tells a peer. A frame's walk takes no lock, makes no copy
// and allocates nothing.
package user

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/pseudowire/gso"
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
	tableV2 table // by both IDs
	routes  routes
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
// Receiver while they are received. And where thousands do carry something, each
// has left the processor's cache when its next frame comes: what a frame touches of
// a Link is one line of the cache, which leads to nothing else that is the Link's
// alone.
type Link struct {
	out outbound
	*rest
	in inbound
}

// cacheLine is the octets of a line of the processor's cache. A Link is two of them,
// as the memory allocator keeps them whole: for sending with the pointer to the
// rest, and for receiving.
const cacheLine = 64

// A rest is what frames do not need of a Link, unless they are in sequence or are
// dropped.
type rest struct {
	plane  *Plane
	table  *table // the one of the plane's that the Link is in
	params dataplane.Params
	isIP   func(frame []byte) bool // of what is sent without a number; nil: nothing is

	mu     sync.Mutex // for SetPath, Attach and Close, and what changes with a frame but seldom
	closed bool

	order                      atomic.Pointer[order] // nil: nothing with a number has come
	rxOOS, rxReordered, rxLost atomic.Uint64

	drops drops
}

// An outbound is what sending a frame touches of a Link.
type outbound struct {
	route          atomic.Pointer[route] // nil: none
	packets, bytes atomic.Uint64
	next           atomic.Uint32 // the next sequence number
	form           atomic.Uint32 // a form: what of header stands before frames now
	header         [wire.MaxDataHeaderLen]byte
}

// An inbound is what receiving a frame touches of a Link.
type inbound struct {
	route          atomic.Pointer[route]                        // outbound's
	deliver        atomic.Pointer[func([]pseudowire.Frame) int] // nil: nowhere
	packets, bytes atomic.Uint64
	lastReceived   atomic.Int64  // Unix nanoseconds
	delivering     atomic.Int32  // calls of deliver that run
	told           atomic.Int32  // what the frames before told: see suspect and follow
	place          atomic.Uint32 // among what is pending at a Receiver, if anything is
	cookie         cookie.Cookie
	sublayer       uint8 // octets
	ethernet       bool
	role           role // in L2TPv2
}

// An order is what is known of the sequence of a Link's frames over one Conn,
// touched by the one goroutine that reads it. A Link that moves to another Conn
// begins a new one.
type order struct {
	link     *Link
	conn     *transport.Conn
	sequence sequence
	shelf    *shelf // nil: nothing is held
	holding  bool   // in the Receiver's list of those
}

// Open implements dataplane.Plane.
func (p *Plane) Open(params dataplane.Params) (dataplane.Link, error) {
	if err := params.Check(); err != nil {
		return nil, err
	}
	l := &Link{rest: &rest{plane: p, table: &p.table, params: params}}
	if params.PeerSequencing == pseudowire.NonIPSequencing {
		l.isIP = isIP(params.Pseudowire)
	}
	ethernet := params.Pseudowire == pseudowire.Ethernet || params.Pseudowire == pseudowire.EthernetVLAN
	out, in := &l.out, &l.in
	header := wire.AppendDataHeader(out.header[:0], wire.UDP, params.PeerSessionID, params.SendCookie, params.PeerSublayer)
	n := noNumber
	if params.PeerSequencing != pseudowire.NoSequencing {
		n = number
	}
	out.form.Store(newForm(0, len(header), n))
	in.cookie, in.sublayer, in.ethernet = params.ReceiveCookie, uint8(params.Sublayer.Len()), ethernet
	if other := p.table.insert(l); other != nil {
		return nil, fmt.Errorf("session %s: session ID %d belongs to session %s already", params.Name, params.SessionID, other.params.Name)
	}
	return l, nil
}

// Attach implements dataplane.Link.
func (l *Link) Attach(deliver func([]pseudowire.Frame) int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if deliver == nil || l.closed {
		l.in.deliver.Store(nil)
		return
	}
	l.in.deliver.Store(&deliver)
}

// SetPath implements dataplane.Link.
func (l *Link) SetPath(conn *transport.Conn, path *transport.Path) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if path == nil || l.closed || l.version2() && conn.Config().Encap != wire.UDP {
		l.enter(nil)
		return
	}
	l.enter(l.plane.routes.acquire(conn, path))
}

// enter has the Link take a route instead of its former one, each way in one step,
// so that no frame falls between the two.
func (l *Link) enter(r *route) {
	l.in.route.Store(r)
	if former := l.out.route.Swap(r); former != nil {
		l.plane.routes.release(former)
	}
}

// Close implements dataplane.Link.
func (l *Link) Close() {
	l.table.remove(l)
	l.mu.Lock()
	l.closed = true
	l.enter(nil)
	l.in.deliver.Store(nil)
	l.mu.Unlock()
	// Whoever counts itself as delivering from now on finds no deliver.
	for l.in.delivering.Load() > 0 {
		time.Sleep(50 * time.Microsecond)
	}
}

// Send implements dataplane.Link.
func (l *Link) Send(frames []pseudowire.Frame) (sent int) {
	r := l.out.route.Load()
	if r == nil {
		l.drops.add(pseudowire.DropNoPeer, len(frames))
		return 0
	}
	s := r.spares.Get()
	if s == nil {
		s = &sender{writer: r.conn.NewWriter()}
	}
	b := l.out.before(r)
	for _, f := range frames {
		if f.GSO.Kind != pseudowire.GSONone {
			sent += l.cut(r, b, s, f)
			continue
		}
		if f.GSO.ChecksumStart != 0 {
			var err error
			if f, err = gso.Complete(f); err != nil {
				l.drops.add(pseudowire.DropMalformed, 1)
				continue
			}
		}
		l.encapsulate(b, f, &s.packets[s.n], &s.heads[s.n])
		if s.n++; s.n == batch {
			sent += l.flush(r, b, s)
		}
	}
	sent += l.flush(r, b, s)
	r.spares.Put(s)
	return min(sent, len(frames)) // a super-frame is more than one
}

// cut sends the frames that a super-frame stands for, each with headers of its own
// and its part of the payload where it is.
func (l *Link) cut(r *route, b before, s *sender, f pseudowire.Frame) (sent int) {
	if err := s.cutter.Init(f); err != nil {
		l.drops.add(pseudowire.DropMalformed, 1)
		return 0
	}
	sequenced := l.sequenced(b, f)
	n := len(b.header)
	for s.cutter.Count() > 0 {
		h := append(s.heads[s.n][:0], b.header...)
		if sequenced {
			l.out.putNumber(b, h[n-4:])
		}
		h, payload, _ := s.cutter.Next(h)
		s.packets[s.n] = transport.Packet{Head: h, Body: payload, DSCP: f.SendDSCP}
		if s.n++; s.n == batch {
			sent += l.flush(r, b, s)
		}
	}
	return sent
}

// flush writes the packets that wait.
func (l *Link) flush(r *route, b before, s *sender) int {
	if s.n == 0 {
		return 0
	}
	result := s.writer.Write(r.path, s.packets[:s.n])
	clear(s.packets[:s.n])
	s.n = 0
	l.count(b, result)
	return result.Packets
}

// encapsulate makes p, which is empty, of a frame and the session's header in front
// of it: in its headroom or, where that is too small, in head.
func (l *Link) encapsulate(b before, f pseudowire.Frame, p *transport.Packet, head *[wire.MaxDataHeaderLen + gso.HeaderMax]byte) {
	n := len(b.header)
	p.DSCP = f.SendDSCP
	var h []byte
	if f.Headroom() >= n {
		p.Body = f.Prepend(n)
		h = p.Body[:n]
	} else {
		h = head[:n]
		p.Head, p.Body = h, f.Bytes()
	}
	copy(h, b.header)
	if l.sequenced(b, f) {
		l.out.putNumber(b, h[n-4:])
	}
}

func (l *Link) count(b before, s transport.Sent) {
	l.out.packets.Add(uint64(s.Packets))
	l.out.bytes.Add(uint64(s.Octets - s.Packets*len(b.header)))
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
	pending []*slab  // of one Link each, which knows its place
	holding []*order // with frames on the shelf

	slabs   []*slab  // not in use
	shelves []*shelf // empty ones
}

// A slab is the frames of one Link that were judged good in this batch.
type slab struct {
	link   *Link
	n      int
	frames [batch]pseudowire.Frame
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
	f, in := d.Frame, &l.in
	sublayer := int(in.sublayer)
	if f.Len() < in.cookie.Len()+sublayer {
		return pseudowire.DropShort
	}
	if !in.cookie.Match(f.Bytes()) {
		return pseudowire.DropCookie
	}
	if !r.fromPeer(l, d) {
		return pseudowire.DropSource
	}
	f = f.Skip(in.cookie.Len())
	if sublayer == 0 {
		return r.pend(l, f)
	}
	n, sequenced, _ := wire.Sequence(f.Bytes())
	f = f.Skip(sublayer)
	switch {
	case l.params.Sequencing == pseudowire.NoSequencing:
		// RFC 3931 section 5.4.4: "If sequence numbers are sent, they will be
		// ignored upon receipt."
		return r.pend(l, f)
	case !sequenced && l.params.Sequencing == pseudowire.AllSequencing:
		return pseudowire.DropSequence
	case !sequenced:
		return r.pend(l, f)
	}
	return r.sequence(l, f, n)
}

// fromPeer reports whether a Link's datagram is from its peer, and answers from where it
// was sent to.
func (r *Receiver) fromPeer(l *Link, d *transport.Datagram) bool {
	route := l.in.route.Load()
	if route == nil || route.conn != r.conn || route.peer != d.From {
		return false
	}
	if route.follow && route.path.Local() != d.To {
		l.answerFrom(route, d.To)
	}
	return true
}

// answerFrom makes what we send leave from the address that the peer sends to.
func (l *Link) answerFrom(r *route, local netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out.route.Load() != r {
		return
	}
	if next, err := l.plane.routes.turn(r, local); err == nil {
		l.enter(next)
	}
}

// orderOver returns the order of what comes over conn, for the goroutine that reads
// conn; nil: the Link has moved just now.
func (l *Link) orderOver(conn *transport.Conn) *order {
	if o := l.order.Load(); o != nil && o.conn == conn {
		return o
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.out.route.Load(); r == nil || r.conn != conn {
		return nil
	}
	o := &order{link: l, conn: conn, sequence: sequence{mask: wire.SequenceMask}}
	if l.version2() {
		o.sequence.mask = wire.SequenceMaskV2
	}
	l.order.Store(o)
	return o
}

// sequence delivers, holds or drops a frame by its number.
func (r *Receiver) sequence(l *Link, f pseudowire.Frame, n uint32) pseudowire.Drop {
	o, hold := l.orderOver(r.conn), l.params.ReorderTimeout > 0
	if o == nil {
		return pseudowire.DropSource
	}
	for o.shelf != nil && o.sequence.beyond(n) {
		r.release(o, o.shelf.gap(&o.sequence)) // it has waited in vain
	}
	v, lost, oos := o.sequence.judge(n, hold)
	if oos {
		l.rxOOS.Add(1)
	}
	if lost > 0 {
		l.rxLost.Add(uint64(lost))
	}
	if v == old && !l.version2() && r.slabOf(l) == nil && l.silent() { // what pends came just now
		o.sequence.accept(n)
		v = inOrder
	}
	switch v {
	case old:
		return pseudowire.DropSequence
	case early:
		if o.shelf == nil {
			o.shelf = r.takeShelf()
		}
		if !o.shelf.put(n, f) {
			return pseudowire.DropSequence // a duplicate
		}
		if o.shelf.count == 1 {
			o.shelf.until = time.Now().Add(l.params.ReorderTimeout)
		}
		if !o.holding {
			o.holding = true
			r.holding = append(r.holding, o)
		}
		return pseudowire.NotDropped
	}
	why := r.pend(l, f)
	if o.shelf != nil {
		r.release(o, 0)
	}
	return why
}

// silent reports whether nothing has come for so long that an old number is no
// late one: the peer has begun to count anew, or a long dropout hides how far it
// has counted.
func (l *Link) silent() bool {
	return time.Now().UnixNano()-l.in.lastReceived.Load() > int64(resyncSilence)
}

// release delivers the held frames that are next, passing over up to skip numbers
// in all that did not come. It flushes, for the memory of what it delivers is the
// shelf's.
func (r *Receiver) release(o *order, skip int) {
	for o.shelf.count > 0 {
		f, ok := o.shelf.take(o.sequence.expected)
		if !ok && skip == 0 {
			break
		}
		o.sequence.accept(o.sequence.expected)
		if !ok {
			skip--
			o.link.rxLost.Add(1)
			continue
		}
		o.link.rxReordered.Add(1)
		if why := r.pend(o.link, f); why != pseudowire.NotDropped {
			o.link.drops.add(why, 1)
		}
	}
	if s := r.slabOf(o.link); s != nil {
		s.flush(time.Now())
	}
	if o.shelf.count == 0 {
		if len(r.shelves) < spareShelves {
			r.shelves = append(r.shelves, o.shelf)
		}
		o.shelf = nil
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
func (r *Receiver) pend(l *Link, f pseudowire.Frame) pseudowire.Drop {
	if l.in.ethernet && f.Len() < ethernet.HeaderLen {
		return pseudowire.DropRunt
	}
	s := r.slabOf(l)
	if s == nil {
		s = r.takeSlab(l)
	}
	s.frames[s.n] = f
	if s.n++; s.n == batch {
		s.flush(time.Now())
	}
	return pseudowire.NotDropped
}

// slabOf returns where a Link's frames are pending, or were in this batch; nil:
// nowhere.
func (r *Receiver) slabOf(l *Link) *slab {
	if i := int(l.in.place.Load()); i < len(r.pending) && r.pending[i].link == l {
		return r.pending[i]
	}
	return nil
}

// takeSlab gives a Link an empty slab.
func (r *Receiver) takeSlab(l *Link) (s *slab) {
	if len(r.pending) == manyLinks {
		r.flushPending(time.Now())
	}
	if last := len(r.slabs) - 1; last < 0 {
		s = new(slab)
	} else {
		s, r.slabs = r.slabs[last], r.slabs[:last]
	}
	s.link = l
	l.in.place.Store(uint32(len(r.pending)))
	r.pending = append(r.pending, s)
	return s
}

// Flush implements dataplane.Receiver.
func (r *Receiver) Flush(now time.Time) (next time.Time) {
	r.flushPending(now)
	waiting := r.holding[:0]
	for _, o := range r.holding {
		if o.shelf != nil && !now.Before(o.shelf.until) {
			// Give up the numbers before the first held frame; what is still
			// held after it waits from now.
			r.release(o, o.shelf.gap(&o.sequence))
			if o.shelf != nil {
				o.shelf.until = now.Add(o.link.params.ReorderTimeout)
			}
		}
		if o.shelf == nil {
			o.holding = false
			continue
		}
		waiting = append(waiting, o)
		if next.IsZero() || o.shelf.until.Before(next) {
			next = o.shelf.until
		}
	}
	clear(r.holding[len(waiting):])
	r.holding = waiting
	return next
}

func (r *Receiver) flushPending(now time.Time) {
	for _, s := range r.pending {
		s.flush(now)
		s.link = nil
	}
	r.slabs = append(r.slabs, r.pending...)
	clear(r.pending)
	r.pending = r.pending[:0]
}

// flush delivers what is pending.
func (s *slab) flush(now time.Time) {
	if s.n == 0 {
		return
	}
	l, frames := s.link, s.frames[:s.n]
	if l.in.ethernet {
		l.suspect(frames[0])
	}
	octets := 0
	for i := range frames {
		octets += frames[i].Len()
	}
	l.in.packets.Add(uint64(len(frames)))
	l.in.bytes.Add(uint64(octets))
	l.in.lastReceived.Store(now.UnixNano())
	// Close relies on this order: first count, then look.
	l.in.delivering.Add(1)
	if deliver := l.in.deliver.Load(); deliver == nil {
		l.drops.add(pseudowire.DropDetached, len(frames))
	} else if taken := (*deliver)(frames); taken < len(frames) {
		l.drops.add(pseudowire.DropPortWrite, len(frames)-taken)
	}
	l.in.delivering.Add(-1)
	s.n = 0
}

// suspect looks whether a frame makes sense only four octets off: then one side
// has a sublayer and the other has none.
func (l *Link) suspect(f pseudowire.Frame) {
	if ethernet.Plausible(f.Bytes()) {
		if l.in.told.Load() != 0 {
			l.in.told.Store(0)
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
		l.in.told.Add(1)
	}
}

// Stats implements dataplane.Link.
func (l *Link) Stats() dataplane.Stats {
	s := dataplane.Stats{
		TxPackets:    l.out.packets.Load(),
		TxBytes:      l.out.bytes.Load(),
		RxPackets:    l.in.packets.Load(),
		RxBytes:      l.in.bytes.Load(),
		RxOOSPackets: l.rxOOS.Load(),
		RxReordered:  l.rxReordered.Load(),
		RxLost:       l.rxLost.Load(),
		Drops:        l.drops.load(),
		Misread:      l.in.ethernet && l.in.told.Load() >= misreadFrames,
	}
	s.LastReceived = l.LastReceived()
	return s
}

// LastReceived implements dataplane.Link.
func (l *Link) LastReceived() (at time.Time) {
	if t := l.in.lastReceived.Load(); t != 0 {
		at = time.Unix(0, t)
	}
	return at
}

// misreadFrames is how many frames in a row must make sense only four octets off
// before status says so.
const misreadFrames = 4
