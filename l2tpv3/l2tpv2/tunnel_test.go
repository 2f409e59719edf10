package l2tpv2

import (
	"crypto/md5"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

var secret = wire.NewSecretV2([]byte("outer"))

// TestAuthentication has both sides prove that they know the secret. RFC 2661
// section 5.1.1: "If a Challenge AVP is received in an SCCRQ or SCCRP, a Challenge
// Response AVP MUST be sent in the following SCCRP or SCCCN, respectively. If the
// expected response and response received from a peer does not match, establishment
// of the tunnel MUST be disallowed."
func TestAuthentication(t *testing.T) {
	wrong := wire.NewSecretV2([]byte("inner"))
	for _, v := range []struct {
		name      string
		cfg       TunnelConfig
		challenge bool                                      // the peer's
		response  func(t wire.MessageType, c []byte) []byte // of the peer
		code      wire.ResultCode                           // 0: it comes up
	}{
		{"none", TunnelConfig{}, false, nil, 0},
		{"both", TunnelConfig{Secret: secret}, true, secret.Response, 0},
		{"ours alone", TunnelConfig{Secret: secret}, false, secret.Response, 0},
		{"the peer's alone", TunnelConfig{Secret: secret, NoChallenge: true}, true, nil, 0},
		{"no answer", TunnelConfig{Secret: secret}, true, nil, wire.StopNotAuthorized},
		{"another secret", TunnelConfig{Secret: secret}, true, wrong.Response, wire.StopNotAuthorized},
		{"another message's", TunnelConfig{Secret: secret}, true, func(t wire.MessageType, c []byte) []byte { return secret.Response(t+1, c) }, wire.StopNotAuthorized},
		{"challenged without a secret", TunnelConfig{}, true, nil, wire.StopNotAuthorized},
	} {
		for _, dial := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, dialled %v", v.name, dial), func(t *testing.T) {
				cfg := v.cfg
				cfg.Dial = dial
				s := tell(t, cfg)
				challenge := make([]byte, 70) // some peers' are long
				if v.challenge {
					s.peer.Challenge = challenge
				}
				var answer, last wire.Message
				if dial {
					request := s.wantSent("SCCRQ").(*wire.SCCRQV2)
					if got := len(request.Challenge) > 0; got != (v.cfg.Secret != nil && !v.cfg.NoChallenge) {
						t.Errorf("challenged: %v", got)
					}
					m := &wire.SCCRPV2{PeerV2: s.peer}
					if v.response != nil {
						m.Response = v.response(wire.TypeSCCRP, request.Challenge)
					}
					s.send(0, m)
					answer = s.sent[len(s.sent)-1].Message
					last = answer
				} else {
					s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
					answer = s.sent[0].Message
					last = answer
					if m, ok := answer.(*wire.SCCRPV2); ok {
						c := &wire.SCCCNV2{}
						if v.response != nil {
							c.Response = v.response(wire.TypeSCCCN, m.Challenge)
						}
						s.send(0, c)
						last = s.sent[len(s.sent)-1].Message
					}
				}
				if v.code != 0 {
					if m, ok := last.(*wire.StopCCNV2); !ok || m.Result.Code != v.code {
						t.Errorf("answered %#v, want a StopCCN with %d", last, v.code)
					}
					s.wantUntold(TunnelUp)
					return
				}
				s.wantTold(TunnelUp)
				var response []byte
				switch m := answer.(type) {
				case *wire.SCCCNV2:
					response = m.Response
				case *wire.SCCRPV2:
					response = m.Response
				}
				if v.challenge && !secret.Verify(answer.Type(), challenge, response) || !v.challenge && response != nil {
					t.Errorf("the response is %x", response)
				}
			})
		}
	}
}

