package control

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A dialogue is one LCCE and its peer, whose messages the test writes by hand, on
// a clock of the test's own. The peer is "there" with Router ID 2 and Control
// Connection ID 77; the LCCE is "here" with Router ID 1, and its tunnel "there".
type dialogue struct {
	t testing.TB
	*LCCE
	now  time.Time
	at   Address // of the peer
	cfg  TunnelConfig
	told []Event // and not wanted yet
	sent []said  // by the LCCE, likewise

	// What the peer says of itself, and knows.
	peer    wire.LCCE
	version uint8
	id      uint32 // the LCCE's Control Connection ID, as it told the peer
	ns, nr  uint16
	raw     []byte // the last message of the peer
	cisco   bool   // the peer adds the AVPs of Cisco's drafts

	// The peer's Control Message Authentication; no secrets: none.
	secrets []*wire.Secret
	digests []wire.Signature // of what it sends
	remote  []byte           // the LCCE's nonce
	hide    *wire.Secret
}

// A said is a message of the LCCE.
type said struct {
	wire.ControlHeader
	wire.Parsed
	to  Address
	raw []byte
}

const peerConnection = 77

var start = time.Unix(1e9, 0)

// here is what the LCCE of a dialogue is.
func here() Config {
	r := rand.New(rand.NewPCG(1, 2))
	return Config{
		HostName: "here", RouterID: 1, VendorName: "test", Active: true,
		Capabilities: []pseudowire.Type{pseudowire.Ethernet, pseudowire.EthernetVLAN},
		Random: func(b []byte) {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
		},
	}
}

// tell begins a dialogue with an LCCE that has one tunnel to the peer.
func tell(t testing.TB, cfg TunnelConfig) *dialogue { return tellNode(t, here(), cfg) }

func tellNode(t testing.TB, n Config, cfg TunnelConfig) *dialogue {
	t.Helper()
	s := &dialogue{t: t, LCCE: New(n), now: start, at: from("192.0.2.2:1701"), version: 3}
	s.peer = wire.LCCE{
		HostName: "there", RouterID: 2, ConnectionID: peerConnection, ReceiveWindow: 100,
		Capabilities: []pseudowire.Type{pseudowire.Ethernet, pseudowire.EthernetVLAN},
	}
	if cfg.Name == "" {
		cfg.Name = "there"
	}
	s.cfg = cfg
	s.tunnel(cfg)
	return s
}

// tunnel adds a tunnel to the peer's address.
func (s *dialogue) tunnel(cfg TunnelConfig) {
	s.t.Helper()
	if err := s.Add(s.now, cfg); err != nil {
		s.t.Fatal(err)
	}
	b := Binding{Peers: []netip.Prefix{netip.PrefixFrom(s.at.Peer.Addr(), 32)}}
	if cfg.Dial {
		b.At = s.at
	}
	s.Bind(s.now, cfg.Name, b)
	s.after(0)
}

func from(peer string) Address { return Address{Peer: netip.MustParseAddrPort(peer)} }

// authenticated gives the peer a secret, and a nonce.
func (s *dialogue) authenticated(secret *wire.Secret, types ...wire.DigestType) *dialogue {
	s.secrets = []*wire.Secret{secret}
	s.peer.Nonce = []byte("sixteen octets..")
	s.digests = nil
	for _, t := range types {
		s.digests = append(s.digests, wire.Signature{Type: t, Secret: secret})
	}
	return s
}

// write returns a message of the peer with its next numbers, followed by AVPs
// that the test has written itself.
func (s *dialogue) write(ns uint16, m wire.Message, extra ...[]byte) []byte {
	var body []byte
	if m != nil {
		e := &wire.Encoding{Signatures: s.digests, Hide: s.hide, Random: here().Random, Cisco: s.cisco}
		body = wire.AppendBody(nil, m, e)
	}
	for _, b := range extra {
		body = append(body, b...)
	}
	b := wire.AppendControl(nil, wire.ControlHeader{Version: s.version, ConnectionID: s.id, Ns: ns, Nr: s.nr}, body)
	local, remote := s.peer.Nonce, s.remote
	if m != nil && m.Type() == wire.TypeSCCRQ || len(s.secrets) == 0 {
		local, remote = nil, nil
	}
	wire.Seal(b, s.digests, local, remote)
	return b
}

