package l2tpv2

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
)

// A dialogue is one node and its peer, whose messages the test writes by hand, on a
// clock of the test's own. The peer is "there" with Tunnel ID 77; the node is "here",
// and its tunnel "there".
type dialogue struct {
	t testing.TB
	*Node
	now  time.Time
	at   Address // of the peer
	told []Event // and not wanted yet
	sent []said  // by the node, likewise

	peer   wire.PeerV2
	secret *wire.SecretV2
	hide   *wire.SecretV2
	id     uint16 // the node's Tunnel ID, as it told the peer
	sid    uint16 // the last Session ID that it told
	ns, nr uint16
	raw    []byte // the last message of the peer

	challenge []byte // the node's
}

// A said is a message of the node.
type said struct {
	wire.ControlHeaderV2
	wire.Parsed
	to  Address
	raw []byte
}

const peerTunnel, peerSession = 77, 99

var start = time.Unix(1e9, 0)

// here is what the node of a dialogue is.
func here() Config {
	r := rand.New(rand.NewPCG(1, 2))
	return Config{HostName: "here", VendorName: "test", Firmware: 1, Random: func(b []byte) {
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	}}
}

func from(peer string) Address { return Address{Peer: netip.MustParseAddrPort(peer)} }

// tell begins a dialogue with a node that has one tunnel to the peer, or accepts
// its.
func tell(t testing.TB, cfg TunnelConfig) *dialogue {
	t.Helper()
	s := &dialogue{t: t, Node: New(here()), now: start, at: from("192.0.2.2:1701"), secret: cfg.Secret}
	s.peer = wire.PeerV2{Protocol: wire.ProtocolV2, HostName: "there", Framing: 3, Bearer: wire.Some(wire.BearerType(3)), TunnelID: peerTunnel, ReceiveWindow: 100}
	s.tunnel(cfg)
	return s
}

// both is a tunnel for calls of all kinds.
func both(dial bool) TunnelConfig {
	return TunnelConfig{Dial: dial, Incoming: true, Outgoing: true, Bearer: wire.Some(wire.BearerType(3))}
}

func (s *dialogue) tunnel(cfg TunnelConfig) {
	s.t.Helper()
	if cfg.Name == "" {
		cfg.Name = "there"
	}
	if err := s.Add(s.now, cfg); err != nil {
		s.t.Fatal(err)
	}
	b := Binding{Peers: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	if cfg.Dial {
		b.At = s.at
	}
	s.Bind(s.now, cfg.Name, b)
	s.after(0)
}

// write returns a message of the peer.
func (s *dialogue) write(ns, session uint16, m wire.Message, extra ...[]byte) []byte {
	var body []byte
	if m != nil {
		body = wire.AppendBodyV2(nil, m, &wire.EncodingV2{Hide: s.hide, Random: here().Random})
	}
	for _, b := range extra {
		body = append(body, b...)
	}
	return wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: s.id, SessionID: session, Ns: ns, Nr: s.nr}, body)
}

// send sends a message of the peer; a ZLB (nil) takes no number.
func (s *dialogue) send(session uint16, m wire.Message, extra ...[]byte) {
	s.t.Helper()
	b := s.write(s.ns, session, m, extra...)
	if m != nil {
		s.ns++
	}
	s.receive(b)
}

func (s *dialogue) ack() { s.send(0, nil) }

func (s *dialogue) receive(b []byte) {
	s.raw = b
	s.Receive(s.now, s.at, b)
	s.drain()
}

// after lets time go by.
func (s *dialogue) after(d time.Duration) {
	until := s.now.Add(d)
	for {
		s.drain()
		at := s.Deadline()
		if at.IsZero() || at.After(until) {
			break
		}
		if at.Before(s.now) {
			s.t.Fatalf("deadline %v in the past", s.now.Sub(at))
		}
		s.now = at
		s.Advance(s.now)
	}
	s.now = until
}

// untilSent lets time go by until the node sends something, at most so long, and
// reports how long.
func (s *dialogue) untilSent(most time.Duration) time.Duration {
	s.t.Helper()
	begun := s.now
	for len(s.sent) == 0 {
		if s.now.Sub(begun) > most {
			s.t.Fatalf("silent for %v", most)
		}
		s.after(100 * time.Millisecond)
	}
	return s.now.Sub(begun)
}

