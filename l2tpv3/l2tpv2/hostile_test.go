package l2tpv2

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/wire"
)

// TestLimits holds to account whoever asks for too much.
func TestLimits(t *testing.T) {
	cfg := both(false)
	cfg.SessionLimit, cfg.Limit = 3, 2
	s := tell(t, cfg).established()
	for i := range uint16(4) {
		s.send(0, &wire.ICRQV2{SessionID: 1 + i})
	}
	if m := s.wantSent("ICRP ICRP ICRP CDN").(*wire.CDNV2); m.Result.Error != wire.ErrorResources || m.SessionID == 0 {
		t.Errorf("%+v", m)
	}
	if _, err := s.Indicate(s.now, s.tunnelName(), IncomingCall{}); err == nil {
		t.Error("a call of ours is beyond the limit")
	}
	for port := range 3 {
		s.at.Peer = netip.AddrPortFrom(s.at.Peer.Addr(), uint16(100+port))
		s.id, s.ns, s.nr = 0, 0, 0
		s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
		s.send(0, &wire.SCCCNV2{})
	}
	if len(s.names) != 2 || s.DropCounts()[DropLimit] != 2 {
		t.Errorf("%d tunnels, %d dropped", len(s.names), s.DropCounts()[DropLimit])
	}

	// Half-open tunnels, requests of a second, and calls that are not completed.
	node := here()
	node.HalfOpen, node.RequestRate = 8, 20
	s = tell(t, both(false))
	s.Node = New(node)
	s.tunnel(both(false))
	for port := range 50 {
		s.at.Peer = netip.AddrPortFrom(s.at.Peer.Addr(), uint16(100+port))
		s.id, s.ns, s.nr = 0, 0, 0
		s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	}
	if d := s.DropCounts(); len(s.conns) != 8 || d[DropHalfOpen] != 12 || d[DropRate] != 30 {
		t.Errorf("%d tunnels, %v", len(s.conns), d)
	}
	s.after(time.Minute)
	if len(s.conns)+len(s.requests)+len(s.halfOpen)+len(s.lingering)+len(s.timers) != 0 {
		t.Error("something is left")
	}
	for port := range 50 { // closed ones
		s.at.Peer = netip.AddrPortFrom(s.at.Peer.Addr(), uint16(100+port))
		s.after(time.Second)
		s.id, s.ns, s.nr = 0, 0, 0
		s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
		s.send(0, &wire.StopCCNV2{TunnelID: peerTunnel})
	}
	if len(s.lingering) > 8 || len(s.conns) > 8 {
		t.Errorf("%d linger", len(s.lingering))
	}

	cfg = both(false)
	cfg.Hello = time.Hour
	s = tell(t, cfg).established()
	s.send(0, &wire.ICRQV2{SessionID: 1})
	s.ack()
	s.sent = nil
	s.after(time.Minute)
	if m := s.wantSent("CDN CDN CDN CDN CDN CDN").(*wire.CDNV2); m.Result.Code != wire.CDNTimeout {
		t.Errorf("%+v", m)
	}
}

// TestRefused refuses calls that are not acceptable, without end for the tunnel.
func TestRefused(t *testing.T) {
	bearer := wire.Some(wire.DigitalBearer)
	for _, v := range []struct {
		name string
		cfg  TunnelConfig
		call wire.Message
		code wire.ResultCode
	}{
		{"no incoming calls", TunnelConfig{Outgoing: true, Bearer: bearer}, &wire.ICRQV2{SessionID: 1}, wire.CDNPermanent},
		{"no outgoing calls", TunnelConfig{Incoming: true, Bearer: bearer}, &wire.OCRQV2{SessionID: 1}, wire.CDNPermanent},
		{"no lines", TunnelConfig{Outgoing: true}, &wire.OCRQV2{SessionID: 1}, wire.CDNPermanent},
		{"another line", TunnelConfig{Outgoing: true, Bearer: bearer}, &wire.OCRQV2{SessionID: 1, Bearer: wire.AnalogBearer}, wire.CDNPermanent},
		{"another framing", TunnelConfig{Outgoing: true, Bearer: bearer, Framing: wire.SyncFraming}, &wire.OCRQV2{SessionID: 1, Framing: wire.AsyncFraming}, wire.CDNError},
		{"by the owner", TunnelConfig{Incoming: true, Acceptable: func(p Peer, c Params) wire.Result {
			if p.HostName != "there" || c.CalledNumber != "1" {
				t.Errorf("asked of %+v, %+v", p, c)
			}
			return wire.Result{Code: wire.CDNDestination}
		}}, &wire.ICRQV2{SessionID: 1, CalledNumber: "1"}, wire.CDNDestination},
	} {
		s := tell(t, v.cfg).established()
		s.send(0, v.call)
		head := s.sent[0]
		if m := s.wantSent("CDN").(*wire.CDNV2); m.Result.Code != v.code || m.SessionID == 0 || head.SessionID != 1 {
			t.Errorf("%s: %+v to %d", v.name, m, head.SessionID)
		}
		s.wantUntold(SessionOpen)
		s.wantUntold(SessionDown)
		if s.state(false) != Established || len(s.calls) != 0 {
			t.Errorf("%s: something is left", v.name)
		}
	}
	// Framing of an ICCN that was never offered.
	s := tell(t, TunnelConfig{Incoming: true, Framing: wire.SyncFraming}).established()
	s.send(0, &wire.ICRQV2{SessionID: 1})
	s.sent = nil
	s.send(s.sid, &wire.ICCNV2{ConnectedV2: wire.ConnectedV2{Framing: wire.AsyncFraming}})
	s.wantSent("CDN")
	s.wantTold(SessionDown)
	// And what a peer did not offer is not asked of it.
	s = tell(t, both(false))
	s.peer.Framing, s.peer.Bearer = wire.SyncFraming, bearer
	s.established()
	for _, call := range []wire.OCRQV2{{Framing: wire.AsyncFraming}, {Bearer: wire.AnalogBearer}} {
		if _, err := s.Request(s.now, s.tunnelName(), call); err == nil {
			t.Errorf("%+v is asked", call)
		}
	}
}

