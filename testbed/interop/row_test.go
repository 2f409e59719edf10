package interop

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"spanwire/testbed/interop/station"
)

// The wire between the two: Spanwire at one end, the guest's kernel at the other.
const wireMTU = 1500

var (
	ours4, theirs4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	ours6, theirs6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

// A row is one session, in a tunnel of its own, of the matrix.
type row struct {
	index    int
	udp, v6  bool
	cookie   int // octets
	sublayer bool
	sequence bool
}

// rows are the matrix: {UDP, IP 115} x {IPv4, IPv6} x cookie {0, 4, 8} x {no
// sublayer, the Default one, the same with every frame sequenced}.
func rows() []row {
	var all []row
	for _, udp := range []bool{true, false} {
		for _, v6 := range []bool{false, true} {
			for _, cookie := range []int{0, 4, 8} {
				for _, above := range []struct{ sublayer, sequence bool }{{false, false}, {true, false}, {true, true}} {
					all = append(all, row{len(all), udp, v6, cookie, above.sublayer, above.sequence})
				}
			}
		}
	}
	return all
}

func (r row) String() string {
	s := "ip"
	if r.udp {
		s = "udp"
	}
	family, sublayer := "4", "none"
	if r.v6 {
		family = "6"
	}
	if r.sublayer {
		sublayer = "default"
	}
	if r.sequence {
		sublayer += "-seq"
	}
	return fmt.Sprintf("%s%s-cookie%d-%s", s, family, r.cookie, sublayer)
}

// device is the name of the session's interface, at both ends.
func (r row) device() string { return fmt.Sprintf("pw%02d", r.index) }

// inner returns the addresses of those interfaces.
func (r row) inner() (ours, theirs netip.Prefix) {
	at := func(host byte) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 115, byte(r.index), host}), 24)
	}
	return at(1), at(2)
}

// sessions returns the Session IDs that either side receives on.
func (r row) sessions() (ours, theirs uint32) {
	return 0x11000001 + uint32(r.index), 0xf2000001 + uint32(r.index)
}

// cookies returns what either side wants to receive.
func (r row) cookies() (ours, theirs []byte) {
	ours = []byte{0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, byte(r.index)}
	theirs = []byte{0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, byte(r.index)}
	return ours[8-r.cookie:], theirs[8-r.cookie:]
}

// ends returns the outer addresses, with ports over UDP. All tunnels share our
// port; they differ by the kernel's.
func (r row) ends() (ours, theirs netip.AddrPort) {
	a, b, aPort, bPort := ours4, theirs4, 1701, 20000+r.index
	if r.v6 {
		a, b = ours6, theirs6
	}
	if !r.udp {
		aPort, bPort = 0, 0
	}
	return netip.AddrPortFrom(a, uint16(aPort)), netip.AddrPortFrom(b, uint16(bPort))
}

// mtu is that of the interfaces: what fits the wire below the outer headers, an
// Ethernet header and one 802.1Q tag.
func (r row) mtu() int {
	n := wireMTU - 14 - 4 - 20 - 4 - r.cookie
	if r.v6 {
		n -= 20
	}
	if r.udp {
		n -= 8 + 4
	}
	if r.sublayer {
		n -= 4
	}
	return n
}

// toml is the row in Spanwire's configuration.
func (r row) toml() string {
	address, _ := r.inner()
	return r.joining(fmt.Sprintf("tap = %q\naddresses = [%q]", r.device(), address))
}

