package wire

import (
	"encoding/binary"
	"fmt"
	"sync"

	"spanwire/cookie"
	"spanwire/pseudowire"
)

// A presence says whether a message must have an AVP.
type presence bool

const (
	may  presence = false
	must presence = true
)

// An Encoding says how messages to a peer are written.
type Encoding struct {
	// Signatures are the Message Digests to leave room for, two at most.
	Signatures []Signature
	// Hide hides the AVPs that Hidden names with this secret; nil: none.
	// RFC 3931 section 5.3 allows it with Control Message Authentication alone.
	Hide *Secret
	// Random fills its argument with random octets, for what is hidden.
	Random func([]byte)
	// Cisco adds the AVPs of Cisco's drafts, and has the M bit of those of
	// RFC 3931 cleared, which such a peer may not know.
	Cisco bool
}

// Hidden are the AVPs that Encoding.Hide hides: those by which who reads them
// could put frames into a session or learn where it ends.
var Hidden = [...]Attr{AttrAssignedCookie, AttrRemoteEndID}

func (e *Encoding) hides(a Attr) bool {
	return e.Hide != nil && (a == Hidden[0] || a == Hidden[1])
}

// A Decoding says how messages of a peer are read.
type Decoding struct {
	// Secret unhides what is hidden; nil: it cannot be.
	Secret *Secret
	// Lenient ignores what real peers send with the M bit set although it may
	// be unknown: AVPs of L2TPv2, and of Cisco's vendor number.
	Lenient bool
}

// fields walks over the AVPs of a message, in one of two directions.
type fields struct {
	// Writing.
	b       []byte
	e       *Encoding // nil: reading
	session bool      // the message is a session's
	offer   bool      // the message is for L2TPv2 too: RFC 3931 section 4.7.3
	v2      *EncodingV2
	vector  []byte // the Random Vector in force

	// Reading.
	list    []avp
	cisco   bool
	lenient bool // of L2TPv2
	err     *Error
}

var readers = sync.Pool{New: func() any { return &fields{list: make([]avp, 0, 24)} }}

// AppendBody appends the AVPs of a message: its type, room for its digests, and
// the rest. It is to follow a header and to be completed by Seal.
func AppendBody(b []byte, m Message, e *Encoding) []byte {
	f := fields{b: b, e: e, session: m.Type().Session()}
	f.messageType(m.Type())
	f.digests(e.Signatures)
	m.avps(&f)
	if e.Cisco && (m.Type() == TypeSCCRQ || m.Type() == TypeSCCRP) {
		f.b = appendAVP(f.b, mandatoryBit, vendorCisco, ciscoDraftVersion, []byte{0, 1})
	}
	return f.b
}

// messageType appends the AVP that is the first of all.
func (f *fields) messageType(t MessageType) {
	var number [2]byte
	binary.BigEndian.PutUint16(number[:], uint16(t))
	f.b = appendAVP(f.b, mandatoryBit, 0, uint16(AttrMessageType), number[:])
}

// digests makes room for Message Digests.
func (f *fields) digests(signatures []Signature) {
	var digest [21]byte
	for _, s := range signatures {
		digest[0] = byte(s.Type)
		f.b = appendAVP(f.b, f.bits(AttrMessageDigest), 0, uint16(AttrMessageDigest), digest[:1+s.Type.Size()])
	}
}

// bits returns the M bit as we set it.
func (f *fields) bits(attr Attr) uint16 {
	if f.v2 != nil {
		return f.v2.bits(attr)
	}
	if f.offer || attributes[attr].optional || f.e.Cisco && attr >= AttrMessageDigest {
		return 0
	}
	return mandatoryBit
}

// put appends an AVP, and Cisco's for it if there is to be one.
func (f *fields) put(attr Attr, value []byte) {
	if f.v2 != nil {
		f.append(f.bits(attr), 0, uint16(attr), f.v2.hides(attr), value)
		return
	}
	f.append(f.bits(attr), 0, uint16(attr), f.e.hides(attr), value)
	cisco := attributes[attr].cisco
	if attr == AttrTieBreaker && f.session {
		cisco = ciscoSessionTieBreaker
	}
	if f.e.Cisco && cisco != 0 {
		f.append(mandatoryBit, vendorCisco, cisco, f.e.hides(attr), value)
	}
}