// TestTooLong refuses what fits into no AVP.
func TestTooLong(t *testing.T) {
	cfg := both(false)
	cfg.Secret, cfg.Hide = secret, true
	s := tell(t, cfg).established()
	most, more := make([]byte, longest), make([]byte, longest+1)
	if _, err := s.Indicate(s.now, s.tunnelName(), IncomingCall{Connected: wire.ICCNV2{Proxy: wire.Proxy{LastReceived: more}}}); err == nil {
		t.Error("it is taken")
	}
	id, err := s.Indicate(s.now, s.tunnelName(), IncomingCall{Connected: wire.ICCNV2{Proxy: wire.Proxy{LastReceived: most}}})
	if err != nil {
		t.Fatal(err)
	}
	s.drain()
	s.send(s.sid, &wire.ICRPV2{SessionID: 1})
	if m := s.wantSent("ICRQ ICCN").(*wire.ICCNV2); len(m.Proxy.LastReceived) != longest {
		t.Errorf("%d octets", len(m.Proxy.LastReceived))
	}
	s.send(0, &wire.OCRQV2{SessionID: 2})
	if s.Answer(s.now, s.lastCall, wire.OCCNV2{ConnectedV2: wire.ConnectedV2{LCPWant: more}}) == nil {
		t.Error("it is taken")
	}
	s.send(0, &wire.ICRQV2{SessionID: 3})
	s.send(s.sid, &wire.ICCNV2{})
	if s.SetLink(s.now, s.lastCall, wire.SLIV2{LastSent: more}) == nil || s.SetLink(s.now, s.lastCall, wire.SLIV2{LastSent: most}) != nil {
		t.Error("it is taken, or what fits is not")
	}
	// Words are cut.
	if err := s.Hangup(s.now, id, wire.CDNV2{Result: wire.Result{Code: 1, Message: string(more)}, Disconnects: []wire.Disconnect{{Message: string(more)}}}); err != nil {
		t.Error(err)
	}
	s.drain()
}

// TestRedialedAtOnce has a client that says the same each time it dials close its
// tunnel and dial again.
func TestRedialedAtOnce(t *testing.T) {
	s := tell(t, both(false)).established()
	for range 3 {
		s.send(0, &wire.StopCCNV2{TunnelID: peerTunnel})
		s.wantTold(TunnelDown)
		s.id, s.ns, s.nr = 0, 0, 0
		s.established()
	}
	// Its SCCRQ come again while the tunnel is up is no new one.
	s.id, s.ns, s.nr = 0, 0, 0
	s.sent = nil
	s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	if s.wantSent(""); len(s.names) != 1 {
		t.Errorf("%d tunnels", len(s.names))
	}
}

