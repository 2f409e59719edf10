package ppp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// A Phase is a phase of link operation, RFC 1661 section 3.
type Phase uint8

// The phases.
const (
	Dead Phase = iota
	Establish
	Authenticate
	Network
	Terminate
)

var phaseNames = [...]string{"dead", "establish", "authenticate", "network", "terminate"}

// String returns the phase's name.
func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return "unknown"
}

// A Reason is why a Link is closed.
type Reason uint8

// The reasons.
const (
	NotClosed     Reason = iota
	ByUs                 // Close was called
	ByPeer               // Terminate-Request
	NoAnswer             // to Configure-Request
	PeerSilent           // no answer to Echo-Request
	LoopedBack           // the peer is ourselves
	Unconverging         // there is no end to the negotiation of LCP
	CodesRejected        // the peer rejected what LCP cannot do without
	AuthRefused          // the peer takes none of the ways to prove itself
	AuthTimeout          // the peer did not prove itself in time
	AuthFailed           // the peer gave a wrong proof
	ProofRefused         // the peer says that our proof is wrong, or did not answer it
	ProofWrong           // the peer took our proof and does not know the password itself
	NoNetwork            // there is no network protocol, or none any more
	NoEncryption         // it is required, and there is none
	SetupTimeout         // there was no network protocol in time
	reasons
)

var reasonNames = [reasons]string{
	NotClosed:     "not closed",
	ByUs:          "closed by us",
	ByPeer:        "closed by peer",
	NoAnswer:      "no answer to Configure-Request",
	PeerSilent:    "no answer to Echo-Request",
	LoopedBack:    "looped back",
	Unconverging:  "no end to the negotiation of LCP",
	CodesRejected: "LCP rejected by peer",
	AuthRefused:   "peer refuses to authenticate as wanted",
	AuthTimeout:   "peer did not authenticate in time",
	AuthFailed:    "peer failed to authenticate",
	ProofRefused:  "our authentication refused by peer",
	ProofWrong:    "peer does not know the password itself",
	NoNetwork:     "no network protocol",
	NoEncryption:  "no encryption",
	SetupTimeout:  "no network protocol in time",
}

// String returns a few words for a log.
func (r Reason) String() string {
	if r < reasons {
		return reasonNames[r]
	}
	return "unknown"
}

// An EventKind is what an Event tells.
type EventKind uint8

// The kinds of events.
const (
	LCPUp            EventKind = iota + 1 // LCP is opened
	LCPDown                               // and is not any more: the peer begins again, or the Link closes
	PeerProof                             // answer with Authenticated
	PeerEAP                               // answer with EAP or Authenticated
	AllAuthenticated                      // who had to prove itself has
	IPv4Up
	IPv4Down
	IPv6Up
	IPv6Down
	LinkClosed // the last one
)

// An Event is what the owner of a Link must know.
type Event struct {
	Kind EventKind

	Proof *Proof // of PeerProof and PeerEAP

	// Of IPv4Up. Peer is invalid if the peer did not say, and DNS are what the peer
	// gave us.
	Local, Peer netip.Addr
	DNS         [2]netip.Addr

	LocalID, PeerID InterfaceID // of IPv6Up; that of a peer that has none is zero

	// Of LinkClosed. Message is what the peer said of it, with nothing in it but
	// printable ASCII.
	Reason  Reason
	Message string
}

// String returns a line for a log.
func (e Event) String() string {
	switch e.Kind {
	case LCPUp:
		return "LCP up"
	case LCPDown:
		return "LCP down"
	case PeerProof, PeerEAP:
		return fmt.Sprintf("peer %q authenticates by %v", e.Proof.Name, e.Proof.Method)
	case AllAuthenticated:
		return "authenticated"
	case IPv4Up:
		return fmt.Sprintf("IPv4 up, %v to %v", e.Local, e.Peer)
	case IPv4Down:
		return "IPv4 down"
	case IPv6Up:
		return fmt.Sprintf("IPv6 up, %v to %v", e.LocalID.LinkLocal(), e.PeerID.LinkLocal())
	case IPv6Down:
		return "IPv6 down"
	case LinkClosed:
		if e.Message != "" {
			return fmt.Sprintf("closed: %v: %q", e.Reason, e.Message)
		}
		return fmt.Sprintf("closed: %v", e.Reason)
	}
	return "unknown"
}

