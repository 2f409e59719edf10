package l2tpv3_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/dataplane/user"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/testbed/relay"
)

// A site is an endpoint with one tunnel of one session, over loopback.
type site struct {
	*l2tpv3.Endpoint
	session *l2tpv3.Session
	got     chan []byte
	log     *bytes.Buffer
}

func open(t *testing.T, local string, peer l2tpv3.Host, p dataplane.Params) *site {
	t.Helper()
	s := &site{got: make(chan []byte, 2000), log: new(bytes.Buffer)}
	s.Endpoint = l2tpv3.New(user.New(), slog.New(slog.NewTextHandler(s.log, nil)), control.Config{})
	t.Cleanup(s.Close)
	cfg := l2tpv3.TunnelConfig{Name: "t", Socket: transport.Config{Local: netip.MustParseAddrPort(local)}, Peer: peer}
	tunnel, err := s.AddTunnel(cfg, []l2tpv3.SessionConfig{{Name: "s", Params: p}})
	if err != nil {
		t.Fatal(err)
	}
	s.session = tunnel.Sessions()[0]
	s.session.Attach(func(frames []pseudowire.Frame) int {
		for _, f := range frames {
			s.got <- bytes.Clone(f.Bytes())
		}
		return len(frames)
	})
	return s
}

// waitFor returns the tunnel's status once it is in the state, or fails.
func (s *site) waitFor(t *testing.T, state l2tpv3.State) l2tpv3.TunnelStatus {
	t.Helper()
	var last l2tpv3.TunnelStatus
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if last = s.Status().Tunnels[0]; last.State == state {
			return last
		}
	}
	t.Fatalf("state %s (%s), want %s", last.State, last.LastError, state)
	return last
}

func send(s *l2tpv3.Session, frame []byte) {
	b := append(make([]byte, pseudowire.Headroom), frame...)
	s.Send([]pseudowire.Frame{pseudowire.NewFrame(b, pseudowire.Headroom)})
}

