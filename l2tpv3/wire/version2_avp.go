package wire

import (
	"encoding/binary"
	"fmt"
)

// The attributes of L2TPv2 that RFC 3931 does not have, RFC 2661 section 4.4, and
// of its extensions.
const (
	AttrProtocolVersion      Attr = 2
	AttrFramingCapabilities  Attr = 3
	AttrBearerCapabilities   Attr = 4
	AttrFirmwareRevision     Attr = 6
	AttrAssignedTunnelID     Attr = 9
	AttrChallenge            Attr = 11
	AttrCauseCode            Attr = 12
	AttrChallengeResponse    Attr = 13
	AttrAssignedSessionID    Attr = 14
	AttrMinimumBPS           Attr = 16
	AttrMaximumBPS           Attr = 17
	AttrBearerType           Attr = 18
	AttrFramingType          Attr = 19
	AttrCalledNumber         Attr = 21
	AttrCallingNumber        Attr = 22
	AttrSubAddress           Attr = 23
	AttrTxConnectSpeedV2     Attr = 24
	AttrInitialReceivedLCP   Attr = 26
	AttrLastSentLCP          Attr = 27
	AttrLastReceivedLCP      Attr = 28
	AttrProxyAuthenType      Attr = 29
	AttrProxyAuthenName      Attr = 30
	AttrProxyAuthenChallenge Attr = 31
	AttrProxyAuthenID        Attr = 32
	AttrProxyAuthenResponse  Attr = 33
	AttrACCM                 Attr = 35
	AttrPrivateGroupID       Attr = 37
	AttrRxConnectSpeedV2     Attr = 38
	AttrSequencingRequired   Attr = 39
	AttrDisconnectCause      Attr = 46 // RFC 3145
	AttrControlConnectionDS  Attr = 47 // RFC 3308
	AttrSessionDS            Attr = 48
	AttrLCPWantOptions       Attr = 49 // RFC 3437
	AttrLCPAllowOptions      Attr = 50
	AttrLNSLastSentLCP       Attr = 51
	AttrLNSLastReceivedLCP   Attr = 52
	vendor3Com                    = 43 // whose draft RFC 3145 was
)

