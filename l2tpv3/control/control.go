// Package control is the control protocol of L2TPv3: control connections and
// sessions that are set up, authenticated, watched and cleared by messages. It is
// made of machines that do no I/O and read no clock; who drives them hands in what
// arrives and the time, and takes out what is to be sent and what happened.
// RFC 3931 sections 3.3, 3.4, 4.2 to 4.4, 5 and 7.
package control

import (
	"net/netip"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A Config is what all control connections of a node have in common.
type Config struct {
	HostName     string
	RouterID     uint32
	VendorName   string
	Capabilities []pseudowire.Type // what sessions may carry

	// HalfOpen bounds the connections that peers asked for and have not
	// completed. Beyond it one of them, at random, makes room for the next.
	HalfOpen int // 0: 16384
	// RequestRate bounds the SCCRQs without a secret that are answered, for
	// each source: so many a second, and as many at once. RFC 3931 section 4.3.
	RequestRate int // 0: 1000

	// Active has every circuit active from the beginning, where nobody will
	// call SetCircuit.
	Active bool

	// Random fills its argument with octets that nobody can foretell.
	Random func([]byte)
	// Trace is told of every message that is sent or was accepted; nil: no.
	Trace func(Traced)
}

// A Traced is a control message on its way.
type Traced struct {
	Out     bool
	Tunnel  string
	At      Address
	Message []byte // to be looked at before Trace returns
	Secret  *wire.Secret
}

// An Address is where a peer is and how it is reached.
type Address struct {
	Via   int            // the socket, as its owner counts them
	Local netip.Addr     // the address of ours; not valid: the socket's
	Peer  netip.AddrPort // the port is 0 over IP
}

// A TunnelConfig is a peer, or many: who it is, how it is spoken to, and what is
// joined with it. The zero value of each option is its default.
type TunnelConfig struct {
	Name string
	// Dial has us ask for the control connection; else we wait for the peer.
	Dial bool
	// Many makes this a template: each peer that comes gets an instance of its
	// own, up to Limit (0: 1000), named "NAME:HOSTNAME".
	Many  bool
	Limit int

	// Who the peer says it is; "" and 0: whoever.
	PeerHostName string
	PeerRouterID uint32

	HostName string // other than the node's
	RouterID uint32
	Language string // Preferred Language, RFC 3931 section 5.4.3

	// Secrets are one or, while a secret is being changed, two, the first of
	// which is the one to come. None: no Control Message Authentication.
	Secrets []*wire.Secret
	// Digests are those that we send. None: SHA-1, or what the peer began with.
	Digests []wire.DigestType
	// Integrity sends digests without a secret. RFC 3931 section 4.3.
	Integrity bool
	// Hide hides AVPs, which needs a secret. RFC 3931 section 5.3.
	Hide bool

	Hello         time.Duration // RFC 3931 section 4.4; 0: 60 s
	Timeout       time.Duration // first retransmission, section 4.2; 0: 1 s
	MaxTimeout    time.Duration // cap of the later ones; 0: 8 s
	Retries       int           // retransmissions; 0: 10
	DialRetries   int           // those of the SCCRQ; 0: 4
	ReceiveWindow int           // section 5.4.3; 0: 128
	SetupTimeout  time.Duration // of what is begun and not completed; 0: 30 s
	RedialMin     time.Duration // wait before the next attempt; 0: 1 s,
	RedialMax     time.Duration // which doubles up to this; 0: 60 s
	RedialLimit   int           // attempts in a row, at a connection and at each session; 0: no end
	SessionLimit  int           // sessions of a connection; 0: 65536

	NoTieBreaker bool // a distinct initiator needs none, section 5.4.3
	Dialect      Dialect

	// Offer has each SCCRQ of ours be one for L2TPv2 too, over UDP: it returns
	// what that says, but for what both versions say; nil: this one is for L2TPv3
	// alone. Whoever gets an answer of version 2 calls FallBack. RFC 3931 section
	// 4.7.3.
	Offer func(now time.Time) *wire.SCCRQV2

	Circuits []CircuitConfig
}

// A Dialect is how strictly RFC 3931 is taken.
type Dialect uint8

// The dialects.
const (
	// Auto is RFC 3931, tolerates what real peers do otherwise, and answers
	// the AVPs of Cisco's drafts with those.
	Auto  Dialect = iota
	IETF          // RFC 3931 to the letter
	Cisco         // Auto, and the AVPs of Cisco's drafts from the first message on
)

// A CircuitConfig is what a session is to be bound to: RFC 3931's circuit, which
// may be an interface, a bridging instance or nothing at all.
type CircuitConfig struct {
	Name string
	// RemoteEndID names the circuit to the peer, and the peer's name for it
	// must be the same. RFC 3931 section 5.4.4.
	RemoteEndID []byte
	// OtherEndID is taken for RemoteEndID too, where a number may come as text.
	OtherEndID []byte
	// AnyEndID makes this a template for whatever the peer names, as
	// "NAME:ENDID".
	AnyEndID bool

	Pseudowire pseudowire.Type
	// FrameRelayHeaderLen is how many octets the headers of a Frame Relay PVC
	// have, 2 or 4, and the peer's must have as many. RFC 4591 section 3.5.
	FrameRelayHeaderLen int // 0: 2
	CookieSize          int // octets of the cookie that we assign: 0, 4 or 8
	// PeerCookieSize is what the peer must assign at least.
	PeerCookieSize int
	// Sublayer and Sequencing are what we ask for in what we receive.
	Sublayer   pseudowire.Sublayer
	Sequencing pseudowire.Sequencing

	// Initiate has us ask for the session; else we wait for the peer.
	Initiate bool
	// Outgoing asks by OCRQ: the peer is to place a call. RFC 3931 section 7.4.
	Outgoing     bool
	NoTieBreaker bool

	TxSpeed, RxSpeed  uint64 // bit/s, 0: not told
	PhysicalChannelID uint32

	// CookieLifetime is how long a session is used before another takes over,
	// with new cookies and IDs; 0: for ever.
	CookieLifetime time.Duration
	// Overlap is how long the former session still receives; 0: 5 s.
	Overlap time.Duration
}

// The defaults of a TunnelConfig and a Config.
const (
	defaultHello         = 60 * time.Second
	defaultDialRetries   = 4
	defaultReceiveWindow = 128
	defaultSetupTimeout  = 30 * time.Second
	defaultRedialMin     = time.Second
	defaultRedialMax     = time.Minute
	defaultSessionLimit  = 65536
	defaultInstances     = 1000
	defaultOverlap       = 5 * time.Second
	defaultHalfOpen      = 16384
	defaultRequestRate   = 1000
)

// complete writes the defaults out.
func (c *TunnelConfig) complete(node *Config) {
	set(&c.HostName, node.HostName)
	set(&c.RouterID, node.RouterID)
	set(&c.Hello, defaultHello)
	set(&c.DialRetries, defaultDialRetries)
	set(&c.ReceiveWindow, defaultReceiveWindow)
	set(&c.SetupTimeout, defaultSetupTimeout)
	set(&c.RedialMin, defaultRedialMin)
	set(&c.RedialMax, defaultRedialMax)
	set(&c.SessionLimit, defaultSessionLimit)
	set(&c.Limit, defaultInstances)
	for i := range c.Circuits {
		set(&c.Circuits[i].Overlap, defaultOverlap)
	}
}

func set[T comparable](v *T, d T) {
	if zero := *new(T); *v == zero {
		*v = d
	}
}

// Params are a session's parameters, as both sides have agreed on them: on one
// side they are the mirror of the other's.
type Params struct {
	SessionID       uint32 // ours
	PeerSessionID   uint32
	ReceiveCookie   cookie.Cookie
	SendCookie      cookie.Cookie
	Pseudowire      pseudowire.Type
	Sublayer        pseudowire.Sublayer // in what we receive
	PeerSublayer    pseudowire.Sublayer // in what the peer receives
	Sequencing      pseudowire.Sequencing
	PeerSequencing  pseudowire.Sequencing
	TxSpeed         uint64 // the peer's word, bit/s; 0: not told
	RxSpeed         uint64
	PhysicalChannel uint32 // the peer's, for logs
}

// An EventKind says what happened.
type EventKind uint8

// The kinds of event.
const (
	// Of a tunnel.
	TunnelAdded   EventKind = iota + 1 // an instance of a template came to be
	TunnelRemoved                      // and is gone
	TunnelDialing                      // an SCCRQ was sent
	TunnelUp                           // the control connection is established
	TunnelDown                         // it, or the attempt, ended; Reason says why
	TunnelMoved                        // the peer is at another address, and proved that it is the peer
	// Of a session.
	SessionAdded   // an instance of a circuit template came to be
	SessionRemoved // and is gone
	SessionOpen    // the session may receive: Params
	SessionUp      // it is established and is the one to send by
	SessionDown    // it is gone; Reason says why
	SessionCircuit // the peer's circuit changed: Status
	SessionErrors  // the peer's circuit had errors: Errors, RFC 3931 section 6.13
	// Of neither.
	Noted // Reason tells of something odd that has been dealt with
)

var eventNames = [...]string{
	TunnelAdded:    "tunnel added",
	TunnelRemoved:  "tunnel removed",
	TunnelDialing:  "tunnel dialing",
	TunnelUp:       "tunnel up",
	TunnelDown:     "tunnel down",
	TunnelMoved:    "tunnel moved",
	SessionAdded:   "session added",
	SessionRemoved: "session removed",
	SessionOpen:    "session open",
	SessionUp:      "session up",
	SessionDown:    "session down",
	SessionCircuit: "session circuit",
	SessionErrors:  "session errors",
	Noted:          "note",
}

// String returns what happened in words.
func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return "event"
}

