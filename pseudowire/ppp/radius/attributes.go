package radius

import (
	"encoding/binary"
	"net/netip"

	layeh "layeh.com/radius"
)

// Attribute types that we send or understand.
const (
	attrUserName              layeh.Type = 1 // RFC 2865
	attrUserPassword          layeh.Type = 2
	attrCHAPPassword          layeh.Type = 3
	attrNASIPAddress          layeh.Type = 4
	attrNASPort               layeh.Type = 5
	attrServiceType           layeh.Type = 6
	attrFramedProtocol        layeh.Type = 7
	attrFramedIPAddress       layeh.Type = 8
	attrFramedIPNetmask       layeh.Type = 9
	attrFilterID              layeh.Type = 11
	attrFramedMTU             layeh.Type = 12
	attrReplyMessage          layeh.Type = 18
	attrFramedRoute           layeh.Type = 22
	attrState                 layeh.Type = 24
	attrClass                 layeh.Type = 25
	attrVendorSpecific        layeh.Type = 26
	attrSessionTimeout        layeh.Type = 27
	attrIdleTimeout           layeh.Type = 28
	attrCalledStationID       layeh.Type = 30
	attrCallingStationID      layeh.Type = 31
	attrNASIdentifier         layeh.Type = 32
	attrProxyState            layeh.Type = 33
	attrAcctStatusType        layeh.Type = 40 // RFC 2866
	attrAcctDelayTime         layeh.Type = 41
	attrAcctInputOctets       layeh.Type = 42
	attrAcctOutputOctets      layeh.Type = 43
	attrAcctSessionID         layeh.Type = 44
	attrAcctAuthentic         layeh.Type = 45
	attrAcctSessionTime       layeh.Type = 46
	attrAcctInputPackets      layeh.Type = 47
	attrAcctOutputPackets     layeh.Type = 48
	attrAcctTerminateCause    layeh.Type = 49
	attrAcctMultiSessionID    layeh.Type = 50
	attrAcctInputGigawords    layeh.Type = 52 // RFC 2869
	attrAcctOutputGigawords   layeh.Type = 53
	attrEventTimestamp        layeh.Type = 55
	attrCHAPChallenge         layeh.Type = 60 // RFC 2865
	attrNASPortType           layeh.Type = 61
	attrTunnelType            layeh.Type = 64 // RFC 2868
	attrTunnelMediumType      layeh.Type = 65
	attrTunnelClientEndpoint  layeh.Type = 66
	attrTunnelServerEndpoint  layeh.Type = 67
	attrAcctTunnelConnection  layeh.Type = 68 // RFC 2867
	attrConnectInfo           layeh.Type = 77 // RFC 2869
	attrEAPMessage            layeh.Type = 79
	attrMessageAuthenticator  layeh.Type = 80
	attrTunnelAssignmentID    layeh.Type = 82 // RFC 2868
	attrAcctInterimInterval   layeh.Type = 85 // RFC 2869
	attrNASPortID             layeh.Type = 87
	attrFramedPool            layeh.Type = 88
	attrTunnelClientAuthID    layeh.Type = 90 // RFC 2868
	attrTunnelServerAuthID    layeh.Type = 91
	attrNASIPv6Address        layeh.Type = 95 // RFC 3162
	attrFramedInterfaceID     layeh.Type = 96
	attrFramedIPv6Prefix      layeh.Type = 97
	attrFramedIPv6Route       layeh.Type = 99
	attrFramedIPv6Pool        layeh.Type = 100
	attrErrorCause            layeh.Type = 101 // RFC 5176
	attrDelegatedIPv6Prefix   layeh.Type = 123 // RFC 4818
	attrFramedIPv6Address     layeh.Type = 168 // RFC 6911
	attrDNSServerIPv6Address  layeh.Type = 169
	attrDelegatedIPv6PrefPool layeh.Type = 171
)

// microsoft is the vendor of RFC 2548.
const microsoft = 311

// Its attributes.
const (
	msCHAPError             = 2
	msMPPEEncryptionPolicy  = 7
	msMPPEEncryptionTypes   = 8
	msCHAPChallenge         = 11
	msMPPESendKey           = 16
	msMPPERecvKey           = 17
	msCHAP2Response         = 25
	msCHAP2Success          = 26
	msPrimaryDNSServer      = 28
	msSecondaryDNSServer    = 29
	msPrimaryNBNSServer     = 30
	msSecondaryNBNSServer   = 31
	mostVendorSpecificValue = 247
)

// addString adds a text that the peer or the configuration gave. What RADIUS has no
// room for is cut off, and an empty one is none: RFC 2865 section 5.
func addString(p *layeh.Packet, t layeh.Type, s string) {
	if s != "" {
		p.Add(t, layeh.Attribute(s[:min(len(s), mostOctets)]))
	}
}

// addTagged adds a text of RFC 2868 without a tag. One that begins as a tag does
// would be taken for another; it is left out.
func addTagged(p *layeh.Packet, t layeh.Type, s string) {
	if s != "" && s[0] > 0x1f {
		addString(p, t, s)
	}
}

func addInteger(p *layeh.Packet, t layeh.Type, n uint32) { p.Add(t, layeh.NewInteger(n)) }

func addMicrosoft(p *layeh.Packet, t byte, value []byte) {
	b := binary.BigEndian.AppendUint32(nil, microsoft)
	b = append(b, t, byte(2+len(value)))
	p.Add(attrVendorSpecific, append(b, value...))
}

// addPrefix adds an IPv6 prefix, RFC 3162 section 2.3.
func addPrefix(p *layeh.Packet, t layeh.Type, prefix netip.Prefix) {
	a := prefix.Masked().Addr().As16()
	p.Add(t, append(layeh.Attribute{0, byte(prefix.Bits())}, a[:(prefix.Bits()+7)/8]...))
}

// addNAS says who asks.
func (c *Client) addNAS(p *layeh.Packet) {
	switch a := c.cfg.NASAddress.Unmap(); {
	case a.Is4():
		p.Add(attrNASIPAddress, a.AsSlice())
	case a.Is6():
		p.Add(attrNASIPv6Address, a.AsSlice())
	}
	addString(p, attrNASIdentifier, c.cfg.NASIdentifier)
}

// integer reads an attribute of four octets.
func integer(a layeh.Attribute) (uint32, bool) {
	n, err := layeh.Integer(a)
	return n, err == nil
}

// addr4 and addr6 read an address.
func addr4(a layeh.Attribute) (netip.Addr, bool) {
	if len(a) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(a)
}

func addr6(a layeh.Attribute) (netip.Addr, bool) {
	if len(a) != 16 {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(a)
}

// prefix6 reads an IPv6 prefix, RFC 3162 section 2.3: a reserved octet, the length
// in bits, and as many octets as are there. "Bits outside of the Prefix-Length, if
// included, must be zero."
func prefix6(a layeh.Attribute) (netip.Prefix, bool) {
	if len(a) < 2 || len(a) > 18 || a[1] > 128 || len(a)-2 < int(a[1]+7)/8 {
		return netip.Prefix{}, false
	}
	var b [16]byte
	copy(b[:], a[2:])
	p := netip.PrefixFrom(netip.AddrFrom16(b), int(a[1]))
	return p, p == p.Masked()
}