// attributesV2 is what RFC 2661 section 4.4 says of its AVPs. Those that it shares
// with RFC 3931 have other M bits there.
var attributesV2 = map[Attr]attribute{
	AttrMessageType:          {name: "Message Type", form: messageTypeForm, least: 2, most: 2},
	AttrResultCode:           {name: "Result Code", form: resultForm, least: 2, most: longest},
	AttrProtocolVersion:      {name: "Protocol Version", form: octetsForm, least: 2, most: 2},
	AttrFramingCapabilities:  {name: "Framing Capabilities", form: framingForm, hideable: true, least: 4, most: 4},
	AttrBearerCapabilities:   {name: "Bearer Capabilities", form: bearerForm, hideable: true, least: 4, most: 4},
	AttrTieBreaker:           {name: "Tie Breaker", form: octetsForm, optional: true, least: 8, most: 8},
	AttrFirmwareRevision:     {name: "Firmware Revision", form: octetsForm, optional: true, hideable: true, least: 2, most: 2},
	AttrHostName:             {name: "Host Name", form: textForm, least: 1, most: longest},
	AttrVendorName:           {name: "Vendor Name", form: textForm, optional: true, hideable: true, most: longest},
	AttrAssignedTunnelID:     {name: "Assigned Tunnel ID", form: numberForm, hideable: true, least: 2, most: 2},
	AttrReceiveWindowSize:    {name: "Receive Window Size", form: numberForm, least: 2, most: 2},
	AttrChallenge:            {name: "Challenge", form: octetsForm, hideable: true, least: 1, most: longest},
	AttrCauseCode:            {name: "Q.931 Cause Code", form: causeForm, least: 3, most: longest},
	AttrChallengeResponse:    {name: "Challenge Response", form: octetsForm, hideable: true, least: 16, most: 16},
	AttrAssignedSessionID:    {name: "Assigned Session ID", form: numberForm, hideable: true, least: 2, most: 2},
	AttrSerialNumber:         {name: "Call Serial Number", form: numberForm, hideable: true, least: 4, most: 4},
	AttrMinimumBPS:           {name: "Minimum BPS", form: numberForm, hideable: true, least: 4, most: 4},
	AttrMaximumBPS:           {name: "Maximum BPS", form: numberForm, hideable: true, least: 4, most: 4},
	AttrBearerType:           {name: "Bearer Type", form: bearerForm, hideable: true, least: 4, most: 4},
	AttrFramingType:          {name: "Framing Type", form: framingForm, hideable: true, least: 4, most: 4},
	AttrCalledNumber:         {name: "Called Number", form: textForm, hideable: true, most: longest},
	AttrCallingNumber:        {name: "Calling Number", form: textForm, hideable: true, most: longest},
	AttrSubAddress:           {name: "Sub-Address", form: textForm, hideable: true, most: longest},
	AttrTxConnectSpeedV2:     {name: "(Tx) Connect Speed", form: numberForm, hideable: true, least: 4, most: 4},
	AttrPhysicalChannelID:    {name: "Physical Channel ID", form: numberForm, optional: true, hideable: true, least: 4, most: 4},
	AttrInitialReceivedLCP:   {name: "Initial Received LCP CONFREQ", form: octetsForm, optional: true, hideable: true, most: longest},
	AttrLastSentLCP:          {name: "Last Sent LCP CONFREQ", form: octetsForm, optional: true, hideable: true, most: longest},
	AttrLastReceivedLCP:      {name: "Last Received LCP CONFREQ", form: octetsForm, optional: true, hideable: true, most: longest},
	AttrProxyAuthenType:      {name: "Proxy Authen Type", form: numberForm, optional: true, hideable: true, least: 2, most: 2},
	AttrProxyAuthenName:      {name: "Proxy Authen Name", form: textForm, optional: true, hideable: true, most: longest},
	AttrProxyAuthenChallenge: {name: "Proxy Authen Challenge", form: octetsForm, optional: true, hideable: true, least: 1, most: longest},
	AttrProxyAuthenID:        {name: "Proxy Authen ID", form: numberForm, optional: true, hideable: true, least: 2, most: 2},
	AttrProxyAuthenResponse:  {name: "Proxy Authen Response", form: secretForm, optional: true, hideable: true, most: longest},
	AttrCircuitErrors:        {name: "Call Errors", form: octetsForm, hideable: true, least: 26, most: 26},
	AttrACCM:                 {name: "ACCM", form: octetsForm, hideable: true, least: 10, most: 10},
	AttrRandomVector:         {name: "Random Vector", form: octetsForm, most: longest},
	AttrPrivateGroupID:       {name: "Private Group ID", form: octetsForm, optional: true, hideable: true, most: longest},
	AttrRxConnectSpeedV2:     {name: "Rx Connect Speed", form: numberForm, optional: true, hideable: true, least: 4, most: 4},
	AttrSequencingRequired:   {name: "Sequencing Required", form: octetsForm},
	AttrDisconnectCause:      {name: "PPP Disconnect Cause Code", form: disconnectForm, optional: true, hideable: true, least: 5, most: longest},
	AttrControlConnectionDS:  {name: "Control Connection DS", form: numberForm, optional: true, hideable: true, least: 2, most: 2},
	AttrSessionDS:            {name: "Session DS", form: numberForm, optional: true, hideable: true, least: 2, most: 2},
	AttrLCPWantOptions:       {name: "LCP Want Options", form: octetsForm, optional: true, hideable: true, most: longest},
	AttrLCPAllowOptions:      {name: "LCP Allow Options", form: octetsForm, optional: true, hideable: true, most: longest},
	AttrLNSLastSentLCP:       {name: "LNS Last Sent LCP CONFREQ", form: octetsForm, optional: true, hideable: true, most: longest},
	AttrLNSLastReceivedLCP:   {name: "LNS Last Received LCP CONFREQ", form: octetsForm, optional: true, hideable: true, most: longest},
}

// An EncodingV2 says how messages to a peer are written.
type EncodingV2 struct {
	// Hide hides the AVPs that HiddenV2 names with this secret; nil: none.
	Hide *SecretV2
	// Random fills its argument with random octets, for what is hidden.
	Random func([]byte)
}

// HiddenV2 are the AVPs that EncodingV2.Hide hides: who calls whom, and what proves
// it. The IDs are in every header, and not worth it.
var HiddenV2 = [...]Attr{
	AttrCalledNumber, AttrCallingNumber, AttrSubAddress, AttrPrivateGroupID, AttrInitialReceivedLCP, AttrLastSentLCP, AttrLastReceivedLCP,
	AttrProxyAuthenType, AttrProxyAuthenName, AttrProxyAuthenChallenge, AttrProxyAuthenID, AttrProxyAuthenResponse,
}

func (e *EncodingV2) hides(a Attr) bool {
	if e.Hide == nil {
		return false
	}
	for _, h := range HiddenV2 {
		if h == a {
			return true
		}
	}
	return false
}

// bits returns the M bit as RFC 2661 has it.
func (e *EncodingV2) bits(a Attr) uint16 {
	if attributesV2[a].optional {
		return 0
	}
	return mandatoryBit
}

// A DecodingV2 says how messages of a peer are read.
type DecodingV2 struct {
	// Secret unhides what is hidden; nil: it cannot be.
	Secret *SecretV2
	// Lenient ignores AVPs of Cisco's vendor number even if their M bit is set,
	// and takes a Result Code whose octets are in the other order.
	Lenient bool
}

// writing marks fields that are written for L2TPv2.
var writing = &Encoding{}

// AppendBodyV2 appends the AVPs of a message, to follow a header.
func AppendBodyV2(b []byte, m Message, e *EncodingV2) []byte {
	f := fields{b: b, e: writing, v2: e}
	f.messageType(m.Type())
	m.avps(&f)
	return f.b
}

