package wire

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// A FramingType is a mask of kinds of PPP framing, RFC 2661 sections 4.4.3 and
// 4.4.4.
type FramingType uint32

// The kinds of framing.
const (
	SyncFraming  FramingType = 1
	AsyncFraming FramingType = 2
)

// String names the kinds: "sync, async".
func (t FramingType) String() string { return mask(uint32(t), "sync", "async") }

// A BearerType is a mask of kinds of line.
type BearerType uint32

// The kinds of line.
const (
	DigitalBearer BearerType = 1
	AnalogBearer  BearerType = 2
)

// String names the kinds: "digital, analog".
func (t BearerType) String() string { return mask(uint32(t), "digital", "analog") }

func mask(bits uint32, names ...string) string {
	var words []string
	for i, name := range names {
		if bits&(1<<i) != 0 {
			words = append(words, name)
		}
	}
	if rest := bits >> len(names) << len(names); rest != 0 {
		words = append(words, fmt.Sprintf("%#x", rest))
	}
	if words == nil {
		return "none"
	}
	return strings.Join(words, ", ")
}

// ProtocolV2 is the Protocol Version of RFC 2661: version 1, revision 0.
const ProtocolV2 = 0x0100

// A PeerV2 is what a node tells of itself in an SCCRQ or SCCRP, RFC 2661
// section 4.4.3.
type PeerV2 struct {
	Protocol      uint16 // ProtocolV2
	HostName      string
	Framing       FramingType          // what it accepts
	Bearer        Optional[BearerType] // what calls it can place; not set: none
	TunnelID      uint16               // Assigned Tunnel ID
	ReceiveWindow uint16               // 0: not told, which means 4
	VendorName    string
	Firmware      uint16
	Challenge     []byte           // empty: the peer need not prove anything
	DiffServ      Optional[uint16] // PHB code of the control connection, RFC 3308
}

func (p *PeerV2) avps(f *fields) {
	f.uint16(AttrProtocolVersion, &p.Protocol, must)
	f.text(AttrHostName, &p.HostName, must)
	number32(f, AttrFramingCapabilities, &p.Framing, must)
	f.uint16(AttrAssignedTunnelID, &p.TunnelID, must)
	optional32(f, AttrBearerCapabilities, &p.Bearer)
	f.uint16(AttrFirmwareRevision, &p.Firmware, may)
	f.text(AttrVendorName, &p.VendorName, may)
	f.uint16(AttrReceiveWindowSize, &p.ReceiveWindow, may)
	f.octets(AttrChallenge, &p.Challenge, may)
	optional(f, AttrControlConnectionDS, &p.DiffServ)
}

// A SCCRQV2 asks for a tunnel, RFC 2661 section 6.1.
type SCCRQV2 struct {
	PeerV2
	TieBreaker Optional[uint64]
}

// Type implements Message.
func (*SCCRQV2) Type() MessageType { return TypeSCCRQ }

func (m *SCCRQV2) avps(f *fields) {
	m.PeerV2.avps(f)
	f.tieBreaker(&m.TieBreaker)
}

// A SCCRPV2 accepts an SCCRQ, RFC 2661 section 6.2.
type SCCRPV2 struct {
	PeerV2
	Response []byte // to the Challenge, 16 octets; empty: there was none
}

// Type implements Message.
func (*SCCRPV2) Type() MessageType { return TypeSCCRP }

func (m *SCCRPV2) avps(f *fields) {
	m.PeerV2.avps(f)
	f.octets(AttrChallengeResponse, &m.Response, may)
}

// A SCCCNV2 completes a tunnel, RFC 2661 section 6.3.
type SCCCNV2 struct{ Response []byte }

// Type implements Message.
func (*SCCCNV2) Type() MessageType { return TypeSCCCN }

func (m *SCCCNV2) avps(f *fields) { f.octets(AttrChallengeResponse, &m.Response, may) }

// A StopCCNV2 ends a tunnel with all its sessions, RFC 2661 section 6.4.
type StopCCNV2 struct {
	TunnelID uint16 // the sender's
	Result   Result
}

