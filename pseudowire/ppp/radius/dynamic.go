package radius

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	layeh "layeh.com/radius"
)

// A DynamicConfig says whom to obey, RFC 5176.
type DynamicConfig struct {
	// Listen is an address and a port, of which RFC 5176 has 3799. Without an
	// address, answers come from that which the route says, and a client may have
	// asked another.
	Listen  netip.AddrPort
	Clients []DynamicClient

	Window        time.Duration // within which an Event-Timestamp is current, and a request a repeated one; 0: 300 s
	WantTimestamp bool          // requests without an Event-Timestamp are dropped: they can be sent again by others

	Concurrent int // requests that are obeyed at once; 0: 8
	Waiting    int // that wait for their turn; 0: 64

	Log *slog.Logger // nil: slog.Default()
}

// A DynamicClient is who may end and change sessions.
type DynamicClient struct {
	Address netip.Addr
	Secret  Secret
}

// An ErrorCause is why an order was not obeyed, RFC 5176 section 3.5; 0: it was.
type ErrorCause uint32

// The causes.
const (
	UnsupportedAttribute       ErrorCause = 401
	MissingAttribute           ErrorCause = 402
	NASIdentificationMismatch  ErrorCause = 403
	InvalidRequest             ErrorCause = 404
	UnsupportedService         ErrorCause = 405
	InvalidAttributeValue      ErrorCause = 407
	AdministrativelyProhibited ErrorCause = 501
	SessionContextNotFound     ErrorCause = 503
	SessionNotRemovable        ErrorCause = 504
	ResourcesUnavailable       ErrorCause = 506
)

// An Order is a Disconnect-Request, or a CoA-Request if it has a Change. It is for
// all sessions that Match; if there are none, the answer is SessionContextNotFound.
type Order struct {
	From    netip.AddrPort
	Match   Match
	Change  *Change
	Message []string // Reply-Message: for the user
}

// A Match says which sessions are meant: those that have all that is not nil.
type Match struct {
	SessionID                                 *string
	User                                      *string
	CalledStationID, CallingStationID, PortID *string
	PortNumber                                *uint32
	Address                                   *netip.Addr
	IPv6Prefix                                *netip.Prefix
	InterfaceID                               *uint64
}

// Matches reports whether a session is meant.
func (m Match) Matches(s *Session) bool {
	return meant(m.SessionID, s.ID) && meant(m.User, s.User) &&
		meant(m.CalledStationID, s.Port.CalledStationID) && meant(m.CallingStationID, s.Port.CallingStationID) &&
		meant(m.PortID, s.Port.ID) && meant(m.PortNumber, s.Port.Number) &&
		meant(m.Address, s.Address.Unmap()) && meant(m.IPv6Prefix, s.IPv6Prefix) && meant(m.InterfaceID, s.InterfaceID)
}

func meant[T comparable](want *T, got T) bool { return want == nil || *want == got }

// A Change is what a CoA-Request gives the sessions anew. What is nil stays.
type Change struct {
	SessionTimeout *time.Duration // 0: none
	IdleTimeout    *time.Duration // 0: none
	Interim        *time.Duration
	Class          [][]byte // nil: stays
}

// Dynamic obeys orders from a socket.
type Dynamic struct {
	client  *Client
	cfg     DynamicConfig
	secrets map[netip.Addr]Secret
	obey    func(context.Context, Order) ErrorCause
	conn    *net.UDPConn
	cancel  context.CancelFunc
	running sync.WaitGroup
	queue   chan demand

	mu     sync.Mutex
	seen   map[seenKey]*seen
	oldest []*seen // in the order of their arrival
	counts DynamicCounts
}

// DynamicCounts are how often things happened with requests.
type DynamicCounts struct {
	Strangers uint64 // dropped: from who is no client
	Forged    uint64 // dropped: not authentic
	Stale     uint64 // dropped: without a current Event-Timestamp
	Malformed uint64 // dropped
	Busy      uint64 // dropped: too many at once
	Repeated  uint64
	ACK, NAK  uint64
}

// A seenKey tells requests apart. With an Event-Timestamp a request is the same
// wherever it comes from; without, somebody may mean the same another time, and
// source and Identifier, which is in the authenticator, tell that.
type seenKey struct {
	from          netip.AddrPort // without a port, if there is an Event-Timestamp
	authenticator [16]byte
}

type seen struct {
	key    seenKey
	at     time.Time
	answer []byte // nil: it is not decided yet
}

// mostSeen is how many requests are remembered at most.
const mostSeen = 4096

// A demand is an authentic request.
type demand struct {
	packet *layeh.Packet
	from   netip.AddrPort
	seen   *seen
}

