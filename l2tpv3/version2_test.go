package l2tpv3

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane/user"
	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/testbed/relay"
)

// An end is an endpoint that speaks L2TPv2, over loopback.
type end struct {
	*Endpoint
	t   *testing.T
	log *locked

	mu     sync.Mutex
	events []Version2Event
	frames map[*Call][]string // that have come
}

func newEnd(t *testing.T, name string) *end {
	t.Helper()
	e := &end{t: t, log: new(locked), frames: make(map[*Call][]string)}
	e.Endpoint = New(user.New(), slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})), control.Config{
		HostName: name, RouterID: 1, VendorName: "Spanwire", Capabilities: []pseudowire.Type{pseudowire.Ethernet}, Active: true,
	})
	e.NotifyVersion2(e.tell)
	t.Cleanup(func() {
		e.Close()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, e.log)
		}
	})
	return e
}

func (e *end) tell(v Version2Event) {
	if v.Kind == l2tpv2.SessionUp {
		v.Port.Attach(func(frames []pseudowire.Frame) int {
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, f := range frames {
				e.frames[v.Port] = append(e.frames[v.Port], string(f.Bytes()))
			}
			return len(frames)
		})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, v)
}

// wait waits for an event, and takes it and those before it.
func (e *end) wait(kind l2tpv2.EventKind) (v Version2Event) {
	e.t.Helper()
	within(e.t, kind.String(), func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		i := slices.IndexFunc(e.events, func(v Version2Event) bool { return v.Kind == kind })
		if i < 0 {
			return fmt.Errorf("there is none")
		}
		v, e.events = e.events[i], e.events[i+1:]
		return nil
	})
	return v
}

// carries wants frames of a call to come to another's end.
func (e *end) carries(from *Call, to *end, at *Call) {
	e.t.Helper()
	const frame = "\xff\x03\xc0\x21\x01\x01\x00\x04"
	within(e.t, from.Name()+" carries frames", func() error {
		sendFrame(from, frame)
		to.mu.Lock()
		defer to.mu.Unlock()
		if got := to.frames[at]; !slices.Contains(got, frame) {
			return fmt.Errorf("%q came; %+v", got, at.Stats())
		}
		delete(to.frames, at)
		return nil
	})
}

func sendFrame(p *Call, frame string) int {
	b := append(make([]byte, pseudowire.Headroom), frame...)
	return p.Send([]pseudowire.Frame{pseudowire.NewFrame(b, pseudowire.Headroom)})
}

// quickV2 is impatient.
var quickV2 = l2tpv2.TunnelConfig{Timeout: 20 * time.Millisecond, MaxTimeout: 20 * time.Millisecond, Retries: 50, DialRetries: 3,
	RedialMin: 20 * time.Millisecond, RedialMax: 50 * time.Millisecond}

// aCall is what a LAC indicates.
func aCall(called string) l2tpv2.IncomingCall {
	return l2tpv2.IncomingCall{
		Request:   wire.ICRQV2{CalledNumber: called},
		Connected: wire.ICCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 1e8, Framing: wire.SyncFraming}},
	}
}

// lacAndLNS returns a tunnel's ends: who dials and keeps a call, and who accepts.
func lacAndLNS(here, there netip.AddrPort) (lac, lns Version2Config) {
	call := aCall("555")
	lac = Version2Config{
		TunnelConfig: TunnelConfig{Name: "isp", Socket: transport.Config{Local: here}, Peer: Host{Addr: there.Addr(), Port: there.Port()}},
		Control:      quickV2, Keep: &call,
	}
	lac.Control.Dial = true
	lns = Version2Config{
		TunnelConfig: TunnelConfig{Name: "phones", Socket: transport.Config{Local: there}},
		From:         []netip.Prefix{netip.PrefixFrom(here.Addr(), here.Addr().BitLen())},
		Control:      quickV2,
	}
	lns.Control.Incoming = true
	return lac, lns
}

func (e *end) add(cfg Version2Config) {
	e.t.Helper()
	if err := e.AddVersion2(cfg); err != nil {
		e.t.Fatal(err)
	}
}

