package gso

import (
	"encoding/binary"

	"spanwire/pseudowire"
)

const (
	flows     = 16    // whose super-frames grow at the same time
	framesMax = 64    // in a super-frame: as many as Linux lets a UDP socket make of one
	lengthMax = 65535 // of a super-frame with all headers: a longer one Linux cuts at once
)

// A Super is a frame, or a super-frame in pieces: Head, then the pieces of Body
// in their order.
type Super struct {
	Head   []byte
	Body   [][]byte       // payload, where it arrived; none if Head is a whole frame
	GSO    pseudowire.GSO // the zero value for a frame that is as it came
	Frames int            // how many it stands for
	Valid  bool           // a frame as it came, whose checksums were verified: VIRTIO_NET_HDR_F_DATA_VALID
}

// A Joiner joins the frames of one batch, for one goroutine.
//
// It joins what GSO cuts into the same frames again, octet for octet: consecutive
// segments of one TCP connection with ACK and nothing else set, PSH on the last;
// datagrams of one UDP flow; all of one size, but the last may be shorter, and
// with the same Ethernet header, tags, TTL, TOS, flow label, TCP acknowledgment,
// window and options. Everything else it hands on as it is, and what has a wrong
// checksum above all, so that the receiver drops and counts it.
//
// IPv4 frames are joined only where their Identifications count up by one. RFC
// 6864 section 4.1 lets the sender of atomic datagrams (DF set) put any value
// there, and some put a constant; GSO would make a count of it. Nobody may look
// at the difference, but a wire makes none, so such frames stay as they are.
//
// Frames of a flow stay in their order, and frames between two IP addresses that
// no flow is known of (fragments, ICMP, ...) do not change places with those of
// the flows. Others may pass a super-frame that still grows.
type Joiner struct {
	// NoUDP leaves UDP as it is: for a reader without USO, as Linux before 6.2.
	NoUDP bool
	// IP says that the frames are packets of IP, without an Ethernet header.
	IP bool

	write func(Super)
	slots [flows]slot
	order [flows]uint8 // the used slots, oldest first, then the free ones
	used  int
}

// A slot is a super-frame that grows.
type slot struct {
	first  packet
	size   int    // payload of each frame but the last
	length int    // of the super-frame
	seq    uint32 // of the next frame
	id     uint16 // of the next frame
	frames int
	last   bool // there may be none behind the last one joined
	push   bool // which had PSH
	bodies [framesMax][]byte
	head   [ethernetLen + tagsJoined*tagLen + ipv6Len + 15*4]byte
}

// NewJoiner returns a Joiner that hands to write what it has joined, and what
// could not be. A Super may be used until write returns; write does not call the
// Joiner.
func NewJoiner(write func(Super)) *Joiner {
	j := &Joiner{write: write}
	for i := range j.order {
		j.order[i] = uint8(i)
	}
	return j
}

// Add takes the next frame of the batch. The frame must stay as it is until the
// next Flush.
func (j *Joiner) Add(frame []byte) {
	var p packet
	tags := tagsJoined
	if j.IP {
		tags = noEthernet
	}
	p.read(frame, tags)
	if p.flow {
		i := j.find(&p)
		if p.candidate && !(p.udp && j.NoUDP) && p.verify() {
			j.join(i, &p)
			return
		}
		if i >= 0 {
			j.end(i)
		}
	} else if p.addresses != nil {
		j.endBetween(p.addresses)
	}
	j.write(Super{Head: frame, Frames: 1})
}

// Flush ends all super-frames: the batch is over.
func (j *Joiner) Flush() {
	for j.used > 0 {
		j.end(0)
	}
}

// find returns the place in the order of the super-frame of p's flow, or -1.
func (j *Joiner) find(p *packet) int {
	for i := j.used - 1; i >= 0; i-- { // most frames follow one of their flow
		q := &j.slots[j.order[i]].first
		if q.ports == p.ports && q.udp == p.udp && string(q.addresses) == string(p.addresses) {
			return i
		}
	}
	return -1
}