// TestMalformed closes the tunnel, or the session, to which a malformed message
// belongs, and tells why.
func TestMalformed(t *testing.T) {
	unknown, short := []byte{0x80, 6, 0, 0, 0, 99}, []byte{0x80, 7, 0, 0, 0, 18, 1}
	for _, v := range []struct {
		name  string
		dial  bool
		send  func(s *dialogue)
		error wire.ErrorCode
	}{
		{"SCCRQ", false, func(s *dialogue) { s.send(0, &wire.SCCRQV2{PeerV2: s.peer}, unknown) }, wire.ErrorUnknownAVP},
		{"SCCRP", true, func(s *dialogue) { s.send(0, &wire.SCCRPV2{PeerV2: s.peer}, unknown) }, wire.ErrorUnknownAVP},
		{"SCCRP without a Tunnel ID", true, func(s *dialogue) {
			b := wire.AppendBodyV2(nil, &wire.SCCRPV2{PeerV2: s.peer}, &wire.EncodingV2{})
			i := strings.Index(string(b), string([]byte{0x80, 8, 0, 0, 0, 9}))
			s.receive(wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: s.id, Nr: 1}, append(b[:i:i], b[i+8:]...)))
		}, wire.ErrorRange},
		{"HELLO", false, func(s *dialogue) { s.established().send(0, &wire.HELLOV2{}, unknown) }, wire.ErrorUnknownAVP},
		{"no message", false, func(s *dialogue) {
			s.established()
			s.receive(wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: s.id, Ns: s.ns, Nr: s.nr}, []byte{1}))
		}, wire.ErrorLength},
		{"ICRQ before the tunnel is up", false, func(s *dialogue) {
			s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
			s.send(0, &wire.ICRQV2{SessionID: 1}, short)
		}, wire.ErrorLength},
	} {
		s := tell(t, both(v.dial))
		v.send(s)
		var got wire.Result
		for _, m := range s.sent {
			if m, ok := m.Message.(*wire.StopCCNV2); ok {
				got = m.Result
			}
		}
		if got.Code != wire.StopError || got.Error != v.error {
			t.Errorf("%s: %+v, want error %d", v.name, got, v.error)
		}
	}
	for _, v := range []struct {
		name string
		send func(s *dialogue)
	}{
		{"ICRQ", func(s *dialogue) { s.send(0, &wire.ICRQV2{SessionID: 1}, short) }},
		{"OCRQ", func(s *dialogue) { s.send(0, &wire.OCRQV2{SessionID: 1}, unknown) }},
		{"ICRP to nobody", func(s *dialogue) { s.send(9, &wire.ICRPV2{SessionID: 1}, unknown) }},
		{"ICRP", func(s *dialogue) {
			s.Indicate(s.now, s.tunnelName(), IncomingCall{})
			s.drain()
			s.send(s.sid, &wire.ICRPV2{SessionID: 1}, unknown)
		}},
		{"OCRP", func(s *dialogue) {
			s.Request(s.now, s.tunnelName(), wire.OCRQV2{})
			s.drain()
			s.send(s.sid, &wire.OCRPV2{SessionID: 1}, unknown)
		}},
		{"ICCN", func(s *dialogue) {
			s.send(0, &wire.ICRQV2{SessionID: 1})
			s.send(s.sid, &wire.ICCNV2{}, unknown)
		}},
		{"SLI", func(s *dialogue) {
			s.send(0, &wire.ICRQV2{SessionID: 1})
			s.send(s.sid, &wire.SLIV2{}, unknown)
		}},
		{"a second ICRP with the ID of the first", func(s *dialogue) {
			for range 2 {
				s.Indicate(s.now, s.tunnelName(), IncomingCall{})
				s.drain()
				s.send(s.sid, &wire.ICRPV2{SessionID: 1})
			}
		}},
		{"an OCRP to an ICRQ", func(s *dialogue) {
			s.Indicate(s.now, s.tunnelName(), IncomingCall{})
			s.drain()
			s.send(s.sid, &wire.OCRPV2{SessionID: 1})
		}},
	} {
		s := tell(t, both(false)).established()
		v.send(s)
		var got said
		for _, m := range s.sent {
			if m.Type == wire.TypeCDN {
				got = m
			}
		}
		if m, ok := got.Message.(*wire.CDNV2); !ok || m.Result.Code != wire.CDNError || m.Result.Error == 0 || m.SessionID == 0 || got.SessionID != 1 && !strings.Contains(v.name, "second") && !strings.Contains(v.name, "an OCRP") {
			t.Errorf("%s: %+v", v.name, got)
		}
		if s.state(false) != Established {
			t.Errorf("%s: the tunnel is closed", v.name)
		}
	}
	// A CDN and a StopCCN end what they end, however they are.
	s := tell(t, both(false)).established()
	s.send(0, &wire.ICRQV2{SessionID: 1})
	s.send(s.sid, &wire.CDNV2{SessionID: 1, Result: wire.Result{Code: 3}}, unknown)
	if e := s.wantTold(SessionDown); !e.ByPeer || e.Result.Code != 3 {
		t.Errorf("%+v", e)
	}
	s.send(0, &wire.StopCCNV2{TunnelID: peerTunnel, Result: wire.Result{Code: 6}}, unknown)
	if e := s.wantTold(TunnelDown); !e.ByPeer || e.Result.Code != 6 {
		t.Errorf("%+v", e)
	}
}