// ListenDynamic listens for requests of clients, and has obey do what they want. It
// is called by several goroutines at once.
func (c *Client) ListenDynamic(cfg DynamicConfig, obey func(context.Context, Order) ErrorCause) (*Dynamic, error) {
	cfg.Window = cmp.Or(cfg.Window, 5*time.Minute)
	cfg.Concurrent = cmp.Or(cfg.Concurrent, 8)
	cfg.Waiting = cmp.Or(cfg.Waiting, 64)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Window < 0 || cfg.Concurrent < 0 || cfg.Waiting < 0 {
		return nil, errors.New("radius: dynamic authorization: a limit below zero")
	}
	d := &Dynamic{
		client: c, cfg: cfg, obey: obey,
		secrets: make(map[netip.Addr]Secret), seen: make(map[seenKey]*seen), queue: make(chan demand, cfg.Waiting),
	}
	for _, client := range cfg.Clients {
		switch n := len(client.Secret.bytes()); {
		case !client.Address.IsValid():
			return nil, errors.New("radius: dynamic authorization: a client without an address")
		case n == 0 || n > mostOctets:
			return nil, fmt.Errorf("radius: dynamic authorization: client %v: secret of %d octets, want 1 to %d", client.Address, n, mostOctets)
		}
		d.secrets[client.Address.Unmap()] = client.Secret
	}
	var err error
	if d.conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(cfg.Listen)); err != nil {
		return nil, fmt.Errorf("radius: dynamic authorization: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	d.running.Go(func() { d.read() })
	for range cfg.Concurrent {
		d.running.Go(func() { d.work(ctx) })
	}
	return d, nil
}

// Address returns where it listens.
func (d *Dynamic) Address() netip.AddrPort { return d.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Counts returns what happened so far.
func (d *Dynamic) Counts() DynamicCounts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.counts
}

// Close ends it, when what is being obeyed is.
func (d *Dynamic) Close() {
	d.cancel()
	d.conn.Close()
	d.running.Wait()
}

// read takes requests from the socket.
func (d *Dynamic) read() {
	defer close(d.queue)
	b := make([]byte, layeh.MaxPacketLength+1)
	for {
		n, from, err := d.conn.ReadFromUDPAddrPort(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			d.cfg.Log.Warn("dynamic authorization", "error", err)
			time.Sleep(100 * time.Millisecond) // of an error that stays there is no end
			continue
		}
		d.receive(b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), time.Now())
	}
}

// receive takes a datagram: it is dropped, answered again, or queued.
func (d *Dynamic) receive(b []byte, from netip.AddrPort, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	secret, known := d.secrets[from.Addr()]
	if !known {
		d.counts.Strangers++
		return
	}
	b, ok := whole(b)
	if !ok || layeh.Code(b[0]) != layeh.CodeDisconnectRequest && layeh.Code(b[0]) != layeh.CodeCoARequest {
		d.counts.Malformed++
		return
	}
	if !authenticRequest(b, secret.bytes()) {
		d.counts.Forged++
		return
	}
	p, err := layeh.Parse(b, secret.bytes())
	if err != nil {
		d.counts.Malformed++
		return
	}
	if present, ok := authentic(b, make([]byte, 16), secret.bytes()); present && !ok {
		d.counts.Forged++
		return
	}
	key := seenKey{from, p.Authenticator}
	switch at, ok := p.Lookup(attrEventTimestamp); {
	case ok:
		n, ok := integer(at)
		if age := now.Sub(time.Unix(int64(n), 0)); !ok || age.Abs() > d.cfg.Window {
			d.counts.Stale++
			return
		}
		key.from = netip.AddrPortFrom(from.Addr(), 0)
	case d.cfg.WantTimestamp:
		d.counts.Stale++
		return
	}
	d.forget(now)
	if s, again := d.seen[key]; again {
		d.counts.Repeated++
		if s.answer != nil {
			d.conn.WriteToUDPAddrPort(s.answer, from)
		}
		return
	}
	s := &seen{key: key, at: now}
	select {
	case d.queue <- demand{p, from, s}:
		d.seen[key] = s
		d.oldest = append(d.oldest, s)
	default:
		d.counts.Busy++ // it will be sent again
	}
}

// forget forgets requests that are out of the window, and the oldest of too many. A
// request may be dated ahead by the window, so it is remembered for two.
func (d *Dynamic) forget(now time.Time) {
	for len(d.oldest) > 0 && (len(d.oldest) >= mostSeen || now.Sub(d.oldest[0].at) > 2*d.cfg.Window) {
		delete(d.seen, d.oldest[0].key)
		d.oldest = d.oldest[1:]
	}
}

// authenticRequest reports whether a request, whole, is from who has the secret: RFC
// 5176 section 2.3.
func authenticRequest(b, secret []byte) bool {
	hash := md5.New()
	hash.Write(b[:4])
	hash.Write(make([]byte, 16))
	hash.Write(b[20:])
	hash.Write(secret)
	return hmac.Equal(hash.Sum(nil), b[4:20])
}