// drain takes what the node sends and tells.
func (s *dialogue) drain() {
	for {
		b, to, ok := s.Transmit(nil)
		if !ok {
			break
		}
		h, message, err := wire.ParseControlV2(b)
		if err != nil {
			s.t.Fatal(err)
		}
		p, bad := wire.ParseV2(message, &wire.DecodingV2{Secret: s.secret})
		if bad != nil {
			s.t.Fatalf("%x: %v", b, bad)
		}
		s.sent = append(s.sent, said{h, p, to, b})
		switch m := p.Message.(type) {
		case *wire.SCCRQV2:
			s.id, s.challenge = m.TunnelID, m.Challenge
		case *wire.SCCRPV2:
			s.id, s.challenge = m.TunnelID, m.Challenge
		case *wire.ICRQV2:
			s.sid = m.SessionID
		case *wire.OCRQV2:
			s.sid = m.SessionID
		case *wire.ICRPV2:
			s.sid = m.SessionID
		case *wire.OCRPV2:
			s.sid = m.SessionID
		}
		if p.Message != nil && h.Ns == s.nr {
			s.nr++
		}
	}
	for {
		e, ok := s.Event()
		if !ok {
			return
		}
		s.told = append(s.told, e)
	}
}

// spoken takes what the node has sent, but for acknowledgments.
func (s *dialogue) spoken() string {
	var names []string
	for _, m := range s.sent {
		if m.Message != nil {
			names = append(names, m.Type.String())
		}
	}
	s.sent = nil
	return strings.Join(names, " ")
}

// wantSent takes what the node has sent, and returns the last message.
func (s *dialogue) wantSent(names string) wire.Message {
	s.t.Helper()
	var last wire.Message
	for _, m := range s.sent {
		if m.Message != nil {
			last = m.Message
		}
	}
	if got := s.spoken(); got != names {
		s.t.Fatalf("sent %q, want %q", got, names)
	}
	return last
}

// wantTold takes what the node has told of this kind, once.
func (s *dialogue) wantTold(k EventKind) Event {
	s.t.Helper()
	for i, e := range s.told {
		if e.Kind == k {
			s.told = append(s.told[:i:i], s.told[i+1:]...)
			return e
		}
	}
	s.t.Fatalf("no %v among %v", k, kinds(s.told))
	return Event{}
}

// wantUntold fails if the node has told of a kind.
func (s *dialogue) wantUntold(k EventKind) {
	s.t.Helper()
	for _, e := range s.told {
		if e.Kind == k {
			s.t.Fatalf("%v: %s", k, e.Reason)
		}
	}
}

func kinds(all []Event) (names []string) {
	for _, e := range all {
		names = append(names, fmt.Sprintf("%v (%s)", e.Kind, e.Reason))
	}
	return names
}

// established brings the tunnel up, whoever begins.
func (s *dialogue) established() *dialogue {
	s.t.Helper()
	if c := s.own(); c != nil && c.dialled {
		m := &wire.SCCRPV2{PeerV2: s.peer}
		if len(s.challenge) > 0 {
			m.Response = s.secret.Response(wire.TypeSCCRP, s.challenge)
		}
		s.send(0, m)
	} else {
		s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
		m := &wire.SCCCNV2{}
		if len(s.challenge) > 0 {
			m.Response = s.secret.Response(wire.TypeSCCCN, s.challenge)
		}
		s.send(0, m)
	}
	s.ack()
	s.wantTold(TunnelUp)
	s.sent = nil
	return s
}

// own returns the node's tunnel, nil if there is none.
func (s *dialogue) own() *conn {
	for _, c := range s.conns {
		return c
	}
	return nil
}

// tunnelName is the name of the node's tunnel.
func (s *dialogue) tunnelName() string { return s.own().name }

// state is that of the only tunnel, or that of the only call.
func (s *dialogue) state(ofCall bool) State {
	if ofCall {
		for _, c := range s.calls {
			return c.state
		}
		return Idle
	}
	if c := s.own(); c != nil {
		return c.state
	}
	return Idle
}
