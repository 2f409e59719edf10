package wire

import (
	"spanwire/cookie"
	"spanwire/pseudowire"
)

// A Message is what a control message says, RFC 3931 section 6.
type Message interface {
	Type() MessageType
	// avps names each AVP once, for both directions.
	avps(*fields)
}

// An Optional is a value that may be absent where its zero means something.
type Optional[T any] struct {
	Value T
	Set   bool
}

// Some returns an Optional that has a value.
func Some[T any](v T) Optional[T] { return Optional[T]{v, true} }

// A CircuitStatus is the state of the circuit behind a session, RFC 3931
// section 5.4.5 and RFC 5641 section 3. A peer that knows RFC 3931 alone looks at
// the Active bit.
type CircuitStatus uint16

// The bits of a CircuitStatus.
const (
	CircuitActive        CircuitStatus = 0x0001
	CircuitNew           CircuitStatus = 0x0002 // deprecated by RFC 5641
	CircuitReceiveFault  CircuitStatus = 0x0004 // R: local access interface receive
	CircuitTransmitFault CircuitStatus = 0x0008 // T: local access interface transmit
	CircuitIngressFault  CircuitStatus = 0x0010 // I: local PSN-facing receive
	CircuitEgressFault   CircuitStatus = 0x0020 // E: local PSN-facing transmit
	CircuitStandby       CircuitStatus = 0x0040 // S
)

// CircuitErrors are counted since the session was established, RFC 3931
// section 5.4.5.
type CircuitErrors struct {
	HardwareOverruns, BufferOverruns, TimeoutErrors, AlignmentErrors uint32
}

// A SCCRQ asks for a control connection, RFC 3931 section 6.1.
type SCCRQ struct {
	LCCE
	TieBreaker Optional[uint64]
}

// An LCCE is what a node tells of itself in an SCCRQ or SCCRP.
type LCCE struct {
	HostName      string
	RouterID      uint32
	ConnectionID  uint32 // Assigned Control Connection ID
	Capabilities  []pseudowire.Type
	Nonce         []byte // empty: no Control Message Authentication
	ReceiveWindow uint16 // 0: not told, which means 4
	VendorName    string
	Language      string
}

func (l *LCCE) avps(f *fields) {
	f.octets(AttrNonce, &l.Nonce, may)
	f.text(AttrHostName, &l.HostName, must)
	f.uint32(AttrRouterID, &l.RouterID, must)
	f.connectionID(&l.ConnectionID, must)
	f.pseudowires(AttrCapabilities, &l.Capabilities, must)
	f.uint16(AttrReceiveWindowSize, &l.ReceiveWindow, may)
	f.text(AttrVendorName, &l.VendorName, may)
	f.text(AttrPreferredLanguage, &l.Language, may)
}

// Type implements Message.
func (*SCCRQ) Type() MessageType { return TypeSCCRQ }

func (m *SCCRQ) avps(f *fields) {
	m.LCCE.avps(f)
	f.tieBreaker(&m.TieBreaker)
}

// A SCCRP accepts an SCCRQ, RFC 3931 section 6.2.
type SCCRP struct{ LCCE }

// Type implements Message.
func (*SCCRP) Type() MessageType { return TypeSCCRP }

func (m *SCCRP) avps(f *fields) { m.LCCE.avps(f) }

// A SCCCN completes a control connection, RFC 3931 section 6.3.
type SCCCN struct{}

// Type implements Message.
func (*SCCCN) Type() MessageType { return TypeSCCCN }

func (*SCCCN) avps(*fields) {}

// A StopCCN ends a control connection with all its sessions, RFC 3931
// section 6.4.
type StopCCN struct {
	ConnectionID uint32 // the sender's; 0: none was assigned
	Result       Result
}

// Type implements Message.
func (*StopCCN) Type() MessageType { return TypeStopCCN }

func (m *StopCCN) avps(f *fields) {
	f.result(&m.Result)
	f.connectionID(&m.ConnectionID, may)
}

// A HELLO asks whether the peer is there, RFC 3931 section 6.5.
type HELLO struct{}

// Type implements Message.
func (*HELLO) Type() MessageType { return TypeHELLO }

func (*HELLO) avps(*fields) {}

// An ACK acknowledges and says nothing else, RFC 3931 section 6.15.
type ACK struct{}

// Type implements Message.
func (*ACK) Type() MessageType { return TypeACK }

func (*ACK) avps(*fields) {}