// TestHiding hides what says who calls whom, and takes what the peer hides, its
// Tunnel ID included.
func TestHiding(t *testing.T) {
	cfg := both(false)
	cfg.Secret, cfg.Hide = secret, true
	s := tell(t, cfg).established()
	if _, err := s.Indicate(s.now, s.tunnelName(), IncomingCall{Request: wire.ICRQV2{CalledNumber: "555"}}); err != nil {
		t.Fatal(err)
	}
	s.drain()
	if raw := string(s.sent[0].raw); strings.Contains(raw, "555") {
		t.Errorf("%x shows whom is called", raw)
	}
	if m := s.wantSent("ICRQ").(*wire.ICRQV2); m.CalledNumber != "555" {
		t.Errorf("%+v", m)
	}
	s.hide = secret
	s.send(0, &wire.ICRQV2{SessionID: peerSession, CallingNumber: "444"})
	s.send(s.sid, &wire.ICCNV2{Proxy: wire.Proxy{AuthenType: wire.AuthenPAP, Name: "alice", Response: []byte("password")}})
	if p := s.wantTold(SessionUp).Params; p.CallingNumber != "444" || p.Proxy.Name != "alice" || string(p.Proxy.Response) != "password" {
		t.Errorf("%+v", p)
	}

	// An SCCRQ whose Assigned Tunnel ID is hidden: an AVP that "may be hidden".
	s = tell(t, cfg)
	b := wire.AppendBodyV2(nil, &wire.SCCRQV2{PeerV2: s.peer}, &wire.EncodingV2{})
	plain := []byte{0x80, 8, 0, 0, 0, 9, 0, peerTunnel}
	at := strings.Index(string(b), string(plain))
	tunnelID := hidden(9, plain[6:])
	b = append(append(append([]byte{}, b[:at]...), tunnelID...), b[at+len(plain):]...)
	s.receive(wire.AppendControlV2(nil, wire.ControlHeaderV2{}, b))
	if m := s.sent[0]; m.Type != wire.TypeSCCRP || m.TunnelID != peerTunnel {
		t.Errorf("answered %v to tunnel %d", m.Type, m.TunnelID)
	}
	// With another secret it is malformed, and there is nowhere to answer to.
	cfg.Secret = wire.NewSecretV2([]byte("inner"))
	s = tell(t, cfg)
	s.receive(wire.AppendControlV2(nil, wire.ControlHeaderV2{}, b))
	s.wantSent("StopCCN")
}

// hidden returns a Random Vector and an AVP that is hidden behind it.
func hidden(attr byte, value []byte) []byte {
	vector := []byte("sixteen octets..")
	b := append([]byte{0, byte(len(value))}, value...)
	sum := md5.Sum(slices.Concat([]byte{0, attr}, []byte("outer"), vector))
	for i := range b {
		b[i] ^= sum[i]
	}
	out := append([]byte{0x80, byte(6 + len(vector)), 0, 0, 0, 36}, vector...)
	return append(append(out, 0xc0, byte(6+len(b)), 0, 0, 0, attr), b...)
}

// TestKeepalive sends a HELLO to a peer that is silent, and clears the tunnel when it
// is not acknowledged. RFC 2661 section 6.5.
func TestKeepalive(t *testing.T) {
	s := tell(t, both(false)).established()
	call, _ := s.Indicate(s.now, s.tunnelName(), IncomingCall{})
	s.drain()
	s.send(s.sid, &wire.ICRPV2{SessionID: peerSession})
	s.ack()
	s.sent = nil
	if d := s.untilSent(61 * time.Second); d < 54*time.Second {
		t.Errorf("after %v", d)
	}
	s.wantSent("HELLO")
	s.ack()
	s.after(50 * time.Second)
	s.Heard(s.own().id, s.now) // data came
	if d := s.untilSent(61 * time.Second); d < 54*time.Second {
		t.Errorf("after %v", d)
	}
	s.wantSent("HELLO")
	s.told = nil
	s.after(40 * time.Second) // 1, 2, 4, 8, 8, 8 s
	s.wantSent("HELLO HELLO HELLO HELLO HELLO")
	if e := s.wantTold(SessionDown); e.Call != call || e.Reason != TunnelClosed {
		t.Errorf("%+v", e)
	}
	if e := s.wantTold(TunnelDown); e.Reason != "the peer does not answer any more" || e.Tunnel == "" {
		t.Errorf("%+v", e)
	}
	if len(s.conns)+len(s.requests)+len(s.timers)+len(s.calls) != 0 {
		t.Error("something is left")
	}

	cfg := both(false)
	cfg.Hello = -1 // for a peer that answers none
	s = tell(t, cfg).established()
	s.after(time.Hour)
	s.wantSent("")
	if s.state(false) != Established {
		t.Error("the tunnel is closed")
	}
}

// TestStopCCN answers a StopCCN that comes again for a whole retransmission cycle.
// RFC 2661 section 5.7.
func TestStopCCN(t *testing.T) {
	s := tell(t, both(false)).established()
	s.send(0, &wire.StopCCNV2{TunnelID: peerTunnel, Result: wire.Result{Code: wire.StopShutdown}})
	if e := s.wantTold(TunnelDown); !e.ByPeer || e.Result.Code != wire.StopShutdown || e.Reason != "closed by peer: result 6 (requester is being shut down)" {
		t.Errorf("%+v", e)
	}
	if len(s.sent) != 1 || s.sent[0].Message != nil || s.sent[0].Nr != 3 {
		t.Fatalf("answered %+v, want a ZLB", s.sent)
	}
	s.after(30 * time.Second)
	s.sent = nil
	s.receive(s.raw)
	if len(s.sent) != 1 || s.sent[0].Message != nil {
		t.Errorf("30 s later: %+v", s.sent)
	}
	s.after(time.Minute)
	if len(s.conns)+len(s.requests)+len(s.timers)+len(s.lingering) != 0 {
		t.Error("something is left")
	}

	// Ours is repeated until it is acknowledged, and then nothing is left.
	s = tell(t, both(false)).established()
	s.Close(s.now)
	s.after(4 * time.Second)
	m := s.wantSent("StopCCN StopCCN StopCCN").(*wire.StopCCNV2)
	if m.Result.Code != wire.StopShutdown || m.TunnelID != s.id || s.Quiet() {
		t.Errorf("%+v, quiet %v", m, s.Quiet())
	}
	s.ack()
	s.after(0)
	if !s.Quiet() || len(s.conns) != 0 {
		t.Error("something is left")
	}
	if s.send(0, &wire.SCCRQV2{PeerV2: s.peer}); len(s.sent) != 0 {
		t.Error("one that is closed accepts")
	}
}