// freePort returns a UDP port that nobody holds at this moment.
func freePort(t *testing.T, address string) uint16 {
	t.Helper()
	c, err := net.ListenPacket("udp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return uint16(c.LocalAddr().(*net.UDPAddr).Port)
}

func pair(t *testing.T) (a, b dataplane.Params) {
	t.Helper()
	here, err := cookie.New(8)
	if err != nil {
		t.Fatal(err)
	}
	there, _ := cookie.New(8)
	a = dataplane.Params{Name: "t/s", SessionID: 1, PeerSessionID: 2, ReceiveCookie: here, SendCookie: there, Pseudowire: pseudowire.Ethernet}
	b = a
	b.SessionID, b.PeerSessionID, b.ReceiveCookie, b.SendCookie = 2, 1, there, here
	return a, b
}

// TestTwoSites joins two endpoints, one of which is bound to no address and has
// its peer by name.
func TestTwoSites(t *testing.T) {
	pa, pb := pair(t)
	portA, portB := freePort(t, "127.0.0.1"), freePort(t, "0.0.0.0")
	a := open(t, fmt.Sprintf("127.0.0.1:%d", portA), l2tpv3.Host{Addr: netip.MustParseAddr("127.0.0.42"), Port: portB}, pa)
	b := open(t, fmt.Sprintf("0.0.0.0:%d", portB), l2tpv3.Host{Name: "localhost", Port: portA}, pb)
	mtu := make(chan int, 10)
	a.session.NotifyMTU(func(n int) { mtu <- n })
	a.waitFor(t, l2tpv3.Up)
	b.waitFor(t, l2tpv3.Up)
	if got, want := <-mtu, 65535-20-8-8-8-18; got != want {
		t.Errorf("MTU over loopback %d, want %d", got, want)
	}
	frame := bytes.Repeat([]byte{2}, 60)
	send(a.session, frame)
	if got := <-b.got; !bytes.Equal(got, frame) {
		t.Errorf("got %x", got)
	}
	// A knows its peer as 127.0.0.42 alone, so the answer must leave from there.
	send(b.session, frame)
	if got := <-a.got; !bytes.Equal(got, frame) {
		t.Errorf("got %x", got)
	}
	st := b.waitFor(t, l2tpv3.Up)
	if st.LastReceived.IsZero() || st.PeerName != "localhost" || st.Peer.Addr().String() != "127.0.0.1" || st.Sessions[0].Stats.RxPackets != 1 {
		t.Errorf("status %+v", st)
	}
}

// TestBadNetwork puts a relay between two sites, and wants no frame twice and none
// out of its order, whatever the network does.
func TestBadNetwork(t *testing.T) {
	pa, pb := pair(t)
	for _, p := range []*dataplane.Params{&pa, &pb} {
		p.Sublayer, p.Sequencing, p.ReorderTimeout = pseudowire.DefaultSublayer, pseudowire.AllSequencing, 20*time.Millisecond
		p.PeerSublayer, p.PeerSequencing = p.Sublayer, p.Sequencing
	}
	loopback := netip.MustParseAddr("127.0.0.1")
	portA, portB := freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1")
	r, err := relay.New(netip.AddrPortFrom(loopback, 0), netip.AddrPortFrom(loopback, 0), netip.AddrPortFrom(loopback, portA), netip.AddrPortFrom(loopback, portB),
		relay.Impairment{Seed: 5, Loss: 0.05, Duplicate: 0.1, Reorder: 0.1, Hold: 2 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a := open(t, fmt.Sprintf("127.0.0.1:%d", portA), l2tpv3.Host{Addr: loopback, Port: r.ATo().Port()}, pa)
	b := open(t, fmt.Sprintf("127.0.0.1:%d", portB), l2tpv3.Host{Addr: loopback, Port: r.BTo().Port()}, pb)
	a.waitFor(t, l2tpv3.Up)
	b.waitFor(t, l2tpv3.Up)
	const sent = 1000
	for n := range sent {
		frame := bytes.Repeat([]byte{2}, 60)
		frame[58], frame[59] = byte(n>>8), byte(n)
		send(a.session, frame)
		time.Sleep(100 * time.Microsecond)
	}
	time.Sleep(100 * time.Millisecond)
	last, got := -1, 0
	for len(b.got) > 0 {
		frame := <-b.got
		n := int(frame[58])<<8 | int(frame[59])
		if n <= last {
			t.Fatalf("frame %d after %d", n, last)
		}
		last = n
		got++
	}
	c, _ := r.Counts()
	s := b.Status().Tunnels[0].Sessions[0].Stats
	if got < c.Carried*95/100 || s.RxReordered == 0 || s.Drops[pseudowire.DropSequence] == 0 {
		t.Errorf("%d delivered of %+v, %d reordered, %d dropped as old", got, c, s.RxReordered, s.Drops[pseudowire.DropSequence])
	}
}

// TestWaits starts tunnels that lack something, each of which is said and waited
// for.
func TestWaits(t *testing.T) {
	p, _ := pair(t)
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	held := taken.LocalAddr().String()
	peer := l2tpv3.Host{Addr: netip.MustParseAddr("127.0.0.2"), Port: wire.Port}

	absent := open(t, "192.0.2.77:1701", peer, p)
	if st := absent.waitFor(t, l2tpv3.Binding); !strings.Contains(st.LastError, "not on this machine yet") {
		t.Errorf("absent address: %q", st.LastError)
	}
	nameless := open(t, "127.0.0.1:0", l2tpv3.Host{Name: "no-such-host.invalid", Port: wire.Port}, p)
	for nameless.waitFor(t, l2tpv3.Resolving).LastError == "" {
		time.Sleep(5 * time.Millisecond)
	}
	busy := open(t, held, peer, p)
	if st := busy.waitFor(t, l2tpv3.Binding); !strings.Contains(st.LastError, "another program holds the port") {
		t.Errorf("port taken: %q", st.LastError)
	}
	taken.Close()
	busy.waitFor(t, l2tpv3.Up)
	busy.Close()
	if log := busy.log.String(); !strings.Contains(log, "trying again") || !strings.Contains(log, "tunnel up") {
		t.Errorf("the log does not tell: %s", log)
	}
}

// TestStrangeDatagrams sends what is no data message of ours, and wants it counted
// and nothing answered.
func TestStrangeDatagrams(t *testing.T) {
	p, _ := pair(t)
	stranger, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.3:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	port := freePort(t, "127.0.0.1")
	s := open(t, fmt.Sprintf("127.0.0.1:%d", port), l2tpv3.Host{Addr: netip.MustParseAddr("127.0.0.2"), Port: wire.Port}, p)
	s.waitFor(t, l2tpv3.Up)
	var want [pseudowire.Drops]uint64
	for _, v := range []struct {
		b    []byte
		want pseudowire.Drop
	}{
		{[]byte{}, pseudowire.DropShort},
		{[]byte{0}, pseudowire.DropShort},
		{[]byte{0, 3, 0, 0, 0, 0, 0}, pseudowire.DropShort},
		{[]byte{0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, pseudowire.DropVersion},
		{[]byte{0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, pseudowire.DropVersion},
		{[]byte{0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, pseudowire.DropSession},
		{[]byte{0xc8, 3, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0}, pseudowire.DropControl},
		{[]byte{0, 3, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0}, pseudowire.DropSession},
		{append([]byte{0, 3, 0, 0, 0, 0, 0, 9}, bytes.Repeat([]byte{0xff}, 65000)...), pseudowire.DropSession},
		{bytes.Repeat([]byte{0xff}, 65000), pseudowire.DropVersion},
	} {
		if _, err := stranger.WriteToUDPAddrPort(v.b, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)); err != nil {
			t.Fatal(err)
		}
		want[v.want]++
	}
	var got [pseudowire.Drops]uint64
	for end := time.Now().Add(5 * time.Second); got != want && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		got = s.Status().Drops
	}
	if got != want {
		t.Errorf("drops %v, want %v", got, want)
	}
	stranger.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := stranger.Read(make([]byte, 100)); err == nil {
		t.Errorf("%d octets were answered", n)
	}
}

func TestAddTunnelRefuses(t *testing.T) {
	p, _ := pair(t)
	s := open(t, "127.0.0.1:0", l2tpv3.Host{Addr: netip.MustParseAddr("127.0.0.2"), Port: wire.Port}, p)
	_, err := s.AddTunnel(l2tpv3.TunnelConfig{Name: "u"}, []l2tpv3.SessionConfig{{Params: p}})
	if want := "tunnel u: session t/s: session ID 1 belongs to session t/s already"; err == nil || err.Error() != want {
		t.Errorf("a session ID twice: %v, want %s", err, want)
	}
	p.SessionID = 0
	if _, err := s.AddTunnel(l2tpv3.TunnelConfig{Name: "u"}, []l2tpv3.SessionConfig{{Params: p}}); err == nil {
		t.Error("session ID 0: no error")
	}
	s.Close()
	p.SessionID = 3
	if _, err := s.AddTunnel(l2tpv3.TunnelConfig{Name: "u"}, []l2tpv3.SessionConfig{{Params: p}}); err == nil {
		t.Error("after Close: no error")
	}
}

// TestInterfaceMTU has a segment's MTU be what the path carries whole.
//
// RFC 3931 section 4.1.4: "An implementation MUST implement at least one of the
// methods described in this section for managing mismatched MTUs, based on careful
// consideration of how the final product will be deployed."
func TestInterfaceMTU(t *testing.T) {
	p, _ := pair(t)
	for _, v := range []struct {
		path int
		e    wire.Encap
		v6   bool
		want int
	}{
		{1500, wire.UDP, false, 1500 - 20 - 8 - 16 - 18},
		{1500, wire.UDP, true, 1500 - 40 - 8 - 16 - 18},
		{1500, wire.IP, false, 1500 - 20 - 12 - 18},
		{9000, wire.IP, true, 9000 - 40 - 12 - 18},
		{100, wire.UDP, true, 68},
	} {
		if got := l2tpv3.InterfaceMTU(v.path, &p, v.e, v.v6); got != v.want {
			t.Errorf("path of %d over %s, IPv6 %v: MTU %d, want %d", v.path, v.e, v.v6, got, v.want)
		}
	}
}