// Stats are a Link's counters.
type Stats struct {
	Sent, Received            uint64 // control and authentication packets
	EchoRequests, EchoReplies uint64 // sent, and received

	Malformed  uint64 // dropped: of wrong lengths
	Unexpected uint64 // dropped: not in this phase, or an answer to something else
	Flooded    uint64 // dropped: there were too many
	Unknown    uint64 // answered with Protocol-Reject
	Undrained  uint64 // not sent, for nobody took what was to be sent before
	Illegal    uint64 // transitions that cannot be: a bug
}

// How many control packets a peer may send: burst at once, and one each interval. It
// bounds what it can make us compute, send and tell.
const (
	burst    = 100
	interval = 50 * time.Millisecond
)

// undrained is how many frames wait at most to be taken by Transmit.
const undrained = 32

// What of the data path is open.
const (
	bitIPv4 = 1 << iota
	bitIPv6
	bitEncrypted // and only to what is encrypted; until there is a key, to nothing
)

// A Link is one end of a PPP link. Like all machines here it does no I/O, starts no
// goroutine and reads no clock: it is told what arrived and what time it is. Whenever
// it was told something, Transmit and Event are to be called until they have no more.
// Decap and Prepend, the data path, may be called at the same time as anything else;
// the other methods are to be called one at a time.
//
// A Link lives once: after the event LinkClosed it says nothing more.
type Link struct {
	cfg    Config
	now    time.Time
	phase  Phase
	lcp    lcp
	ipcp   ipcp
	ipv6cp ipv6cp
	ccp    ccp

	// What an automaton is looking at, which is one at a time, and its reply to the
	// options of it.
	received, reply packet

	verifier verifier
	prover   prover
	keys     keys
	hasKeys  bool

	setupAt    time.Time
	reason     Reason
	message    string
	peerCloses bool // the peer sent a Terminate-Request

	flood  time.Time // when the burst will have been all given back
	out    [][]byte
	events []Event
	stats  Stats

	// What the data path sees.
	open  atomic.Uint32 // bits
	heard atomic.Bool   // something came since the last look
	mppe  atomic.Pointer[mppe]
}

// New returns a Link. Open or OpenProxy starts it.
func New(cfg Config) (*Link, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("ppp: %w", err)
	}
	cfg.Verify, cfg.Prove = slices.Clone(cfg.Verify), slices.Clone(cfg.Prove)
	l := &Link{cfg: cfg}
	for _, a := range l.automata() {
		a.link = l
	}
	l.lcp.protocol, l.lcp.layer = LCP, &l.lcp
	l.ipcp.protocol, l.ipcp.layer = IPCP, &l.ipcp
	l.ipv6cp.protocol, l.ipv6cp.layer = IPV6CP, &l.ipv6cp
	l.ccp.protocol, l.ccp.layer = CCP, &l.ccp
	l.verifier.link, l.prover.link = l, l
	l.lcp.peer = defaultTerms
	l.lcp.reset()
	return l, nil
}

func (l *Link) automata() [4]*automaton {
	return [...]*automaton{&l.lcp.automaton, &l.ipcp.automaton, &l.ipv6cp.automaton, &l.ccp.automaton}
}

func (l *Link) random32() uint32 {
	var b [4]byte
	for {
		l.cfg.Random(b[:])
		if n := binary.BigEndian.Uint32(b[:]); n != 0 {
			return n
		}
	}
}

// Open begins to establish the link. There is a lower layer: a session of L2TP.
func (l *Link) Open(now time.Time) {
	if l.lcp.state != Initial || l.reason != NotClosed {
		return
	}
	l.now = now
	l.phase = Establish
	l.setupAt = now.Add(l.cfg.Setup)
	l.lcp.on(open)
	l.lcp.on(up)
}

// Close terminates the link. It takes until the peer has answered, or did not for
// Restart times MaxTerminate; the event LinkClosed tells.
func (l *Link) Close(now time.Time) {
	l.now = now
	l.close(ByUs)
}

func (l *Link) close(r Reason) {
	first := l.reason == NotClosed
	if first {
		l.reason = r
	}
	switch {
	case l.phase == Dead && first: // it was never opened
		l.push(Event{Kind: LinkClosed, Reason: r})
	case l.phase != Dead && l.phase != Terminate:
		l.phase = Terminate
		l.lcp.on(closing)
	}
}

// finished is This-Layer-Finished of LCP.
func (l *Link) finished(e event) {
	if l.reason == NotClosed {
		switch {
		case e == rxjMinus:
			l.reason = CodesRejected
		case l.peerCloses:
			l.reason = ByPeer
		default:
			l.reason = NoAnswer
		}
	}
	l.phase = Dead
	l.setupAt = time.Time{}
	l.push(Event{Kind: LinkClosed, Reason: l.reason, Message: l.message})
}