// TestFarewell takes a StopCCN of a peer that does not know our Tunnel ID, and sends
// one to a peer whose ID is not known: "permitting the peer to identify the
// appropriate tunnel even if a StopCCN is sent before an Assigned Tunnel ID AVP is
// received."
func TestFarewell(t *testing.T) {
	s := tell(t, both(false))
	s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	s.id = 0
	s.send(0, &wire.StopCCNV2{TunnelID: peerTunnel})
	if s.state(false) != Idle {
		t.Errorf("it is in %v", s.state(false))
	}
	s.send(0, &wire.StopCCNV2{TunnelID: 1})
	s.send(0, &wire.HELLOV2{})
	if n := s.DropCounts()[DropTunnel]; n != 2 {
		t.Errorf("%d dropped, want 2", n)
	}

	s = tell(t, both(true))
	s.sent = nil
	s.Down(s.now, "there")
	s.drain()
	if m := s.sent[0]; m.TunnelID != 0 || m.Ns != 1 || m.Message.(*wire.StopCCNV2).TunnelID != s.id {
		t.Errorf("%+v", m)
	}
	if len(s.conns) != 0 {
		t.Error("something is left")
	}
	// One that refuses our SCCRQ is acknowledged by the ID that it tells.
	s = tell(t, both(true))
	s.sent = nil
	s.send(0, &wire.StopCCNV2{TunnelID: 5, Result: wire.Result{Code: wire.StopNotAuthorized}})
	if m := s.sent[0]; m.Message != nil || m.TunnelID != 5 || m.Nr != 1 {
		t.Errorf("%+v", m)
	}
	if e := s.wantTold(TunnelDown); !e.ByPeer || e.Next.IsZero() {
		t.Errorf("%+v", e)
	}
}

// TestManyBehindOneAddress has clients behind one NAT that have the same host name
// and, from ports of their own, the same Tunnel ID.
func TestManyBehindOneAddress(t *testing.T) {
	s := tell(t, both(false))
	ids := make(map[uint16]bool)
	up := func() {
		s.id, s.ns, s.nr = 0, 0, 0
		s.established()
		ids[s.id] = true
	}
	for port := range 50 {
		s.at.Peer = netip.AddrPortFrom(s.at.Peer.Addr(), uint16(2000+port))
		up()
	}
	// Behind IPsec even the port may be the same.
	for mark := range 50 {
		s.at.Mark = uint32(1 + mark)
		up()
	}
	// And whoever has another name is another client.
	s.peer.HostName = "elsewhere"
	up()
	if len(ids) != 101 || len(s.names) != 101 || len(s.conns) != 101 {
		t.Errorf("%d tunnels, %d established, want 101", len(s.conns), len(s.names))
	}
	// One that begins anew from the same port takes the place of its tunnel, but
	// only when it has completed the new one.
	s.told, s.sent = nil, nil
	s.id, s.ns, s.nr = 0, 0, 0
	s.peer.Firmware++
	s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	s.wantUntold(TunnelDown)
	s.send(0, &wire.SCCCNV2{})
	if e := s.wantTold(TunnelDown); e.Reason != "the peer began anew" {
		t.Errorf("%+v", e)
	}
	s.wantTold(TunnelUp)
	if len(s.names) != 101 {
		t.Errorf("%d tunnels", len(s.names))
	}
	s.wantSent("SCCRP") // and no StopCCN, which would have the ID of the new one
}