// append appends an AVP, hidden behind the message's Random Vector if it is to be.
func (f *fields) append(bits, vendor, number uint16, hidden bool, value []byte) {
	if hidden {
		if f.vector == nil {
			f.vector = make([]byte, 16)
			f.random(f.vector)
			f.b = appendAVP(f.b, mandatoryBit, 0, uint16(AttrRandomVector), f.vector)
		}
		bits |= hiddenBit
		value = f.key().hide(Attr(number), f.vector, value, f.random)
	}
	f.b = appendAVP(f.b, bits, vendor, number, value)
}

// key returns what is hidden with.
func (f *fields) key() hidingKey {
	if f.v2 != nil {
		return f.v2.Hide.key()
	}
	return f.e.Hide.key()
}

func (f *fields) random(b []byte) {
	if f.v2 != nil {
		f.v2.Random(b)
		return
	}
	f.e.Random(b)
}

// A Parsed is a control message that was read.
type Parsed struct {
	Message Message // nil for a ZLB, and for one whose type is unknown and may be ignored
	Type    MessageType
	// Cisco says that the message has AVPs of Cisco's drafts.
	Cisco bool
	// Ignored says that there is nothing to be done: the type is unknown and
	// its M bit clear.
	Ignored bool
}

// Parse reads a control message whose header ParseControl has read. With an
// Error the Message has what could be read, so that a CDN can name the session.
// It keeps nothing of message.
func Parse(message []byte, d *Decoding) (p Parsed, _ *Error) {
	rest := message[ControlHeaderLen:]
	if len(rest) == 0 {
		return p, nil
	}
	first, rest, err := nextAVP(rest)
	if err != nil {
		return p, err
	}
	first.extended()
	switch {
	case first.attr != AttrMessageType || first.hidden || len(first.value) != 2:
		return p, &Error{Code: ErrorRange, Text: "the first AVP is no Message Type"}
	case first.vendor != 0 && first.mandatory:
		return p, &Error{Code: ErrorUnknownAVP, Vendor: first.vendor, Text: fmt.Sprintf("unknown message type of vendor %d", first.vendor)}
	case first.vendor != 0:
		return Parsed{Ignored: true}, nil
	}
	p.Type = MessageType(binary.BigEndian.Uint16(first.value))
	p.Message = newMessage(p.Type)
	switch {
	case p.Message == nil && first.mandatory:
		return p, &Error{Code: ErrorUnknownAVP, Text: fmt.Sprintf("unknown message type %d", uint16(p.Type))}
	case p.Message == nil:
		p.Ignored = true
		return p, nil
	}
	f := readers.Get().(*fields)
	defer f.release()
	version2 := message[1]&versionMask == 2
	f.scan(rest, d, version2)
	p.Message.avps(f)
	p.Cisco = f.cisco
	return p, f.err
}

// maxKept bounds the memory that a message of many AVPs leaves behind.
const maxKept = 64

// release gives back what Parse took, without the message.
func (f *fields) release() {
	if cap(f.list) <= maxKept {
		clear(f.list)
		*f = fields{list: f.list[:0]}
		readers.Put(f)
	}
}

// scan reads the AVPs, unhides what is hidden, and judges those that are unknown.
func (f *fields) scan(rest []byte, d *Decoding, version2 bool) {
	for len(rest) > 0 {
		a, next, err := nextAVP(rest)
		if err != nil {
			f.fail(err)
			return
		}
		rest = next
		if a.vendor == 0 && a.attr == AttrExtendedVendorID && a.hidden && !f.unhide(&a, a.attr, attributes[a.attr], d.Secret.key()) {
			continue
		}
		a.extended()
		if a.vendor == 0 && a.attr == AttrRandomVector && !a.hidden {
			f.vector = a.value
			continue
		}
		number := a.attr // what is hidden is hidden with the number that it has
		if a.vendor == vendorCisco {
			if attr, ok := ciscoAttributes[uint16(a.attr)]; ok {
				a.vendor, a.attr, f.cisco = 0, attr, true
			} else if d.Lenient || a.attr == ciscoDraftVersion || a.attr == ciscoInterfaceMTU {
				f.cisco = f.cisco || a.attr == ciscoDraftVersion
				continue
			}
		}
		known, ok := attributes[a.attr]
		switch {
		case a.vendor == 0 && ok:
		case a.vendor == 0 && a.attr.version2() && (version2 || d.Lenient):
			// RFC 3931 section 4.7.3: "An L2TPv3-only implementation MUST
			// ignore all L2TPv2 AVPs [...] within an SCCRQ with the Ver
			// field set to 2 (even if the M bit is set".
			continue
		default:
			f.unknown(&a)
			continue
		}
		if a.hidden && !f.unhide(&a, number, known, d.Secret.key()) {
			continue
		}
		if !known.fits(a.value) {
			f.malformed(&a, ErrorLength, fmt.Sprintf("%d octets, want %s", len(a.value), known.lengths()))
			continue
		}
		if a.attr == AttrDataSequencing {
			if level := pseudowire.Sequencing(binary.BigEndian.Uint16(a.value)); level > pseudowire.AllSequencing {
				f.malformed(&a, ErrorRange, fmt.Sprintf("%d, want 0 to 2", uint16(level)))
				continue
			}
		}
		f.list = append(f.list, a)
	}
}

