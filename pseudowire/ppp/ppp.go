// Package ppp is the Point-to-Point Protocol, RFC 1661, as it is carried through
// L2TP: LCP, the authentication protocols PAP, CHAP, MS-CHAPv2 and EAP, and the
// control protocols of IPv4, IPv6 and encryption. A Link is one end of it.
//
// Frames have no flags, no transparency and no FCS: "the PPP frame" of RFC 2661 and of
// RFC 3931 begins with the Address and Control fields, or without them with the
// Protocol field.
package ppp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A Protocol is a number of the Protocol field, RFC 1661 section 2.
type Protocol uint16

// The protocols that are spoken here.
const (
	IPv4       Protocol = 0x0021
	IPv6       Protocol = 0x0057
	Compressed Protocol = 0x00fd // what CCP agreed on, here MPPE, RFC 3078 section 3
	IPCP       Protocol = 0x8021
	IPV6CP     Protocol = 0x8057
	CCP        Protocol = 0x80fd
	LCP        Protocol = 0xc021
	PAP        Protocol = 0xc023
	CHAP       Protocol = 0xc223
	EAP        Protocol = 0xc227
)

// ipControl is in the number of a network control protocol, beside that of its
// protocol, RFC 1661 section 2.
const ipControl = 0x8000

var protocolNames = map[Protocol]string{
	IPv4: "IPv4", IPv6: "IPv6", Compressed: "compressed", IPCP: "IPCP", IPV6CP: "IPV6CP",
	CCP: "CCP", LCP: "LCP", PAP: "PAP", CHAP: "CHAP", EAP: "EAP",
}

// String returns the protocol's name, or its number.
func (p Protocol) String() string {
	if s, ok := protocolNames[p]; ok {
		return s
	}
	return fmt.Sprintf("protocol %#04x", uint16(p))
}

// HeaderLen is the size of the header that every frame sent has, FF 03 and two
// octets of Protocol, for nothing is compressed in what is sent.
const HeaderLen = 4

// address and control stand in front of a frame, RFC 1662 section 3.1.
const address, control = 0xff, 0x03

// header returns a frame's protocol and the size of its header, or 0 if it has none.
// Whatever was agreed on, the Address and Control fields may be absent, RFC 1661
// section 6.6, and the Protocol field may be of one octet, section 6.5.
func header(frame []byte) (p Protocol, n int) {
	if len(frame) >= 2 && frame[0] == address && frame[1] == control {
		n = 2
	}
	switch rest := frame[n:]; {
	case len(rest) >= 1 && rest[0]&1 == 1:
		return Protocol(rest[0]), n + 1
	case len(rest) >= 2:
		return Protocol(binary.BigEndian.Uint16(rest)), n + 2
	}
	return 0, 0
}

// A Method is a way to prove who one is.
type Method uint8

// The methods. The zero value is none of them.
const (
	NoMethod  Method = iota
	ByPAP            // the password itself, RFC 1334
	ByCHAP           // CHAP with MD5, RFC 1994
	ByMSCHAP2        // RFC 2759
	ByEAP            // RFC 3748
	methods
)

var methodNames = [methods]string{"none", "pap", "chap", "mschapv2", "eap"}

// String returns the method's name.
func (m Method) String() string {
	if m < methods {
		return methodNames[m]
	}
	return "unknown"
}

// ParseMethod returns the method of a name.
func ParseMethod(name string) (Method, error) {
	for m := ByPAP; m < methods; m++ {
		if methodNames[m] == name {
			return m, nil
		}
	}
	return NoMethod, fmt.Errorf("ppp: authentication %q, want pap, chap, mschapv2 or eap", name)
}

// What follows CHAP in an Authentication-Protocol option, RFC 1994 section 3, RFC
// 2759 section 3.
const algorithmMD5, algorithmMSCHAP2 = 0x05, 0x81

// append adds the data of an Authentication-Protocol option.
func (m Method) append(b []byte) []byte {
	switch m {
	case ByPAP:
		return binary.BigEndian.AppendUint16(b, uint16(PAP))
	case ByCHAP:
		return append(binary.BigEndian.AppendUint16(b, uint16(CHAP)), algorithmMD5)
	case ByMSCHAP2:
		return append(binary.BigEndian.AppendUint16(b, uint16(CHAP)), algorithmMSCHAP2)
	}
	return binary.BigEndian.AppendUint16(b, uint16(EAP))
}

// methodOf returns the method that an Authentication-Protocol option names, or
// NoMethod for one that is not known.
func methodOf(data []byte) Method {
	for m := ByPAP; m < methods; m++ {
		if string(m.append(nil)) == string(data) {
			return m
		}
	}
	return NoMethod
}

// An InterfaceID is the lower half of an end's link-local address, RFC 5072 section
// 4.1. The zero value is none.
type InterfaceID [8]byte

// LinkLocal returns the address, RFC 5072 section 5.
func (i InterfaceID) LinkLocal() netip.Addr {
	a := [16]byte{0: 0xfe, 1: 0x80}
	copy(a[8:], i[:])
	return netip.AddrFrom16(a)
}

// String returns the identifier as it stands in an address.
func (i InterfaceID) String() string {
	u := func(n int) uint16 { return binary.BigEndian.Uint16(i[n:]) }
	return fmt.Sprintf("%x:%x:%x:%x", u(0), u(2), u(4), u(6))
}