// TestPorts follows a peer to another port, and nowhere else.
func TestPorts(t *testing.T) {
	s := tell(t, both(true))
	s.at.Peer = netip.MustParseAddrPort("192.0.2.2:40000") // the responder picks a port
	s.established()
	call := func() wire.Message {
		s.sent = nil
		s.send(0, &wire.ICRQV2{SessionID: peerSession + s.ns})
		if len(s.sent) == 0 {
			return nil
		}
		if s.sent[0].to.Peer != s.at.Peer {
			t.Errorf("answered to %v", s.sent[0].to.Peer)
		}
		return s.sent[0].Message
	}
	if call() == nil {
		t.Error("no answer")
	}
	s.told = nil
	s.at.Peer = netip.MustParseAddrPort("192.0.2.2:40001")
	if call() == nil || s.wantTold(TunnelMoved).Reason != "from 192.0.2.2:40000" {
		t.Error("it was not followed")
	}
	// A message that is not new moves nobody, and is acknowledged where it came from:
	// its acknowledgment may have been lost when the NAT forgot the port.
	old := s.at
	s.at.Peer = netip.MustParseAddrPort("192.0.2.2:40002")
	s.sent = nil
	s.receive(s.raw)
	if s.own().at != old {
		t.Error("an old message moved it")
	}
	if len(s.sent) != 1 || s.sent[0].to != s.at {
		t.Errorf("an old message from %v is answered by %v", s.at, s.sent)
	}
	s.at.Peer = netip.MustParseAddrPort("192.0.2.3:40001")
	if call() != nil || s.DropCounts()[DropSource] != 1 {
		t.Error("somebody else was heard")
	}

	cfg := both(false)
	cfg.FixedPort = true
	s = tell(t, cfg).established()
	s.at.Peer = netip.MustParseAddrPort("192.0.2.2:9")
	s.send(0, &wire.HELLOV2{})
	if s.DropCounts()[DropSource] != 1 {
		t.Error("the port was not fixed")
	}
}

// TestQuirks speaks as real peers do.
func TestQuirks(t *testing.T) {
	// A window that is absent means 4; no Bearer Capabilities: it places no calls.
	s := tell(t, both(false))
	s.peer.ReceiveWindow, s.peer.Bearer = 0, wire.Optional[wire.BearerType]{}
	s.established()
	if got := s.own().peer.ReceiveWindow; got != 4 {
		t.Errorf("window %d", got)
	}
	if _, err := s.Request(s.now, s.tunnelName(), wire.OCRQV2{}); err == nil {
		t.Error("an outgoing call was asked of a peer that places none")
	}
	// A ZLB may carry a session ID.
	s.send(4711, nil)
	// A CDN may carry our ID mangled, or only the peer's.
	s.send(0, &wire.ICRQV2{SessionID: peerSession})
	s.send(s.sid, &wire.ICCNV2{})
	s.send(s.sid^0x55, &wire.CDNV2{SessionID: peerSession, Result: wire.Result{Code: wire.CDNCarrier}})
	if e := s.wantTold(SessionDown); !e.ByPeer {
		t.Errorf("%+v", e)
	}
	// An SCCCN may repeat the SCCRQ's AVPs; a D-Link's Tunnel ID is 0.
	s = tell(t, both(false))
	s.peer.TunnelID = 0
	s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	again := wire.AppendBodyV2(nil, &wire.SCCRQV2{PeerV2: s.peer}, &wire.EncodingV2{})
	s.send(0, &wire.SCCCNV2{}, again[8:])
	s.wantTold(TunnelUp)
	s.wantSent("SCCRP")
	cfg := both(false)
	cfg.Strict = true
	s = tell(t, cfg)
	s.peer.TunnelID = 0
	s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	s.wantSent("StopCCN")
	// Several calls are in flight, and complete out of their order.
	s = tell(t, both(false)).established()
	var ids []uint16
	for i := range uint16(5) {
		s.send(0, &wire.ICRQV2{SessionID: 1 + i})
		ids = append(ids, s.sid)
	}
	for _, i := range []int{3, 1, 4, 0, 2} {
		s.send(ids[i], &wire.ICCNV2{})
		if p := s.wantTold(SessionUp).Params; p.SessionID != ids[i] || p.PeerSessionID != uint16(1+i) {
			t.Errorf("%+v", p)
		}
	}
	// Cisco's AVPs may be mandatory; another vendor's end the session.
	s.send(0, &wire.ICRQV2{SessionID: 50}, []byte{0x80, 8, 0, 9, 0, 1, 0, 0})
	s.wantTold(SessionOpen)
	s.sent = nil
	s.send(0, &wire.ICRQV2{SessionID: 51}, []byte{0x80, 8, 1, 55, 0, 1, 0, 0})
	m := s.wantSent("CDN").(*wire.CDNV2)
	if m.Result.Code != wire.CDNError || m.Result.Error != wire.ErrorUnknownAVP || !strings.Contains(m.Result.Message, "vendor 311 attribute 1") {
		t.Errorf("%+v", m)
	}
	if s.state(false) != Established {
		t.Error("the tunnel is closed")
	}
	// A message type that is unknown and mandatory clears the tunnel.
	s.receive(wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: s.id, Ns: s.ns, Nr: s.nr}, []byte{0x80, 8, 0, 0, 0, 0, 0, 99}))
	if m := s.wantSent("StopCCN").(*wire.StopCCNV2); m.Result.Error != wire.ErrorUnknownAVP {
		t.Errorf("%+v", m)
	}
}