// push queues an event. No more can be had of one call than a few, and of none if
// nobody takes them.
func (l *Link) push(e Event) { l.events = append(l.events, e) }

// Event returns what the owner must know next, or false.
func (l *Link) Event() (Event, bool) {
	if len(l.events) == 0 {
		return Event{}, false
	}
	e := l.events[0]
	if l.events = l.events[1:]; len(l.events) == 0 {
		l.events = nil
	}
	return e, true
}

// send queues a frame.
func (l *Link) send(p Protocol, c packet) {
	if len(l.out) >= undrained {
		l.stats.Undrained++
		return
	}
	b := make([]byte, 0, HeaderLen+packetHeaderLen+len(c.data))
	b = append(b, address, control, byte(p>>8), byte(p))
	l.out = append(l.out, c.append(b))
	l.stats.Sent++
}

// Transmit appends the next frame to send to b, or returns false.
func (l *Link) Transmit(b []byte) ([]byte, bool) {
	if len(l.out) == 0 {
		return b, false
	}
	b = append(b, l.out[0]...)
	l.out[0] = nil
	if l.out = l.out[1:]; len(l.out) == 0 {
		l.out = nil
	}
	return b, true
}

// admit counts a control packet, and reports whether it is one too many.
func (l *Link) admit() bool {
	if l.flood.Before(l.now) {
		l.flood = l.now
	}
	if l.flood.Sub(l.now) >= burst*interval {
		l.stats.Flooded++
		return false
	}
	l.flood = l.flood.Add(interval)
	return true
}

// Receive takes a frame that Decap did not take. It keeps nothing of it.
func (l *Link) Receive(now time.Time, frame []byte) {
	l.now = now
	p, n := header(frame)
	switch {
	case n == 0:
		l.stats.Malformed++
		return
	case l.phase == Dead || len(l.events) >= undrained:
		l.stats.Unexpected++
		return
	case p == IPv4 || p == IPv6: // its control protocol is not open
		l.stats.Unexpected++
		l.again(p)
		return
	case p == Compressed && l.mppe.Load() != nil:
		if l.mppe.Load().broken.Load() >= tooBroken {
			l.close(NoEncryption)
		}
		return
	case len(frame)-n > max(DefaultMRU, l.cfg.MRU):
		l.stats.Malformed++
		return
	case !l.admit():
		return
	}
	l.stats.Received++
	if a := l.automaton(p); a != nil || p == PAP || p == CHAP || p == EAP {
		c, ok := parsePacket(frame[n:])
		if !ok {
			l.stats.Malformed++
			return
		}
		l.take(p, a, c)
		return
	}
	l.unknown(p, frame[n:])
}

// again begins again with a control protocol that we gave up for want of an answer, for
// the peer thinks that it is opened: all that it said got lost. It is the Restart option
// of RFC 1661 section 4.3, "a Down event, immediately followed by an Up event".
func (l *Link) again(p Protocol) {
	if a := l.automaton(p | ipControl); l.phase == Network && a != nil && a.state == Stopped {
		a.on(down)
		a.on(up)
	}
}

// automaton returns that of a control protocol which we have at all.
func (l *Link) automaton(p Protocol) *automaton {
	switch {
	case p == LCP:
		return &l.lcp.automaton
	case p == IPCP && !l.ipcp.cfg.Off:
		return &l.ipcp.automaton
	case p == IPV6CP && !l.ipv6cp.cfg.Off:
		return &l.ipv6cp.automaton
	case p == CCP && (l.ccp.able || l.cfg.Encryption == CCPEmpty):
		return &l.ccp.automaton
	}
	return nil
}

// take takes a packet of a protocol that we have. RFC 1661 section 3.4: "Any non-LCP
// packets received during this phase MUST be silently discarded", and section 3.5: "All
// other packets received during this phase MUST be silently discarded."
func (l *Link) take(p Protocol, a *automaton, c packet) {
	switch {
	case p == LCP:
		if c.code == terminateRequest {
			l.peerCloses = true
			l.say(c.data)
		}
		a.receive(c)
		if a.state == Stopping && l.phase != Terminate {
			l.phase = Terminate
			if l.reason = CodesRejected; c.code == terminateRequest {
				l.reason = ByPeer
			}
		}
	case l.phase == Authenticate && a == nil, l.phase == Network && a == nil:
		if !l.verifier.receive(p, c) && !l.prover.receive(p, c) {
			l.stats.Unexpected++
		}
	case l.phase == Network:
		a.receive(c)
	default:
		l.stats.Unexpected++
	}
}

