package radius

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	layeh "layeh.com/radius"
)

// A Result is what a server decided.
type Result int

// The results.
const (
	Reject    Result = iota
	Accept           // the user may come in
	Challenge        // he shall answer first: EAP in the Answer, and its State
)

// String returns the name that RFC 2865 has for the packet.
func (r Result) String() string {
	return [...]string{"Access-Reject", "Access-Accept", "Access-Challenge"}[r]
}

// An Answer is what a server said.
type Answer struct {
	Result  Result
	Server  netip.AddrPort
	Problem string   // why what was an Access-Accept is a Reject; empty: it was none
	Message []string // Reply-Message: for the user

	// EAP is a packet for the peer, to pass through; nil: the server sent none
	// that agrees with the Result, and it is for the NAS to say Success or Failure.
	EAP   []byte
	State State

	// The Message of MS-CHAPv2's Success packet, "S=..." and more; of its
	// Failure packet, "E=691 R=1 ..."; empty: the server gave none.
	MSCHAP2Success string
	MSCHAPError    string
	MPPE           MPPE

	Service Service // of an Accept
}

// MPPE is what RFC 2548 section 2.4 gives. The keys do not show themselves.
type MPPE struct {
	SendKey, RecvKey Secret // as the NAS sends and receives; empty: none
	Policy, Types    uint32
}

// Octets returns the octets of a key, nil if there is none. It is not for logs.
func (s Secret) Octets() []byte { return bytes.Clone(s.bytes()) }

// A Service is what a user gets. What is zero, the server did not say.
type Service struct {
	User string // that accounting shall name, instead of what he called himself

	Address     netip.Addr // Framed-IP-Address; not valid: none, or one of two kinds below
	UserAddress bool       // the user may choose (255.255.255.255)
	NASAddress  bool       // the NAS shall choose (255.255.255.254)
	Netmask     netip.Addr // Framed-IP-Netmask
	Pool        string     // Framed-Pool
	Routes      []Route    // Framed-Route and Framed-IPv6-Route

	IPv6Address   netip.Addr   // Framed-IPv6-Address
	IPv6Prefix    netip.Prefix // Framed-IPv6-Prefix, for the link
	InterfaceID   uint64       // Framed-Interface-Id, of the user; 0: none
	IPv6Pool      string       // Framed-IPv6-Pool
	Delegated     netip.Prefix // Delegated-IPv6-Prefix
	DelegatedPool string       // Delegated-IPv6-Prefix-Pool

	DNS  []netip.Addr // MS-Primary- and -Secondary-DNS-Server, DNS-Server-IPv6-Address
	NBNS []netip.Addr

	MTU            uint16
	SessionTimeout time.Duration
	IdleTimeout    time.Duration
	Interim        time.Duration // Acct-Interim-Interval
	FilterID       []string
	Class          [][]byte // for accounting, as they are
}

// newAnswer reads a reply. "If an Attribute is received in an Access-Accept,
// Access-Reject or Access-Challenge packet with an invalid length, the packet MUST
// either be treated as an Access-Reject or else silently discarded", RFC 2865
// section 5; it is treated as an Access-Reject.
func newAnswer(r *reply, asked Credentials) Answer {
	a := Answer{Server: r.from.Address}
	switch r.Code {
	case layeh.CodeAccessAccept:
		a.Result = Accept
	case layeh.CodeAccessChallenge:
		a.Result = Challenge
	}
	for _, avp := range r.Attributes {
		if !a.read(r, avp) {
			a.refuse("attribute %d has a wrong length or value", avp.Type)
		}
	}
	if a.State.octets != nil {
		a.State.from = r.from
	}
	switch m := asked.(type) {
	case MSCHAPv2:
		a.mschap(m)
	case EAP:
		// RFC 3579 section 2.6.3: what the packet says and what EAP says agree.
		switch {
		case a.Result == Challenge && a.EAP == nil:
			a.refuse("an Access-Challenge without EAP-Message")
		case a.Result == Accept && a.EAP != nil && a.EAP[0] != eapSuccess:
			a.refuse("an Access-Accept without EAP-Success")
		case a.Result == Reject && a.EAP != nil && a.EAP[0] != eapFailure:
			a.EAP = nil // the peer is told what he must know
		}
	default:
		if a.Result == Challenge {
			// RFC 2865 section 4.4: who cannot carry it on takes it as a Reject.
			a.refuse("an Access-Challenge to a method that has none")
		}
	}
	if a.Result != Accept {
		a.Service = Service{}
		a.MPPE = MPPE{}
		a.MSCHAP2Success = ""
	}
	return a
}