// send sends a message of the peer; an ACK and a ZLB (nil) take no number.
func (s *dialogue) send(m wire.Message, extra ...[]byte) {
	s.t.Helper()
	b := s.write(s.ns, m, extra...)
	if m != nil && m.Type() != wire.TypeACK {
		s.ns++
	}
	s.receive(b)
}

// again sends the peer's last message once more.
func (s *dialogue) again() { s.receive(s.raw) }

// ack acknowledges what the LCCE has sent.
func (s *dialogue) ack() {
	if len(s.secrets) > 0 {
		s.send(&wire.ACK{})
	} else {
		s.send(nil)
	}
}

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

// drain takes what the LCCE sends and tells.
func (s *dialogue) drain() {
	for {
		b, to, ok := s.Transmit(nil)
		if !ok {
			break
		}
		h, message, err := wire.ParseControl(b)
		if err != nil {
			s.t.Fatal(err)
		}
		if n := wire.Nonce(message); n != nil {
			s.remote = slices.Clone(n)
		}
		if len(s.secrets) > 0 {
			s.verify(message)
		}
		d := wire.Decoding{}
		if len(s.secrets) > 0 {
			d.Secret = s.secrets[0]
		}
		p, perr := wire.Parse(message, &d)
		if perr != nil {
			s.t.Fatalf("the LCCE sent %x: %v", b, perr)
		}
		s.sent = append(s.sent, said{h, p, to, message})
	}
	for {
		e, ok := s.Event()
		if !ok {
			return
		}
		s.told = append(s.told, e)
	}
}

// verify wants the LCCE to have signed a message as the peer does.
func (s *dialogue) verify(message []byte) {
	s.t.Helper()
	t, _ := wire.TypeOf(message)
	sender, receiver := s.remote, s.peer.Nonce
	if t == wire.TypeSCCRQ || s.id == 0 && s.ns == 0 && t != wire.TypeSCCRP {
		receiver = nil
	}
	if t == wire.TypeSCCRQ {
		sender = nil
	}
	if _, ok := wire.Verify(message, s.secrets, sender, receiver); !ok {
		s.t.Errorf("%v is not signed with the peer's secret", t)
	}
}

func (m said) name() string {
	if m.Message == nil {
		return "ZLB"
	}
	return m.Parsed.Type.String()
}

// next takes the LCCE's next message.
func (s *dialogue) next(want string) said {
	s.t.Helper()
	if len(s.sent) == 0 {
		s.t.Fatalf("sent nothing, want %s", want)
	}
	m := s.sent[0]
	s.sent = s.sent[1:]
	if m.name() != want {
		s.t.Fatalf("sent %s %+v, want %s", m.name(), m.Message, want)
	}
	switch m := m.Message.(type) {
	case *wire.SCCRQ:
		s.id = m.ConnectionID
	case *wire.SCCRP:
		s.id = m.ConnectionID
	}
	return m
}

// want wants the LCCE's next message to be of this type, with these numbers.
func (s *dialogue) want(name string, ns, nr uint16) said {
	s.t.Helper()
	m := s.next(name)
	if m.Ns != ns || m.Nr != nr {
		s.t.Errorf("%s with Ns %d and Nr %d, want %d and %d", name, m.Ns, m.Nr, ns, nr)
	}
	if m.Ns == s.nr && m.Message != nil && m.Parsed.Type != wire.TypeACK {
		s.nr++
	}
	return m
}

// wantACK wants all that the LCCE sends to be the acknowledgment of all the
// messages of the peer.
func (s *dialogue) wantACK() {
	s.t.Helper()
	name := "ZLB"
	if len(s.secrets) > 0 {
		name = "ACK"
	}
	m := s.next(name)
	if m.Nr != s.ns {
		s.t.Errorf("acknowledges %d, want %d", m.Nr, s.ns)
	}
	s.wantSilence()
}

func (s *dialogue) wantSilence() {
	s.t.Helper()
	if len(s.sent) > 0 {
		var names []string
		for _, m := range s.sent {
			names = append(names, fmt.Sprintf("%s %+v", m.name(), m.Message))
		}
		s.t.Errorf("sent %s, want silence", strings.Join(names, ", "))
		s.sent = nil
	}
}

// get wants the LCCE to have sent one message of a type, but for acknowledgments,
// and acknowledges it with the peer's next one.
func get[M wire.Message](s *dialogue) M {
	s.t.Helper()
	s.sent = slices.DeleteFunc(s.sent, func(m said) bool { return m.Message == nil || m.Parsed.Type == wire.TypeACK })
	var zero M
	m := s.next(zero.Type().String())
	if m.Ns != s.nr {
		s.t.Errorf("%s with Ns %d, want %d", m.name(), m.Ns, s.nr)
	}
	if m.ConnectionID != peerConnection {
		s.t.Errorf("%s for connection %d", m.name(), m.ConnectionID)
	}
	s.nr++
	return m.Message.(M)
}