// TestTieBreaker breaks ties. RFC 2661 section 4.4.3.
func TestTieBreaker(t *testing.T) {
	for _, v := range []struct {
		name          string
		ours          bool
		theirs        func(ours uint64) wire.Optional[uint64]
		sent          string
		tunnels       int
		dialling      bool
		redialsAtOnce bool
	}{
		{"ours is lower", true, func(o uint64) wire.Optional[uint64] { return wire.Some(o + 1) }, "", 1, true, false},
		{"theirs is lower", true, func(o uint64) wire.Optional[uint64] { return wire.Some(o - 1) }, "SCCRP", 1, false, false},
		{"both are equal", true, func(o uint64) wire.Optional[uint64] { return wire.Some(o) }, "", 0, false, true},
		{"only ours is there", true, func(uint64) wire.Optional[uint64] { return wire.Optional[uint64]{} }, "", 1, true, false},
		{"only theirs is there", false, func(uint64) wire.Optional[uint64] { return wire.Some(uint64(5)) }, "SCCRP", 1, false, false},
		{"there is none", false, func(uint64) wire.Optional[uint64] { return wire.Optional[uint64]{} }, "SCCRP", 2, true, false},
	} {
		cfg := both(true)
		cfg.Listen, cfg.TieBreaker = true, v.ours
		s := tell(t, cfg)
		m := s.wantSent("SCCRQ").(*wire.SCCRQV2)
		if m.TieBreaker.Set != v.ours {
			t.Errorf("%s: %+v", v.name, m)
		}
		s.id, s.nr = 0, 0
		s.send(0, &wire.SCCRQV2{PeerV2: s.peer, TieBreaker: v.theirs(m.TieBreaker.Value)})
		s.wantSent(v.sent)
		if (s.peers["there"].conn != nil) != v.dialling || len(s.conns) != v.tunnels {
			t.Errorf("%s: %d tunnels, want %d", v.name, len(s.conns), v.tunnels)
		}
		if v.redialsAtOnce {
			s.after(200 * time.Millisecond)
			if again := s.wantSent("SCCRQ").(*wire.SCCRQV2); again.TieBreaker == m.TieBreaker {
				t.Errorf("%s: the same tie breaker", v.name)
			}
		}
	}
}

// TestStatus shows what there is.
func TestStatus(t *testing.T) {
	s := tell(t, both(false)).established()
	s.send(0, &wire.ICRQV2{SessionID: 1})
	s.tunnel(TunnelConfig{Name: "other", Dial: true, OnDemand: true})
	all := s.Status()
	if len(all) != 2 || all[0].Name != "there" || all[1].Name != "other" || len(all[0].Tunnels) != 1 || all[0].Ups != 1 {
		t.Fatalf("%+v", all)
	}
	tunnel := all[0].Tunnels[0]
	if tunnel.State != Established || tunnel.Peer.HostName != "there" || len(tunnel.Sessions) != 1 || tunnel.Sessions[0].State != WaitConnect {
		t.Errorf("%+v", tunnel)
	}
}

// TestNotes has strangers cause no more notes than can be read, nor budgets than can be
// kept.
func TestNotes(t *testing.T) {
	s := tell(t, both(false))
	s.peer.Protocol = 0x0300
	for i := range 20000 {
		s.at.Peer = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(i))
		if i > 1000 {
			var b [16]byte
			b[0], b[1], b[6], b[7] = 0x20, 1, byte(i>>8), byte(i)
			s.at.Peer = netip.AddrPortFrom(netip.AddrFrom16(b), uint16(i))
		}
		s.sources.Nets[0].binding.Peers = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
		s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
		s.ns, s.nr, s.sent = 0, 0, nil
	}
	if n := len(s.told); n != 20 || s.budgets.Len() > machine.MaxSources+1 {
		t.Errorf("%d notes, %d budgets", n, s.budgets.Len())
	}
	s.now = s.now.Add(10 * time.Second)
	s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	if e := s.told[20]; !strings.Contains(e.Reason, " notes before it were left out") {
		t.Errorf("%q", e.Reason)
	}
	s.at.Peer = netip.MustParseAddrPort("192.0.2.250:1")
	s.ns, s.nr = 0, 0
	s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	if s.budgets.Len() > machine.MaxSources+2 {
		t.Errorf("%d budgets", s.budgets.Len())
	}
}