// Type implements Message.
func (*StopCCNV2) Type() MessageType { return TypeStopCCN }

func (m *StopCCNV2) avps(f *fields) {
	f.uint16(AttrAssignedTunnelID, &m.TunnelID, must)
	f.resultV2(&m.Result)
}

// A HELLOV2 asks whether the peer is there, RFC 2661 section 6.5.
type HELLOV2 struct{}

// Type implements Message.
func (*HELLOV2) Type() MessageType { return TypeHELLO }

func (*HELLOV2) avps(*fields) {}

// An ICRQV2 asks the LNS for a session for an incoming call, RFC 2661 section 6.6.
type ICRQV2 struct {
	SessionID         uint16 // Assigned Session ID
	SerialNumber      uint32
	Bearer            Optional[BearerType]
	PhysicalChannelID Optional[uint32]
	CalledNumber      string
	CallingNumber     string
	SubAddress        string
	DiffServ          Optional[uint16] // PHB code of the session, RFC 3308
}

// Type implements Message.
func (*ICRQV2) Type() MessageType { return TypeICRQ }

func (m *ICRQV2) avps(f *fields) {
	f.uint16(AttrAssignedSessionID, &m.SessionID, must)
	f.uint32(AttrSerialNumber, &m.SerialNumber, must)
	optional32(f, AttrBearerType, &m.Bearer)
	optional32(f, AttrPhysicalChannelID, &m.PhysicalChannelID)
	f.text(AttrCallingNumber, &m.CallingNumber, may)
	f.text(AttrCalledNumber, &m.CalledNumber, may)
	f.text(AttrSubAddress, &m.SubAddress, may)
	optional(f, AttrSessionDS, &m.DiffServ)
	f.nonzero(AttrAssignedSessionID, uint32(m.SessionID))
}

// An ICRPV2 accepts an ICRQ, RFC 2661 section 6.7.
type ICRPV2 struct {
	SessionID uint16
	DiffServ  Optional[uint16]
}

// Type implements Message.
func (*ICRPV2) Type() MessageType { return TypeICRP }

func (m *ICRPV2) avps(f *fields) {
	f.uint16(AttrAssignedSessionID, &m.SessionID, must)
	optional(f, AttrSessionDS, &m.DiffServ)
	f.nonzero(AttrAssignedSessionID, uint32(m.SessionID))
}

// A ConnectedV2 is what an ICCN and an OCCN have in common.
type ConnectedV2 struct {
	TxSpeed  uint32 // bit/s, from the LAC to the remote system
	RxSpeed  uint32 // 0: as TxSpeed
	Framing  FramingType
	Sequence bool   // Sequencing Required: data always has sequence numbers
	LCPWant  []byte // LCP options that the LAC wants the LNS to negotiate, RFC 3437
	LCPAllow []byte // and those that it allows
}

func (m *ConnectedV2) avps(f *fields) {
	f.uint32(AttrTxConnectSpeedV2, &m.TxSpeed, must)
	number32(f, AttrFramingType, &m.Framing, must)
	f.uint32(AttrRxConnectSpeedV2, &m.RxSpeed, may)
	f.flag(AttrSequencingRequired, &m.Sequence)
	f.octets(AttrLCPWantOptions, &m.LCPWant, may)
	f.octets(AttrLCPAllowOptions, &m.LCPAllow, may)
}

// A Proxy is what a LAC has agreed upon with the remote system, for the LNS to go
// on with. RFC 2661 section 4.4.5.
type Proxy struct {
	// The options of LCP CONFREQs: what the remote system began with, and what
	// was agreed upon.
	InitialReceived, LastSent, LastReceived []byte

	AuthenType AuthenType // 0: not told
	Name       string
	Challenge  []byte
	ID         uint8
	Response   []byte // of AuthenText and AuthenPAP the password itself
}

// An AuthenType is how a LAC has authenticated the remote system.
type AuthenType uint16