// TestCall hands what both sides say of a call through to the owner.
func TestCall(t *testing.T) {
	proxy := wire.Proxy{InitialReceived: []byte{1, 4, 5, 220}, LastSent: []byte{7, 2}, LastReceived: []byte{8, 2}, AuthenType: wire.AuthenCHAP, Name: "alice", Challenge: []byte{1}, ID: 9, Response: []byte{2}}
	s := tell(t, both(false)).established()
	s.send(0, &wire.ICRQV2{SessionID: peerSession, SerialNumber: 5, Bearer: wire.Some(wire.DigitalBearer), PhysicalChannelID: wire.Some(uint32(6)), CalledNumber: "1", CallingNumber: "2", SubAddress: "3"})
	s.send(s.sid, &wire.ICCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 7, RxSpeed: 8, Framing: 1, Sequence: true, LCPWant: []byte{7, 2}, LCPAllow: []byte{8, 2}}, Proxy: proxy, PrivateGroupID: []byte("g")})
	e := s.wantTold(SessionUp)
	want := Params{
		TunnelID: s.id, SessionID: s.sid, PeerTunnelID: peerTunnel, PeerSessionID: peerSession, SerialNumber: 5, Bearer: wire.Some(wire.DigitalBearer), Framing: 1,
		TxSpeed: 7, RxSpeed: 8, PhysicalChannelID: wire.Some(uint32(6)), CalledNumber: "1", CallingNumber: "2", SubAddress: "3", PrivateGroupID: []byte("g"),
		Sequence: true, LCPWant: []byte{7, 2}, LCPAllow: []byte{8, 2}, Proxy: proxy,
	}
	if d := cmp.Diff(want, e.Params); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	s.sent = nil
	if err := s.SetLink(s.now, e.Call, wire.SLIV2{ACCM: wire.Some(wire.ACCM{Send: 1})}); err != nil {
		t.Fatal(err)
	}
	s.drain()
	if m := s.sent[0]; m.SessionID != peerSession || m.Message.(*wire.SLIV2).ACCM.Value.Send != 1 {
		t.Errorf("%+v", m)
	}
	if s.Report(s.now, e.Call, wire.CallErrors{}) == nil || s.Answer(s.now, e.Call, wire.OCCNV2{}) == nil || s.Hangup(s.now, 99, wire.CDNV2{}) == nil {
		t.Error("what an LNS does not do is done")
	}
	s.send(s.sid, &wire.WENV2{Errors: wire.CallErrors{CRC: 3}})
	if e := s.wantTold(SessionErrors); e.Errors.CRC != 3 {
		t.Errorf("%+v", e)
	}
	s.send(s.sid, &wire.SLIV2{}) // which an LNS ignores
	s.wantUntold(SessionLink)
	s.send(s.sid, &wire.CDNV2{SessionID: peerSession, Result: wire.Result{Code: 1}, Cause: wire.Cause{Code: 16}, Disconnects: []wire.Disconnect{{Code: wire.DisconnectAuthFailed}}})
	down := s.wantTold(SessionDown)
	if down.Call != e.Call || down.Cause.Code != 16 || down.Disconnects[0].Code != 16 || down.Reason != "closed by peer: result 1 (loss of carrier or circuit disconnect), authentication failed (16)" {
		t.Errorf("%+v", down)
	}

	// An outgoing call, as its LAC.
	s.send(0, &wire.OCRQV2{SessionID: 1, MinimumBPS: 1, MaximumBPS: 2, Bearer: 1, Framing: 1, CalledNumber: "555"})
	e = s.wantTold(SessionPlace)
	if p := e.Params; !p.LAC || !p.Outgoing || p.CalledNumber != "555" || p.MinimumBPS != 1 || p.MaximumBPS != 2 {
		t.Errorf("%+v", p)
	}
	s.sent = nil
	s.Answer(s.now, e.Call, wire.OCCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 9, Framing: 1}})
	s.drain()
	if m := s.wantSent("OCCN").(*wire.OCCNV2); m.TxSpeed != 9 {
		t.Errorf("%+v", m)
	}
	s.send(s.sid, &wire.SLIV2{ACCM: wire.Some(wire.ACCM{Receive: 2})})
	if e := s.wantTold(SessionLink); e.Link.ACCM.Value.Receive != 2 {
		t.Errorf("%+v", e)
	}
	// What the owner says of its end is told.
	s.Hangup(s.now, e.Call, wire.CDNV2{Result: wire.Result{Code: wire.CDNCarrier}, Disconnects: []wire.Disconnect{{Code: 3}}})
	s.drain()
	m := s.wantSent("CDN").(*wire.CDNV2)
	if m.SessionID != s.sid || m.Disconnects[0].Code != 3 {
		t.Errorf("%+v", m)
	}
}

