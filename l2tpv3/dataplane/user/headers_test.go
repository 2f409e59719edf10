package user

import (
	"encoding/hex"
	"net"
	"net/netip"
	"testing"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// sentTo has a Link with these parameters send one frame, and returns the octets
// of the datagram.
func sentTo(t *testing.T, edit func(p *dataplane.Params), frame []byte) []byte {
	t.Helper()
	ear, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	p := params(t)
	edit(&p)
	e := newEnd(t, "127.0.0.2:0", p)
	e.reach(netip.MustParseAddrPort(ear.LocalAddr().String()))
	buf := append(make([]byte, pseudowire.Headroom), frame...)
	e.link.Send([]pseudowire.Frame{pseudowire.NewFrame(buf, pseudowire.Headroom)})
	ear.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 2048)
	n, err := ear.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

var (
	ipFrame  = append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45}, make([]byte, 45)...)
	tagged   = append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 7, 0x08, 0x00, 0x45}, make([]byte, 45)...)
	arpFrame = append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x06, 0}, make([]byte, 45)...)
)

// TestHeadersAreThePeers wants on every frame what the peer has asked for, whatever
// we have asked for ourselves.
func TestHeadersAreThePeers(t *testing.T) {
	assigned, err := cookie.Parse("18f7e6d5c4b3a291")
	if err != nil {
		t.Fatal(err)
	}
	// RFC 3931 section 5.4.4: "The remote LCCE MUST then send all data packets
	// associated with this session using this value."
	//
	// RFC 3931 section 5.4.4: "All data messages sent to a peer MUST use the
	// Assigned Cookie sent by the peer in this AVP."
	//
	// RFC 3931 section 4.1: "The Cookie MUST be set to the configured or signaled
	// random value for this session."
	//
	// RFC 3931 section 5.4.4: "If this AVP is received and has a value other than
	// zero, the receiving LCCE MUST include the identified L2-Specific Sublayer in
	// its outgoing data messages."
	got := sentTo(t, func(p *dataplane.Params) {
		p.PeerSessionID, p.SendCookie = 0xf0e02002, assigned
		p.PeerSublayer = pseudowire.DefaultSublayer // and none in what we receive
	}, ipFrame)
	if h := hex.EncodeToString(got[:20]); h != "00030000"+"f0e02002"+"18f7e6d5c4b3a291"+"00000000" || len(got) != 20+len(ipFrame) {
		t.Errorf("header %s of %d octets", h, len(got))
	}
	got = sentTo(t, func(p *dataplane.Params) {
		p.PeerSessionID, p.SendCookie = 7, cookie.Cookie{}
		p.Sublayer = pseudowire.DefaultSublayer // in what we receive alone
	}, ipFrame)
	if h := hex.EncodeToString(got[:8]); h != "00030000"+"00000007" || len(got) != 8+len(ipFrame) {
		t.Errorf("header %s of %d octets", h, len(got))
	}
}

// TestSequencingLevels wants numbers on the frames that the level names.
func TestSequencingLevels(t *testing.T) {
	for _, v := range []struct {
		name  string
		level pseudowire.Sequencing
		kind  pseudowire.Type
		frame []byte
		want  bool
	}{
		{"level 0", pseudowire.NoSequencing, pseudowire.Ethernet, arpFrame, false},
		// RFC 3931 section 5.4.4: "All traffic that can be classified as IP MUST be
		// sent with no sequencing (i.e., the S bit in the L2-Specific Sublayer is
		// set to zero)."
		{"level 1, IP", pseudowire.NonIPSequencing, pseudowire.Ethernet, ipFrame, false},
		{"level 1, ARP", pseudowire.NonIPSequencing, pseudowire.Ethernet, arpFrame, true},
		// RFC 3931 section 5.4.4: "If a packet is unable to be classified at all
		// (e.g., because it has been compressed or encrypted at layer 2) or if an
		// implementation is unable to perform such classification within L2 frames,
		// all packets MUST be provided with sequence numbers (essentially falling
		// back to a Data Sequencing Level of 2)."
		{"level 1, not to be classified", pseudowire.NonIPSequencing, 0x000a, ipFrame, true},
		{"level 1, not to be classified as HDLC", pseudowire.NonIPSequencing, pseudowire.HDLC, ipFrame, true},
		{"level 1, compressed PPP", pseudowire.NonIPSequencing, pseudowire.PPP, []byte{0xff, 0x03, 0, 0xfd, 0x90}, true},
		{"level 1, IP in a VLAN", pseudowire.NonIPSequencing, pseudowire.EthernetVLAN, tagged, false},
		{"level 1, IP in Frame Relay", pseudowire.NonIPSequencing, pseudowire.FrameRelay, []byte{0x18, 0x41, 0x03, 0xcc, 0x45}, false},
		// "a PPP control packet or NETBIOS frame encapsulated by Frame Relay before
		// being tunneled"
		{"level 1, NetBIOS in Frame Relay", pseudowire.NonIPSequencing, pseudowire.FrameRelay, []byte{0x18, 0x41, 0x03, 0x08, 0x4c, 0x80, 0xf0}, true},
		{"level 1, IP in HDLC", pseudowire.NonIPSequencing, pseudowire.HDLC, []byte{0x0f, 0x00, 0x08, 0x00, 0x45}, false},
		{"level 1, keepalive in HDLC", pseudowire.NonIPSequencing, pseudowire.HDLC, []byte{0x8f, 0x00, 0x80, 0x35, 0x00}, true},
		{"level 1, IP in PPP", pseudowire.NonIPSequencing, pseudowire.PPP, []byte{0xff, 0x03, 0, 0x21, 0x45}, false},
		{"level 1, LCP", pseudowire.NonIPSequencing, pseudowire.PPP, []byte{0xff, 0x03, 0xc0, 0x21, 0x09}, true},
		// RFC 3931 section 5.4.4: "If a Data Sequencing Level of 2 is specified, all
		// traffic MUST be sequenced."
		{"level 2, IP", pseudowire.AllSequencing, pseudowire.Ethernet, ipFrame, true},
		{"level 2, ARP", pseudowire.AllSequencing, pseudowire.Ethernet, arpFrame, true},
		{"level 2, IP in PPP", pseudowire.AllSequencing, pseudowire.PPP, []byte{0xff, 0x03, 0, 0x21, 0x45}, true},
	} {
		got := sentTo(t, func(p *dataplane.Params) {
			p.Pseudowire, p.PeerSublayer, p.PeerSequencing = v.kind, pseudowire.DefaultSublayer, v.level
		}, v.frame)
		if n, sequenced, err := wire.Sequence(got[16:]); err != nil || sequenced != v.want || n != 0 {
			t.Errorf("%s: number %d, sequenced %v, %v; want %v", v.name, n, sequenced, err, v.want)
		}
	}
}