// A CallRequest is what an ICRQ and an OCRQ have in common.
type CallRequest struct {
	LocalSessionID  uint32
	RemoteSessionID uint32 // 0: not known yet
	SerialNumber    uint32
	PseudowireType  pseudowire.Type
	RemoteEndID     []byte
	Status          CircuitStatus
	Cookie          cookie.Cookie // what the peer must put into what it sends us
	TieBreaker      Optional[uint64]
	Sublayer        pseudowire.Sublayer   // what we want in what we receive
	Sequencing      pseudowire.Sequencing // likewise
	TxSpeed         uint64                // bit/s, 0: not told
	RxSpeed         uint64
	// FrameRelayHeaderLen is how many octets the headers of a Frame Relay PVC
	// have: 2 if it is not told, RFC 4591 section 3.5. That section has it in an
	// ICRQ and an ICRP; an OCRQ and an OCRP have it too, for else the two sides
	// of an outgoing call could not agree.
	FrameRelayHeaderLen Optional[uint16]
}

func (m *CallRequest) avps(f *fields) {
	f.uint32(AttrLocalSessionID, &m.LocalSessionID, must)
	f.uint32(AttrRemoteSessionID, &m.RemoteSessionID, must)
	f.uint32(AttrSerialNumber, &m.SerialNumber, must)
	number(f, AttrPseudowireType, &m.PseudowireType, must)
	f.octets(AttrRemoteEndID, &m.RemoteEndID, must)
	number(f, AttrCircuitStatus, &m.Status, must)
	f.cookie(&m.Cookie)
	f.tieBreaker(&m.TieBreaker)
	number(f, AttrSublayer, &m.Sublayer, may)
	number(f, AttrDataSequencing, &m.Sequencing, may)
	f.uint64(AttrTxConnectSpeed, &m.TxSpeed, may)
	f.uint64(AttrRxConnectSpeed, &m.RxSpeed, may)
	optional(f, AttrFrameRelayHeaderLen, &m.FrameRelayHeaderLen)
	f.nonzero(AttrLocalSessionID, m.LocalSessionID)
}

// An ICRQ asks for a session on behalf of a circuit here, RFC 3931 section 6.6.
type ICRQ struct {
	CallRequest
	PhysicalChannelID uint32 // for logs; 0: not told
}

// Type implements Message.
func (*ICRQ) Type() MessageType { return TypeICRQ }

func (m *ICRQ) avps(f *fields) {
	m.CallRequest.avps(f)
	f.uint32(AttrPhysicalChannelID, &m.PhysicalChannelID, may)
}

// An OCRQ asks the peer to place a call, RFC 3931 section 6.9.
type OCRQ struct{ CallRequest }

// Type implements Message.
func (*OCRQ) Type() MessageType { return TypeOCRQ }

func (m *OCRQ) avps(f *fields) { m.CallRequest.avps(f) }

// A CallReply is what an ICRP and an OCRP have in common.
type CallReply struct {
	LocalSessionID    uint32
	RemoteSessionID   uint32
	Status            CircuitStatus
	Cookie            cookie.Cookie
	Sublayer          pseudowire.Sublayer
	Sequencing        pseudowire.Sequencing
	TxSpeed           uint64
	RxSpeed           uint64
	PhysicalChannelID uint32
	// FrameRelayHeaderLen is as in a CallRequest.
	FrameRelayHeaderLen Optional[uint16]
}

func (m *CallReply) avps(f *fields) {
	f.uint32(AttrLocalSessionID, &m.LocalSessionID, must)
	f.uint32(AttrRemoteSessionID, &m.RemoteSessionID, must)
	number(f, AttrCircuitStatus, &m.Status, must)
	f.cookie(&m.Cookie)
	number(f, AttrSublayer, &m.Sublayer, may)
	number(f, AttrDataSequencing, &m.Sequencing, may)
	f.uint64(AttrTxConnectSpeed, &m.TxSpeed, may)
	f.uint64(AttrRxConnectSpeed, &m.RxSpeed, may)
	f.uint32(AttrPhysicalChannelID, &m.PhysicalChannelID, may)
	optional(f, AttrFrameRelayHeaderLen, &m.FrameRelayHeaderLen)
	f.nonzero(AttrLocalSessionID, m.LocalSessionID)
}

// An ICRP accepts an ICRQ, RFC 3931 section 6.7.
type ICRP struct{ CallReply }

// Type implements Message.
func (*ICRP) Type() MessageType { return TypeICRP }