// work obeys requests.
func (d *Dynamic) work(ctx context.Context) {
	for r := range d.queue {
		o, cause := d.order(r)
		if cause == 0 {
			cause = d.obey(ctx, o)
		}
		answer, err := seal(verdict(r.packet, cause))
		if err != nil {
			d.cfg.Log.Warn("dynamic authorization", "from", r.from, "error", err)
			continue
		}
		level, what := slog.LevelInfo, "obeyed"
		if cause != 0 {
			level, what = slog.LevelWarn, "refused"
		}
		d.cfg.Log.Log(ctx, level, "dynamic authorization: request "+what, "from", r.from, "code", r.packet.Code.String(), "cause", uint32(cause))
		d.mu.Lock()
		r.seen.answer = answer
		if cause == 0 {
			d.counts.ACK++
		} else {
			d.counts.NAK++
		}
		d.mu.Unlock()
		d.conn.WriteToUDPAddrPort(answer, r.from)
	}
}

// verdict returns the answer to a request.
func verdict(p *layeh.Packet, cause ErrorCause) *layeh.Packet {
	code := map[layeh.Code][2]layeh.Code{
		layeh.CodeDisconnectRequest: {layeh.CodeDisconnectACK, layeh.CodeDisconnectNAK},
		layeh.CodeCoARequest:        {layeh.CodeCoAACK, layeh.CodeCoANAK},
	}[p.Code]
	answer := p.Response(code[0])
	answer.Add(attrMessageAuthenticator, make(layeh.Attribute, 16))
	if cause != 0 {
		answer.Code = code[1]
		addInteger(answer, attrErrorCause, uint32(cause))
	} else if p.Code == layeh.CodeDisconnectRequest {
		addInteger(answer, attrAcctTerminateCause, uint32(AdminReset))
	}
	// "The Dynamic Authorization Server MUST include those Proxy-State attributes
	// in its response", section 3.1, and a State of a CoA-Request too, section 3.3.
	for _, avp := range p.Attributes {
		if avp.Type == attrProxyState || avp.Type == attrState && p.Code == layeh.CodeCoARequest {
			answer.Add(avp.Type, avp.Attribute)
		}
	}
	return answer
}

// order reads what a request wants, or returns why it cannot have it.
func (d *Dynamic) order(r demand) (o Order, cause ErrorCause) {
	o.From = r.from
	coa := r.packet.Code == layeh.CodeCoARequest
	var change Change
	changes, ok := false, true
	m, nas := &o.Match, &d.client.cfg
	for _, avp := range r.packet.Attributes {
		v := avp.Attribute
		switch avp.Type {
		case attrMessageAuthenticator, attrEventTimestamp, attrProxyState:
		case attrNASIPAddress, attrNASIPv6Address:
			ip, is := netip.AddrFromSlice(v)
			if !is || nas.NASAddress.IsValid() && ip != nas.NASAddress.Unmap() {
				return o, NASIdentificationMismatch
			}
		case attrNASIdentifier:
			if nas.NASIdentifier != "" && string(v) != nas.NASIdentifier {
				return o, NASIdentificationMismatch
			}
		case attrAcctSessionID:
			ok = text(&m.SessionID, v)
		case attrUserName:
			ok = text(&m.User, v)
		case attrCalledStationID:
			ok = text(&m.CalledStationID, v)
		case attrCallingStationID:
			ok = text(&m.CallingStationID, v)
		case attrNASPortID:
			ok = text(&m.PortID, v)
		case attrNASPort:
			ok = once(&m.PortNumber, v, integer)
		case attrFramedIPAddress:
			ok = once(&m.Address, v, addr4)
		case attrFramedIPv6Prefix:
			ok = once(&m.IPv6Prefix, v, prefix6)
		case attrFramedInterfaceID:
			ok = once(&m.InterfaceID, v, func(a layeh.Attribute) (uint64, bool) {
				n, err := layeh.Integer64(a)
				return n, err == nil
			})
		case attrReplyMessage:
			o.Message = append(o.Message, string(v))
		case attrServiceType:
			return o, UnsupportedService
		case attrClass:
			if coa { // in a Disconnect-Request it says nothing: section 3.6, note 4
				changes = true
				change.Class = append(change.Class, v)
			}
		case attrSessionTimeout, attrIdleTimeout, attrAcctInterimInterval:
			if !coa {
				return o, UnsupportedAttribute
			}
			changes = true
			at := map[layeh.Type]**time.Duration{
				attrSessionTimeout: &change.SessionTimeout, attrIdleTimeout: &change.IdleTimeout, attrAcctInterimInterval: &change.Interim,
			}[avp.Type]
			ok = once(at, v, seconds)
		case attrState:
			if !coa {
				return o, UnsupportedAttribute
			}
		case attrAcctTerminateCause:
			if coa {
				return o, UnsupportedAttribute
			}
		default:
			return o, UnsupportedAttribute
		}
		if !ok {
			return o, InvalidAttributeValue
		}
	}
	if coa {
		o.Change = &change
	}
	if *m == (Match{}) || coa && !changes {
		return o, MissingAttribute
	}
	return o, 0
}

func text(to **string, v layeh.Attribute) bool {
	return once(to, v, func(a layeh.Attribute) (string, bool) { return string(a), len(a) > 0 })
}

// once reads an attribute that may be there once.
func once[T any](to **T, v layeh.Attribute, read func(layeh.Attribute) (T, bool)) bool {
	if *to != nil {
		return false
	}
	n, ok := read(v)
	*to = &n
	return ok
}