// The types of authentication.
const (
	AuthenText   AuthenType = 1 // a textual exchange of name and password
	AuthenCHAP   AuthenType = 2
	AuthenPAP    AuthenType = 3
	AuthenNone   AuthenType = 4
	AuthenMSCHAP AuthenType = 5 // version 1
)

// challenged reports whether the type has a challenge.
func (t AuthenType) challenged() bool { return t == AuthenCHAP || t == AuthenMSCHAP }

func (p *Proxy) avps(f *fields) {
	f.octets(AttrInitialReceivedLCP, &p.InitialReceived, may)
	f.octets(AttrLastSentLCP, &p.LastSent, may)
	f.octets(AttrLastReceivedLCP, &p.LastReceived, may)
	number(f, AttrProxyAuthenType, &p.AuthenType, may)
	// RFC 2661 section 4.4.5 says which types have which of them; an LNS that
	// misses one begins anew with the remote system.
	named := presence(f.e != nil && (p.AuthenType.challenged() || p.AuthenType == AuthenText || p.AuthenType == AuthenPAP))
	f.name(AttrProxyAuthenName, &p.Name, named)
	f.octets(AttrProxyAuthenChallenge, &p.Challenge, may)
	id := uint16(p.ID)
	f.uint16(AttrProxyAuthenID, &id, presence(f.e != nil && (p.AuthenType.challenged() || p.AuthenType == AuthenPAP)))
	p.ID = uint8(id) // "the most significant octet MUST be 0"
	f.octets(AttrProxyAuthenResponse, &p.Response, named)
}

// String keeps a password out of whatever prints a Proxy.
func (p Proxy) String() string {
	return fmt.Sprintf("authentication type %d of %q", uint16(p.AuthenType), p.Name)
}

// An ICCNV2 completes an incoming call, RFC 2661 section 6.8.
type ICCNV2 struct {
	ConnectedV2
	Proxy          Proxy
	PrivateGroupID []byte
}

// Type implements Message.
func (*ICCNV2) Type() MessageType { return TypeICCN }

func (m *ICCNV2) avps(f *fields) {
	m.ConnectedV2.avps(f)
	m.Proxy.avps(f)
	f.octets(AttrPrivateGroupID, &m.PrivateGroupID, may)
}

// An OCRQV2 asks the LAC to place a call, RFC 2661 section 6.9.
type OCRQV2 struct {
	SessionID              uint16
	SerialNumber           uint32
	MinimumBPS, MaximumBPS uint32 // bit/s
	Bearer                 BearerType
	Framing                FramingType
	CalledNumber           string
	SubAddress             string
	DiffServ               Optional[uint16]
}

// Type implements Message.
func (*OCRQV2) Type() MessageType { return TypeOCRQ }

func (m *OCRQV2) avps(f *fields) {
	f.uint16(AttrAssignedSessionID, &m.SessionID, must)
	f.uint32(AttrSerialNumber, &m.SerialNumber, must)
	f.uint32(AttrMinimumBPS, &m.MinimumBPS, must)
	f.uint32(AttrMaximumBPS, &m.MaximumBPS, must)
	number32(f, AttrBearerType, &m.Bearer, must)
	number32(f, AttrFramingType, &m.Framing, must)
	f.name(AttrCalledNumber, &m.CalledNumber, must)
	f.text(AttrSubAddress, &m.SubAddress, may)
	optional(f, AttrSessionDS, &m.DiffServ)
	f.nonzero(AttrAssignedSessionID, uint32(m.SessionID))
}

// An OCRPV2 says that the call is being placed, RFC 2661 section 6.10.
type OCRPV2 struct {
	SessionID         uint16
	PhysicalChannelID Optional[uint32]
	DiffServ          Optional[uint16]
}

// Type implements Message.
func (*OCRPV2) Type() MessageType { return TypeOCRP }