func (m *ICRP) avps(f *fields) { m.CallReply.avps(f) }

// An OCRP says that the call is being placed, RFC 3931 section 6.10.
type OCRP struct{ CallReply }

// Type implements Message.
func (*OCRP) Type() MessageType { return TypeOCRP }

func (m *OCRP) avps(f *fields) { m.CallReply.avps(f) }

// A CallConnected is what an ICCN and an OCCN have in common. What it does not
// set stays as the messages before it said.
type CallConnected struct {
	LocalSessionID  uint32
	RemoteSessionID uint32
	Sublayer        Optional[pseudowire.Sublayer]
	Sequencing      Optional[pseudowire.Sequencing]
	TxSpeed         uint64
	RxSpeed         uint64
	Status          Optional[CircuitStatus]
}

func (m *CallConnected) avps(f *fields) {
	f.uint32(AttrLocalSessionID, &m.LocalSessionID, must)
	f.uint32(AttrRemoteSessionID, &m.RemoteSessionID, must)
	optional(f, AttrSublayer, &m.Sublayer)
	optional(f, AttrDataSequencing, &m.Sequencing)
	f.uint64(AttrTxConnectSpeed, &m.TxSpeed, may)
	f.uint64(AttrRxConnectSpeed, &m.RxSpeed, may)
	optional(f, AttrCircuitStatus, &m.Status)
}

// An ICCN completes an incoming call, RFC 3931 section 6.8.
type ICCN struct{ CallConnected }

// Type implements Message.
func (*ICCN) Type() MessageType { return TypeICCN }

func (m *ICCN) avps(f *fields) { m.CallConnected.avps(f) }

// An OCCN says that the call was placed, RFC 3931 section 6.11.
type OCCN struct{ CallConnected }

// Type implements Message.
func (*OCCN) Type() MessageType { return TypeOCCN }

func (m *OCCN) avps(f *fields) { m.CallConnected.avps(f) }

// A CDN ends a session, RFC 3931 section 6.12.
type CDN struct {
	LocalSessionID  uint32
	RemoteSessionID uint32
	Result          Result
}

// Type implements Message.
func (*CDN) Type() MessageType { return TypeCDN }

func (m *CDN) avps(f *fields) {
	f.result(&m.Result)
	f.uint32(AttrLocalSessionID, &m.LocalSessionID, must)
	f.uint32(AttrRemoteSessionID, &m.RemoteSessionID, must)
}

// A WEN tells of errors on a circuit, RFC 3931 section 6.13.
type WEN struct {
	LocalSessionID  uint32
	RemoteSessionID uint32
	Errors          CircuitErrors
}

// Type implements Message.
func (*WEN) Type() MessageType { return TypeWEN }

func (m *WEN) avps(f *fields) {
	f.uint32(AttrLocalSessionID, &m.LocalSessionID, must)
	f.uint32(AttrRemoteSessionID, &m.RemoteSessionID, must)
	f.errors(&m.Errors)
}

// An SLI tells of a change of the circuit, RFC 3931 section 6.14.
type SLI struct {
	LocalSessionID  uint32
	RemoteSessionID uint32
	Status          Optional[CircuitStatus]
}

// Type implements Message.
func (*SLI) Type() MessageType { return TypeSLI }

func (m *SLI) avps(f *fields) {
	f.uint32(AttrLocalSessionID, &m.LocalSessionID, must)
	f.uint32(AttrRemoteSessionID, &m.RemoteSessionID, must)
	optional(f, AttrCircuitStatus, &m.Status)
}

// newMessage returns an empty message of a type, nil for one that is unknown.
func newMessage(t MessageType) Message {
	switch t {
	case TypeSCCRQ:
		return new(SCCRQ)
	case TypeSCCRP:
		return new(SCCRP)
	case TypeSCCCN:
		return new(SCCCN)
	case TypeStopCCN:
		return new(StopCCN)
	case TypeHELLO:
		return new(HELLO)
	case TypeOCRQ:
		return new(OCRQ)
	case TypeOCRP:
		return new(OCRP)
	case TypeOCCN:
		return new(OCCN)
	case TypeICRQ:
		return new(ICRQ)
	case TypeICRP:
		return new(ICRP)
	case TypeICCN:
		return new(ICCN)
	case TypeCDN:
		return new(CDN)
	case TypeWEN:
		return new(WEN)
	case TypeSLI:
		return new(SLI)
	case TypeACK:
		return new(ACK)
	}
	return nil
}