// TestVersion2 has a LAC and an LNS find each other, a call carry frames both ways, and
// its end told to the other with what PPP says of it.
func TestVersion2(t *testing.T) {
	secret := wire.NewSecretV2([]byte("ssh!"))
	for _, v := range []struct{ name, at, to string }{{"IPv4", "127.0.0.1", "127.0.0.2"}, {"IPv6", "::1", "::1"}} {
		t.Run(v.name, func(t *testing.T) {
			here, there := free(t, v.at), free(t, v.to)
			a, b := newEnd(t, "lac"), newEnd(t, "lns")
			lac, lns := lacAndLNS(here, there)
			lac.Control.Secret, lns.Control.Secret, lac.Control.Hide = secret, secret, true
			lac.Control.RedialMin, lac.Control.RedialMax = time.Minute, time.Minute // the call is not to come again at once
			b.add(lns)
			a.add(lac)
			ea, eb := a.wait(l2tpv2.SessionUp), b.wait(l2tpv2.SessionUp)
			pa, pb := ea.Port, eb.Port
			if !pa.Up() || pa.Config() != "isp" || pa.Tunnel() != "isp" || pa.Name() != fmt.Sprintf("isp/%d", pa.ID()) || pa.PeerAddress() != there || pa.Peer().HostName != "lns" {
				t.Errorf("%s of %s in %s, to %v, %+v", pa.Name(), pa.Config(), pa.Tunnel(), pa.PeerAddress(), pa.Peer())
			}
			if want := fmt.Sprintf("phones#%d", eb.TunnelID); pb.Config() != "phones" || pb.Tunnel() != want || pb.Name() != fmt.Sprintf("%s/%d", want, pb.ID()) || pb.PeerAddress() != here {
				t.Errorf("%s of %s in %s, to %v", pb.Name(), pb.Config(), pb.Tunnel(), pb.PeerAddress())
			}
			if p := pb.Params(); p.LAC || p.CalledNumber != "555" || p.TxSpeed != 1e8 || p.SessionID != pa.Params().PeerSessionID {
				t.Errorf("%+v", p)
			}
			a.carries(pa, b, pb)
			b.carries(pb, a, pa)
			mtu := make(chan int, 1)
			pa.NotifyMTU(func(n int) { mtu <- n })
			if got, want := <-mtu, 65535-map[string]int{"IPv4": 20, "IPv6": 40}[v.name]-8-10-4; got != want {
				t.Errorf("MTU %d, want %d", got, want)
			}
			if err := pb.SetLink(wire.SLIV2{ACCM: wire.Some(wire.ACCM{Send: 1, Receive: 2})}); err != nil {
				t.Error(err)
			}
			if got := a.wait(l2tpv2.SessionLink); got.Link.ACCM.Value.Receive != 2 || got.Port != pa {
				t.Errorf("%+v", got.Link)
			}
			if err := pa.Report(wire.CallErrors{CRC: 7}); err != nil {
				t.Error(err)
			}
			if got := b.wait(l2tpv2.SessionErrors); got.Errors.CRC != 7 || got.Port != pb {
				t.Errorf("%+v", got.Errors)
			}
			stats := pb.Stats()
			why := wire.CDNV2{Result: wire.Result{Code: wire.CDNAdministrative},
				Disconnects: []wire.Disconnect{{Code: wire.DisconnectAuthFailed, Protocol: 0xc223, Direction: wire.AtPeer}}}
			if err := pb.Close(why); err != nil {
				t.Error(err)
			}
			down := a.wait(l2tpv2.SessionDown)
			if down.Port != pa || !down.ByPeer || down.Result.Code != wire.CDNAdministrative || len(down.Disconnects) != 1 || down.Disconnects[0] != why.Disconnects[0] {
				t.Errorf("%+v", down)
			}
			if down := b.wait(l2tpv2.SessionDown); down.Port != pb || down.ByPeer {
				t.Errorf("%+v", down)
			}
			if pa.Up() || sendFrame(pa, "late") != 0 || pa.Stats().Drops[pseudowire.DropNoPeer] != 1 || pb.Stats().RxPackets != stats.RxPackets || stats.RxPackets == 0 {
				t.Errorf("up %v, %+v; then %+v", pa.Up(), pa.Stats(), pb.Stats())
			}
			if pb.Close(why) == nil || pa.SetLink(wire.SLIV2{}) == nil {
				t.Error("what has ended was ended, and told of")
			}
			// The endpoint says farewell.
			b.Close()
			if down := a.wait(l2tpv2.TunnelDown); !down.ByPeer || down.Result.Code != wire.StopShutdown {
				t.Errorf("%+v", down)
			}
			log := a.log.String()
			if !strings.Contains(log, "sent ICRQ") || !strings.Contains(log, "Called Number (hidden)") || strings.Contains(log, "ssh!") {
				t.Errorf("the log does not tell the dialogue, or tells the secret")
			}
		})
	}
}

func frameOf(n int) []pseudowire.Frame {
	return []pseudowire.Frame{pseudowire.NewFrame(make([]byte, pseudowire.Headroom+n), pseudowire.Headroom)}
}

