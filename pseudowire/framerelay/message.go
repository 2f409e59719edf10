package framerelay

// A Form is what management messages look like.
type Form uint8

// The forms. They agree in what they say and differ in how.
const (
	Auto   Form = iota // whichever the other end uses
	AnnexA             // ITU-T Q.933 Annex A
	AnnexD             // ANSI T1.617 Annex D
	Cisco              // the first of them, which Cisco, Digital, Northern Telecom and StrataCom agreed on
	NoLMI              // there are none: the link is up and all PVCs are active, and nobody says so
)

var formNames = [...]string{"auto", "q933a", "ansi", "cisco", "none"}

// String returns the form's name, which is IOS's.
func (f Form) String() string {
	if int(f) < len(formNames) {
		return formNames[f]
	}
	return "unknown"
}

// The octets that stand between a header and the first information element: an
// unnumbered information frame, the protocol discriminator, a dummy call reference,
// the message type; in Annex D a shift to codeset 5.
const (
	unnumbered    = 0x03
	dummy         = 0x00
	lockingShift5 = 0x95
)

// Message types.
const (
	statusEnquiry = 0x75
	statusMessage = 0x7d
)

// Report types.
const (
	fullStatus   = 0x00
	verification = 0x01 // link integrity verification only
	singlePVC    = 0x02 // asynchronous
)

// The bits of a PVC's status.
const (
	pvcNew     = 0x08
	pvcDeleted = 0x04 // in a singlePVC report; Cisco has another use for it
	pvcActive  = 0x02
)

// A dialect is what is peculiar to a form.
type dialect struct {
	dlci          uint32
	discriminator byte
	// The identifiers of the information elements.
	report, verification, pvc byte
}

var dialects = [...]dialect{
	AnnexA: {0, 0x08, 0x51, 0x53, 0x57},
	AnnexD: {0, 0x08, 0x01, 0x03, 0x07},
	Cisco:  {CiscoDLCI, 0x09, 0x01, 0x03, 0x07},
}

// pvcLen is the length of a PVC status in octets.
func (f Form) pvcLen(headerLen int) int {
	if f == Cisco {
		return 6 // DLCI 2, status 1, bandwidth 3
	}
	return headerLen + 1 // the DLCI in as many octets as a header has, status 1
}

// A pvcStatus is what a message says of a PVC.
type pvcStatus struct {
	dlci uint32
	bits byte
}

// A message is a STATUS ENQUIRY or a STATUS.
type message struct {
	form     Form
	kind     byte
	report   byte
	send     byte // sequence numbers, unless report is singlePVC
	received byte
	pvcs     []pvcStatus
}

// parseMessage reads a frame of a port whose headers have headerLen octets. It
// appends to pvcs. Not ok is whatever the message's form does not allow.
func parseMessage(frame []byte, headerLen int, pvcs []pvcStatus) (m message, ok bool) {
	h, n, why := Parse(frame)
	if why != NotDropped || n != headerLen {
		return m, false
	}
	b := frame[n:]
	if len(b) < 5 || b[0] != unnumbered || b[2] != dummy {
		return m, false
	}
	switch {
	case h.DLCI == CiscoDLCI && n == ShortHeader && b[1] == dialects[Cisco].discriminator:
		m.form = Cisco
	case h.DLCI != 0 || b[1] != dialects[AnnexA].discriminator:
		return m, false
	case b[4] == lockingShift5:
		m.form = AnnexD
	default:
		m.form = AnnexA
	}
	m.kind = b[3]
	if m.kind != statusEnquiry && m.kind != statusMessage {
		return m, false
	}
	elements := b[4:]
	if m.form == AnnexD {
		elements = b[5:]
	}
	m.pvcs = pvcs
	return m, m.parseElements(elements, headerLen)
}

// parseElements reads the information elements. An unknown one is passed over, one
// that must be there or is there twice or has another length than its own is not.
func (m *message) parseElements(b []byte, headerLen int) bool {
	d := &dialects[m.form]
	reports, verifications, statuses := 0, 0, 0
	for len(b) > 0 {
		if b[0]&0x80 != 0 { // an element of one octet, Q.931 section 4.5.1
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return false
		}
		id, value := b[0], b[2:2+int(b[1])]
		b = b[2+len(value):]
		switch id {
		case d.report:
			if reports++; len(value) != 1 {
				return false
			}
			m.report = value[0]
		case d.verification:
			if verifications++; len(value) != 2 {
				return false
			}
			m.send, m.received = value[0], value[1]
		case d.pvc:
			if statuses++; len(value) != m.form.pvcLen(headerLen) || statuses > MaxPVCs {
				return false
			}
			m.pvcs = append(m.pvcs, m.form.parsePVC(value))
		}
	}
	if reports != 1 || m.report > singlePVC {
		return false
	}
	if m.report == singlePVC {
		return m.kind == statusMessage && verifications == 0 && statuses == 1
	}
	return verifications == 1 && (statuses == 0 || m.kind == statusMessage && m.report == fullStatus)
}

// parsePVC reads a PVC status of the right length.
func (f Form) parsePVC(b []byte) (p pvcStatus) {
	switch {
	case f == Cisco:
		p.dlci, p.bits = uint32(b[0])<<8|uint32(b[1]), b[2]&^pvcDeleted
	case len(b) == LongHeader+1:
		p.dlci = uint32(b[0]&0x3f)<<17 | uint32(b[1]&0x78)<<10 | uint32(b[2]&0x7f)<<6 | uint32(b[3]&0x7e)>>1
		p.bits = b[4]
	default:
		p.dlci = uint32(b[0]&0x3f)<<4 | uint32(b[1]&0x78)>>3
		p.bits = b[2]
	}
	p.bits &= pvcNew | pvcDeleted | pvcActive
	return p
}

// append appends the message as a frame.
func (m *message) append(b []byte, headerLen int) []byte {
	d := &dialects[m.form]
	b = Header{DLCI: d.dlci}.Append(b, headerLen)
	b = append(b, unnumbered, d.discriminator, dummy, m.kind)
	if m.form == AnnexD {
		b = append(b, lockingShift5)
	}
	b = append(b, d.report, 1, m.report)
	if m.report != singlePVC {
		b = append(b, d.verification, 2, m.send, m.received)
	}
	for _, p := range m.pvcs {
		b = append(b, d.pvc, byte(m.form.pvcLen(headerLen)))
		b = m.form.appendPVC(b, p, headerLen)
	}
	return b
}

// appendPVC appends a PVC status. Of its octets but Cisco's the first bit is
// Q.931's: zero as long as another one of the same group follows.
func (f Form) appendPVC(b []byte, p pvcStatus, headerLen int) []byte {
	const last = 0x80
	switch {
	case f == Cisco:
		return append(b, byte(p.dlci>>8), byte(p.dlci), p.bits, 0, 0, 0)
	case headerLen == LongHeader:
		return append(b, byte(p.dlci>>17)&0x3f, byte(p.dlci>>10)&0x78, byte(p.dlci>>6)&0x7f, byte(p.dlci<<1)&0x7e|last, p.bits|last)
	}
	return append(b, byte(p.dlci>>4)&0x3f, byte(p.dlci<<3)&0x78|last, p.bits|last)
}
