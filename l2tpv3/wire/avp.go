package wire

import (
	"encoding/binary"
	"fmt"
)

// An Attr is the Attribute Type of an AVP of the IETF's, RFC 3931 section 5.4.
type Attr uint16

// The attributes of RFC 3931, and of RFC 4591 section 3.5.
const (
	AttrMessageType          Attr = 0
	AttrResultCode           Attr = 1
	AttrTieBreaker           Attr = 5 // of a control connection or a session
	AttrHostName             Attr = 7
	AttrVendorName           Attr = 8
	AttrReceiveWindowSize    Attr = 10
	AttrSerialNumber         Attr = 15
	AttrPhysicalChannelID    Attr = 25
	AttrCircuitErrors        Attr = 34
	AttrRandomVector         Attr = 36
	AttrExtendedVendorID     Attr = 58
	AttrMessageDigest        Attr = 59
	AttrRouterID             Attr = 60
	AttrAssignedConnectionID Attr = 61
	AttrCapabilities         Attr = 62
	AttrLocalSessionID       Attr = 63
	AttrRemoteSessionID      Attr = 64
	AttrAssignedCookie       Attr = 65
	AttrRemoteEndID          Attr = 66
	AttrPseudowireType       Attr = 68
	AttrSublayer             Attr = 69
	AttrDataSequencing       Attr = 70
	AttrCircuitStatus        Attr = 71
	AttrPreferredLanguage    Attr = 72
	AttrNonce                Attr = 73
	AttrTxConnectSpeed       Attr = 74
	AttrRxConnectSpeed       Attr = 75
	AttrFrameRelayHeaderLen  Attr = 85
)

// An attribute is what RFC 3931 section 5.4, or the RFC that defines it, says of an
// AVP.
type attribute struct {
	name     string
	form     form
	optional bool // the M bit SHOULD be 0
	hideable bool // MAY be hidden
	least    int  // octets of the value
	most     int
	cisco    uint16 // its number in Cisco's drafts, under vendor 9; 0: none
}

// fits reports whether the AVP may have a value of this length.
func (k attribute) fits(value []byte) bool {
	n := len(value)
	if n < k.least || n > k.most {
		return false
	}
	switch k.form {
	case cookieForm:
		return n == 0 || n == 4 || n == 8
	case pseudowiresForm:
		return n%2 == 0
	case errorsForm:
		return n == k.least || n == k.most
	case digestForm:
		size := DigestType(value[0]).Size()
		return size == 0 || size == n-1
	}
	return true
}

// lengths says what fits: "4", "0, 4 or 8".
func (k attribute) lengths() string {
	switch {
	case k.form == cookieForm:
		return "0, 4 or 8"
	case k.form == errorsForm:
		return fmt.Sprintf("%d or %d", k.least, k.most)
	case k.form == digestForm:
		return "17 for MD5, 21 for SHA-1"
	case k.form == pseudowiresForm && k.least != k.most:
		return fmt.Sprintf("an even number from %d", k.least)
	case k.least == k.most:
		return fmt.Sprint(k.least)
	}
	return fmt.Sprintf("%d to %d", k.least, k.most)
}

const longest = 1023 - avpHeaderLen

var attributes = map[Attr]attribute{
	AttrMessageType:          {name: "Message Type", form: messageTypeForm, least: 2, most: 2},
	AttrResultCode:           {name: "Result Code", form: resultForm, least: 2, most: longest},
	AttrTieBreaker:           {name: "Tie Breaker", form: octetsForm, least: 8, most: 8},
	AttrHostName:             {name: "Host Name", form: textForm, least: 1, most: longest},
	AttrVendorName:           {name: "Vendor Name", form: textForm, optional: true, hideable: true, most: longest},
	AttrReceiveWindowSize:    {name: "Receive Window Size", form: numberForm, least: 2, most: 2},
	AttrSerialNumber:         {name: "Serial Number", form: numberForm, optional: true, hideable: true, least: 4, most: 4},
	AttrPhysicalChannelID:    {name: "Physical Channel ID", form: numberForm, optional: true, hideable: true, least: 4, most: 4},
	AttrCircuitErrors:        {name: "Circuit Errors", form: errorsForm, optional: true, hideable: true, least: 18, most: 26},
	AttrRandomVector:         {name: "Random Vector", form: octetsForm, most: longest},
	AttrExtendedVendorID:     {name: "Extended Vendor ID", form: octetsForm, optional: true, hideable: true, least: 6, most: longest},
	AttrMessageDigest:        {name: "Message Digest", form: digestForm, least: 1, most: longest, cisco: 12},
	AttrRouterID:             {name: "Router ID", form: addressForm, least: 4, most: 4},
	AttrAssignedConnectionID: {name: "Assigned Control Connection ID", form: numberForm, hideable: true, least: 4, most: 4, cisco: 1},
	AttrCapabilities:         {name: "Pseudowire Capabilities List", form: pseudowiresForm, hideable: true, least: 2, most: longest, cisco: 2},
	AttrLocalSessionID:       {name: "Local Session ID", form: numberForm, hideable: true, least: 4, most: 4, cisco: 3},
	AttrRemoteSessionID:      {name: "Remote Session ID", form: numberForm, hideable: true, least: 4, most: 4, cisco: 4},
	AttrAssignedCookie:       {name: "Assigned Cookie", form: cookieForm, hideable: true, most: 8, cisco: 5},
	AttrRemoteEndID:          {name: "Remote End ID", form: endForm, hideable: true, most: longest, cisco: 6},
	AttrPseudowireType:       {name: "Pseudowire Type", form: pseudowiresForm, hideable: true, least: 2, most: 2, cisco: 7},
	AttrSublayer:             {name: "L2-Specific Sublayer", form: sublayerForm, hideable: true, least: 2, most: 2},
	AttrDataSequencing:       {name: "Data Sequencing", form: sequencingForm, hideable: true, least: 2, most: 2},
	AttrCircuitStatus:        {name: "Circuit Status", form: statusForm, hideable: true, least: 2, most: 2, cisco: 8},
	AttrPreferredLanguage:    {name: "Preferred Language", form: textForm, optional: true, hideable: true, most: longest},
	AttrNonce:                {name: "Control Message Authentication Nonce", form: octetsForm, least: 1, most: longest, cisco: 13},
	AttrTxConnectSpeed:       {name: "Tx Connect Speed", form: numberForm, optional: true, hideable: true, least: 8, most: 8},
	AttrRxConnectSpeed:       {name: "Rx Connect Speed", form: numberForm, optional: true, hideable: true, least: 8, most: 8},
	AttrFrameRelayHeaderLen:  {name: "Frame Relay Header Length", form: numberForm, optional: true, hideable: true, least: 2, most: 2},
}

