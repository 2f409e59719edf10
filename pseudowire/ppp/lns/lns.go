// Package lns is the PPP end of L2TP sessions: that of an LNS, which knows its users and
// gives them addresses out of pools, and that of a client who dials in. The packets of
// all links of an LNS come and go through one TUN, those of a client's link through one
// of its own.
//
// A link costs no goroutine. What arrives is taken by whoever brings it: packets of IP
// go to the TUN at once, without a lock; all else is told the machine of package ppp,
// under the link's lock. What is due is done by one goroutine for all.
package lns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/bridge/tap"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns/address"
	"spanwire/pseudowire/ppp/lns/users"
	"spanwire/pseudowire/ppp/radius"
)

// DefaultMTU is that of links where none is said: with the headers of PPP, L2TP, UDP
// and IPv6 it fits a path of 1500 octets, and with those of IPsec too.
const DefaultMTU = 1400

// MinMTU is the least MTU of a link: less is none of IPv6.
const MinMTU = 1280

// A Config says how to be an LNS.
type Config struct {
	Name      string         // of the TUN
	MTU       int            // of links and of the TUN; 0: DefaultMTU
	Address   netip.Addr     // of IPv4, our end of all links; invalid: there is no IPv4
	Addresses []netip.Prefix // that the TUN has beside it
	Routes    []netip.Prefix // that lead to the TUN whoever is in: those of the pools

	// Methods are how users may prove who they are, the best first; none: they need
	// not. Attempts is how often a user may be wrong; 0: once.
	Methods  []ppp.Method
	Attempts int
	HostName string // ours, that users are told

	// Who the users are. Who is none of Users is asked of RADIUS, if it is there.
	Users  *users.Set
	RADIUS *radius.Client
	// Accounting tells of users; nil: nobody is told.
	Accounting *radius.Accounting
	Asking     int // of RADIUS at once; 0: 64. So many wait for local checks: one a processor

	// Pools by name, of addresses of IPv4, /64 of IPv6 for links, and prefixes to
	// delegate; and which one a user gets from if it is not said of him; empty: none.
	// They are the Server's from now on.
	Pools                         map[string]*address.Pool
	Pool, IPv6Pool, DelegatedPool string

	DNS, NBNS []netip.Addr // for users of whom nothing else is said

	// For users of whom nothing else is said; 0: none.
	SessionTimeout, IdleTimeout time.Duration
	UserLinks                   int // of one user at once

	MaxLinks int  // 0: 65,536
	KeepMSS  bool // does not have TCP segments fit the links

	Encryption   ppp.Encryption
	EchoInterval time.Duration // as ppp.Config has it
	EchoFailures int

	// UpScript and DownScript are programs that are called when a link carries packets,
	// and when it does not any more; see Hook.
	UpScript, DownScript Hook

	Event func(Event)  // is told what happens; it may be called at once for several links; nil: nobody
	Log   *slog.Logger // nil: slog.Default()
}

// An EventKind is what an Event tells.
type EventKind uint8

// The kinds of events.
const (
	Refused EventKind = iota + 1 // a user could not prove who he is, or may not come in
	Up                           // the link carries packets
	Changed                      // of another protocol too, or no longer of one of two
	Down                         // the link is closed; the last one, and of a link that never was up the only one
)

var eventNames = [...]string{Refused: "refused", Up: "up", Changed: "changed", Down: "down"}

// String returns a word for it.
func (k EventKind) String() string {
	if k > 0 && int(k) < len(eventNames) {
		return eventNames[k]
	}
	return "unknown"
}

// An Event is what happened to a link.
type Event struct {
	Kind   EventKind
	Link   *Link
	Status Status // as it was then
	Text   string // of Refused: why
	Closed Closed // of Down
}

// A Server is the PPP end of an LNS.
type Server struct {
	cfg    Config
	users  atomic.Pointer[users.Set]
	device device
	host   *host // nil: nothing is told the kernel
	clock  *clock
	table  table
	drops  drops
	asking *crew // of RADIUS
	checks *crew // of what we know
	hooks  *hooks
	log    *slog.Logger
	ctx    context.Context // of what is asked
	cancel context.CancelFunc
	ran    chan error

	mu     sync.Mutex
	links  map[*Link]struct{}
	held   map[netip.Prefix]*Link // what users have
	counts users.Links
	closed bool
	stats  Counts
}

