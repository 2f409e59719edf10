package l2tpv3_test

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane/user"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/testbed/relay"
)

// A side is an endpoint with dynamic tunnels, over loopback.
type side struct {
	*l2tpv3.Endpoint
	t   *testing.T
	log *lockedBuffer

	mu     sync.Mutex
	events []l2tpv3.Event
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newSide(t *testing.T, name string) *side {
	t.Helper()
	s := &side{t: t, log: new(lockedBuffer)}
	s.Endpoint = l2tpv3.New(user.New(), slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})), control.Config{
		HostName: name, RouterID: 1, VendorName: "Spanwire", Capabilities: []pseudowire.Type{pseudowire.Ethernet, pseudowire.FrameRelay}, Active: true,
	})
	s.Notify(func(e l2tpv3.Event) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.events = append(s.events, e)
	})
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, s.log)
		}
	})
	return s
}

// add adds a tunnel of one session, office.
func (s *side) add(cfg l2tpv3.DynamicConfig) *l2tpv3.Dynamic {
	s.t.Helper()
	d, err := s.AddDynamic(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func officeOf(initiate bool) []l2tpv3.Circuit {
	return []l2tpv3.Circuit{{CircuitConfig: control.CircuitConfig{
		Name: "office", RemoteEndID: []byte("office"), Pseudowire: pseudowire.Ethernet, CookieSize: 8, Initiate: initiate}}}
}

// established waits for the session to be established.
func (s *side) established(tunnel string) l2tpv3.TunnelStatus {
	s.t.Helper()
	var last l2tpv3.TunnelStatus
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for _, last = range s.Status().Tunnels {
			if last.Name == tunnel && last.Up() && len(last.Sessions) > 0 && last.Sessions[0].Control.State == control.Established {
				return last
			}
		}
	}
	s.t.Fatalf("tunnel %s: %+v", tunnel, last)
	return last
}

// TestDialAndAccept has two endpoints find each other over UDP and over IP 115, and
// a frame go each way.
//
// RFC 3931 section 4.1: "L2TPv3 implementations MUST support L2TP over IP and SHOULD
// support L2TP over UDP for better NAT and firewall traversal, and for easier
// migration from L2TPv2."
func TestDialAndAccept(t *testing.T) {
	for _, v := range []struct {
		name   string
		encap  wire.Encap
		at, to string
	}{
		{"UDP", wire.UDP, "127.0.0.21", "127.0.0.22"},
		{"UDP over IPv6", wire.UDP, "::1", "::1"},
		{"IP", wire.IP, "127.0.0.21", "127.0.0.22"},
	} {
		t.Run(v.name, func(t *testing.T) {
			encap := v.encap
			localA, localB := netip.MustParseAddr(v.at), netip.MustParseAddr(v.to)
			var portA, portB uint16
			if encap == wire.UDP {
				portA, portB = freePort(t, localA.String()), freePort(t, localB.String())
			}
			a, b := newSide(t, "lyon"), newSide(t, "paris")
			secrets := []*wire.Secret{wire.NewSecret([]byte("ssh"))}
			db := b.add(l2tpv3.DynamicConfig{
				TunnelConfig: l2tpv3.TunnelConfig{Name: "lyon", Socket: transport.Config{Encap: encap, Local: netip.AddrPortFrom(localB, portB)}, Peer: l2tpv3.Host{Addr: localA}},
				Control:      control.TunnelConfig{Secrets: secrets},
				Circuits:     officeOf(false),
			})
			da := a.add(l2tpv3.DynamicConfig{
				TunnelConfig: l2tpv3.TunnelConfig{Name: "paris", Socket: transport.Config{Encap: encap, Local: netip.AddrPortFrom(localA, portA)}, Peer: l2tpv3.Host{Addr: localB, Port: portB}},
				Control:      control.TunnelConfig{Secrets: secrets, Dial: true},
				Circuits:     officeOf(true),
			})
			got := map[*l2tpv3.Session]chan []byte{}
			for _, s := range []*l2tpv3.Session{da.Sessions()[0], db.Sessions()[0]} {
				c := make(chan []byte, 100)
				got[s] = c
				s.Attach(func(frames []pseudowire.Frame) int {
					for _, f := range frames {
						c <- bytes.Clone(f.Bytes())
					}
					return len(frames)
				})
			}
			sa, sb := a.established("paris"), b.established("lyon")
			if sa.Control.Peer.HostName != "paris" || sb.Control.Peer.HostName != "lyon" || sa.Control.Digest != "sha1" || sa.PathMTU == 0 {
				t.Errorf("%+v %+v", sa.Control, sb.Control)
			}
			frame := bytes.Repeat([]byte{2}, 60)
			for again := range 2 {
				send(da.Sessions()[0], frame)
				send(db.Sessions()[0], frame)
				for s, c := range got {
					select {
					case f := <-c:
						if !bytes.Equal(f, frame) {
							t.Errorf("%s: got %x", s.Name(), f)
						}
					case <-time.After(5 * time.Second):
						t.Fatalf("%s: no frame", s.Name())
					}
				}
				if again == 1 {
					break // once with the first session's cookies, once with others
				}
				if err := a.Roll("paris/office"); err != nil {
					t.Fatal(err)
				}
				former := sa.Sessions[0].Params.SessionID
				for end := time.Now().Add(5 * time.Second); a.established("paris").Sessions[0].Params.SessionID == former && time.Now().Before(end); {
					time.Sleep(5 * time.Millisecond)
				}
			}
			a.Close()
			for end := time.Now().Add(5 * time.Second); b.Status().Tunnels[0].Up(); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the peer closed, and the tunnel is up")
				}
			}
			if st := b.Status().Tunnels[0]; !strings.Contains(st.LastError, "requester is being shut down") {
				t.Errorf("last error %q", st.LastError)
			}
			for _, s := range []l2tpv3.TunnelStatus{sa, sb} {
				for _, log := range []string{a.log.String(), b.log.String()} {
					if p := s.Sessions[0].Params; p.ReceiveCookie.Len() == 0 || strings.Contains(log, p.ReceiveCookie.Hex()) || strings.Contains(log, p.SendCookie.Hex()) {
						t.Error("the log tells a cookie, or there is none")
					}
				}
			}
			if log := a.log.String(); !strings.Contains(log, "sent ICRQ") || strings.Contains(log, "ssh") {
				t.Error("the log does not tell the dialogue, or tells the secret")
			}
		})
	}
}