func (m *OCRPV2) avps(f *fields) {
	f.uint16(AttrAssignedSessionID, &m.SessionID, must)
	optional32(f, AttrPhysicalChannelID, &m.PhysicalChannelID)
	optional(f, AttrSessionDS, &m.DiffServ)
	f.nonzero(AttrAssignedSessionID, uint32(m.SessionID))
}

// An OCCNV2 says that the call was placed, RFC 2661 section 6.11.
type OCCNV2 struct{ ConnectedV2 }

// Type implements Message.
func (*OCCNV2) Type() MessageType { return TypeOCCN }

func (m *OCCNV2) avps(f *fields) { m.ConnectedV2.avps(f) }

// A CDNV2 ends a session, RFC 2661 section 6.12.
type CDNV2 struct {
	SessionID   uint16 // the sender's
	Result      Result
	Cause       Cause
	Disconnects []Disconnect
}

// Type implements Message.
func (*CDNV2) Type() MessageType { return TypeCDN }

func (m *CDNV2) avps(f *fields) {
	f.resultV2(&m.Result)
	f.uint16(AttrAssignedSessionID, &m.SessionID, must)
	f.cause(&m.Cause)
	f.disconnects(&m.Disconnects)
}

// A Cause is what the telephone network says of the end of a call: a Q.931 cause
// code, the message that had it, and words. RFC 2661 section 4.4.4. The zero value
// is none.
type Cause struct {
	Code     uint16
	Message  uint8
	Advisory string
}

// A Disconnect says why PPP ended, for people to read. RFC 3145.
type Disconnect struct {
	Code      uint16
	Protocol  uint16 // the PPP protocol number of what failed; 0: none
	Direction Direction
	Message   string // UTF-8, may be empty
}

// A Direction says to which side a Disconnect applies.
type Direction uint8

// The directions.
const (
	Global  Direction = 0
	AtPeer  Direction = 1
	AtLocal Direction = 2
)

// The codes of a Disconnect, RFC 3145 section 3.
const (
	DisconnectNone           = 0
	DisconnectAdministrative = 1
	DisconnectNoProxyLCP     = 2
	DisconnectNormal         = 3 // LCP Terminate-Request, by the peer or by the local side
	DisconnectEncryption     = 4
	DisconnectLCPTimeout     = 5
	DisconnectNoLCP          = 6
	DisconnectMagic          = 7
	DisconnectEcho           = 8
	DisconnectEndpoint       = 9
	DisconnectMRRU           = 10
	DisconnectShortSequence  = 11
	DisconnectCallback       = 12
	DisconnectAuthTimeout    = 13
	DisconnectAuthBundle     = 14
	DisconnectAuthProtocol   = 15
	DisconnectAuthFailed     = 16
	DisconnectNCPTimeout     = 17
	DisconnectNoNCP          = 18
	DisconnectNCPConverge    = 19
	DisconnectNCPAddress     = 20
)

var disconnectTexts = [...]string{
	DisconnectNone:           "no information",
	DisconnectAdministrative: "administrative",
	DisconnectNoProxyLCP:     "no proxy LCP information, and LCP is not renegotiated",
	DisconnectNormal:         "LCP Terminate-Request",
	DisconnectEncryption:     "compulsory encryption refused",
	DisconnectLCPTimeout:     "LCP timed out",
	DisconnectNoLCP:          "no LCP packets",
	DisconnectMagic:          "the link is looped back",
	DisconnectEcho:           "LCP Echo-Requests unanswered",
	DisconnectEndpoint:       "unexpected endpoint discriminator for the bundle",
	DisconnectMRRU:           "unexpected MRRU for the bundle",
	DisconnectShortSequence:  "unexpected short sequence number option for the bundle",
	DisconnectCallback:       "compulsory call-back refused",
	DisconnectAuthTimeout:    "authentication timed out",
	DisconnectAuthBundle:     "unexpected name for the bundle",
	DisconnectAuthProtocol:   "no acceptable authentication protocol",
	DisconnectAuthFailed:     "authentication failed",
	DisconnectNCPTimeout:     "a network control protocol timed out",
	DisconnectNoNCP:          "no network control protocol",
	DisconnectNCPConverge:    "no acceptable addresses",
	DisconnectNCPAddress:     "not permitted to use any address",
}