// Counts are how often things happened to a Server.
type Counts struct {
	Opened   uint64 // links
	Refused  uint64 // proofs, and users who may not come in
	Up       uint64 // links that carried packets at all
	Closed   uint64 // links
	NoRoom   uint64 // links refused since there are too many
	Depleted uint64 // users for whom there was no address
}

// New opens the TUN and returns a Server that has no links yet.
func New(cfg Config) (*Server, error) {
	s, err := newServer(cfg)
	if err != nil {
		return nil, err
	}
	own := slices.Clone(cfg.Addresses)
	if cfg.Address.IsValid() {
		own = append(own, netip.PrefixFrom(cfg.Address, 32))
	}
	t, err := tap.Open(tap.Config{Name: cfg.Name, TUN: true, MTU: s.cfg.MTU, Addresses: own})
	if err != nil {
		return nil, err
	}
	if s.host, err = newHost(cfg.Name, s.log); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	for _, p := range s.cfg.Routes {
		if err := s.host.route(p, cfg.Address); err != nil {
			s.host.close()
			return nil, errors.Join(fmt.Errorf("lns: route %v: %w", p, err), t.Close())
		}
	}
	s.start(t)
	return s, nil
}

// proofsWaiting bounds the proofs that wait to be judged. A link has one at a time, but
// who opens and closes links at speed leaves those of links that are gone.
const proofsWaiting = 1 << 14

// newServer returns a Server that is not started.
func newServer(cfg Config) (*Server, error) {
	if cfg.MTU == 0 {
		cfg.MTU = DefaultMTU
	}
	if cfg.MaxLinks == 0 {
		cfg.MaxLinks = 1 << 16
	}
	if cfg.Asking == 0 {
		cfg.Asking = 64
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.MTU < MinMTU || cfg.MTU > 65535 {
		return nil, fmt.Errorf("lns: MTU %d, want %d to 65535", cfg.MTU, MinMTU)
	}
	if len(cfg.Methods) > 0 && cfg.Users == nil && cfg.RADIUS == nil {
		return nil, errors.New("lns: users have to prove who they are, and nobody knows any: want users or RADIUS")
	}
	if cfg.Accounting != nil && cfg.RADIUS == nil {
		return nil, errors.New("lns: accounting without RADIUS")
	}
	if slices.Contains(cfg.Methods, ppp.ByEAP) && cfg.RADIUS == nil {
		return nil, errors.New("lns: EAP without RADIUS")
	}
	cfg.Pools = maps.Clone(cfg.Pools)
	for _, name := range []string{cfg.Pool, cfg.IPv6Pool, cfg.DelegatedPool} {
		if _, ok := cfg.Pools[name]; !ok && name != "" {
			return nil, fmt.Errorf("lns: there is no pool %q", name)
		}
	}
	s := &Server{
		cfg: cfg, clock: newClock(), log: cfg.Log,
		asking: newCrew(cfg.Asking, proofsWaiting), checks: newCrew(runtime.GOMAXPROCS(0), proofsWaiting),
		links: make(map[*Link]struct{}), held: make(map[netip.Prefix]*Link),
		ran: make(chan error, 1),
	}
	s.hooks = newHooks(s.log)
	s.users.Store(cfg.Users)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	// Our end is nobody else's.
	for _, p := range cfg.Pools {
		if cfg.Address.IsValid() {
			p.Claim("", netip.PrefixFrom(cfg.Address, 32))
		}
	}
	if _, err := ppp.New(s.pppConfig(nil)); err != nil {
		return nil, fmt.Errorf("lns: %w", err)
	}
	return s, nil
}

// start begins to carry packets from and to a device.
func (s *Server) start(d device) {
	s.device = d
	w := newForwarder(&s.drops, d.Send, !s.cfg.KeepMSS)
	w.from4 = s.cfg.Address
	for _, p := range s.cfg.Addresses {
		if p.Addr().Is6() && !w.from6.IsValid() {
			w.from6 = p.Addr()
		}
	}
	d.Attach(func(packets []pseudowire.Frame) int { return w.spread(&s.table, packets) })
	go s.clock.run()
	go func() { s.ran <- d.Run() }()
}

// Name returns the TUN's name.
func (s *Server) Name() string { return s.device.Name() }

// SetUsers has who comes in from now on be one of other users. Links that are there
// stay.
func (s *Server) SetUsers(set *users.Set) { s.users.Store(set) }

// Failed returns a channel that tells why the TUN carries nothing any more, if it does
// not while the Server is not closed: somebody has deleted it.
func (s *Server) Failed() <-chan error { return s.ran }

// ErrFull is that there are as many links as may be, or that the Server is closed.
var ErrFull = errors.New("lns: no room for another link")

// Open begins a link over a port. closed is called, once, when the link is closed by
// itself, for the owner to close the port; it may call the Link.
func (s *Server) Open(port Port, call Call, closed func(Closed)) (*Link, error) {
	l := &Link{server: s, call: call, closed: closed}
	if err := s.enter(l); err != nil {
		return nil, err
	}
	if err := l.open(port); err != nil {
		s.leave(l)
		return nil, err
	}
	return l, nil
}

func (s *Server) enter(l *Link) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.links) >= s.cfg.MaxLinks {
		s.stats.NoRoom++
		return ErrFull
	}
	s.links[l] = struct{}{}
	s.stats.Opened++
	return nil
}