// TestSecretsOfVersion2 has the ends of a tunnel not share its secret.
func TestSecretsOfVersion2(t *testing.T) {
	one, other := wire.NewSecretV2([]byte("one")), wire.NewSecretV2([]byte("other"))
	for _, v := range []struct {
		name     string
		lac, lns *wire.SecretV2
		want     string // of what the LAC is told
	}{
		{"others", one, other, "wrong challenge response"},
		{"none at the LNS", one, nil, "no secret here"},
		{"none at the LAC", nil, one, "no secret here"},
	} {
		t.Run(v.name, func(t *testing.T) {
			lac, lns := lacAndLNS(free(t, "127.0.0.1"), free(t, "127.0.0.2"))
			lac.Control.Secret, lns.Control.Secret = v.lac, v.lns
			a, b := newEnd(t, "lac"), newEnd(t, "lns")
			b.add(lns)
			a.add(lac)
			for range 2 { // it is tried again
				if down := a.wait(l2tpv2.TunnelDown); !strings.Contains(down.Reason, v.want) || down.Result.Code != wire.StopNotAuthorized {
					t.Errorf("%+v", down)
				}
			}
			if a.v2Up() || b.v2Up() || b.Glance().Calls != 0 {
				t.Error("a tunnel is up")
			}
			if s := a.Status().Version2[0]; !strings.Contains(s.LastError, v.want) {
				t.Errorf("last error %q", s.LastError)
			}
		})
	}
}

// TestManyClients has clients with tunnels to an LNS from one address: by ports of
// their own, as behind a NAT, and several by one.
func TestManyClients(t *testing.T) {
	const hosts, each = 10, 5
	there := free(t, "127.0.0.2")
	_, lns := lacAndLNS(netip.MustParseAddrPort("127.0.0.1:0"), there)
	b := newEnd(t, "lns")
	b.add(lns)
	var all []*end
	for i := range hosts {
		a := newEnd(t, fmt.Sprint("client", i))
		here := free(t, "127.0.0.1")
		for k := range each {
			lac, _ := lacAndLNS(here, there)
			lac.Name = fmt.Sprint("isp", k)
			call := aCall(fmt.Sprint(i, " ", k))
			lac.Keep = &call
			a.add(lac)
		}
		all = append(all, a)
	}
	within(t, "all calls", func() error {
		if g := b.Glance(); g.Calls != hosts*each || g.Up != hosts*each || g.Tunnels != hosts*each {
			return fmt.Errorf("%+v", g)
		}
		return nil
	})
	ports := map[string]*Call{} // the LNS's, by who calls
	for _, s := range b.Status().Version2[1:] {
		for _, k := range s.Calls {
			ports[k.Params.CalledNumber] = k.call
		}
	}
	for i, a := range all {
		for k := range each {
			pa, pb := a.wait(l2tpv2.SessionUp).Port, (*Call)(nil)
			if pb = ports[pa.Params().CalledNumber]; pb == nil {
				t.Fatalf("client %d, tunnel %d: the LNS has no such call", i, k)
			}
			a.carries(pa, b, pb)
			b.carries(pb, a, pa)
		}
	}
	// Each goes by itself.
	all[3].Close()
	within(t, "the rest", func() error {
		if g := b.Glance(); g.Calls != (hosts-1)*each || g.Up != (hosts-1)*each {
			return fmt.Errorf("%+v", g)
		}
		return nil
	})
	c := b.channel
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ways) != hosts-1 || len(c.known) != hosts-1 || len(c.allV2) != (hosts-1)*each || len(c.tunnelsV2) != len(c.allV2) {
		t.Errorf("%d ways, %d sources, %d and %d tunnels are left", len(c.ways), len(c.known), len(c.allV2), len(c.tunnelsV2))
	}
}