// TestPeerMoves gives a peer another port in the middle of it, as a NAT does that
// has forgotten: with a secret it is followed, without one it is not.
func TestPeerMoves(t *testing.T) {
	for _, secrets := range [][]*wire.Secret{{wire.NewSecret([]byte("s3cret"))}, nil} {
		loopback := netip.MustParseAddr("127.0.0.1")
		portA, portB, portNAT := freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1")
		nat := func() *relay.Relay {
			t.Helper()
			r, err := relay.New(netip.AddrPortFrom(loopback, portNAT), netip.AddrPortFrom(loopback, 0), netip.AddrPortFrom(loopback, portA), netip.AddrPortFrom(loopback, portB), relay.Impairment{})
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		r := nat()
		a, b := newSide(t, "lyon"), newSide(t, "paris")
		// A busy machine may take its time between one NAT and the next: a second of
		// silence must not end the connection.
		quick := control.TunnelConfig{Secrets: secrets, Hello: 100 * time.Millisecond, Timeout: 50 * time.Millisecond, MaxTimeout: 50 * time.Millisecond, Retries: 20}
		b.add(l2tpv3.DynamicConfig{
			TunnelConfig: l2tpv3.TunnelConfig{Name: "lyon", Socket: transport.Config{Local: netip.AddrPortFrom(loopback, portB)}, Peer: l2tpv3.Host{Addr: loopback}},
			Control:      quick, Circuits: officeOf(false),
		})
		quick.Dial = true
		a.add(l2tpv3.DynamicConfig{
			TunnelConfig: l2tpv3.TunnelConfig{Name: "paris", Socket: transport.Config{Local: netip.AddrPortFrom(loopback, portA)}, Peer: l2tpv3.Host{Addr: loopback, Port: portNAT}},
			Control:      quick, Circuits: officeOf(true),
		})
		a.established("paris")
		former := b.established("lyon")
		r.Close()
		r = nat()
		defer r.Close()
		moved := false
		for end := time.Now().Add(15 * time.Second); !moved && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			st := b.Status().Tunnels[0]
			moved = st.Up() && st.Peer != former.Peer
		}
		if !moved {
			t.Fatalf("the peer was neither followed nor did it come again")
		}
		same := b.established("lyon").Control.ConnectionID == former.Control.ConnectionID
		if same != (secrets != nil) {
			t.Errorf("with a secret %v: the same connection %v", secrets != nil, same)
		}
	}
}