// unknown rejects a protocol. RFC 1661 section 5.7: "If the automaton is in the Opened
// state, then this MUST be reported back to the peer by transmitting a
// Protocol-Reject." "The Rejected-Information MUST be truncated to comply with the
// peer's established MRU."
func (l *Link) unknown(p Protocol, information []byte) {
	if l.lcp.state != Opened || l.phase == Authenticate {
		l.stats.Unexpected++
		return
	}
	l.stats.Unknown++
	data := binary.BigEndian.AppendUint16(nil, uint16(p))
	data = append(data, information[:min(len(information), l.lcp.peer.mru-packetHeaderLen-2)]...)
	l.send(LCP, packet{code: protocolReject, id: l.lcp.newID(), data: data})
}

// say keeps what the peer says of the end, as much of it as can be shown.
func (l *Link) say(data []byte) {
	if l.message != "" {
		return
	}
	b := slices.Clone(data[:min(len(data), 80)])
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '.'
		}
	}
	l.message = string(b)
}

// rejectedProtocol takes a Protocol-Reject, and returns what it is to LCP.
func (l *Link) rejectedProtocol(p Protocol) event {
	var a *automaton
	switch p {
	case LCP:
		return rxjMinus
	case IPCP, IPv4:
		a = &l.ipcp.automaton
	case IPV6CP, IPv6:
		a = &l.ipv6cp.automaton
	case CCP, Compressed:
		a = &l.ccp.automaton
	case PAP, CHAP, EAP:
		if l.phase == Authenticate {
			l.close(AuthRefused)
		}
	}
	if a != nil && a.state >= Closed {
		a.on(rxjMinus)
	}
	return rxjPlus
}

// unconverging ends a negotiation to which there is no end.
func (l *Link) unconverging(a *automaton) {
	if a.protocol == LCP {
		l.close(Unconverging)
		return
	}
	a.on(closing)
}

// established is This-Layer-Up of LCP: the Authentication phase begins.
func (l *Link) established() {
	l.phase = Authenticate
	l.push(Event{Kind: LCPUp})
	l.prover.start(l.lcp.peer.auth)
	l.verifier.start(l.lcp.ours.auth)
	l.proceed()
}

// proceed goes on to the Network phase if who had to prove itself has.
func (l *Link) proceed() {
	if l.phase != Authenticate || l.verifier.state != passed || l.prover.state != passed {
		return
	}
	l.phase = Network
	l.push(Event{Kind: AllAuthenticated})
	v4, v6 := l.cfg.IPv4, l.cfg.IPv6
	if l.verifier.ipv4 != nil {
		v4 = *l.verifier.ipv4
	}
	if l.verifier.ipv6 != nil {
		v6 = *l.verifier.ipv6
	}
	l.verifier.ipv4, l.verifier.ipv6 = nil, nil
	l.ipcp.configure(v4)
	l.ipv6cp.configure(v6)
	l.ccp.able = l.hasKeys && l.cfg.Encryption >= MPPEOffered
	switch {
	case v4.Off && v6.Off:
		l.close(NoNetwork)
		return
	case l.ccp.required() && !l.ccp.able:
		l.close(NoEncryption)
		return
	}
	if l.ccp.able {
		l.hold()
	}
	if l.ccp.able || l.cfg.Encryption == CCPEmpty {
		begin(&l.ccp.automaton)
	}
	if !l.ccp.required() {
		l.networks()
	}
}

// begin starts a control protocol in the Network phase.
func begin(a *automaton) {
	if a.state == Initial {
		a.on(open)
	}
	a.on(up)
}

// networks starts the network control protocols that are to be.
func (l *Link) networks() {
	if !l.ipcp.cfg.Off && l.ipcp.state < Closed {
		begin(&l.ipcp.automaton)
	}
	if !l.ipv6cp.cfg.Off && l.ipv6cp.state < Closed {
		begin(&l.ipv6cp.automaton)
	}
}

// unestablished is This-Layer-Down of LCP: everything above it ends.
func (l *Link) unestablished() {
	for _, a := range l.automata() {
		if a.protocol != LCP && a.state >= Closed {
			a.on(down)
		}
	}
	l.release()
	l.verifier.stop()
	l.prover.stop()
	l.keys, l.hasKeys = keys{}, false
	if l.phase != Terminate {
		l.phase = Establish
		if l.setupAt.IsZero() { // who begins again before he came that far has no more time
			l.setupAt = l.now.Add(l.cfg.Setup)
		}
	}
	l.push(Event{Kind: LCPDown})
}