// quiet wants nothing but acknowledgments.
func (s *dialogue) quiet() {
	s.t.Helper()
	s.sent = slices.DeleteFunc(s.sent, func(m said) bool { return m.Message == nil || m.Parsed.Type == wire.TypeACK })
	s.wantSilence()
}

// event takes the events up to one of a kind, which must have happened.
func (s *dialogue) event(kind EventKind) Event {
	s.t.Helper()
	for i, e := range s.told {
		if e.Kind == kind {
			s.told = s.told[i+1:]
			return e
		}
	}
	s.t.Fatalf("told %v, want %v", s.told, kind)
	return Event{}
}

// happened takes all events and returns their kinds.
func (s *dialogue) happened() string {
	var kinds []string
	for _, e := range s.told {
		kinds = append(kinds, e.Kind.String())
	}
	s.told = nil
	return strings.Join(kinds, ", ")
}

func (s *dialogue) wantEvents(want string) {
	s.t.Helper()
	if got := s.happened(); got != want {
		s.t.Errorf("told %q, want %q", got, want)
	}
}

// status returns how the tunnel stands.
func (s *dialogue) status() TunnelStatus {
	for _, t := range s.Status() {
		if t.Name == s.cfg.Name {
			return t
		}
	}
	return TunnelStatus{}
}

func (s *dialogue) wantState(want State) {
	s.t.Helper()
	if got := s.status().State; got != want {
		s.t.Errorf("control connection %v, want %v", got, want)
	}
}

func (s *dialogue) session() SessionStatus { return s.status().Sessions[0] }

func (s *dialogue) wantSession(want State) {
	s.t.Helper()
	if got := s.session().State; got != want {
		s.t.Errorf("session %v, want %v", got, want)
	}
}

// dropped wants messages to have been dropped for a reason since the last time.
func (s *dialogue) dropped(why Drop, want uint64) {
	s.t.Helper()
	got := s.DropCounts()
	for d, n := range got {
		if n != 0 && Drop(d) != why || Drop(d) == why && n != want {
			s.t.Errorf("dropped %d for %v; want %d for %v", n, Drop(d), want, why)
		}
	}
	s.drops = [Drops]uint64{}
}

// request is the peer's SCCRQ.
func (s *dialogue) request() *wire.SCCRQ { return &wire.SCCRQ{LCCE: s.peer} }

// establish has the peer ask for the connection and complete it.
func (s *dialogue) establish() *dialogue {
	s.t.Helper()
	s.send(s.request())
	get[*wire.SCCRP](s)
	s.send(&wire.SCCCN{})
	s.event(TunnelUp)
	if s.status().Sessions == nil || !s.status().Dial {
		s.wantState(Established)
	}
	return s
}

// answer has the peer accept the connection that the LCCE asks for.
func (s *dialogue) answer() *dialogue {
	s.t.Helper()
	s.want("SCCRQ", 0, 0)
	s.send(&wire.SCCRP{LCCE: s.peer})
	get[*wire.SCCCN](s)
	s.event(TunnelUp)
	s.wantState(Established)
	return s
}

// icrq is the peer's request for the circuit "office", with its Session ID.
func icrq(id uint32) *wire.ICRQ {
	return &wire.ICRQ{CallRequest: call(id)}
}

func call(id uint32) wire.CallRequest {
	return wire.CallRequest{
		LocalSessionID: id, SerialNumber: 1, PseudowireType: pseudowire.Ethernet,
		RemoteEndID: []byte("office"), Status: wire.CircuitActive,
	}
}

// icrp is the peer's answer to an ICRQ.
func icrp(id uint32, m *wire.ICRQ) *wire.ICRP {
	return &wire.ICRP{CallReply: wire.CallReply{LocalSessionID: id, RemoteSessionID: m.LocalSessionID, Status: wire.CircuitActive}}
}

func iccn(id, remote uint32) *wire.ICCN {
	return &wire.ICCN{CallConnected: wire.CallConnected{LocalSessionID: id, RemoteSessionID: remote}}
}