// Codes of EAP, RFC 3748 section 4.
const (
	eapSuccess = 3
	eapFailure = 4
)

func (a *Answer) refuse(format string, args ...any) {
	if a.Problem == "" {
		a.Problem = fmt.Sprintf(format, args...)
	}
	if a.EAP != nil && a.EAP[0] != eapFailure {
		a.EAP = nil
	}
	a.Result = Reject
}

// mschap looks at the answer to an MS-CHAPv2 response. Without Success the peer
// would not take the Accept: RFC 2759 section 5.
func (a *Answer) mschap(m MSCHAPv2) {
	take := func(s string) (string, bool) { // its first octet is the Identifier
		if s == "" || s[0] != m.ID {
			return "", false
		}
		return s[1:], true
	}
	var ok bool
	if a.MSCHAP2Success, ok = take(a.MSCHAP2Success); a.Result == Accept && (!ok || !success(a.MSCHAP2Success)) {
		a.refuse("an Access-Accept without MS-CHAP2-Success of the response")
	}
	if a.Result == Challenge {
		a.refuse("an Access-Challenge to a method that has none")
	}
	// Some servers leave the Identifier out, against RFC 2548 section 2.1.5.
	if s, ok := take(a.MSCHAPError); ok && !strings.HasPrefix(a.MSCHAPError, "E=") {
		a.MSCHAPError = s
	}
	a.MSCHAPError = strings.TrimRight(a.MSCHAPError, "\x00")
	if i := strings.Index(a.MSCHAPError, "E="); i == 1 {
		a.MSCHAPError = a.MSCHAPError[i:]
	} else if i != 0 {
		a.MSCHAPError = ""
	}
}

// success reports whether a message is that of RFC 2759 section 5: S= and forty
// hexadecimal digits.
func success(s string) bool {
	if len(s) < 42 || s[:2] != "S=" {
		return false
	}
	return strings.Trim(s[2:42], "0123456789ABCDEF") == ""
}