// String returns the name that its RFC gives the attribute, or else RFC 2661.
func (a Attr) String() string {
	if known, ok := attributes[a]; ok {
		return known.name
	}
	if known, ok := attributesV2[a]; ok {
		return known.name
	}
	if a.version2() {
		return fmt.Sprintf("L2TPv2 attribute %d", uint16(a))
	}
	return fmt.Sprintf("attribute %d", uint16(a))
}

// version2 reports whether the attribute is L2TPv2's and not RFC 3931's: one of
// RFC 2661, or of its extensions, which have the numbers up to 57.
func (a Attr) version2() bool {
	_, known := attributes[a]
	return !known && a < AttrExtendedVendorID
}

// vendorCisco is Cisco's number as a vendor. Its routers spoke L2TPv3 by AVPs of
// their own before RFC 3931 gave numbers to them.
const vendorCisco = 9

// Attributes of Cisco's drafts that RFC 3931 does not have, or has elsewhere.
const (
	ciscoSessionTieBreaker = 9
	ciscoDraftVersion      = 10
	ciscoInterfaceMTU      = 14
)

// fromCisco maps an attribute of Cisco's drafts to RFC 3931's.
func fromCisco(number uint16) (Attr, bool) {
	if number == ciscoSessionTieBreaker {
		return AttrTieBreaker, true
	}
	for a, known := range attributes {
		if known.cisco == number && number != 0 {
			return a, true
		}
	}
	return 0, false
}

var ciscoAttributes = func() map[uint16]Attr {
	m := make(map[uint16]Attr)
	for n := range uint16(32) {
		if a, ok := fromCisco(n); ok {
			m[n] = a
		}
	}
	return m
}()

// An avp is one AVP as it stands in a message. RFC 3931 section 5.1.
type avp struct {
	mandatory, hidden bool
	reserved          bool // a reserved bit is set, which RFC 3931 has ignored
	vendor            uint32
	attr              Attr // or any vendor's number
	value             []byte
}

const (
	avpHeaderLen  = 6
	mandatoryBit  = 0x8000
	hiddenBit     = 0x4000
	reservedBits  = 0x3c00
	avpLengthMask = 0x03ff
)

// nextAVP reads the AVP at the front of b. Its value is part of b.
func nextAVP(b []byte) (a avp, rest []byte, err *Error) {
	if len(b) < avpHeaderLen {
		return a, nil, &Error{Code: ErrorLength, Text: fmt.Sprintf("%d octets after the last AVP, want %d for another", len(b), avpHeaderLen)}
	}
	word := binary.BigEndian.Uint16(b)
	length := int(word & avpLengthMask)
	a = avp{
		mandatory: word&mandatoryBit != 0,
		hidden:    word&hiddenBit != 0,
		reserved:  word&reservedBits != 0,
		vendor:    uint32(binary.BigEndian.Uint16(b[2:])),
		attr:      Attr(binary.BigEndian.Uint16(b[4:])),
	}
	if length < avpHeaderLen || length > len(b) {
		return a, nil, &Error{Code: ErrorLength, Vendor: a.vendor, Attr: a.attr,
			Text: fmt.Sprintf("%s: length %d with %d octets left", a.name(), length, len(b))}
	}
	a.value = b[avpHeaderLen:length:length]
	return a, b[length:], nil
}

// extended takes the 32-bit Vendor ID out of the value, where there is one to be
// seen. RFC 3931 section 5.1, figure 5.2. Vendor 0 is none: such an AVP cannot
// stand for one of the IETF's.
func (a *avp) extended() {
	if a.vendor != 0 || a.attr != AttrExtendedVendorID || a.hidden || len(a.value) < 6 {
		return
	}
	vendor := binary.BigEndian.Uint32(a.value)
	if vendor == 0 {
		return
	}
	a.vendor = vendor
	a.attr = Attr(binary.BigEndian.Uint16(a.value[4:]))
	a.value = a.value[6:]
}

func (a *avp) name() string {
	if a.vendor != 0 {
		return fmt.Sprintf("vendor %d attribute %d", a.vendor, uint16(a.attr))
	}
	return a.attr.String()
}

// appendAVP appends an AVP. A value that is too long is the caller's mistake.
func appendAVP(b []byte, bits uint16, vendor uint16, attr uint16, value []byte) []byte {
	if len(value) > longest {
		panic(fmt.Sprintf("wire: attribute %d: %d octets, want %d at most", attr, len(value), longest))
	}
	b = binary.BigEndian.AppendUint16(b, bits|uint16(avpHeaderLen+len(value)))
	b = binary.BigEndian.AppendUint16(b, vendor)
	b = binary.BigEndian.AppendUint16(b, attr)
	return append(b, value...)
}