// TestDiffServ negotiates the PHB codes of RFC 3308.
func TestDiffServ(t *testing.T) {
	ef, other := wire.Some(uint16(0xb800)), wire.Some(uint16(0x2800))
	for _, v := range []struct {
		name      string
		reply     wire.Optional[uint16]
		agreed    wire.Optional[uint16]
		unwilling bool
	}{
		{"accepted", ef, ef, false},
		{"not supported", wire.Optional[uint16]{}, wire.Optional[uint16]{}, false},
		{"another", other, wire.Optional[uint16]{}, true},
	} {
		cfg := both(true)
		cfg.DiffServ = ef
		s := tell(t, cfg)
		if m := s.wantSent("SCCRQ").(*wire.SCCRQV2); m.DiffServ != ef {
			t.Errorf("%s: %+v", v.name, m)
		}
		s.peer.DiffServ = v.reply
		s.send(0, &wire.SCCRPV2{PeerV2: s.peer})
		if v.unwilling {
			if m := s.wantSent("StopCCN").(*wire.StopCCNV2); m.Result.Code != wire.StopDiffServ || m.Result.Error != 47 {
				t.Errorf("%s: %+v", v.name, m)
			}
			continue
		}
		if e := s.wantTold(TunnelUp); e.Peer.DiffServ != v.agreed {
			t.Errorf("%s: %+v", v.name, e.Peer)
		}
		s.ack()
		s.sent = nil
		s.Indicate(s.now, "there", IncomingCall{Request: wire.ICRQV2{DiffServ: ef}})
		s.drain()
		s.send(s.sid, &wire.ICRPV2{SessionID: 3, DiffServ: other})
		if m := s.wantSent("ICRQ CDN").(*wire.CDNV2); m.Result.Code != wire.CDNDiffServ || m.Result.Error != 48 {
			t.Errorf("%s: %+v", v.name, m)
		}
	}
	cfg := both(false)
	cfg.DiffServ, cfg.CallDiffServ = other, ef
	s := tell(t, cfg)
	s.peer.DiffServ = ef
	s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	if m := s.wantSent("SCCRP").(*wire.SCCRPV2); m.DiffServ != other {
		t.Errorf("%+v", m)
	}
	s.send(0, &wire.SCCCNV2{})
	s.send(0, &wire.ICRQV2{SessionID: 1, DiffServ: other})
	if m := s.wantSent("ICRP").(*wire.ICRPV2); m.DiffServ != ef {
		t.Errorf("%+v", m)
	}
	s.send(0, &wire.ICRQV2{SessionID: 2})
	if m := s.wantSent("ICRP").(*wire.ICRPV2); m.DiffServ.Set {
		t.Errorf("%+v", m)
	}
}

// TestRedial dials again, later each time, and the next address after one that does
// not answer.
func TestRedial(t *testing.T) {
	s := &dialogue{t: t, Node: New(here()), now: start, at: from("192.0.2.2:1701")}
	if err := s.Add(s.now, TunnelConfig{Name: "there", Dial: true, RedialLimit: 4}); err != nil || s.Add(s.now, TunnelConfig{Name: "there"}) == nil {
		t.Fatal(err)
	}
	s.Bind(s.now, "there", Binding{At: from("192.0.2.2:1701"), Others: []Address{from("192.0.2.3:1701")}})
	var to []string
	for range 12 {
		s.after(10 * time.Second)
		for _, m := range s.sent {
			if a := m.to.Peer.Addr().String(); m.Type == wire.TypeSCCRQ && (len(to) == 0 || to[len(to)-1] != a) {
				to = append(to, a)
			}
		}
		s.sent = nil
	}
	s.after(time.Hour)
	if got := strings.Join(to, " "); got != "192.0.2.2 192.0.2.3 192.0.2.2 192.0.2.3" || len(s.conns)+len(s.timers) != 0 {
		t.Errorf("dialled %s", got)
	}
	if st := s.Status(); len(st) != 1 || st[0].Attempts != 4 || st[0].LastError != "the peer does not answer" {
		t.Errorf("%+v", st)
	}
	// By command it tries again.
	s.sent = nil
	s.Up(s.now, "there")
	s.after(0)
	s.wantSent("SCCRQ")
	if s.Up(s.now, "nobody") == nil || s.Down(s.now, "nobody") == nil {
		t.Error("nobody is known")
	}
	s.Remove(s.now, "there")
	s.drain()
	if m := s.wantSent("StopCCN").(*wire.StopCCNV2); m.Result.Code != wire.StopGeneral || len(s.conns)+len(s.peers)+len(s.timers) != 0 {
		t.Errorf("%+v", m)
	}
}