// called has the peer ask for the session and complete it; it returns the LCCE's
// Session ID.
func (s *dialogue) called(id uint32) uint32 {
	s.t.Helper()
	s.send(icrq(id))
	m := get[*wire.ICRP](s)
	if m.RemoteSessionID != id {
		s.t.Errorf("ICRP for session %d, want %d", m.RemoteSessionID, id)
	}
	s.send(iccn(id, m.LocalSessionID))
	s.event(SessionUp)
	s.quiet()
	return m.LocalSessionID
}

// avp is an AVP as it stands on the wire.
func avp(bits uint16, vendor, attr uint16, value ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, bits|uint16(6+len(value)))
	b = binary.BigEndian.AppendUint16(b, vendor)
	return append(binary.BigEndian.AppendUint16(b, attr), value...)
}

const (
	mandatory = 0x8000
	hidden    = 0x4000
)

func secret(text string) *wire.Secret { return wire.NewSecret([]byte(text)) }

func accepts(circuits ...CircuitConfig) TunnelConfig { return TunnelConfig{Circuits: circuits} }

func dials(circuits ...CircuitConfig) TunnelConfig {
	return TunnelConfig{Dial: true, Circuits: circuits, RedialMin: time.Hour, RedialMax: time.Hour}
}

// wantResult wants a StopCCN's or CDN's result.
func (s *dialogue) wantResult(got wire.Result, code wire.ResultCode, err wire.ErrorCode, text string) {
	s.t.Helper()
	if got.Code != code || got.Error != err || !strings.Contains(got.Message, text) {
		s.t.Errorf("result %d, error %d: %q, want %d, %d: %q", got.Code, got.Error, got.Message, code, err, text)
	}
}

// TestDialogue is RFC 3931 section 3.3.1 and 3.4.1, as the recipient.
func TestDialogue(t *testing.T) {
	s := tell(t, accepts(office(false)))
	s.wantSilence()
	s.send(s.request())
	s.want("SCCRP", 0, 1)
	s.send(&wire.SCCCN{})
	s.want("ZLB", 1, 2)
	s.wantEvents("tunnel up")
	s.send(icrq(9))
	p := s.want("ICRP", 1, 3).Message.(*wire.ICRP)
	s.send(iccn(9, p.LocalSessionID))
	s.want("ZLB", 2, 4)
	s.wantEvents("session open, session up")
	s.send(&wire.HELLO{})
	s.want("ZLB", 2, 5)
	s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: p.LocalSessionID, Result: wire.Result{Code: wire.CDNAdministrative}})
	s.want("ZLB", 2, 6)
	s.wantEvents("session down")
	s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopShutdown}})
	s.want("ZLB", 2, 7)
	s.wantEvents("tunnel down")
	s.wantSilence()
}

// TestInitiator is the same as the initiator, where there is a secret.
func TestInitiator(t *testing.T) {
	cfg := dials(office(true))
	cfg.Secrets = []*wire.Secret{secret("s")}
	s := tell(t, cfg).authenticated(secret("s"), wire.SHA1)
	s.wantEvents("tunnel dialing")
	s.want("SCCRQ", 0, 0)
	s.send(&wire.SCCRP{LCCE: s.peer})
	s.want("SCCCN", 1, 1)
	m := s.want("ICRQ", 2, 1).Message.(*wire.ICRQ)
	s.wantEvents("tunnel up")
	s.send(icrp(9, m))
	s.want("ICCN", 3, 2)
	s.wantEvents("session open, session up")
	s.ack()
	s.send(&wire.HELLO{})
	s.want("ACK", 4, 3)
	if err := s.Down(s.now, "there/office"); err != nil {
		t.Error(err)
	}
	s.drain()
	c := s.want("CDN", 4, 3).Message.(*wire.CDN)
	if c.LocalSessionID != m.LocalSessionID || c.RemoteSessionID != 9 {
		t.Errorf("%+v", c)
	}
	s.ack()
	s.Close(s.now)
	s.drain()
	stop := s.want("StopCCN", 5, 3).Message.(*wire.StopCCN)
	s.wantResult(stop.Result, wire.StopShutdown, 0, "")
	s.wantEvents("session down, tunnel down")
	s.after(900 * time.Millisecond)
	s.wantSilence()
	if s.Quiet() {
		t.Error("quiet before the StopCCN is acknowledged")
	}
	s.ack()
	s.after(0)
	if !s.Quiet() || len(s.conns) != 0 {
		t.Errorf("quiet %v, %d connections left", s.Quiet(), len(s.conns))
	}
	s.after(time.Hour)
	s.wantSilence()
}