// networkUp opens the data path for a protocol.
func (l *Link) networkUp(bit uint32, e Event) {
	l.setupAt = time.Time{}
	l.open.Or(bit)
	l.push(e)
}

// networkDown shuts it.
func (l *Link) networkDown(bit uint32, e Event) {
	if l.open.And(^bit)&bit != 0 {
		l.push(e)
	}
}

// networkFinished closes the link if no network protocol is left, RFC 1661 section 4.4:
// "This results of this action" are that "the link may terminate when there are no
// other NCPs open".
func (l *Link) networkFinished() {
	if l.phase == Network && l.ipcp.state < Closing && l.ipv6cp.state < Closing {
		l.close(NoNetwork)
	}
}

// hold keeps packets back, in both directions, while encryption is negotiated. RFC 3078
// section 9: "Peers MUST NOT transmit user data until the MPPE negotiation is complete."
// Where encryption is required there is no link any more if it ends.
func (l *Link) hold() {
	if l.mppe.Swap(nil) != nil && l.ccp.required() && l.lcp.state == Opened {
		l.close(NoEncryption)
		return
	}
	if l.phase == Network {
		l.open.Or(bitEncrypted)
	}
}

// release lets packets go in the clear: there will be no encryption.
func (l *Link) release() { l.open.And(^uint32(bitEncrypted)) }

// encrypt is This-Layer-Up of CCP with MPPE.
func (l *Link) encrypt() {
	l.mppe.Store(newMPPE(l.keys))
	l.networks()
}

// Advance takes what is due.
func (l *Link) Advance(now time.Time) {
	l.now = now
	if l.phase == Dead {
		return
	}
	if !l.setupAt.IsZero() && !now.Before(l.setupAt) {
		l.setupAt = time.Time{}
		l.close(SetupTimeout)
	}
	for _, a := range l.automata() {
		a.advance()
	}
	l.lcp.advanceEchoes()
	l.verifier.advance()
	l.prover.advance()
}

// Deadline returns when to call Advance; zero: never.
func (l *Link) Deadline() (at time.Time) {
	if l.phase == Dead {
		return at
	}
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	sooner(l.setupAt)
	for _, a := range l.automata() {
		sooner(a.restartAt)
	}
	sooner(l.lcp.echoAt)
	sooner(l.verifier.at)
	sooner(l.prover.at)
	return at
}

// A Status is what can be shown of a Link.
type Status struct {
	Phase                  Phase
	LCP, IPCP, IPV6CP, CCP State
	Reason                 Reason // of the end, from the moment at which it begins

	Method Method // by which the peer has to prove itself
	User   string // who it says it is; from its proof on
	Proof  Method // by which we have to

	MRU, PeerMRU int
	Encrypted    bool

	Local, Peer     netip.Addr // while IPCP is opened
	DNS             [2]netip.Addr
	LocalID, PeerID InterfaceID // while IPV6CP is opened

	Stats Stats
}

// EncryptionLen is the octets by which MPPE makes packets longer: its header, and the
// protocol that is encrypted with the packet. RFC 3078 section 3.
const EncryptionLen = mppeHeaderLen + 2

// Encrypted reports whether packets are encrypted.
func (l *Link) Encrypted() bool { return l.mppe.Load() != nil }

// Status returns what can be shown.
func (l *Link) Status() Status {
	s := Status{
		Phase: l.phase, LCP: l.lcp.state, IPCP: l.ipcp.state, IPV6CP: l.ipv6cp.state, CCP: l.ccp.state, Reason: l.reason,
		User: l.verifier.name, MRU: l.lcp.ours.mru, PeerMRU: l.lcp.peer.mru,
		Encrypted: l.Encrypted(), Stats: l.stats,
	}
	if l.lcp.state == Opened {
		s.Method, s.Proof = l.lcp.ours.auth, l.lcp.peer.auth
	}
	if l.ipcp.state == Opened {
		s.Local, s.Peer, s.DNS = l.ipcp.local, l.ipcp.peer, l.ipcp.learned()
	}
	if l.ipv6cp.state == Opened {
		s.LocalID, s.PeerID = l.ipv6cp.local, l.ipv6cp.peer
	}
	return s
}