// unhide puts the value that a hides in its place. It was hidden with a number
// that may be Cisco's.
func (f *fields) unhide(a *avp, number Attr, known attribute, key hidingKey) bool {
	switch {
	case !known.hideable:
		f.malformed(a, ErrorRange, "it must not be hidden")
	case f.vector == nil:
		f.malformed(a, ErrorRange, "hidden without a Random Vector before it")
	case key == nil:
		f.malformed(a, ErrorRange, "hidden, and there is no secret here")
	default:
		value, err := key.unhide(number, f.vector, a.value)
		if err == nil {
			a.value, a.hidden = value, false
			return true
		}
		f.malformed(a, ErrorRange, err.Error())
	}
	return false
}

// fail notes the first thing that is wrong.
func (f *fields) fail(err *Error) {
	if f.err == nil {
		f.err = err
	}
}

// unknown judges an AVP that is not known. RFC 3931 section 5.2: "If the M bit is
// not set on an unrecognized AVP, the AVP MUST be ignored when received".
func (f *fields) unknown(a *avp) {
	if a.mandatory {
		f.fail(&Error{Code: ErrorUnknownAVP, Vendor: a.vendor, Attr: a.attr, Text: "unknown mandatory AVP: " + a.name()})
	}
}

// malformed judges an AVP that is not as it should be, by its M bit. RFC 3931
// section 7.1: "When possible, a malformed AVP should be treated as an
// unrecognized AVP".
func (f *fields) malformed(a *avp, code ErrorCode, what string) {
	if a.mandatory {
		f.fail(&Error{Code: code, Vendor: a.vendor, Attr: a.attr, Text: a.name() + ": " + what})
	}
}

// take returns the value of an AVP. A second one of the same kind is ignored.
func (f *fields) take(attr Attr, p presence) (a *avp, ok bool) {
	for i := range f.list {
		if f.list[i].attr == attr {
			return &f.list[i], true
		}
	}
	if p == must {
		f.fail(&Error{Code: ErrorRange, Attr: attr, Text: attr.String() + ": missing"})
	}
	return nil, false
}

func (f *fields) uint32(attr Attr, v *uint32, p presence) {
	if f.e != nil {
		if p == must || *v != 0 {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], *v)
			f.put(attr, b[:])
		}
		return
	}
	if a, ok := f.take(attr, p); ok {
		*v = binary.BigEndian.Uint32(a.value)
	}
}

func (f *fields) uint64(attr Attr, v *uint64, p presence) {
	if f.e != nil {
		if p == must || *v != 0 {
			var b [8]byte
			binary.BigEndian.PutUint64(b[:], *v)
			f.put(attr, b[:])
		}
		return
	}
	if a, ok := f.take(attr, p); ok {
		*v = binary.BigEndian.Uint64(a.value)
	}
}

func (f *fields) uint16(attr Attr, v *uint16, p presence) { number(f, attr, v, p) }

// number codes what has two octets and a type of its own.
func number[T ~uint16](f *fields, attr Attr, v *T, p presence) {
	if f.e != nil {
		if p == must || *v != 0 {
			var b [2]byte
			binary.BigEndian.PutUint16(b[:], uint16(*v))
			f.put(attr, b[:])
		}
		return
	}
	if a, ok := f.take(attr, p); ok {
		*v = T(binary.BigEndian.Uint16(a.value))
	}
}

// optional codes a number of two octets whose absence is not its zero.
func optional[T ~uint16](f *fields, attr Attr, v *Optional[T]) {
	if f.e != nil {
		if v.Set {
			number(f, attr, &v.Value, must)
		}
		return
	}
	if a, ok := f.take(attr, may); ok {
		*v = Some(T(binary.BigEndian.Uint16(a.value)))
	}
}