// joining is the row with what else its session joins.
func (r row) joining(what string) string {
	encap, sublayer, sequencing := "ip", "none", "none"
	ours, theirs := r.ends()
	local, peer := ours.Addr().String(), theirs.Addr().String()
	if r.udp {
		encap, local, peer = "udp", ours.String(), theirs.String()
	}
	if r.sublayer {
		sublayer = "default"
	}
	if r.sequence {
		sequencing = "all"
	}
	id, peerID := r.sessions()
	receive, send := r.cookies()
	return fmt.Sprintf(`
[tunnel.%s]
mode  = "static"
encap = %q
local = %q
peer  = %q
[tunnel.%s.session.port]
session_id      = %d
peer_session_id = %d
receive_cookie  = "%x"
send_cookie     = "%x"
sublayer        = %q
sequencing      = %q
%s
`, r, encap, local, peer, r, id, peerID, receive, send, sublayer, sequencing, what)
}

// iproute2 is the row for `ip -batch`. To it "cookie" is what is sent, and
// "peer_cookie" what is expected.
func (r row) iproute2() string {
	ours, theirs := r.ends()
	tunnel := r.index + 1
	var b strings.Builder
	fmt.Fprintf(&b, "l2tp add tunnel tunnel_id %d peer_tunnel_id %d local %s remote %s", tunnel, tunnel, theirs.Addr(), ours.Addr())
	if r.udp {
		fmt.Fprintf(&b, " encap udp udp_sport %d udp_dport %d", theirs.Port(), ours.Port())
	} else {
		b.WriteString(" encap ip")
	}
	switch {
	case r.udp && r.v6:
		b.WriteString(" udp6_csum_tx on udp6_csum_rx on")
	case r.udp:
		b.WriteString(" udp_csum on")
	}
	peerID, id := r.sessions()
	fmt.Fprintf(&b, "\nl2tp add session name %s tunnel_id %d session_id %d peer_session_id %d", r.device(), tunnel, id, peerID)
	if send, receive := r.cookies(); r.cookie > 0 {
		fmt.Fprintf(&b, " cookie %x peer_cookie %x", send, receive)
	}
	if r.sublayer {
		b.WriteString(" l2spec_type default")
	} else {
		b.WriteString(" l2spec_type none")
	}
	if r.sequence {
		b.WriteString(" seq both")
	}
	_, address := r.inner()
	fmt.Fprintf(&b, "\nlink set %s mtu %d up\naddr add %s dev %[1]s\n", r.device(), r.mtu(), address)
	return b.String()
}

// chunk returns the stream number n of the row in one direction. A chunk fits
// into every queue on the way, so that nothing is lost for want of a pause.
func (r row) chunk(n, count int, fromUs direction) station.Stream {
	return station.Stream{
		Seed:    uint64(r.index)<<32 | uint64(fromUs)<<31 | uint64(n),
		Count:   count,
		Largest: r.mtu() + 14,
	}
}

// A direction is one of a session's two.
type direction int

const (
	fromKernel direction = iota
	fromSpanwire
)

func (d direction) String() string {
	return [...]string{"from the kernel", "from Spanwire"}[d]
}

// A forgery is what makes a datagram that is to be dropped.
type forgery int

const (
	wrongCookie forgery = iota
	wrongSession
)

// forge makes a datagram with a test frame in it, wrong in one respect only.
func (r row) forge(d direction, f forgery) station.Datagram {
	ours, theirs := r.ends()
	ourID, theirID := r.sessions()
	ourCookie, theirCookie := r.cookies()
	from, to, id, cookie := theirs, ours, ourID, ourCookie
	if d == fromSpanwire {
		from, to, id, cookie = ours, theirs, theirID, theirCookie
	}
	switch f {
	case wrongCookie:
		cookie[len(cookie)-1] ^= 1
	case wrongSession:
		id ^= 0x00800000
	}
	var b []byte
	if r.udp {
		b = []byte{0, 3, 0, 0}
	}
	b = binary.BigEndian.AppendUint32(b, id)
	b = append(b, cookie...)
	if r.sublayer {
		b = append(b, 0, 0, 0, 0)
	}
	frame, _ := hex.DecodeString("02000000004202000000000188b5")
	return station.Datagram{From: from, To: to, Payload: append(append(b, frame...), "must not come out"...)}
}