// String puts the cause into words: `authentication failed (16), protocol 0xc223,
// at peer: "bad password"`.
func (d Disconnect) String() string {
	var s strings.Builder
	if int(d.Code) < len(disconnectTexts) {
		fmt.Fprintf(&s, "%s (%d)", disconnectTexts[d.Code], d.Code)
	} else {
		fmt.Fprintf(&s, "disconnect code %d", d.Code)
	}
	if d.Protocol != 0 {
		fmt.Fprintf(&s, ", protocol %#04x", d.Protocol)
	}
	switch d.Direction {
	case AtPeer:
		s.WriteString(", at peer")
	case AtLocal:
		s.WriteString(", at local")
	}
	if d.Message != "" {
		fmt.Fprintf(&s, ": %q", d.Message)
	}
	return s.String()
}

// A WENV2 tells the LNS of errors on a line, RFC 2661 section 6.13.
type WENV2 struct{ Errors CallErrors }

// CallErrors are counted since the call was established, RFC 2661 section 4.4.6.
type CallErrors struct {
	CRC, Framing, HardwareOverruns, BufferOverruns, Timeouts, Alignment uint32
}

// Type implements Message.
func (*WENV2) Type() MessageType { return TypeWEN }

func (m *WENV2) avps(f *fields) { f.callErrors(&m.Errors) }

// An ACCM says which characters are escaped on an asynchronous line, RFC 2661
// section 4.4.6.
type ACCM struct{ Send, Receive uint32 }

// A SLIV2 tells the LAC what PPP has agreed upon, RFC 2661 section 6.14 and RFC
// 3437 section 2.3.
type SLIV2 struct {
	// ACCM must be in the message; one that has only what RFC 3437 adds is read
	// all the same.
	ACCM Optional[ACCM]
	// The options of the last LCP CONFREQs that the LNS sent and received.
	LastSent, LastReceived []byte
}

// Type implements Message.
func (*SLIV2) Type() MessageType { return TypeSLI }

func (m *SLIV2) avps(f *fields) {
	f.accm(&m.ACCM)
	f.octets(AttrLNSLastSentLCP, &m.LastSent, may)
	f.octets(AttrLNSLastReceivedLCP, &m.LastReceived, may)
}

// newMessageV2 returns an empty message of a type, nil for one that is unknown.
func newMessageV2(t MessageType) Message {
	switch t {
	case TypeSCCRQ:
		return new(SCCRQV2)
	case TypeSCCRP:
		return new(SCCRPV2)
	case TypeSCCCN:
		return new(SCCCNV2)
	case TypeStopCCN:
		return new(StopCCNV2)
	case TypeHELLO:
		return new(HELLOV2)
	case TypeOCRQ:
		return new(OCRQV2)
	case TypeOCRP:
		return new(OCRPV2)
	case TypeOCCN:
		return new(OCCNV2)
	case TypeICRQ:
		return new(ICRQV2)
	case TypeICRP:
		return new(ICRPV2)
	case TypeICCN:
		return new(ICCNV2)
	case TypeCDN:
		return new(CDNV2)
	case TypeWEN:
		return new(WENV2)
	case TypeSLI:
		return new(SLIV2)
	}
	return nil
}

// number32 codes what has four octets and a type of its own.
func number32[T ~uint32](f *fields, attr Attr, v *T, p presence) {
	n := uint32(*v)
	f.uint32(attr, &n, p)
	*v = T(n)
}

// optional32 codes a number of four octets whose absence is not its zero.
func optional32[T ~uint32](f *fields, attr Attr, v *Optional[T]) {
	if f.e != nil {
		if v.Set {
			number32(f, attr, &v.Value, must)
		}
		return
	}
	if a, ok := f.take(attr, may); ok {
		*v = Some(T(binary.BigEndian.Uint32(a.value)))
	}
}

