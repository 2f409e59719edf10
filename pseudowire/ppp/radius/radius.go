// Package radius asks RADIUS servers who a PPP user is and what he gets (RFC 2865,
// 2869, 3579 and 2548), tells them what he used (RFC 2866), and obeys them when
// they end or change what he has (RFC 5176).
//
// Every Access-Request bears a Message-Authenticator, and an answer to it without
// one is dropped: without it who sits on the path can make an accept of a reject.
package radius

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A Secret is what we share with a server or a client. It does not show itself.
type Secret struct {
	hidden *hidden
}

// hidden is behind two pointers: package fmt follows one, in a field that is not
// exported even where a type has a method to write itself.
type hidden struct{ octets *[]byte }

// NewSecret returns octets as a secret.
func NewSecret(octets []byte) Secret {
	octets = append([]byte(nil), octets...)
	return Secret{&hidden{&octets}}
}

func (s Secret) bytes() []byte {
	if s.hidden == nil {
		return nil
	}
	return *s.hidden.octets
}

// String does not return the secret.
func (Secret) String() string { return "a secret" }

// Format does not write the secret, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// MarshalText does not return the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Config says whom to ask, and as whom. The zero value of all but the servers
// and the name or the address of the NAS is good.
type Config struct {
	Authentication []Server // as they are preferred
	Accounting     []Server

	// As whom we ask. RFC 2865 section 4.1 wants one of NAS-IP-Address (or its
	// RFC 3162 sister) and NAS-Identifier.
	NASIdentifier string
	NASAddress    netip.Addr

	From netip.Addr // the address that requests are sent from; not valid: as the route says

	DeadTime   time.Duration // for which a server that does not answer is left alone; 0: 1 minute
	Concurrent int           // Access-Requests under way at once; 0: 64
	Waiting    int           // that wait for their turn at once; 0: 1024
}

// A Server is a RADIUS server for one purpose.
type Server struct {
	Address netip.AddrPort
	Secret  Secret
	Timeout time.Duration // of one try; 0: 2 s
	Tries   int           // 0: 3
}

// mostOctets is the octets of the longest secret, name, and other string.
const mostOctets = 253

// A Client asks the servers of one configuration. Its methods may be called at
// once.
type Client struct {
	cfg            Config
	authentication []*server
	accounting     []*server

	slots   chan struct{} // Access-Requests under way
	waiting atomic.Int64

	boot    string
	session atomic.Uint32
}

// New returns a client. It sends nothing yet.
func New(cfg Config) (*Client, error) {
	cfg.DeadTime = cmp.Or(cfg.DeadTime, time.Minute)
	cfg.Concurrent = cmp.Or(cfg.Concurrent, 64)
	cfg.Waiting = cmp.Or(cfg.Waiting, 1024)
	switch {
	case cfg.NASIdentifier == "" && !cfg.NASAddress.IsValid():
		return nil, errors.New("radius: neither a name nor an address of the NAS, want one")
	case len(cfg.NASIdentifier) > mostOctets:
		return nil, fmt.Errorf("radius: name of the NAS: %d octets, want at most %d", len(cfg.NASIdentifier), mostOctets)
	case cfg.Concurrent < 0 || cfg.Waiting < 0 || cfg.DeadTime < 0:
		return nil, errors.New("radius: a limit below zero")
	}
	c := &Client{cfg: cfg, slots: make(chan struct{}, cfg.Concurrent)}
	var err error
	if c.authentication, err = newServers(cfg.Authentication); err != nil {
		return nil, err
	}
	if c.accounting, err = newServers(cfg.Accounting); err != nil {
		return nil, err
	}
	var boot [8]byte
	rand.Read(boot[:]) // never fails
	c.boot = fmt.Sprintf("%016x", binary.BigEndian.Uint64(boot[:]))
	return c, nil
}

// NewSessionID returns an Acct-Session-Id that no session had or will have, in
// this run of the NAS or another: 64 bits of chance and a count. RFC 2866 section
// 5.5.
func (c *Client) NewSessionID() string {
	return fmt.Sprintf("%s%08x", c.boot, c.session.Add(1))
}

// A server is a Server with what has been seen of it.
type server struct {
	Server

	mu       sync.Mutex
	answered time.Time // last
	dead     time.Time // until then; zero: it is not
	probing  bool      // somebody finds out whether it still is
	counts   Counts
}

// Counts are how often things happened with a server.
type Counts struct {
	Sent      uint64 // tries
	Answers   uint64
	Lost      uint64 // tries without an answer in time
	Forged    uint64 // answers dropped because they were not authentic
	Malformed uint64 // answers dropped for another reason
}

// A Status is how a server does.
type Status struct {
	Address    netip.AddrPort
	Accounting bool
	DeadUntil  time.Time // zero: it is not dead
	Counts
}

// Servers returns how the servers do, in the order of the configuration.
func (c *Client) Servers() (all []Status) {
	for i, servers := range [][]*server{c.authentication, c.accounting} {
		for _, s := range servers {
			s.mu.Lock()
			all = append(all, Status{s.Address, i == 1, s.dead, s.counts})
			s.mu.Unlock()
		}
	}
	return all
}

func newServers(cfg []Server) (all []*server, err error) {
	for _, s := range cfg {
		s.Timeout = cmp.Or(s.Timeout, 2*time.Second)
		s.Tries = cmp.Or(s.Tries, 3)
		switch n := len(s.Secret.bytes()); {
		case !s.Address.IsValid() || s.Address.Port() == 0:
			return nil, fmt.Errorf("radius: server %v: want an address and a port", s.Address)
		case n == 0 || n > mostOctets:
			return nil, fmt.Errorf("radius: server %v: secret of %d octets, want 1 to %d", s.Address, n, mostOctets)
		case s.Timeout < 0 || s.Tries < 0:
			return nil, fmt.Errorf("radius: server %v: a limit below zero", s.Address)
		}
		all = append(all, &server{Server: s})
	}
	return all, nil
}

// claim reports whether the server may be asked as one that is alive. When its
// dead time is over, one request finds out for all.
func (s *server) claim(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.dead.IsZero():
		return true
	case s.probing || now.Before(s.dead):
		return false
	}
	s.probing = true
	return true
}

// answers notes that the server answered.
func (s *server) answers(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered, s.dead, s.probing = now, time.Time{}, false
	s.counts.Answers++
}

// silent notes that it did not, all through a request of tries that began at a
// time. If it answered another meanwhile it is the request that it does not like.
func (s *server) silent(began, now time.Time, dead time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probing = false
	if !s.answered.After(began) {
		s.dead = now.Add(dead)
	}
}

// unclaim notes that a request was given up before it could tell.
func (s *server) unclaim() {
	s.mu.Lock()
	s.probing = false
	s.mu.Unlock()
}

func (s *server) count(add func(*Counts)) {
	s.mu.Lock()
	add(&s.counts)
	s.mu.Unlock()
}