// read takes an attribute, and reports whether it is as it must be.
func (a *Answer) read(r *reply, avp *layeh.AVP) (ok bool) {
	s, v := &a.Service, avp.Attribute
	ok = true
	switch avp.Type {
	case attrUserName:
		s.User = string(v)
	case attrServiceType:
		// "A NAS is not required to implement all of these service types, and
		// MUST treat unknown or unsupported Service-Types as though an
		// Access-Reject had been received instead." RFC 2865 section 5.6.
		n, whole := integer(v)
		if ok = whole; ok && n != serviceFramed && a.Result == Accept {
			a.refuse("Service-Type %d, want 2 (Framed)", n)
		}
	case attrFramedProtocol:
		n, whole := integer(v)
		if ok = whole; ok && n != protocolPPP && a.Result == Accept {
			a.refuse("Framed-Protocol %d, want 1 (PPP)", n)
		}
	case attrFramedIPAddress:
		var ip netip.Addr
		ip, ok = addr4(v)
		switch ip.String() {
		case "255.255.255.255":
			s.UserAddress = true
		case "255.255.255.254":
			s.NASAddress = true
		default:
			s.Address = ip
		}
	case attrFramedIPNetmask:
		s.Netmask, ok = addr4(v)
	case attrFilterID:
		s.FilterID = append(s.FilterID, string(v))
	case attrFramedMTU:
		n, whole := integer(v)
		ok = whole && n >= 64 && n <= 65535
		s.MTU = uint16(n)
	case attrReplyMessage:
		a.Message = append(a.Message, string(v))
	case attrFramedRoute, attrFramedIPv6Route:
		var route Route
		if route, ok = ParseRoute(string(v)); ok {
			ok = route.Prefix.Addr().Is4() == (avp.Type == attrFramedRoute)
		}
		s.Routes = append(s.Routes, route)
	case attrState:
		a.State.octets = append(a.State.octets, v)
		ok = len(a.State.octets) == 1
	case attrClass:
		s.Class = append(s.Class, v)
	case attrSessionTimeout:
		s.SessionTimeout, ok = seconds(v)
	case attrIdleTimeout:
		s.IdleTimeout, ok = seconds(v)
	case attrAcctInterimInterval:
		s.Interim, ok = seconds(v)
	case attrEAPMessage:
		a.EAP = append(a.EAP, v...)
		ok = len(v) > 0
	case attrFramedPool:
		s.Pool = string(v)
	case attrFramedIPv6Pool:
		s.IPv6Pool = string(v)
	case attrDelegatedIPv6PrefPool:
		s.DelegatedPool = string(v)
	case attrFramedIPv6Address:
		s.IPv6Address, ok = addr6(v)
	case attrFramedIPv6Prefix:
		s.IPv6Prefix, ok = prefix6(v)
	case attrDelegatedIPv6Prefix:
		s.Delegated, ok = prefix6(v)
	case attrFramedInterfaceID:
		n, err := layeh.Integer64(v)
		s.InterfaceID, ok = n, err == nil
	case attrDNSServerIPv6Address:
		var ip netip.Addr
		ip, ok = addr6(v)
		s.DNS = append(s.DNS, ip)
	case attrVendorSpecific:
		return a.readMicrosoft(r, v)
	}
	return ok
}

// readMicrosoft takes the attributes of RFC 2548. Those of other vendors are
// nothing to us, and need not even have the form that RFC 2865 recommends.
func (a *Answer) readMicrosoft(r *reply, v layeh.Attribute) bool {
	vendor, b, err := layeh.VendorSpecific(v)
	if err != nil {
		return false
	}
	if vendor != microsoft {
		return true
	}
	for len(b) > 0 {
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return false
		}
		if !a.readMicrosoftOne(r, b[0], b[2:b[1]]) {
			return false
		}
		b = b[b[1]:]
	}
	return true
}

func (a *Answer) readMicrosoftOne(r *reply, t byte, v layeh.Attribute) (ok bool) {
	ok = true
	key := func(k *Secret) bool {
		octets, _, err := layeh.TunnelPassword(v, r.from.Secret.bytes(), r.authenticator[:])
		*k = NewSecret(octets)
		return err == nil && len(octets) > 0
	}
	addr := func(all *[]netip.Addr, first bool) bool {
		ip, ok := addr4(v)
		switch {
		case !ok:
		case first:
			*all = slices.Insert(*all, 0, ip)
		default:
			*all = append(*all, ip)
		}
		return ok
	}
	switch t {
	case msCHAPError:
		a.MSCHAPError = string(v)
	case msCHAP2Success:
		a.MSCHAP2Success = string(v)
	case msMPPEEncryptionPolicy:
		a.MPPE.Policy, ok = integer(v)
	case msMPPEEncryptionTypes:
		a.MPPE.Types, ok = integer(v)
	case msMPPESendKey:
		ok = key(&a.MPPE.SendKey)
	case msMPPERecvKey:
		ok = key(&a.MPPE.RecvKey)
	case msPrimaryDNSServer:
		ok = addr(&a.Service.DNS, true)
	case msSecondaryDNSServer:
		ok = addr(&a.Service.DNS, false)
	case msPrimaryNBNSServer:
		ok = addr(&a.Service.NBNS, true)
	case msSecondaryNBNSServer:
		ok = addr(&a.Service.NBNS, false)
	}
	return ok
}

func seconds(a layeh.Attribute) (time.Duration, bool) {
	n, ok := integer(a)
	return time.Duration(n) * time.Second, ok
}