// name codes a text that may be empty and there.
func (f *fields) name(attr Attr, v *string, p presence) {
	if f.e != nil {
		if p == must || *v != "" {
			f.put(attr, []byte(printable([]byte(*v), maxText)))
		}
		return
	}
	if a, ok := f.take(attr, p); ok {
		*v = printable(a.value, maxText)
	}
}

// flag codes an AVP without a value.
func (f *fields) flag(attr Attr, v *bool) {
	if f.e != nil {
		if *v {
			f.put(attr, nil)
		}
		return
	}
	_, *v = f.take(attr, may)
}

// resultV2 codes a Result Code. Some peers send it with its octets in the other
// order; no code is that high.
func (f *fields) resultV2(r *Result) {
	f.result(r)
	if f.e == nil && f.lenient && r.Code != 0 && r.Code&0xff == 0 {
		r.Code, r.Error = r.Code>>8, r.Error>>8|r.Error<<8
	}
}

func (f *fields) cause(c *Cause) {
	if f.e != nil {
		if *c != (Cause{}) {
			b := binary.BigEndian.AppendUint16(nil, c.Code)
			b = append(b, c.Message)
			f.put(AttrCauseCode, append(b, ascii(printable([]byte(c.Advisory), maxText))...))
		}
		return
	}
	if a, ok := f.take(AttrCauseCode, may); ok {
		c.parse(a.value)
	}
}

func (c *Cause) parse(b []byte) {
	*c = Cause{binary.BigEndian.Uint16(b), b[2], printable(b[3:], maxText)}
}

// disconnects codes PPP Disconnect Cause Codes, of which there may be several: "to
// indicate failure reasons for each NCP", RFC 3145 section 3.4.
func (f *fields) disconnects(all *[]Disconnect) {
	if f.e != nil {
		for _, d := range *all {
			b := binary.BigEndian.AppendUint16(nil, d.Code)
			b = binary.BigEndian.AppendUint16(b, d.Protocol)
			b = append(b, byte(d.Direction))
			f.put(AttrDisconnectCause, append(b, printable([]byte(d.Message), maxText)...))
		}
		return
	}
	for _, a := range f.list {
		if a.attr == AttrDisconnectCause && len(*all) < maxDisconnects {
			*all = append(*all, parseDisconnect(a.value))
		}
	}
}

// maxDisconnects bounds what of a CDN is kept.
const maxDisconnects = 8

func parseDisconnect(b []byte) Disconnect {
	return Disconnect{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), Direction(b[4]), printable(b[5:], maxText)}
}

func (v *CallErrors) counters() [6]*uint32 {
	return [6]*uint32{&v.CRC, &v.Framing, &v.HardwareOverruns, &v.BufferOverruns, &v.Timeouts, &v.Alignment}
}

func (f *fields) callErrors(v *CallErrors) {
	if f.e != nil {
		b := make([]byte, 2, 26)
		for _, n := range v.counters() {
			b = binary.BigEndian.AppendUint32(b, *n)
		}
		f.put(AttrCircuitErrors, b)
		return
	}
	if a, ok := f.take(AttrCircuitErrors, must); ok {
		for i, n := range v.counters() {
			*n = binary.BigEndian.Uint32(a.value[2+4*i:])
		}
	}
}

func (f *fields) accm(v *Optional[ACCM]) {
	if f.e != nil {
		// "The default values used by the LAC for both these fields are
		// 0xFFFFFFFF."
		m := ACCM{0xffffffff, 0xffffffff}
		if v.Set {
			m = v.Value
		}
		b := binary.BigEndian.AppendUint32(make([]byte, 2, 10), m.Send)
		f.put(AttrACCM, binary.BigEndian.AppendUint32(b, m.Receive))
		return
	}
	if a, ok := f.take(AttrACCM, may); ok {
		*v = Some(ACCM{binary.BigEndian.Uint32(a.value[2:]), binary.BigEndian.Uint32(a.value[6:])})
	}
}