// TestOnDemand dials for a call, and hangs up when there is none any more.
func TestOnDemand(t *testing.T) {
	s := tell(t, TunnelConfig{Dial: true, OnDemand: true, Idle: 10 * time.Second})
	s.wantSent("")
	id, err := s.Indicate(s.now, "there", IncomingCall{})
	if err != nil {
		t.Fatal(err)
	}
	s.after(0)
	s.wantSent("SCCRQ")
	s.send(0, &wire.SCCRPV2{PeerV2: s.peer})
	s.wantSent("SCCCN ICRQ")
	s.send(s.sid, &wire.ICRPV2{SessionID: 1})
	s.ack()
	s.wantTold(SessionUp)
	s.after(time.Minute - 7*time.Second)
	s.Heard(s.id, s.now)
	s.sent = nil
	s.Hangup(s.now, id, wire.CDNV2{Result: wire.Result{Code: wire.CDNCarrier}})
	s.after(0)
	s.ack()
	s.after(9 * time.Second)
	s.wantSent("CDN")
	s.after(time.Second)
	s.wantSent("StopCCN")
	if e := s.wantTold(TunnelDown); !e.Next.IsZero() {
		t.Errorf("%+v", e)
	}
	s.ack()
	s.after(time.Hour)
	if len(s.conns)+len(s.timers) != 0 {
		t.Error("something is left")
	}
	// A call that waits is told when the tunnel does not come up.
	s.told = nil
	s.Indicate(s.now, "there", IncomingCall{})
	s.after(time.Minute)
	if e := s.wantTold(SessionDown); e.Reason != "the tunnel did not come up: the peer does not answer" && e.Reason != "the tunnel did not come up in time" {
		t.Errorf("%+v", e)
	}
	if _, err := s.Indicate(s.now, "nobody", IncomingCall{}); err == nil {
		t.Error("a tunnel that is not there is dialled")
	}
	s.Down(s.now, "there")
	if _, err := s.Indicate(s.now, "there", IncomingCall{}); err == nil {
		t.Error("a tunnel that is down is dialled")
	}
}

// TestMatch finds whose SCCRQ it is.
func TestMatch(t *testing.T) {
	s := &dialogue{t: t, Node: New(here()), now: start, at: from("192.0.2.2:1701"), peer: wire.PeerV2{Protocol: wire.ProtocolV2, HostName: "there", TunnelID: 1}}
	add := func(cfg TunnelConfig, peers string, vias ...int) {
		s.Add(s.now, cfg)
		s.Bind(s.now, cfg.Name, Binding{Peers: []netip.Prefix{netip.MustParsePrefix(peers)}, Vias: vias})
	}
	add(TunnelConfig{Name: "net"}, "192.0.2.0/24")
	add(TunnelConfig{Name: "named", PeerHostName: "branch"}, "192.0.2.0/24")
	add(TunnelConfig{Name: "host"}, "192.0.2.9/32")
	add(TunnelConfig{Name: "other"}, "198.51.100.0/24", 3)
	add(TunnelConfig{Name: "dialled", Dial: true}, "203.0.113.0/24")
	for _, v := range []struct {
		at   string
		via  int
		host string
		want string
	}{
		{"192.0.2.2:1", 0, "there", "net"},
		{"192.0.2.2:1", 0, "branch", "named"},
		{"192.0.2.9:1", 0, "there", "host"},
		{"198.51.100.1:1", 3, "there", "other"},
		{"198.51.100.1:1", 0, "there", ""},
		{"203.0.113.1:1", 0, "there", ""},
		{"[2001:db8::1]:1", 0, "there", ""},
	} {
		at := from(v.at)
		at.Via = v.via
		got := ""
		if p := s.match(at, v.host); p != nil {
			got = p.cfg.Name
		}
		if got != v.want {
			t.Errorf("%s from %s is of %q, want %q", v.host, v.at, got, v.want)
		}
	}
	s.at = from("203.0.113.1:1")
	s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	if s.DropCounts()[DropNoTunnel] != 1 || s.LastDropped()[DropNoTunnel].From != s.at.Peer {
		t.Errorf("%v", s.DropCounts())
	}
	for _, b := range [][]byte{nil, {0xc8, 2}, {0xc8, 3, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0}} {
		s.receive(b)
	}
	if s.DropCounts()[DropHeader] != 3 {
		t.Errorf("%v", s.DropCounts())
	}
}

