// Package l2tpv2 is the control protocol of L2TPv2: tunnels that are set up,
// authenticated, watched and cleared by messages, and the incoming and outgoing
// calls in them, for a LAC and for an LNS. It is made of machines that do no I/O
// and read no clock; who drives them hands in what arrives and the time, and takes
// out what is to be sent and what happened. RFC 2661 sections 4 to 7, with RFC
// 3145, 3308 and 3437.
package l2tpv2

import (
	"net/netip"
	"time"

	"spanwire/l2tpv3/wire"
)

// A Config is what all tunnels of a node have in common.
type Config struct {
	HostName   string
	VendorName string
	Firmware   uint16

	// HalfOpen bounds the tunnels that peers asked for and have not completed.
	// Beyond it one of them, at random, makes room for the next.
	HalfOpen int // 0: 4096
	// RequestRate bounds the SCCRQs that are answered, for each source: so many
	// a second, and as many at once.
	RequestRate int // 0: 1000

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
	Secret  *wire.SecretV2
}

// An Address is where a peer is and how it is reached.
type Address struct {
	Via   int            // the socket, as its owner counts them
	Local netip.Addr     // the address of ours; not valid: the socket's
	Peer  netip.AddrPort // behind a NAT there may be many peers at one address
	// Mark tells apart peers at one address and port, as security associations
	// of clients behind one NAT do; 0: there is nothing to be told.
	Mark uint32
}

// A Binding says where a tunnel's peers are.
type Binding struct {
	// At is where to dial; an invalid Peer: nowhere yet.
	At Address
	// Others are dialled in turn where At does not answer, and then At again.
	Others []Address
	// Vias are the sockets through which an SCCRQ may come; none: At's.
	Vias []int
	// Peers are where an SCCRQ may come from.
	Peers []netip.Prefix
}

// A TunnelConfig is a peer to dial, or those whose tunnels are accepted. The zero
// value of each option is its default.
type TunnelConfig struct {
	Name string
	// Dial has us ask for the tunnel. Else peers ask, up to Limit of them, and
	// the tunnel of each is named "NAME#ID" after our Tunnel ID.
	Dial  bool
	Limit int // 0: 65535
	// Listen has one that dials accept what its peer asks for, too.
	Listen bool
	// OnDemand dials only when a call waits for the tunnel.
	OnDemand bool
	// Offered has one that dials do so by Offer and Dial alone: whoever speaks
	// L2TPv3 too says when.
	Offered bool
	// Idle is how long a tunnel without sessions is kept; 0: for ever. RFC 2661
	// section 7.6.
	Idle time.Duration

	PeerHostName string // who the peer says it is; "": whoever
	HostName     string // other than the node's

	// Secret authenticates the tunnel, both ways, RFC 2661 section 5.1.1. It is
	// not PPP's. nil: a peer that wants a proof is refused.
	Secret *wire.SecretV2
	// NoChallenge answers the peer's challenge, and wants no proof of it.
	NoChallenge bool
	// Hide hides AVPs, which needs a secret. Many peers can read none.
	Hide bool

	// Framing is what is accepted; 0: all.
	Framing wire.FramingType
	// Bearer is on what lines calls can be placed; not set: on none, and the
	// peer is not to ask.
	Bearer wire.Optional[wire.BearerType]
	// Incoming accepts incoming calls, as an LNS does.
	Incoming bool
	// Outgoing accepts to place calls, as a LAC does; it needs a Bearer.
	Outgoing bool
	// Acceptable says why a call is not accepted: the zero Result says that it
	// is. It does not call the node. nil accepts all.
	Acceptable func(Peer, Params) wire.Result

	// TieBreaker wishes for one tunnel to the peer, whoever asks for it.
	TieBreaker bool
	// DiffServ is the PHB code of the tunnel's control messages, and CallDiffServ
	// of the data of calls that the peer begins. RFC 3308. A peer that does not
	// agree is not spoken to.
	DiffServ     wire.Optional[uint16]
	CallDiffServ wire.Optional[uint16]

	Hello         time.Duration // RFC 2661 section 6.5; 0: 60 s, less: none is sent
	Timeout       time.Duration // first retransmission, section 5.8; 0: 1 s
	MaxTimeout    time.Duration // cap of the later ones; 0: 8 s
	Retries       int           // retransmissions; 0: 5
	DialRetries   int           // those of the SCCRQ; 0: 5
	ReceiveWindow int           // section 4.4.3; 0: 16
	SetupTimeout  time.Duration // of what is begun and not completed; 0: 30 s
	RedialMin     time.Duration // wait before the next attempt; 0: 1 s,
	RedialMax     time.Duration // which doubles up to this; 0: 60 s
	RedialLimit   int           // attempts in a row; 0: no end
	SessionLimit  int           // sessions of a tunnel; 0: 65535

	// FixedPort drops what comes from another port than the tunnel's first
	// message. RFC 2661 section 8.1 has the ports stay, and NATs change them.
	FixedPort bool
	// Strict takes RFC 2661 to the letter, and tolerates nothing of what real
	// peers do otherwise.
	Strict bool
}

