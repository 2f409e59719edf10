package ppp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A Config is a Link's. Its zero value is an end that proves nothing, wants nothing
// proved, and has the peer give it its IPv4 address.
type Config struct {
	// MRU is the longest packet that we want to be sent, without the header; 0:
	// DefaultMRU. What is longer is taken all the same.
	MRU int

	// Verify are the methods by which the peer may prove who it is, the best first.
	// It is asked for the first, and for the next when it refuses; it gets no further
	// than the last. None: it is not asked.
	Verify []Method
	// Attempts is how many wrong proofs the peer may give in the life of the Link; 0:
	// 1, as RFC 1994 section 4.2 wants it.
	Attempts int

	// Name is ours, to the peer that proves itself and to the one that we prove
	// ourselves to. Password is what we prove that we know, by one of Prove, the
	// best first; nil: MS-CHAPv2 and CHAP, which do not give it away; without a
	// Password: none. EAP is not among them.
	Name     string
	Password string
	Prove    []Method

	IPv4 IPv4Config
	IPv6 IPv6Config

	Encryption Encryption

	// RFC 1661 section 4.6.
	Restart      time.Duration // from one request to the next; 0: 3 s
	FirstRestart time.Duration // from the first to the second, doubled from there, of LCP and authentication; 0: Restart
	MaxTerminate int           // Terminate-Requests; 0: 2
	MaxConfigure int           // Configure-Requests, and requests of authentication; 0: 10
	MaxFailure   int           // Configure-Naks without an Ack; 0: 5

	// EchoInterval is how long the peer may be silent until it is asked whether it is
	// there; 0: 20 s, less: it is never asked. EchoFailures is how often in a row
	// it may not answer; 0: 3.
	EchoInterval time.Duration
	EchoFailures int

	// Setup is how long it may take from Open until there is a network protocol, or
	// another one from the moment at which the peer begins again; 0: 2 min.
	Setup time.Duration

	// Random fills b with random octets; nil: crypto/rand.
	Random func(b []byte)
}

// DefaultMRU is the Maximum-Receive-Unit where none is agreed on, RFC 1661 section
// 6.1. MinMRU is the least that is taken from a peer.
const (
	DefaultMRU = 1500
	MinMRU     = 128
)

// MaxName is how many octets a name has at most.
const MaxName = 255

// An IPv4Config is what IPCP asks for and gives, RFC 1332 and RFC 1877. Its zero value
// is an end that takes the address that it is given.
type IPv4Config struct {
	Off   bool       // there is no IPv4: IPCP is rejected
	Local netip.Addr // our address; invalid: the peer gives it
	Peer  netip.Addr // the peer's address, which it is given; invalid: what it says

	// DNS and NBNS are the name servers that a peer who asks is given, the primary
	// and the secondary; invalid: it is told that there is none.
	DNS, NBNS [2]netip.Addr
	// AskDNS has us ask the peer for its DNS servers.
	AskDNS bool
}

// An IPv6Config is what IPV6CP asks for, RFC 5072.
type IPv6Config struct {
	Off bool // there is no IPv6: IPV6CP is rejected
	// Local is our interface identifier, and Peer the one that a peer is offered
	// that has none; zero: random.
	Local, Peer InterfaceID
}

// An Encryption says what becomes of CCP, RFC 1962.
type Encryption uint8

// What becomes of CCP. MPPE is RC4, which is broken, and is here for the peers that
// have nothing else: of it there are only keys of 128 bits and stateless mode, RFC
// 3078, and only with the keys that MS-CHAPv2 or a Verdict brings.
const (
	CCPRejected  Encryption = iota // by Protocol-Reject
	CCPEmpty                       // by Configure-Reject of all that is in it
	MPPEOffered                    // MPPE if the peer wants it
	MPPERequired                   // no packet without it
)

// withDefaults returns the Config with its zeroes replaced, or what is wrong in it.
func (c Config) withDefaults() (Config, error) {
	set := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	duration := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&c.MRU, DefaultMRU)
	set(&c.Attempts, 1)
	set(&c.MaxTerminate, 2)
	set(&c.MaxConfigure, 10)
	set(&c.MaxFailure, 5)
	set(&c.EchoFailures, 3)
	duration(&c.Restart, 3*time.Second)
	duration(&c.FirstRestart, c.Restart)
	duration(&c.EchoInterval, 20*time.Second)
	duration(&c.Setup, 2*time.Minute)
	if c.Random == nil {
		c.Random = func(b []byte) { rand.Read(b) } // never fails
	}
	if c.Prove == nil {
		c.Prove = []Method{ByMSCHAP2, ByCHAP}
	}
	if c.Password == "" {
		c.Prove = nil
	}
	known := func(m Method) bool { return m > NoMethod && m < methods }
	switch {
	case c.MRU < MinMRU || c.MRU > 65535:
		return c, fmt.Errorf("MRU %d, want %d to 65535", c.MRU, MinMRU)
	case slices.ContainsFunc(c.Verify, func(m Method) bool { return !known(m) }):
		return c, errors.New("an authentication that is unknown, want pap, chap, mschapv2 or eap")
	case slices.ContainsFunc(c.Prove, func(m Method) bool { return !known(m) || m == ByEAP }):
		return c, errors.New("an authentication to prove ourselves by that is unknown, want pap, chap or mschapv2")
	case len(c.Name) > MaxName || len(c.Password) > MaxName:
		return c, fmt.Errorf("a name of %d octets and a password of %d, want %d at most", len(c.Name), len(c.Password), MaxName)
	case c.Attempts < 1 || c.MaxTerminate < 1 || c.MaxConfigure < 1 || c.MaxFailure < 1 || c.EchoFailures < 1:
		return c, errors.New("a count below 1")
	case c.Restart < 0 || c.FirstRestart < 0 || c.Setup < 0:
		return c, errors.New("a time below 0")
	case c.Encryption > MPPERequired:
		return c, fmt.Errorf("encryption %d is unknown", c.Encryption)
	}
	return c, c.IPv4.check()
}

// check returns what is wrong with the addresses.
func (c *IPv4Config) check() error {
	for _, a := range []netip.Addr{c.Local, c.Peer, c.DNS[0], c.DNS[1], c.NBNS[0], c.NBNS[1]} {
		if a.IsValid() && (!a.Is4() || a.IsUnspecified()) {
			return fmt.Errorf("address %v, want one of IPv4", a)
		}
	}
	if c.Local.IsValid() && c.Local == c.Peer {
		return fmt.Errorf("address %v for both ends", c.Local)
	}
	return nil
}