// TestChoose says which version answers an SCCRQ. RFC 3931 section 4.7.3.
func TestChoose(t *testing.T) {
	v2 := &wire.SCCRQV2{PeerV2: wire.PeerV2{Protocol: wire.ProtocolV2, HostName: "there", TunnelID: 1}}
	v3 := &wire.LCCE{HostName: "there", RouterID: 1, ConnectionID: 2, Capabilities: []pseudowire.Type{pseudowire.Ethernet}}
	header := wire.ControlHeader{Version: 2}
	only2 := wire.AppendControl(nil, header, wire.AppendBodyV2(nil, v2, &wire.EncodingV2{}))
	for2and3 := wire.AppendControl(nil, header, wire.AppendOffer(nil, v2, &wire.EncodingV2{}, v3, &wire.Encoding{}))
	only3 := wire.AppendControl(nil, wire.ControlHeader{Version: 3}, wire.AppendBody(nil, &wire.SCCRQ{LCCE: *v3}, &wire.Encoding{}))
	for _, v := range []struct {
		name    string
		request []byte
		want    [3]Version // of who speaks 2, 3, both
	}{
		{"of 2", only2, [3]Version{Version2, NoVersion, Version2}},
		{"of both", for2and3, [3]Version{Version2, Version3, Version3}},
		{"of 3", only3, [3]Version{NoVersion, Version3, Version3}},
		{"short", only2[:11], [3]Version{}},
	} {
		for i, speaks := range [][]Version{{Version2}, {Version3}, {Version2, Version3}} {
			if got := Choose(v.request, speaks...); got != v.want[i] {
				t.Errorf("an SCCRQ %s, to who speaks %v: %d, want %d", v.name, speaks, got, v.want[i])
			}
		}
	}
}

// TestOffer dials for both versions, and falls back to this one.
func TestOffer(t *testing.T) {
	s := tell(t, TunnelConfig{Dial: true, OnDemand: true, Secret: secret})
	m, err := s.Offer(s.now, "there")
	if err != nil {
		t.Fatal(err)
	}
	former := m.TunnelID
	if m, err = s.Offer(s.now, "there"); err != nil || m.TunnelID == former || len(s.conns) != 1 {
		t.Errorf("%+v, %v, %d tunnels", m, err, len(s.conns))
	}
	s.after(time.Hour)
	s.wantSent("") // it is not ours to send
	s.id, s.challenge, s.nr = m.TunnelID, m.Challenge, 1
	s.send(0, &wire.HELLOV2{})
	s.ns = 0
	if s.wantSent(""); s.DropCounts()[DropTunnel] != 1 {
		t.Error("something else than an answer was taken")
	}
	s.established()
	s.wantTold(TunnelDialing)
	s.after(time.Second)
	if c := s.own(); c.name != "there" || s.spoken() != "" || c.reliable.Stats().Outstanding != 0 {
		t.Errorf("%+v", c)
	}
	if _, err := s.Offer(s.now, "there"); err == nil {
		t.Error("what is established is offered")
	}
	// One that is not answered is forgotten.
	s = tell(t, TunnelConfig{Dial: true, OnDemand: true})
	s.Offer(s.now, "there")
	s.Withdraw(s.now, "there")
	if len(s.conns)+len(s.timers)+len(s.peers["there"].all) != 0 {
		t.Error("something is left")
	}
	s.Offer(s.now, "there")
	s.Remove(s.now, "there")
	s.drain()
	if s.spoken() != "" || len(s.conns)+len(s.timers) != 0 {
		t.Error("something is left")
	}
	// A StopCCN in version 2 ends it, too.
	s = tell(t, TunnelConfig{Dial: true, OnDemand: true})
	m, _ = s.Offer(s.now, "there")
	s.id, s.nr = m.TunnelID, 1
	s.send(0, &wire.StopCCNV2{TunnelID: 9, Result: wire.Result{Code: wire.StopNotAuthorized}})
	if e := s.wantTold(TunnelDown); !e.ByPeer {
		t.Errorf("%+v", e)
	}
}

// TestIDs takes all there are, and no more.
func TestIDs(t *testing.T) {
	taken := make(map[uint16]bool)
	r := rand.New(rand.NewPCG(1, 1))
	random := func(b []byte) { b[0], b[1] = byte(r.Uint32()), byte(r.Uint32()) }
	for range 65535 {
		id, ok := newID(random, taken)
		if !ok || id == 0 || taken[id] {
			t.Fatalf("%d, %v, of %d", id, ok, len(taken))
		}
		taken[id] = true
	}
	if _, ok := newID(random, taken); ok {
		t.Error("there is one more")
	}
}

// TestWords puts names to everything.
func TestWords(t *testing.T) {
	for d := range Drops {
		if d.String() == "" || d.String() == "unknown" {
			t.Errorf("drop %d has no name", d)
		}
	}
	for s := range states {
		if s.String() == "" || s.String() == "unknown" {
			t.Errorf("state %d has no name", s)
		}
	}
	for k := TunnelDialing; k <= Noted; k++ {
		if k.String() == "event" {
			t.Errorf("event %d has no name", k)
		}
	}
	if Drops.String() != "unknown" || states.String() != "unknown" || EventKind(99).String() != "event" || EventKind(0).String() != "event" {
		t.Error("what is unknown has a name")
	}
}
