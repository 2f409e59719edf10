package control

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A script has a hostile peer and the time do what its octets say.
type script struct {
	*dialogue
	rest []byte
	ours []uint32 // Session IDs of the LCCE, as it told them
	raws [][]byte // what the peer has sent
	deaf bool     // the peer acknowledges nothing new
}

func (s *script) octet() int {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return int(b)
}

func (s *script) octets(n int) []byte {
	n = min(n, len(s.rest))
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b
}

// id returns a Session ID: one of the LCCE's, one of the peer's, or nobody's.
func (s *script) id() uint32 {
	switch n := s.octet(); {
	case n < 128 && len(s.ours) > 0:
		return s.ours[len(s.ours)-1-n%len(s.ours)]
	case n < 250:
		return uint32(n % 16)
	default:
		return uint32(n) << 24
	}
}

// hear has the LCCE receive, and takes what it sends.
func (s *script) hear(b []byte) int {
	s.Receive(s.now, s.at, b)
	return s.listen()
}

// wait lets time go by.
func (s *script) wait(d time.Duration) {
	until := s.now.Add(d)
	for at := s.Deadline(); !at.IsZero() && !at.After(until); at = s.Deadline() {
		if at.Before(s.now) {
			s.t.Fatalf("deadline %v in the past", s.now.Sub(at))
		}
		s.now = at
		s.Advance(s.now)
		s.listen()
	}
	s.now = until
}

// listen takes what the LCCE has sent and tells, and returns how many messages
// it has sent.
func (s *script) listen() (count int) {
	for b, _, ok := s.Transmit(nil); ok; b, _, ok = s.Transmit(nil) {
		count++
		h, message, err := wire.ParseControl(b)
		d := wire.Decoding{}
		if len(s.secrets) > 0 {
			d.Secret = s.secrets[0]
		}
		p, perr := wire.Parse(message, &d)
		if err != nil || perr != nil {
			s.t.Fatalf("sent % x: %v, %v", b, err, perr)
		}
		if h.Ns == s.nr && p.Message != nil && p.Type != wire.TypeACK && !s.deaf {
			s.nr++
		}
		switch m := p.Message.(type) {
		case *wire.SCCRQ:
			s.id0(&m.LCCE)
		case *wire.SCCRP:
			s.id0(&m.LCCE)
		case *wire.ICRQ:
			s.ours = append(s.ours, m.LocalSessionID)
		case *wire.OCRQ:
			s.ours = append(s.ours, m.LocalSessionID)
		case *wire.ICRP:
			s.ours = append(s.ours, m.LocalSessionID)
		case *wire.OCRP:
			s.ours = append(s.ours, m.LocalSessionID)
		}
	}
	for _, ok := s.Event(); ok; _, ok = s.Event() {
	}
	return count
}

// id0 takes the LCCE's ID of a new connection.
func (s *script) id0(m *wire.LCCE) {
	if s.dialogue.id != m.ConnectionID {
		s.dialogue.id, s.nr, s.remote = m.ConnectionID, 1, m.Nonce
	}
}

// message returns a message of some type.
func (s *script) message() wire.Message {
	n := s.octet()
	request := func() wire.CallRequest {
		c, _ := cookie.FromBytes([]byte("fuzzfuzz")[:n/16%3*4])
		m := wire.CallRequest{
			LocalSessionID: s.id(), SerialNumber: 1, PseudowireType: pseudowire.Ethernet, Cookie: c,
			RemoteEndID: []byte([]string{"office", "other", "a/b", ""}[s.octet()%4]), Status: wire.CircuitStatus(n),
			Sublayer: pseudowire.Sublayer(n % 3), Sequencing: pseudowire.Sequencing(n % 4),
		}
		if string(m.RemoteEndID) == "other" {
			m.PseudowireType, m.FrameRelayHeaderLen = pseudowire.FrameRelay, wire.Some(uint16(4-n/32%2))
		}
		if n&8 != 0 {
			m.TieBreaker = wire.Some(uint64(s.octet()) << 56)
		}
		if n&64 != 0 {
			m.RemoteSessionID = s.id()
		}
		return m
	}
	reply := func() wire.CallReply {
		c, _ := cookie.FromBytes([]byte("fuzzfuzz")[:n/16%3*4])
		return wire.CallReply{LocalSessionID: s.id(), RemoteSessionID: s.id(), Status: wire.CircuitActive, Cookie: c,
			Sublayer: pseudowire.Sublayer(n / 16 % 3), FrameRelayHeaderLen: wire.Some(uint16(4 - n/64%2))}
	}
	connected := func() wire.CallConnected {
		return wire.CallConnected{LocalSessionID: s.id(), RemoteSessionID: s.id(), Sublayer: wire.Optional[pseudowire.Sublayer]{Set: n&16 != 0}}
	}
	switch n % 16 {
	case 0:
		m := s.request()
		if n&16 != 0 {
			m.TieBreaker = wire.Some(uint64(s.octet()) << 56)
		}
		s.dialogue.id, s.ns, s.nr = 0, 0, 0
		return m
	case 1:
		return &wire.SCCRP{LCCE: s.peer}
	case 2:
		return &wire.SCCCN{}
	case 3:
		return &wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.ResultCode(n)}}
	case 4:
		return &wire.HELLO{}
	case 5:
		return &wire.OCRQ{CallRequest: request()}
	case 6:
		return &wire.OCRP{CallReply: reply()}
	case 7:
		return &wire.OCCN{CallConnected: connected()}
	case 8, 9:
		return &wire.ICRQ{CallRequest: request()}
	case 10:
		return &wire.ICRP{CallReply: reply()}
	case 11:
		return &wire.ICCN{CallConnected: connected()}
	case 12:
		return &wire.CDN{LocalSessionID: s.id(), RemoteSessionID: s.id(), Result: wire.Result{Code: wire.CDNAdministrative}}
	case 13:
		return &wire.SLI{LocalSessionID: s.id(), RemoteSessionID: s.id(), Status: wire.Some(wire.CircuitStatus(s.octet()))}
	case 14:
		return &wire.WEN{LocalSessionID: s.id(), RemoteSessionID: s.id()}
	}
	return &wire.ACK{}
}