// TestNothingIsSentTooEarly sends frames before the session is there, and while the
// peer's circuit is not active.
func TestNothingIsSentTooEarly(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	portA, portB := freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1")
	a, b := newSide(t, "lyon"), newSide(t, "paris")
	da := a.add(l2tpv3.DynamicConfig{
		TunnelConfig: l2tpv3.TunnelConfig{Name: "paris", Socket: transport.Config{Local: netip.AddrPortFrom(loopback, portA)}, Peer: l2tpv3.Host{Addr: loopback, Port: portB}},
		Control:      control.TunnelConfig{Dial: true, Timeout: 20 * time.Millisecond, MaxTimeout: 20 * time.Millisecond, Retries: 500, DialRetries: 500},
		Circuits:     officeOf(true),
	})
	session := da.Sessions()[0]
	sent := func() int {
		buf := make([]byte, pseudowire.Headroom+60)
		return session.Send([]pseudowire.Frame{pseudowire.NewFrame(buf, pseudowire.Headroom)})
	}
	drops := func() [pseudowire.Drops]uint64 { return a.Status().Tunnels[0].Sessions[0].Stats.Drops }
	// RFC 3931 section 3: "An L2TP session MUST be established before L2TP can begin
	// to forward session frames."
	if n := sent(); n != 0 || drops()[pseudowire.DropNoPeer] != 1 {
		t.Errorf("%d frames sent without a session, drops %v", n, drops())
	}
	db := b.add(l2tpv3.DynamicConfig{
		TunnelConfig: l2tpv3.TunnelConfig{Name: "lyon", Socket: transport.Config{Local: netip.AddrPortFrom(loopback, portB)}, Peer: l2tpv3.Host{Addr: loopback}},
		Circuits:     officeOf(false),
	})
	a.established("paris")
	until := func(want int) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); sent() != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d frames sent, want %d", 1-want, want)
			}
		}
	}
	until(1)
	// RFC 3931 section 5.4.5: "If this AVP is received with a Not Active notification
	// for a given L2TP session, all data traffic for that session MUST cease (or not
	// begin) in the direction of the sender of the Circuit Status AVP until the
	// circuit is advertised as Active."
	b.SetCircuit(db.Sessions()[0], 0)
	until(0)
	if drops()[pseudowire.DropInactive] == 0 {
		t.Errorf("drops %v", drops())
	}
	b.SetCircuit(db.Sessions()[0], wire.CircuitActive)
	until(1)
}

// TestCloseCircuit has a PVC go and come again, and with it its session.
func TestCloseCircuit(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	portA, portB := freePort(t, "127.0.0.1"), freePort(t, "127.0.0.1")
	a, b := newSide(t, "lyon"), newSide(t, "paris")
	pvc := func(initiate bool) []l2tpv3.Circuit {
		k := officeOf(initiate)
		k[0].Pseudowire, k[0].FrameRelayHeaderLen = pseudowire.FrameRelay, 4
		return k
	}
	b.add(l2tpv3.DynamicConfig{
		TunnelConfig: l2tpv3.TunnelConfig{Name: "lyon", Socket: transport.Config{Local: netip.AddrPortFrom(loopback, portB)}, Peer: l2tpv3.Host{Addr: loopback}},
		Circuits:     pvc(false),
	})
	da := a.add(l2tpv3.DynamicConfig{
		TunnelConfig: l2tpv3.TunnelConfig{Name: "paris", Socket: transport.Config{Local: netip.AddrPortFrom(loopback, portA)}, Peer: l2tpv3.Host{Addr: loopback, Port: portB}},
		Control:      control.TunnelConfig{Dial: true, Timeout: 20 * time.Millisecond, MaxTimeout: 20 * time.Millisecond, Retries: 500, DialRetries: 500},
		Circuits:     pvc(true),
	})
	first := a.established("paris").Sessions[0]
	if first.Params.Pseudowire != pseudowire.FrameRelay {
		t.Errorf("%+v", first.Params)
	}
	session := da.Sessions()[0]
	a.CloseCircuit(session, control.Deleted)
	const want = "closed by peer: result 17 (PVC was deleted permanently)"
	for end := time.Now().Add(10 * time.Second); b.Status().Tunnels[0].Sessions[0].Control.LastError != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the peer was not told: %+v", b.Status().Tunnels[0].Sessions[0].Control)
		}
	}
	if got := a.Status().Tunnels[0].Sessions[0].Control; got.Absent != control.Deleted || session.Up() {
		t.Errorf("%+v, up %v", got, session.Up())
	}
	a.SetCircuit(session, wire.CircuitActive)
	if again := a.established("paris").Sessions[0]; again.Params.SessionID == first.Params.SessionID {
		t.Errorf("session %d is there again", again.Params.SessionID)
	}
	b.established("lyon")
}