// superFrame returns a TCP super-frame as the kernel hands one over: its checksum
// field has the sum of the pseudo-header.
func superFrame(payload, size int) pseudowire.Frame {
	b := make([]byte, pseudowire.Headroom, pseudowire.Headroom+54+payload)
	b = append(b, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00)
	length := 40 + payload
	b = append(b, 0x45, 0, byte(length>>8), byte(length), 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2)
	pseudo := 0x0a00 + 1 + 0x0a00 + 2 + 6 + length - 20
	pseudo = pseudo&0xffff + pseudo>>16
	b = append(b, 0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, byte(pseudo>>8), byte(pseudo), 0, 0)
	for i := range payload {
		b = append(b, byte(i))
	}
	f := pseudowire.NewFrame(b, pseudowire.Headroom)
	f.GSO = pseudowire.GSO{Kind: pseudowire.GSOTCPv4, HeaderLen: 54, Size: uint16(size), ChecksumStart: 34, ChecksumOffset: 16}
	return f
}

// TestSuperFrameIsCut wants the frames that a super-frame stands for, each with a
// header of its own and the next number, and what cannot be cut counted.
func TestSuperFrameIsCut(t *testing.T) {
	p := params(t)
	p.Sublayer, p.PeerSublayer = pseudowire.DefaultSublayer, pseudowire.DefaultSublayer
	p.Sequencing, p.PeerSequencing = pseudowire.AllSequencing, pseudowire.AllSequencing
	a, b := newEnd(t, "127.0.0.1:0", p), newEnd(t, "127.0.0.2:0", mirror(p))
	a.reach(b.conn.LocalAddr())
	b.reach(a.conn.LocalAddr())
	small := func() pseudowire.Frame {
		return pseudowire.NewFrame(append(make([]byte, pseudowire.Headroom), arpFrame...), pseudowire.Headroom)
	}
	bad := superFrame(3000, 0)
	a.link.Send([]pseudowire.Frame{small(), superFrame(100*1000+10, 1000), bad, small()})
	b.take(2)
	if n := a.link.Stats().Drops[pseudowire.DropMalformed]; n != 2 {
		t.Errorf("%d malformed, want 2: longer than an IP packet, and of size 0", n)
	}
	a.link.Send([]pseudowire.Frame{small(), superFrame(60*1000+10, 1000), small()})
	b.take(63)
	if len(b.got) != 65 {
		t.Fatalf("%d frames came, want 65; sent %+v, received %+v, %v", len(b.got), a.link.Stats(), b.link.Stats(), b.plane.Drops())
	}
	seq := uint32(1)
	for i, f := range b.got[3:64] {
		want := 54 + 1000
		if i == 60 {
			want = 54 + 10
		}
		if got := uint32(f[38])<<24 | uint32(f[39])<<16 | uint32(f[40])<<8 | uint32(f[41]); len(f) != want || got != seq {
			t.Fatalf("frame %d: %d octets, sequence number %d; want %d, %d", i, len(f), got, want, seq)
		}
		seq += 1000
	}
	if s := b.link.Stats(); s.RxLost != 0 || s.RxOOSPackets != 0 || s.Drops != [pseudowire.Drops]uint64{} {
		t.Errorf("%d lost, %d out of sequence, drops %v", s.RxLost, s.RxOOSPackets, s.Drops)
	}
}
