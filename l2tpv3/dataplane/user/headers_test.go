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
		{"level 1, not to be classified", pseudowire.NonIPSequencing, pseudowire.HDLC, ipFrame, true},
		// RFC 3931 section 5.4.4: "If a Data Sequencing Level of 2 is specified, all
		// traffic MUST be sequenced."
		{"level 2, IP", pseudowire.AllSequencing, pseudowire.Ethernet, ipFrame, true},
		{"level 2, ARP", pseudowire.AllSequencing, pseudowire.Ethernet, arpFrame, true},
	} {
		got := sentTo(t, func(p *dataplane.Params) {
			p.Pseudowire, p.PeerSublayer, p.PeerSequencing = v.kind, pseudowire.DefaultSublayer, v.level
		}, v.frame)
		if n, sequenced, err := wire.Sequence(got[16:]); err != nil || sequenced != v.want || n != 0 {
			t.Errorf("%s: number %d, sequenced %v, %v; want %v", v.name, n, sequenced, err, v.want)
		}
	}
}