// TestPeerOfVersion2Moves gives a peer another port in the middle of it, as a NAT does
// that has forgotten.
func TestPeerOfVersion2Moves(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	here, there, portNAT := free(t, "127.0.0.1"), free(t, "127.0.0.1"), free(t, "127.0.0.1")
	nat := func() *relay.Relay {
		t.Helper()
		r, err := relay.New(portNAT, netip.AddrPortFrom(loopback, 0), here, there, relay.Impairment{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := nat()
	lac, lns := lacAndLNS(here, there)
	lac.Peer.Port, lac.Control.Hello = portNAT.Port(), 50*time.Millisecond
	a, b := newEnd(t, "lac"), newEnd(t, "lns")
	b.add(lns)
	a.add(lac)
	pa, pb := a.wait(l2tpv2.SessionUp).Port, b.wait(l2tpv2.SessionUp).Port
	a.carries(pa, b, pb)
	former := pb.PeerAddress()
	r.Close()
	r = nat()
	defer r.Close()
	moved := b.wait(l2tpv2.TunnelMoved)
	if moved.Address.Peer == former || pb.PeerAddress() != moved.Address.Peer {
		t.Errorf("from %v to %v, %v", former, moved.Address.Peer, pb.PeerAddress())
	}
	a.carries(pa, b, pb)
	b.carries(pb, a, pa)
	c := b.channel
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ways) != 1 || len(c.known) != 1 {
		t.Errorf("%v, %v", c.ways, c.known)
	}
}

// TestRestart has each side be gone without a word, and begin anew.
func TestRestart(t *testing.T) {
	lac, lns := lacAndLNS(free(t, "127.0.0.1"), free(t, "127.0.0.2"))
	for _, c := range []*l2tpv2.TunnelConfig{&lac.Control, &lns.Control} {
		c.Hello, c.Retries = 100*time.Millisecond, 10
	}
	a, b := newEnd(t, "lac"), newEnd(t, "lns")
	b.add(lns)
	a.add(lac)
	pa := a.wait(l2tpv2.SessionUp).Port
	pb := b.wait(l2tpv2.SessionUp).Port
	die := func(e *end) {
		e.stop() // nothing is sent any more
		e.Close()
	}
	die(a)
	if pa.Up() || !pa.closed {
		t.Error("the Link of a call is open, and its endpoint closed")
	}
	a = newEnd(t, "lac")
	a.add(lac)
	pa = a.wait(l2tpv2.SessionUp).Port
	var another *Call
	within(t, "the former tunnel gone, and another there", func() error {
		if pb.Up() || b.Glance().Calls != 1 {
			return fmt.Errorf("%+v", b.Glance())
		}
		another = b.one()
		return nil
	})
	a.carries(pa, b, another)
	die(b)
	b = newEnd(t, "lns")
	b.add(lns)
	if down := a.wait(l2tpv2.TunnelDown); down.Reason != "the peer does not answer any more" || pa.Up() {
		t.Errorf("%+v", down)
	}
	a.carries(a.wait(l2tpv2.SessionUp).Port, b, b.wait(l2tpv2.SessionUp).Port)
}

// TestAddressesOfAName has a peer's name stand for two addresses, of which the first is
// dead.
func TestAddressesOfAName(t *testing.T) {
	here, there := free(t, "127.0.0.1"), free(t, "127.0.0.32")
	lac, lns := lacAndLNS(here, there)
	lac.Peer = Host{Name: "no-such-host.invalid", Port: there.Port()}
	a, b := newEnd(t, "lac"), newEnd(t, "lns")
	b.add(lns)
	a.add(lac)
	within(t, "the name not resolved", func() error {
		if s := a.Status().Version2[0]; s.State != Resolving || s.LastError == "" || s.PeerName != lac.Peer.Name {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	if g := a.Glance(); g.Tunnels != 1 || g.Up != 0 {
		t.Errorf("%+v", g)
	}
	dead := netip.MustParseAddr("127.0.0.31")
	v := a.channel.configsV2["isp"]
	if err := v.bind(a.Endpoint, []netip.Addr{dead, there.Addr()}); err != nil {
		t.Fatal(err)
	}
	a.wait(l2tpv2.SessionUp)
	if s := a.Status().Version2[0]; !s.Up() || s.Peer != there || s.LastError != "" || s.PathMTU == 0 || len(s.Calls) != 1 || s.Control.Ups != 1 {
		t.Errorf("%+v", s)
	}
	v.enter(a.Endpoint, Resolving, fmt.Errorf("lookup: no such host"))
	if s := a.Status().Version2[0]; !s.Up() {
		t.Errorf("after a lookup in vain: %+v", s)
	}

	// By a name that resolves.
	lac, lns = lacAndLNS(free(t, "127.0.0.1"), free(t, "127.0.0.1"))
	lac.Peer = Host{Name: "localhost", Port: lns.Socket.Local.Port()}
	a, b = newEnd(t, "lac"), newEnd(t, "lns")
	b.add(lns)
	a.add(lac)
	a.wait(l2tpv2.SessionUp)
}

// TestHeard has a tunnel whose data comes be sent no HELLO.
//
// RFC 2661 section 6.5: "The sending of HELLO messages and the policy for sending them
// are left up to the implementation."
func TestHeard(t *testing.T) {
	a, b, pa, pb := callUp(t, nil)
	before := time.Now()
	a.carries(pa, b, pb)
	c := b.channel
	c.mu.Lock()
	c.attendV2(pb.tunnel)
	heard := c.node.Status()[0].Tunnels[0].Heard
	c.mu.Unlock()
	if heard.Before(before) {
		t.Errorf("the peer was last heard %v ago", time.Since(heard))
	}
	if s := b.Status().Version2[1]; s.LastReceived.Before(before) || s.Calls[0].Stats.RxPackets == 0 || s.Calls[0].MTU == 0 || s.Calls[0].Params.CalledNumber != "555" {
		t.Errorf("%+v", s)
	}
}

// TestHostileVersion2 sends what is no message of a peer's, and wants nothing answered.
func TestHostileVersion2(t *testing.T) {
	a, b, pa, pb := callUp(t, nil)
	at := b.Status().Version2[1].Local
	stranger, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.3:0")), net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	q := pb.Params()
	sccrq := wire.AppendControlV2(nil, wire.ControlHeaderV2{}, wire.AppendBodyV2(nil, &wire.SCCRQV2{
		PeerV2: wire.PeerV2{Protocol: wire.ProtocolV2, HostName: "x", Framing: 3, TunnelID: 1}}, &wire.EncodingV2{}))
	stop := wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: q.TunnelID, Ns: 1, Nr: 1}, wire.AppendBodyV2(nil, &wire.StopCCNV2{TunnelID: 1, Result: wire.Result{Code: 1}}, &wire.EncodingV2{}))
	data := wire.AppendDataHeaderV2(nil, wire.DataHeaderV2{TunnelID: q.TunnelID, SessionID: q.SessionID}, 0)
	all := [][]byte{sccrq, stop, append(data, "\xff\x03\xc0\x21"...)}
	for _, b := range all[:2] {
		for n := range len(b) {
			all = append(all, b[:n])
			changed := slices.Clone(b)
			changed[n] ^= 0xff
			all = append(all, changed)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		x := make([]byte, random.IntN(200))
		for i := range x {
			x[i] = byte(random.Uint32())
		}
		if len(x) > 1 && random.IntN(2) == 0 {
			x[0], x[1] = x[0]|0xc8, 2
		}
		all = append(all, x)
	}
	for _, x := range all {
		stranger.Write(x)
		time.Sleep(20 * time.Microsecond)
	}
	stranger.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := stranger.Read(make([]byte, 1500)); err == nil {
		t.Errorf("%d octets were answered", n)
	}
	received := pb.Stats()
	if received.RxPackets != 0 || received.Drops[pseudowire.DropSource] == 0 || !pb.Up() {
		t.Errorf("%+v, up %v", received, pb.Up())
	}
	if n := b.Status().RefusedV2; n[l2tpv2.DropNoTunnel].Count == 0 || n[l2tpv2.DropSource].Count == 0 || n[l2tpv2.DropHeader].Count == 0 {
		t.Errorf("%+v", n)
	}
	a.carries(pa, b, pb)
}

// TestAddVersion2Refuses adds what cannot be.
func TestAddVersion2Refuses(t *testing.T) {
	here, there := free(t, "127.0.0.1"), free(t, "127.0.0.2")
	lac, lns := lacAndLNS(here, there)
	e := newEnd(t, "lac")
	over := lac
	over.Socket.Encap = wire.IP
	if err := e.AddVersion2(over); err == nil {
		t.Error("L2TPv2 over IP")
	}
	long := lac
	call := aCall("1")
	call.Connected.LCPWant = make([]byte, 2000)
	long.Keep = &call
	if err := e.AddVersion2(long); err == nil {
		t.Error("a call that fits into no message")
	}
	lns.Keep = &call
	if err := e.AddVersion2(lns); err == nil {
		t.Error("a call to peers that ask")
	}
	e.add(lac)
	if err := e.AddVersion2(lac); err == nil {
		t.Error("a name twice")
	}
	dial3, dial2, _, _ := autoEnds(here, there)
	if _, err := e.AddAuto(dial3, dial2); err == nil {
		t.Error("a name twice")
	}
	dial3.Name = "other"
	if _, err := e.AddDynamic(dial3); err != nil {
		t.Fatal(err)
	}
	if _, err := e.AddAuto(dial3, dial2); err == nil {
		t.Error("a name twice")
	}
	if _, err := e.Indicate("other", call); err == nil || e.channel.configsV2["other"] != nil {
		t.Error("half of what was refused is there")
	}
}