// join adds p to the i-th super-frame if it may follow there, or begins another.
func (j *Joiner) join(i int, p *packet) {
	if i >= 0 {
		s := &j.slots[j.order[i]]
		if s.takes(p) {
			s.add(p)
			if s.last {
				j.end(i)
			}
			return
		}
		j.end(i)
	} else if j.used == flows {
		j.end(0)
	}
	s := &j.slots[j.order[j.used]]
	j.used++
	s.first = *p
	s.size = len(p.frame) - p.payload
	s.length = p.payload
	s.frames, s.push = 0, false
	s.add(p)
	if s.last {
		j.end(j.used - 1)
	}
}

// takes reports whether GSO would cut p again from behind what is in s, with
// which it shares the flow.
func (s *slot) takes(p *packet) bool {
	q := &s.first
	n := len(p.frame) - p.payload
	if p.payload != q.payload || p.ip != q.ip || n > s.size || s.length+n > lengthMax {
		return false
	}
	a, b := q.frame[:q.payload], p.frame[:p.payload]
	if string(a[:p.ip]) != string(b[:p.ip]) {
		return false
	}
	if p.v6 {
		// All but the Payload Length; the addresses are the flow's.
		if string(a[p.ip:p.ip+4]) != string(b[p.ip:p.ip+4]) || a[p.ip+7] != b[p.ip+7] {
			return false
		}
	} else {
		// Type of Service, flags, Time to Live; the rest is the flow's, or was
		// verified.
		x, y := a[p.ip:p.ip+ipv4Len], b[p.ip:p.ip+ipv4Len]
		if x[1] != y[1] || x[6] != y[6] || x[8] != y[8] || binary.BigEndian.Uint16(y[4:]) != s.id {
			return false
		}
	}
	if p.udp {
		return true
	}
	x, y := a[p.l4:], b[p.l4:]
	// All but the flags, of which the candidates have the same, and the checksum.
	return binary.BigEndian.Uint32(y[4:]) == s.seq && string(x[8:13]) == string(y[8:13]) &&
		string(x[14:16]) == string(y[14:16]) && string(x[18:]) == string(y[18:])
}

func (s *slot) add(p *packet) {
	body := p.frame[p.payload:]
	s.bodies[s.frames] = body
	s.frames++
	s.length += len(body)
	s.last = len(body) < s.size || s.frames == framesMax || s.length == lengthMax
	if !p.v6 {
		s.id = binary.BigEndian.Uint16(p.frame[p.ip+4:]) + 1
	}
	if !p.udp {
		s.seq = binary.BigEndian.Uint32(p.frame[p.l4+4:]) + uint32(len(body))
		s.push = p.frame[p.l4+13]&flagPSH != 0
		s.last = s.last || s.push
	}
}

// end hands on the i-th super-frame.
func (j *Joiner) end(i int) {
	n := j.order[i]
	copy(j.order[i:], j.order[i+1:j.used])
	j.used--
	j.order[j.used] = n
	j.write(j.slots[n].super())
}

func (j *Joiner) endBetween(addresses []byte) {
	for i := 0; i < j.used; {
		if string(j.slots[j.order[i]].first.addresses) == string(addresses) {
			j.end(i)
		} else {
			i++
		}
	}
}

func (s *slot) super() Super {
	p := &s.first
	if s.frames == 1 {
		return Super{Head: p.frame, Frames: 1, Valid: true}
	}
	head := s.head[:copy(s.head[:], p.frame[:p.payload])]
	ip, l4 := head[p.ip:], head[p.l4:]
	length := s.length - p.l4
	if p.v6 {
		binary.BigEndian.PutUint16(ip[4:], uint16(length))
	} else {
		binary.BigEndian.PutUint16(ip[2:], uint16(s.length-p.ip))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^fold(sum(ip[:ipv4Len])))
	}
	g := pseudowire.GSO{HeaderLen: uint16(p.payload), Size: uint16(s.size), ChecksumStart: uint16(p.l4)}
	switch {
	case p.udp:
		g.Kind, g.ChecksumOffset = pseudowire.GSOUDP, udpChecksum
		binary.BigEndian.PutUint16(l4[4:], uint16(length))
	case p.v6:
		g.Kind, g.ChecksumOffset = pseudowire.GSOTCPv6, tcpChecksum
	default:
		g.Kind, g.ChecksumOffset = pseudowire.GSOTCPv4, tcpChecksum
	}
	if s.push {
		l4[13] |= flagPSH
	}
	binary.BigEndian.PutUint16(l4[g.ChecksumOffset:], fold(p.pseudoSum(length)))
	return Super{Head: head, Body: s.bodies[:s.frames], GSO: g, Frames: s.frames}
}

