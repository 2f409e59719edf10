package radius

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	layeh "layeh.com/radius"
)

// A Request is what to ask about a user.
type Request struct {
	User        string      // as the peer said it, 1 to 253 octets
	Credentials Credentials // PAP, CHAP, MSCHAPv2 or EAP
	SessionID   string      // Acct-Session-Id that the session has or will have; empty: none
	Port        Port
	State       State // of the Challenge that is answered; zero: this is the first request
}

// A Port is where and how the user came in. Its texts may be the peer's: what is
// too long for RADIUS is cut.
type Port struct {
	Number           uint32 // NAS-Port
	ID               string // NAS-Port-Id
	CalledStationID  string
	CallingStationID string
	ConnectInfo      string
	MTU              uint16 // Framed-MTU that the link can carry; 0: not said
	Tunnel           Tunnel
}

// A Tunnel is the L2TP tunnel that a session is in, RFC 2868 and 2867.
type Tunnel struct {
	Client       netip.Addr // the LAC; not valid: there is no tunnel
	Server       netip.Addr // the LNS
	ClientAuthID string     // the LAC's Host Name
	ServerAuthID string     // ours
	AssignmentID string     // what the sessions of one tunnel have in common
	Connection   string     // Acct-Tunnel-Connection: the Call Serial Number
}

// Credentials are what a user shows of himself.
type Credentials interface {
	add(*layeh.Packet) error
}

// PAP is a password, RFC 1334, of at most 128 octets.
type PAP struct{ Password []byte }

// Format does not write the password, whatever the verb.
func (PAP) Format(f fmt.State, _ rune) { io.WriteString(f, "PAP") }

// CHAP is the answer to a challenge with MD5, RFC 1994.
type CHAP struct {
	ID        byte
	Challenge []byte // 1 to 253 octets
	Response  [16]byte
}

// MSCHAPv2 is the answer to a challenge by RFC 2759.
type MSCHAPv2 struct {
	ID        byte
	Challenge [16]byte // ours
	// Response is the Value of the Response packet: 16 octets of the peer's
	// challenge, 8 reserved, 24 of the response, and the flags. RFC 2759 section 4.
	Response [49]byte
}

// EAP is an EAP packet of the peer, whole, to pass through: RFC 3579.
type EAP struct{ Packet []byte }

func (m PAP) add(p *layeh.Packet) error {
	if len(m.Password) > 128 {
		return fmt.Errorf("radius: password of %d octets, want at most 128", len(m.Password))
	}
	a, err := layeh.NewUserPassword(m.Password, p.Secret, p.Authenticator[:])
	if err != nil {
		return errors.New("radius: the password cannot be hidden")
	}
	p.Add(attrUserPassword, a)
	return nil
}

func (m CHAP) add(p *layeh.Packet) error {
	if n := len(m.Challenge); n == 0 || n > mostOctets {
		return fmt.Errorf("radius: challenge of %d octets, want 1 to %d", n, mostOctets)
	}
	p.Add(attrCHAPPassword, append(layeh.Attribute{m.ID}, m.Response[:]...))
	p.Add(attrCHAPChallenge, m.Challenge)
	return nil
}

func (m MSCHAPv2) add(p *layeh.Packet) error {
	addMicrosoft(p, msCHAPChallenge, m.Challenge[:])
	// RFC 2548 section 2.3.2: Ident, Flags, Peer-Challenge, Reserved, Response.
	v := append([]byte{m.ID, m.Response[48]}, m.Response[:48]...)
	addMicrosoft(p, msCHAP2Response, v)
	return nil
}

func (m EAP) add(p *layeh.Packet) error {
	if n := len(m.Packet); n < 4 || n > 3000 {
		return fmt.Errorf("radius: EAP packet of %d octets, want 4 to 3000", n)
	}
	for b := m.Packet; len(b) > 0; b = b[min(len(b), mostOctets):] {
		p.Add(attrEAPMessage, layeh.Attribute(b[:min(len(b), mostOctets)]))
	}
	return nil
}