// step does the next thing.
func (s *script) step() {
	const tunnel, session = "there", "there/office"
	switch n := s.octet(); n % 16 {
	case 0, 1, 2, 3, 4:
		m := s.message()
		var extra [][]byte
		if n&0x80 != 0 {
			extra = append(extra, s.octets(s.octet()%32))
		}
		b := s.write(s.ns, m, extra...)
		if m.Type() != wire.TypeACK {
			s.ns++
		}
		s.raws = append(s.raws, b)
		s.hear(b)
	case 5:
		s.wait([]time.Duration{0, time.Millisecond, time.Second, 5 * time.Second, 31 * time.Second, 80 * time.Second, time.Hour}[s.octet()%7])
	case 6: // replayed
		if len(s.raws) > 0 {
			s.hear(s.raws[s.octet()%len(s.raws)])
		}
	case 7: // forged
		if len(s.raws) > 0 {
			b := bytes.Clone(s.raws[s.octet()%len(s.raws)])
			b[s.octet()*len(b)/256] ^= byte(s.octet() | 1)
			if len(s.secrets) > 0 {
				s.unheard(b)
			} else {
				s.hear(b)
			}
		}
	case 8: // of no sense, or from nobody
		b := s.octets(s.octet())
		if n&16 != 0 && len(b) >= 12 {
			binary.BigEndian.PutUint16(b, 0xc803)
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
			binary.BigEndian.PutUint32(b[4:], s.dialogue.id)
		}
		s.hear(b)
	case 9: // from elsewhere
		if len(s.raws) > 0 {
			at := s.at
			s.at = from("198.51.100.1:1701")
			s.hear(s.raws[s.octet()%len(s.raws)])
			s.at = at
		}
	case 10: // before its turn, or after
		s.hear(s.write(s.ns+uint16(s.octet())-20, s.message()))
	case 11:
		s.deaf = !s.deaf
	case 12:
		s.nr += uint16(s.octet()) - 128
	case 13:
		name := []string{tunnel, session, session + ":x", "there/any:other"}[n/16%4]
		switch s.octet() % 4 {
		case 0:
			s.Down(s.now, name)
		default:
			s.Up(s.now, name)
		}
	case 14:
		switch s.octet() % 5 {
		case 0:
			s.SetCircuit(s.now, session, wire.CircuitStatus(s.octet()))
		case 1:
			s.Report(s.now, session, wire.CircuitErrors{})
		case 2:
			s.Heard(tunnel, s.now)
		case 3:
			s.Bind(s.now, tunnel, Binding{At: s.at})
		case 4:
			s.CloseCircuit(s.now, session, Absence(1+n/16%2))
		}
	case 15:
		switch s.octet() % 8 {
		case 0:
			s.Remove(s.now, tunnel)
			s.listen()
			if err := s.Add(s.now, s.cfg); err != nil {
				s.t.Fatal(err)
			}
			s.Bind(s.now, tunnel, Binding{At: s.at, Peers: []netip.Prefix{netip.PrefixFrom(s.at.Peer.Addr(), 32)}})
		case 1:
			s.Close(s.now)
		default:
			s.Roll(s.now, session)
		}
	}
	s.listen()
}