// A packet is what a Joiner knows of a frame.
type packet struct {
	frame     []byte
	addresses []byte // source and destination; nil if it is not IP
	flow      bool   // it is of TCP or UDP, and these are known:
	v6, udp   bool
	ports     uint32
	ip, l4    int
	candidate bool // it may be joined if its checksums are right
	payload   int
}

func (p *packet) read(frame []byte, tags int) {
	p.frame = frame
	t, at, ok := network(frame, tags)
	if !ok {
		return
	}
	ip := frame[at:]
	var protocol byte
	var headerLen, length int
	switch {
	case t == typeIPv4 && len(ip) >= ipv4Len && ip[0]>>4 == 4:
		p.addresses = ip[12:20]
		if ip[0]&15 != ipv4Len/4 || binary.BigEndian.Uint16(ip[6:])&^dontFragment != 0 {
			return
		}
		protocol, headerLen, length = ip[9], ipv4Len, int(binary.BigEndian.Uint16(ip[2:]))
	case t == typeIPv6 && len(ip) >= ipv6Len && ip[0]>>4 == 6:
		p.addresses, p.v6 = ip[8:40], true
		protocol, headerLen, length = ip[6], ipv6Len, ipv6Len+int(binary.BigEndian.Uint16(ip[4:]))
	default:
		return
	}
	p.ip, p.l4 = at, at+headerLen
	l4 := ip[headerLen:]
	whole := length == len(ip) // neither cut off nor padded
	switch {
	case protocol == protocolTCP && len(l4) >= tcpLen:
		tcp := int(l4[12]>>4) * 4
		p.payload = p.l4 + tcp
		p.candidate = whole && tcp >= tcpLen && tcp < len(l4) && l4[13]&^flagPSH == flagACK
	case protocol == protocolUDP && len(l4) >= udpLen:
		p.udp = true
		p.payload = p.l4 + udpLen
		p.candidate = whole && udpLen < len(l4) && int(binary.BigEndian.Uint16(l4[4:])) == len(l4)
	default:
		return
	}
	p.flow, p.ports = true, binary.BigEndian.Uint32(l4)
}

// verify reports whether the checksums of a candidate are right, and are written
// as GSO writes them: of the two zeros of ones' complement, 0xffff for UDP and 0
// for all others. A UDP datagram without a checksum would get one.
func (p *packet) verify() bool {
	if !p.v6 {
		ip := p.frame[p.ip:p.l4]
		if binary.BigEndian.Uint16(ip[10:]) == 0xffff || fold(sum(ip)) != 0xffff {
			return false
		}
	}
	l4 := p.frame[p.l4:]
	if p.udp && binary.BigEndian.Uint16(l4[udpChecksum:]) == 0 ||
		!p.udp && binary.BigEndian.Uint16(l4[tcpChecksum:]) == 0xffff {
		return false
	}
	return fold(p.pseudoSum(len(l4))+sum(l4)) == 0xffff
}

// pseudoSum returns the sum of the pseudo-header of length octets of TCP or UDP.
// RFC 9293 section 3.1, RFC 8200 section 8.1.
func (p *packet) pseudoSum(length int) uint64 {
	protocol := uint64(protocolTCP)
	if p.udp {
		protocol = protocolUDP
	}
	return sum(p.addresses) + protocol + uint64(length)
}