// A State carries a conversation of several requests on: it is the State of a
// Challenge, and knows whose. RFC 2865 section 5.24.
type State struct {
	octets [][]byte
	from   *server
}

// Authenticate asks whether a user may come in. It returns an error if no server
// said so or the contrary: with ErrBusy among them if too many ask already.
func (c *Client) Authenticate(ctx context.Context, r Request) (Answer, error) {
	if n := len(r.User); n == 0 || n > mostOctets {
		return Answer{}, fmt.Errorf("radius: user name of %d octets, want 1 to %d", n, mostOctets)
	}
	if r.Credentials == nil {
		return Answer{}, errors.New("radius: no credentials")
	}
	if err := c.enter(ctx); err != nil {
		return Answer{}, err
	}
	defer c.leave()
	servers := c.authentication
	if r.State.from != nil {
		servers = []*server{r.State.from} // no other knows what it was about
	}
	reply, err := c.exchange(ctx, servers, func(s *server) (*layeh.Packet, error) { return c.accessRequest(s, r) })
	if err != nil {
		return Answer{}, err
	}
	return newAnswer(reply, r.Credentials), nil
}

// ErrBusy is that as many requests as may be are under way and wait already.
var ErrBusy = errors.New("radius: too many requests at once")

// enter waits for a turn.
func (c *Client) enter(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	if c.waiting.Add(1) > int64(c.cfg.Waiting) {
		c.waiting.Add(-1)
		return ErrBusy
	}
	defer c.waiting.Add(-1)
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) leave() { <-c.slots }

// Values of attributes.
const (
	serviceFramed = 2 // Service-Type
	protocolPPP   = 1 // Framed-Protocol
	portVirtual   = 5 // NAS-Port-Type
	tunnelL2TP    = 3 // Tunnel-Type
	mediumIPv4    = 1 // Tunnel-Medium-Type
	mediumIPv6    = 2
)

func (c *Client) accessRequest(s *server, r Request) (*layeh.Packet, error) {
	p := layeh.New(layeh.CodeAccessRequest, s.Secret.bytes())
	// The first of all: what an attacker who guesses at MD5 needs to choose comes
	// after it.
	p.Add(attrMessageAuthenticator, make(layeh.Attribute, 16))
	addString(p, attrUserName, r.User)
	if err := r.Credentials.add(p); err != nil {
		return nil, err
	}
	for _, state := range r.State.octets {
		p.Add(attrState, state)
	}
	c.addNAS(p)
	addInteger(p, attrServiceType, serviceFramed)
	addInteger(p, attrFramedProtocol, protocolPPP)
	if r.Port.MTU >= 64 { // RFC 2865 section 5.12
		addInteger(p, attrFramedMTU, uint32(r.Port.MTU))
	}
	addString(p, attrAcctSessionID, r.SessionID)
	r.Port.add(p)
	return p, nil
}

// add adds what an Access-Request and an Accounting-Request have in common.
func (port Port) add(p *layeh.Packet) {
	addInteger(p, attrNASPort, port.Number)
	addInteger(p, attrNASPortType, portVirtual)
	addString(p, attrNASPortID, port.ID)
	addString(p, attrCalledStationID, port.CalledStationID)
	addString(p, attrCallingStationID, port.CallingStationID)
	addString(p, attrConnectInfo, port.ConnectInfo)
	if t := port.Tunnel; t.Client.IsValid() {
		client := t.Client.Unmap().WithZone("")
		medium := uint32(mediumIPv4)
		if client.Is6() {
			medium = mediumIPv6
		}
		addInteger(p, attrTunnelType, tunnelL2TP)
		addInteger(p, attrTunnelMediumType, medium)
		addTagged(p, attrTunnelClientEndpoint, client.String())
		if t.Server.IsValid() {
			addTagged(p, attrTunnelServerEndpoint, t.Server.Unmap().WithZone("").String())
		}
		addTagged(p, attrTunnelAssignmentID, t.AssignmentID)
		addTagged(p, attrTunnelClientAuthID, t.ClientAuthID)
		addTagged(p, attrTunnelServerAuthID, t.ServerAuthID)
	}
}