// An Event tells the owner what happened.
type Event struct {
	Kind     EventKind
	Time     time.Time
	Tunnel   string
	Template string // of which the tunnel is an instance
	Session  string // "TUNNEL/CIRCUIT"
	Circuit  *CircuitConfig
	EndID    []byte // of the circuit
	Address  Address
	Peer     Peer
	Params   Params
	Former   uint32 // SessionUp: the ID of the session that it takes over from
	Status   wire.CircuitStatus
	Errors   wire.CircuitErrors
	Reason   string
	Next     time.Time // TunnelDown, SessionDown: the next attempt; zero: none of ours
}

// Reasons of events that say less than others, for they follow from something that
// is told as well.
const (
	TunnelClosed = "the control connection is closed" // of a session
	FellBack     = "the peer speaks L2TPv2"
	ByCommand    = "down by command"
	ShutDown     = "this side is being shut down"
)

// ours puts into words why we close something, whose result is for the peer.
func ours(r wire.Result, t wire.MessageType) string {
	switch {
	case r.Message == ByCommand:
		return ByCommand
	case t == wire.TypeStopCCN && r.Code == wire.StopShutdown:
		return ShutDown
	}
	return r.Text(t)
}

// A Peer is what a peer told of itself.
type Peer struct {
	HostName      string
	RouterID      uint32
	VendorName    string
	ConnectionID  uint32
	ReceiveWindow int
	Capabilities  []pseudowire.Type
}