// AppendOffer appends the AVPs of an SCCRQ for both versions, whose header says
// Version 2: "a special SCCRQ that is properly formatted for both L2TPv2 and
// L2TPv3", with the M bits of "any L2TPv3-specific AVPs" clear. RFC 3931 section
// 4.7.3. What both versions have is v2's. Seal is to complete it.
func AppendOffer(b []byte, v2 *SCCRQV2, e2 *EncodingV2, v3 *LCCE, e3 *Encoding) []byte {
	plain := Encoding{Signatures: e3.Signatures, Random: e3.Random} // Cisco's AVPs are mandatory
	f := fields{b: b, e: &plain, offer: true}
	f.messageType(TypeSCCRQ)
	f.digests(e3.Signatures)
	f2 := fields{b: f.b, e: writing, v2: e2}
	v2.avps(&f2)
	f.b = f2.b
	f.octets(AttrNonce, &v3.Nonce, may)
	f.uint32(AttrRouterID, &v3.RouterID, must)
	f.connectionID(&v3.ConnectionID, must)
	f.pseudowires(AttrCapabilities, &v3.Capabilities, must)
	f.text(AttrPreferredLanguage, &v3.Language, may)
	return f.b
}

// ParseV2 reads a control message whose header ParseControlV2 has read. With an
// Error the Message has what could be read. It keeps nothing of message.
func ParseV2(message []byte, d *DecodingV2) (p Parsed, _ *Error) {
	rest := message[ControlHeaderLen:]
	if len(rest) == 0 {
		return p, nil
	}
	first, rest, err := nextAVP(rest)
	switch {
	case err != nil:
		return p, err
	case first.attr != AttrMessageType || first.hidden || len(first.value) != 2:
		return p, &Error{Code: ErrorRange, Text: "the first AVP is no Message Type"}
	case first.vendor != 0 && first.mandatory:
		return p, &Error{Code: ErrorUnknownAVP, Vendor: first.vendor, Text: fmt.Sprintf("unknown message type of vendor %d", first.vendor)}
	case first.vendor != 0:
		return Parsed{Ignored: true}, nil
	}
	p.Type = MessageType(binary.BigEndian.Uint16(first.value))
	p.Message = newMessageV2(p.Type)
	switch {
	case p.Message == nil && first.mandatory:
		return p, &Error{Code: ErrorUnknownAVP, Text: fmt.Sprintf("unknown message type %d", uint16(p.Type))}
	case p.Message == nil:
		p.Ignored = true
		return p, nil
	}
	f := readers.Get().(*fields)
	defer f.release()
	f.lenient = d.Lenient
	f.scanV2(rest, d)
	p.Message.avps(f)
	return p, f.err
}

// scanV2 reads the AVPs, unhides what is hidden, and judges those that are unknown.
func (f *fields) scanV2(rest []byte, d *DecodingV2) {
	for len(rest) > 0 {
		a, next, err := nextAVP(rest)
		if err != nil {
			f.fail(err)
			return
		}
		rest = next
		number := a.attr
		if a.vendor == vendor3Com && a.attr == AttrDisconnectCause {
			// RFC 3145 section 4: "Implementations MAY accept AVPs with these
			// values as equivalent".
			a.vendor = 0
		}
		known, ok := attributesV2[a.attr]
		switch {
		case a.vendor == vendorCisco && d.Lenient:
			continue
		case a.vendor != 0 || !ok || a.reserved:
			// RFC 2661 section 4.1: "An AVP received with a reserved bit set to
			// 1 MUST be treated as an unrecognized AVP."
			f.unknown(&a)
			continue
		case a.hidden && !f.unhide(&a, number, known, d.Secret.key()):
			continue
		case a.attr == AttrRandomVector:
			f.vector = a.value
			continue
		case !known.fits(a.value):
			f.malformed(&a, ErrorLength, fmt.Sprintf("%d octets, want %s", len(a.value), known.lengths()))
			continue
		}
		f.list = append(f.list, a)
	}
}

// OffersV3 reports whether an SCCRQ of Version 2 is one for both versions: a peer
// that speaks L2TPv3 gives its control connection an ID. RFC 3931 section 4.7.3.
func OffersV3(message []byte) bool { return offers(message, AttrAssignedConnectionID) }

// OffersV2 reports whether an SCCRQ is one that an L2TPv2 peer can have sent: it
// assigns a Tunnel ID.
func OffersV2(message []byte) bool { return offers(message, AttrAssignedTunnelID) }

// offers reports whether an SCCRQ has an AVP.
func offers(message []byte, attr Attr) bool {
	if t, ok := TypeOf(message); !ok || t != TypeSCCRQ {
		return false
	}
	for rest := message[ControlHeaderLen:]; len(rest) > 0; {
		a, next, err := nextAVP(rest)
		if err != nil {
			return false
		}
		if a.vendor == 0 && a.attr == attr {
			return true
		}
		rest = next
	}
	return false
}