// unheard wants a message to change nothing, and to be answered by nothing.
func (s *script) unheard(b []byte) {
	before := snapshot(s.LCCE)
	if n := s.hear(b); n > 0 {
		s.t.Fatalf("% x, which is not authentic, is answered by %d messages", b, n)
	}
	if after := snapshot(s.LCCE); after != before {
		s.t.Fatalf("% x, which is not authentic, moves\n%s\nto\n%s", b, before, after)
	}
}

// snapshot returns what an LCCE holds, as text.
func snapshot(l *LCCE) string {
	all := l.Status()
	return fmt.Sprintf("%+v %v %d %d %d %d %d %d", all, l.Deadline(), len(l.conns), len(l.requests), len(l.sessions), len(l.halfOpen), l.events.Len(), len(l.out.Replies))
}

// FuzzLCCE has a peer and the time do anything: nothing panics, what is held
// stays whole and bounded, and what is not authentic is not answered.
func FuzzLCCE(f *testing.F) {
	f.Add(byte(0), []byte{0, 0, 0, 2, 0, 8, 140, 0, 0, 11, 140, 0, 0, 4, 5, 3, 15, 2, 5, 2, 0, 13, 1, 1, 0, 12, 140, 0, 0, 3})
	f.Add(byte(1), []byte{0, 1, 0, 10, 140, 0, 15, 2, 0, 10, 141, 0, 5, 4, 5, 4, 14, 0, 1, 14, 1, 0, 3, 5, 5})
	f.Add(byte(2), []byte{0, 0, 0, 2, 0, 8, 140, 0, 7, 0, 90, 1, 6, 0, 0, 11, 140, 0, 7, 1, 200, 1, 9, 2, 9, 1, 0, 8, 141, 0, 0, 11, 141, 0, 5, 5})
	f.Add(byte(3), []byte{0, 16, 5, 0, 1, 0, 10, 140, 0, 11, 0, 4, 0, 4, 5, 6, 0, 0, 0, 2})
	f.Add(byte(4), []byte{0, 0, 0, 2, 0, 5, 140, 0, 14, 0, 1, 0, 8, 141, 1, 0, 8, 142, 2, 10, 22, 4, 10, 24, 8, 140, 0, 0, 4})
	f.Add(byte(13), []byte{0, 1, 0, 6, 140, 0, 0, 7, 140, 0, 15, 3, 5, 2, 13, 17, 0, 5, 2, 13, 17, 1, 15, 0, 15, 1, 5, 6})
	f.Add(byte(9), []byte{0, 1, 14, 4, 0, 9, 140, 1, 14, 0, 1, 0, 9, 140, 1, 0, 5, 141, 1, 0, 10, 140, 0, 30, 4, 5, 3, 14, 0, 1, 0, 74, 140, 0, 5, 4})
	f.Fuzz(func(t *testing.T, how byte, octets []byte) {
		other := office(how&8 != 0)
		other.Name, other.RemoteEndID, other.Outgoing = "other", []byte("other"), true
		other.Pseudowire, other.FrameRelayHeaderLen = pseudowire.FrameRelay, 4
		any := CircuitConfig{Name: "any", AnyEndID: true, Pseudowire: pseudowire.Ethernet, CookieLifetime: time.Minute}
		cfg := TunnelConfig{
			Dial: how&1 != 0, SessionLimit: 20, ReceiveWindow: 16,
			Circuits: []CircuitConfig{office(how&1 != 0), other, any}, Dialect: Dialect(how / 64 % 3),
		}
		if how&2 != 0 {
			cfg.Secrets = []*wire.Secret{secret("s")}
			cfg.Hide = how&32 != 0
		}
		if how&16 != 0 {
			cfg.Many, cfg.Dial = true, false
		}
		n := here()
		n.Active, n.HalfOpen, n.Capabilities = how&4 == 0, 10, types
		d := tellNode(t, n, cfg)
		d.peer.Capabilities = types
		if how&2 != 0 {
			d.authenticated(secret("s"), wire.SHA1)
		}
		s := &script{dialogue: d, rest: octets[:min(len(octets), 400)]}
		for _, m := range d.sent { // before the peer has said anything
			s.id0(&m.Message.(*wire.SCCRQ).LCCE)
		}
		for len(s.rest) > 0 {
			s.step()
			sound(t.Fatalf, s.LCCE)
			if len(s.conns) > 200 || len(s.sessions) > 200 || len(s.circuits) > 200 || len(s.tunnels) > 10 {
				t.Fatalf("%d connections, %d sessions, %d circuits, %d tunnels", len(s.conns), len(s.sessions), len(s.circuits), len(s.tunnels))
			}
		}
	})
}
