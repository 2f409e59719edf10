package radius

import (
	"net/netip"
	"time"

	layeh "layeh.com/radius"
)

// A Session is what is accounted: a user who is in. All its fields are exported, for
// it is written down.
type Session struct {
	ID        string // of NewSessionID
	User      string
	Port      Port
	Class     [][]byte      // of the Accept
	Authentic Authentic     // who said that he may
	Interim   time.Duration // Service.Interim of the Accept; 0: no interim updates
	Started   time.Time

	// What he got; not valid: nothing.
	Address     netip.Addr
	IPv6Prefix  netip.Prefix
	InterfaceID uint64
	Delegated   netip.Prefix
}

// Authentic is Acct-Authentic, RFC 2866 section 5.6.
type Authentic uint32

// Who said it.
const (
	ByRADIUS Authentic = 1
	ByLocal  Authentic = 2
)

// Usage is what a user used since his session started. Input is what he sent.
type Usage struct {
	InputOctets, OutputOctets   uint64
	InputPackets, OutputPackets uint64
}

// A Cause is an Acct-Terminate-Cause, RFC 2866 section 5.10.
type Cause uint32

// The causes.
const (
	UserRequest Cause = iota + 1
	LostCarrier
	LostService
	IdleTimeout
	SessionTimeout
	AdminReset
	AdminReboot
	PortError
	NASError
	NASRequest
	NASReboot
	PortUnneeded
	PortPreempted
	PortSuspended
	ServiceUnavailable
	Callback
	UserError
	HostRequest
)

// A kind is an Acct-Status-Type, RFC 2866 section 5.1.
type kind uint32

const (
	start         kind = 1
	stop          kind = 2
	interim       kind = 3
	accountingOn  kind = 7
	accountingOff kind = 8
)

// A record is one thing to tell an accounting server.
type record struct {
	kind  kind
	at    time.Time // when it was so
	usage Usage     // not of a start
	cause Cause     // of a stop
}

// accountingRequest returns the request that tells a record at a time. s is nil for
// what is about the NAS as a whole.
func (c *Client) accountingRequest(to *server, s *Session, r record, now time.Time) (*layeh.Packet, error) {
	p := layeh.New(layeh.CodeAccountingRequest, to.Secret.bytes())
	addInteger(p, attrAcctStatusType, uint32(r.kind))
	c.addNAS(p)
	if s == nil {
		addString(p, attrAcctSessionID, c.boot) // RFC 2866 section 5.13 wants one in each
	} else {
		addString(p, attrAcctSessionID, s.ID)
		s.add(p)
		addInteger(p, attrAcctAuthentic, uint32(s.Authentic))
		if r.kind != start {
			r.usage.add(p)
			addInteger(p, attrAcctSessionTime, wholeSeconds(r.at.Sub(s.Started)))
		}
		if r.kind == stop {
			addInteger(p, attrAcctTerminateCause, uint32(r.cause))
		}
	}
	addInteger(p, attrEventTimestamp, uint32(r.at.Unix()))
	addInteger(p, attrAcctDelayTime, wholeSeconds(now.Sub(r.at)))
	if s != nil {
		addClass(p, s.Class)
	}
	return p, nil
}

// addClass echoes what the Accept had, as far as the packet has room. "The client
// MUST NOT interpret the attribute locally", RFC 2865 section 5.25.
func addClass(p *layeh.Packet, all [][]byte) {
	n, _ := layeh.AttributesEncodedLen(p.Attributes)
	for _, class := range all {
		if n += 2 + len(class); len(class) > mostOctets || 20+n > mostAccounting {
			return
		}
		p.Add(attrClass, class)
	}
}

// mostAccounting is the octets of the longest Accounting-Request, RFC 2866 section 3.
const mostAccounting = 4095

func wholeSeconds(d time.Duration) uint32 {
	return uint32(min(max(d/time.Second, 0), 1<<32-1))
}

func (s *Session) add(p *layeh.Packet) {
	addString(p, attrUserName, s.User)
	addInteger(p, attrServiceType, serviceFramed)
	addInteger(p, attrFramedProtocol, protocolPPP)
	s.Port.add(p)
	if s.Port.Tunnel.Client.IsValid() {
		addString(p, attrAcctTunnelConnection, s.Port.Tunnel.Connection)
	}
	if a := s.Address.Unmap(); a.Is4() {
		p.Add(attrFramedIPAddress, a.AsSlice())
	}
	if s.IPv6Prefix.IsValid() {
		addPrefix(p, attrFramedIPv6Prefix, s.IPv6Prefix)
	}
	if s.InterfaceID != 0 {
		p.Add(attrFramedInterfaceID, layeh.NewInteger64(s.InterfaceID))
	}
	if s.Delegated.IsValid() {
		addPrefix(p, attrDelegatedIPv6Prefix, s.Delegated)
	}
}

func (u Usage) add(p *layeh.Packet) {
	addInteger(p, attrAcctInputOctets, uint32(u.InputOctets))
	addInteger(p, attrAcctOutputOctets, uint32(u.OutputOctets))
	// RFC 2869 sections 5.1 and 5.2: how often the counts above have wrapped.
	addInteger(p, attrAcctInputGigawords, uint32(u.InputOctets>>32))
	addInteger(p, attrAcctOutputGigawords, uint32(u.OutputOctets>>32))
	addInteger(p, attrAcctInputPackets, uint32(u.InputPackets))
	addInteger(p, attrAcctOutputPackets, uint32(u.OutputPackets))
}