func (s *Server) leave(l *Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, l)
	s.stats.Closed++
}

// all returns the links that there are.
func (s *Server) all() []*Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.links))
}

// Links returns what can be shown of the links, the oldest first.
func (s *Server) Links() []Status {
	var all []Status
	for _, l := range s.all() {
		all = append(all, l.Status())
	}
	slices.SortFunc(all, func(a, b Status) int { return a.Opened.Compare(b.Opened) })
	return all
}

// A PoolStatus is how much of a pool is given out.
type PoolStatus struct{ Used, Size uint64 }

// Counts returns how often things happened, Drops the packets that went nowhere, and
// Pools how full the pools are.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Drops returns the packets that went nowhere.
func (s *Server) Drops() Drops { return s.drops.read() }

// Pools returns how full the pools are.
func (s *Server) Pools() map[string]PoolStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]PoolStatus)
	for name, p := range s.cfg.Pools {
		all[name] = PoolStatus{Used: p.Used(), Size: p.Size()}
	}
	return all
}

// Disconnect closes the links that are chosen, and returns how many.
func (s *Server) Disconnect(chosen func(Status) bool, cause radius.Cause) (n int) {
	for _, l := range s.all() {
		if chosen(l.Status()) {
			l.Disconnect(cause)
			n++
		}
	}
	return n
}

// Obey does what a RADIUS server orders: it is for radius.Client.ListenDynamic.
func (s *Server) Obey(_ context.Context, o radius.Order) radius.ErrorCause {
	var chosen []*Link
	for _, l := range s.all() {
		if l.matches(o.Match) {
			chosen = append(chosen, l)
		}
	}
	if len(chosen) == 0 {
		return radius.SessionContextNotFound
	}
	for _, l := range chosen {
		if o.Change == nil {
			l.Disconnect(radius.AdminReset)
		} else {
			l.change(*o.Change)
		}
	}
	return 0
}

// Close ends all links, waits until their peers have answered or ctx ends, and removes
// the TUN. Accounting is told; it is for its owner to close it after.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	for _, l := range s.all() {
		l.Disconnect(radius.NASReboot)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(s.all()) > 0 {
		select {
		case <-ctx.Done():
			for _, l := range s.all() {
				l.Close(radius.NASReboot)
			}
		case <-tick.C:
		}
	}
	s.cancel()
	s.clock.stop()
	s.asking.wait()
	s.checks.wait()
	s.hooks.wait()
	var err error
	if s.host != nil {
		s.host.close()
	}
	if s.device != nil {
		err = s.device.Close()
	}
	return err
}