func (f *fields) tieBreaker(v *Optional[uint64]) {
	if f.e != nil {
		if v.Set {
			f.uint64(AttrTieBreaker, &v.Value, must)
		}
		return
	}
	if a, ok := f.take(AttrTieBreaker, may); ok {
		*v = Some(binary.BigEndian.Uint64(a.value))
	}
}

func (f *fields) octets(attr Attr, v *[]byte, p presence) {
	if f.e != nil {
		if p == must || len(*v) > 0 {
			f.put(attr, *v)
		}
		return
	}
	if a, ok := f.take(attr, p); ok {
		*v = append([]byte(nil), a.value...)
	}
}

// maxText bounds the names that a peer can have us remember and log.
const maxText = 255

// text codes a name. What we send is in US-ASCII, as RFC 3931 section 5.4.3 has
// it, and not empty: "The Host Name is of arbitrary length, but MUST be at least 1
// octet."
func (f *fields) text(attr Attr, v *string, p presence) {
	if f.e != nil {
		if *v != "" {
			text := printable([]byte(*v), maxText)
			if f.v2 == nil || attr != AttrVendorName { // which RFC 2661 has in UTF-8
				text = ascii(text)
			}
			f.put(attr, []byte(text))
		}
		return
	}
	if a, ok := f.take(attr, p); ok {
		*v = printable(a.value, maxText)
		if *v == "" && p == must {
			f.fail(&Error{Code: ErrorRange, Attr: attr, Text: attr.String() + ": empty"})
		}
	}
}

func (f *fields) pseudowires(attr Attr, v *[]pseudowire.Type, p presence) {
	if f.e != nil {
		b := make([]byte, 0, 32)
		for _, t := range *v {
			b = binary.BigEndian.AppendUint16(b, uint16(t))
		}
		f.put(attr, b)
		return
	}
	a, ok := f.take(attr, p)
	if !ok {
		return
	}
	*v = make([]pseudowire.Type, 0, len(a.value)/2)
	for b := a.value; len(b) > 0; b = b[2:] {
		*v = append(*v, pseudowire.Type(binary.BigEndian.Uint16(b)))
	}
}

func (f *fields) cookie(v *cookie.Cookie) {
	if f.e != nil {
		if v.Len() > 0 {
			var b [cookie.MaxSize]byte
			f.put(AttrAssignedCookie, v.Append(b[:0]))
		}
		return
	}
	if a, ok := f.take(AttrAssignedCookie, may); ok {
		*v, _ = cookie.FromBytes(a.value) // its length fits
	}
}

func (f *fields) result(v *Result) {
	if f.e != nil {
		f.put(AttrResultCode, v.append(nil))
		return
	}
	if a, ok := f.take(AttrResultCode, must); ok {
		v.parse(a.value)
	}
}

// errors codes Circuit Errors. RFC 3931's drawing has four counters, but its
// Length of 32 is that of RFC 2661's six, CRC and framing errors first. We send
// those 32 octets with the two as zero, and read both forms.
func (f *fields) errors(v *CircuitErrors) {
	if f.e != nil {
		b := make([]byte, 2+8, 26)
		for _, n := range v.counters() {
			b = binary.BigEndian.AppendUint32(b, *n)
		}
		f.put(AttrCircuitErrors, b)
		return
	}
	if a, ok := f.take(AttrCircuitErrors, must); ok {
		v.parse(a.value)
	}
}

// parse reads a value of either form: the counters are its last 16 octets.
func (v *CircuitErrors) parse(b []byte) {
	b = b[len(b)-16:]
	for i, n := range v.counters() {
		*n = binary.BigEndian.Uint32(b[4*i:])
	}
}

func (v *CircuitErrors) counters() [4]*uint32 {
	return [4]*uint32{&v.HardwareOverruns, &v.BufferOverruns, &v.TimeoutErrors, &v.AlignmentErrors}
}

// connectionID codes an Assigned Control Connection ID: "the zero value MUST NOT
// be sent", and where there must be one it is refused. RFC 3931 section 5.4.3.
func (f *fields) connectionID(v *uint32, p presence) {
	if f.e != nil {
		p = may
	}
	f.uint32(AttrAssignedConnectionID, v, p)
	if p == must {
		f.nonzero(AttrAssignedConnectionID, *v)
	}
}

// nonzero refuses an ID of 0, which names nothing.
func (f *fields) nonzero(attr Attr, id uint32) {
	if f.e == nil && id == 0 {
		f.fail(&Error{Code: ErrorRange, Attr: attr, Text: attr.String() + ": 0"})
	}
}