// The defaults of a TunnelConfig and a Config.
const (
	defaultLimit         = 65535
	defaultHello         = 60 * time.Second
	defaultRetries       = 5
	defaultReceiveWindow = 16
	defaultSetupTimeout  = 30 * time.Second
	defaultRedialMin     = time.Second
	defaultRedialMax     = time.Minute
	defaultSessionLimit  = 65535
	defaultHalfOpen      = 4096
	defaultRequestRate   = 1000
	defaultFraming       = wire.SyncFraming | wire.AsyncFraming
)

// complete writes the defaults out.
func (c *TunnelConfig) complete(node *Config) {
	set(&c.HostName, node.HostName)
	set(&c.Limit, defaultLimit)
	set(&c.Framing, defaultFraming)
	set(&c.Hello, defaultHello)
	set(&c.Retries, defaultRetries)
	set(&c.DialRetries, c.Retries)
	set(&c.ReceiveWindow, defaultReceiveWindow)
	set(&c.SetupTimeout, defaultSetupTimeout)
	set(&c.RedialMin, defaultRedialMin)
	set(&c.RedialMax, defaultRedialMax)
	set(&c.SessionLimit, defaultSessionLimit)
	c.SessionLimit = min(c.SessionLimit, defaultSessionLimit)
}

func set[T comparable](v *T, d T) {
	if zero := *new(T); *v == zero {
		*v = d
	}
}

// A Peer is what a peer told of itself.
type Peer struct {
	HostName      string
	VendorName    string
	Firmware      uint16
	TunnelID      uint16
	ReceiveWindow int
	Framing       wire.FramingType
	Bearer        wire.Optional[wire.BearerType] // not set: it places no calls
	DiffServ      wire.Optional[uint16]          // what is agreed upon for the control connection
}

// A CallID names a call on this node, from its beginning to its end; none has 0.
type CallID uint64

// Params are what is known of a call and of the session that carries it.
type Params struct {
	TunnelID, SessionID         uint16 // ours: data that comes has them
	PeerTunnelID, PeerSessionID uint16 // and data that goes these

	LAC      bool // we are the LAC of the call, else its LNS
	Outgoing bool // the LNS asked the LAC to place it

	SerialNumber           uint32
	Bearer                 wire.Optional[wire.BearerType]
	Framing                wire.FramingType
	MinimumBPS, MaximumBPS uint32 // of an outgoing call
	TxSpeed, RxSpeed       uint32 // bit/s, as the LAC sees them
	PhysicalChannelID      wire.Optional[uint32]
	CalledNumber           string
	CallingNumber          string
	SubAddress             string
	PrivateGroupID         []byte

	// Sequence says that data always has sequence numbers; else it is the LNS
	// that decides, by what it sends.
	Sequence bool

	LCPWant, LCPAllow []byte // RFC 3437
	Proxy             wire.Proxy
	DiffServ          wire.Optional[uint16] // PHB code of the session's data
}

// An EventKind says what happened.
type EventKind uint8

// The kinds of event.
const (
	// Of a tunnel.
	TunnelDialing EventKind = iota + 1 // an SCCRQ was sent, or that of an Offer was answered
	TunnelUp                           // the tunnel is established
	TunnelDown                         // it, or the attempt to dial it, ended; Reason says why
	TunnelMoved                        // the peer is at another port
	// Of a call.
	SessionOpen   // data may come: Params
	SessionPlace  // we are the LAC: place the call and Answer it, or Hangup
	SessionUp     // the session is established, data may go
	SessionDown   // it is gone; Reason says why
	SessionLink   // the LNS tells what PPP agreed upon: Link, RFC 2661 section 6.14
	SessionErrors // the LAC tells of errors on the line: Errors, section 6.13
	// Of neither.
	Noted // Reason tells of something odd that has been dealt with
)

var eventNames = [...]string{
	TunnelDialing: "tunnel dialing",
	TunnelUp:      "tunnel up",
	TunnelDown:    "tunnel down",
	TunnelMoved:   "tunnel moved",
	SessionOpen:   "session open",
	SessionPlace:  "session to be placed",
	SessionUp:     "session up",
	SessionDown:   "session down",
	SessionLink:   "session link",
	SessionErrors: "session errors",
	Noted:         "note",
}

// String returns what happened in words.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && eventNames[k] != "" {
		return eventNames[k]
	}
	return "event"
}

// An Event tells the owner what happened.
type Event struct {
	Kind     EventKind
	Time     time.Time
	Tunnel   string // its name
	Config   string // the name of the TunnelConfig that it is of
	TunnelID uint16 // ours; 0: there is none
	Address  Address
	Peer     Peer
	Call     CallID
	Params   Params
	Link     wire.SLIV2
	Errors   wire.CallErrors
	Reason   string
	// Of SessionDown and TunnelDown.
	ByPeer      bool
	Result      wire.Result // zero: nobody said one
	Cause       wire.Cause
	Disconnects []wire.Disconnect
	Next        time.Time // TunnelDown: the next attempt; zero: none of ours
}

// Reasons of events that say less than others, for they follow from something that
// is told as well.
const (
	TunnelClosed = "the tunnel is closed" // of a session
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
