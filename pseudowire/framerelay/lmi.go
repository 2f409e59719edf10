package framerelay

import (
	"fmt"
	"math/bits"
	"slices"
	"time"
)

// A Role is which end of a line an LMI is.
type Role uint8

// The roles.
const (
	DCE Role = iota // the network's: it is asked, and says which PVCs there are
	DTE             // the user's: it asks
	NNI             // between networks: each end is both
)

var roleNames = [...]string{"dce", "dte", "nni"}

// String returns the role's name.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return "unknown"
}

// MaxPVCs is how many PVCs a port has at most: as many as there are short DLCIs.
const MaxPVCs = 992

// A Config is an LMI's. Its zero value is a DCE as Q.933 Annex A has it by default,
// which follows the form of whoever asks. To a port without an LMI, of the form NoLMI,
// only the length of its headers matters.
type Config struct {
	Role      Role
	Form      Form
	HeaderLen int // ShortHeader or LongHeader; 0: ShortHeader

	T391 time.Duration // who asks: from one enquiry to the next; 0: 10 s
	T392 time.Duration // who is asked: from one enquiry to the next, at most; 0: 15 s
	N391 int           // one enquiry in so many is for a full status; 0: 6
	N392 int           // errors that bring the link down, and good events that bring it up again; 0: 3
	N393 int           // the latest events, among which errors are counted; 0: 4

	// Asynchronous has a DCE or NNI tell at once of a PVC that changes, without
	// being asked. Cisco's form has no words for it.
	Asynchronous bool
}

// withDefaults returns the Config with its zeroes replaced, or what is wrong in it.
func (c Config) withDefaults() (Config, error) {
	set := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	set(&c.HeaderLen, ShortHeader)
	set(&c.N391, 6)
	set(&c.N392, 3)
	set(&c.N393, 4)
	if c.T391 == 0 {
		c.T391 = 10 * time.Second
	}
	if c.T392 == 0 {
		c.T392 = 15 * time.Second
	}
	switch {
	case c.Role > NNI:
		return c, fmt.Errorf("role %d, want DCE, DTE or NNI", c.Role)
	case c.Form > NoLMI:
		return c, fmt.Errorf("form %d, want Auto, AnnexA, AnnexD, Cisco or NoLMI", c.Form)
	case c.HeaderLen != ShortHeader && c.HeaderLen != LongHeader:
		return c, fmt.Errorf("headers of %d octets, want 2 or 4", c.HeaderLen)
	case c.Form == Cisco && c.HeaderLen == LongHeader:
		return c, fmt.Errorf("form %v, which has no headers of 4 octets", c.Form)
	case c.T391 < 0 || c.T392 < 0:
		return c, fmt.Errorf("T391 %v, T392 %v, want them positive", c.T391, c.T392)
	case c.N391 < 1 || c.N391 > 255:
		return c, fmt.Errorf("N391 %d, want 1 to 255", c.N391)
	case c.N393 < 1 || c.N393 > 10:
		return c, fmt.Errorf("N393 %d, want 1 to 10", c.N393)
	case c.N392 < 1 || c.N392 > c.N393:
		return c, fmt.Errorf("N392 %d, want 1 to N393, which is %d", c.N392, c.N393)
	}
	return c, nil
}

// A Status is what is said of a PVC.
type Status uint8

// The states of a PVC.
const (
	Inactive Status = iota
	Active
	Deleted // the network has no such PVC
)

var statusNames = [...]string{"inactive", "active", "deleted"}

// String returns the status's name.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return "unknown"
}

// An EventKind is what an Event tells.
type EventKind uint8

// The kinds of events.
const (
	LinkUp EventKind = iota + 1
	LinkDown
	PVCChanged
)

// An Event is what the owner of an LMI must know.
type Event struct {
	Kind EventKind
	Form Form // of LinkUp: the form that is spoken

	// Of PVCChanged. Status is that of the PVC on this side of a pseudowire, what
	// the Circuit Status AVP tells the peer: Active if the link is up and, unless
	// we are DCE, the other end says so. A DTE and an NNI hear of PVCs that they
	// do not have. New means that the other end has made it anew.
	DLCI   uint32
	Status Status
	New    bool
}

// String returns a line for a log.
func (e Event) String() string {
	switch {
	case e.Kind == LinkUp:
		return "link up, " + e.Form.String()
	case e.Kind == LinkDown:
		return "link down"
	case e.New:
		return fmt.Sprintf("DLCI %d new, %v", e.DLCI, e.Status)
	}
	return fmt.Sprintf("DLCI %d %v", e.DLCI, e.Status)
}

// Stats are an LMI's counters.
type Stats struct {
	EnquiriesSent, EnquiriesReceived uint64
	StatusesSent, StatusesReceived   uint64

	Timeouts       uint64 // T391 without a status, T392 without an enquiry
	SequenceErrors uint64 // messages that acknowledge another than our last
	Malformed      uint64 // dropped: no message of any form
	OtherForm      uint64 // dropped: of another form than is spoken
	Unexpected     uint64 // dropped: an enquiry to a DTE, a status to a DCE, either without an LMI
}

// A half is one direction of asking and being asked. An NNI has both.
type half struct {
	runs           bool
	sent, received uint8  // sequence numbers, 0: none yet
	errors         uint32 // the latest events, the newest in the lowest bit; 1: an error
	good           int    // events without an error since the last one
	up             bool
	failed         bool // was up before
}

// next counts from 1 to 255 and begins again.
func next(sequence uint8) uint8 {
	if sequence++; sequence == 0 {
		sequence = 1
	}
	return sequence
}

// note takes an event. The first good one brings the half up, and once N392 errors
// among N393 events have brought it down, N392 good ones in a row do.
func (h *half) note(good bool, cfg *Config) {
	h.errors <<= 1
	if good {
		h.good++
	} else {
		h.errors |= 1
		h.good = 0
	}
	if h.up {
		if bits.OnesCount32(h.errors&(1<<cfg.N393-1)) >= cfg.N392 {
			h.up, h.failed, h.good = false, true, 0
		}
		return
	}
	if h.good >= cfg.N392 || h.good > 0 && !h.failed {
		h.up, h.errors = true, 0
	}
}

// A circuit is a PVC that this end has.
type circuit struct {
	status Status // what the other end is told
	isNew  bool   // the other end has not confirmed that it knows it
	shown  bool   // it was in a full status
}

// A reported is a PVC as the other end reports it.
type reported struct {
	status Status
	isNew  bool
}

// An LMI is one end of the Local Management Interface of a port. Like all machines
// here it does no I/O, starts no goroutine and reads no clock: it is told what
// arrived and what time it is. Whenever it was told something, Transmit and Event
// are to be called until they have no more.
type LMI struct {
	cfg  Config
	form Form // Auto: not known yet

	user    half // asks
	network half // is asked
	up      bool

	// Asking.
	pollAt    time.Time
	waiting   bool   // for the answer to the last enquiry
	polled    int    // enquiries since the last one for a full status
	polls     []Form // enquiries to be sent
	pollFull  bool
	known     bool // a full status came since the link was down
	theirs    map[uint32]reported
	stale     bool // an event may be due
	lastHeard []pvcStatus

	// Being asked.
	checkAt   time.Time
	reply     bool // a status is to be sent
	replyFull bool
	ours      map[uint32]*circuit
	changes   uint64              // of ours
	shown     uint64              // as many of them were in the last full status
	confirmed uint64              // as many are known to have arrived
	sentFull  bool                // the last status was full
	async     map[uint32]struct{} // PVCs of which it is told at once

	told   map[uint32]reported // what events told
	events []Event
	stats  Stats
}

// NewLMI returns an LMI. Its first Advance starts it.
func NewLMI(cfg Config) (*LMI, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("lmi: %w", err)
	}
	l := &LMI{
		cfg: cfg, form: cfg.Form,
		ours: make(map[uint32]*circuit), async: make(map[uint32]struct{}), told: make(map[uint32]reported),
	}
	// RFC 4591 section 3 leaves it open whether the procedures are used at all. Without
	// them neither half runs: the link is up, as nothing says that it is not.
	l.user.runs = cfg.Form != NoLMI && cfg.Role != DCE
	l.network.runs = cfg.Form != NoLMI && cfg.Role != DTE
	return l, nil
}

// SetPVC says that the port has a PVC, and whether it is Active beyond this end: what
// a DCE and an NNI report. A DTE reports nothing, and hears of it. On this side a PVC
// that is new to the port is inactive until an event tells otherwise.
func (l *LMI) SetPVC(dlci uint32, s Status) error {
	if s != Active && s != Inactive {
		return fmt.Errorf("lmi: DLCI %d: status %v, want active or inactive", dlci, s)
	}
	if err := CheckDLCI(dlci, l.cfg.HeaderLen); err != nil {
		return fmt.Errorf("lmi: %w", err)
	}
	c, ok := l.ours[dlci]
	switch {
	case ok && c.status == s:
		return nil
	case ok:
		c.status = s
	case len(l.ours) == MaxPVCs:
		return fmt.Errorf("lmi: DLCI %d: there are %d PVCs, and may be no more", dlci, MaxPVCs)
	default:
		l.ours[dlci] = &circuit{status: s, isNew: true}
		l.told[dlci], l.stale = reported{status: Inactive}, true
	}
	l.changed(dlci)
	return nil
}

// RemovePVC says that the port has a PVC no more.
func (l *LMI) RemovePVC(dlci uint32) {
	if l.ours[dlci] == nil {
		return
	}
	delete(l.ours, dlci)
	if _, ok := l.theirs[dlci]; !ok {
		delete(l.told, dlci)
	}
	l.changed(dlci)
}

// changed has the other end told of a PVC.
func (l *LMI) changed(dlci uint32) {
	l.changes++
	if l.cfg.Asynchronous && l.network.up && l.form != Cisco {
		l.async[dlci] = struct{}{}
	}
	l.refresh()
}

// Receive takes a frame of a DLCI that is Management's.
func (l *LMI) Receive(now time.Time, frame []byte) {
	m, ok := parseMessage(frame, l.cfg.HeaderLen, l.lastHeard[:0])
	l.lastHeard = m.pvcs
	switch {
	case !ok:
		l.stats.Malformed++
	case m.kind == statusEnquiry && !l.network.runs, m.kind == statusMessage && !l.user.runs:
		l.stats.Unexpected++
	case l.form != Auto && m.form != l.form:
		l.stats.OtherForm++
	case m.kind == statusEnquiry:
		l.answer(now, &m)
	case m.report == singlePVC:
		l.hearOne(m.pvcs[0])
	default:
		l.hear(&m)
	}
	l.refresh()
}

// answer takes an enquiry. It has a status for an answer whatever is wrong with its
// numbers, so that two ends find each other again.
func (l *LMI) answer(now time.Time, m *message) {
	l.stats.EnquiriesReceived++
	l.form = m.form
	n := &l.network
	if n.sent != 0 {
		good := m.received == n.sent
		if n.note(good, &l.cfg); !good {
			l.stats.SequenceErrors++
		} else if l.sentFull {
			l.confirm()
		}
	}
	n.received = m.send
	l.checkAt = now.Add(l.cfg.T392)
	l.reply, l.replyFull = true, m.report == fullStatus
}

// confirm takes it that the last full status has arrived. What is new in it is so no
// more, and that is told too: some take a PVC that is new for inactive.
func (l *LMI) confirm() {
	l.confirmed, l.sentFull = l.shown, false
	for _, c := range l.ours {
		if c.isNew && c.shown {
			c.isNew = false
			l.changes++
		}
	}
}

// hear takes the answer to an enquiry.
func (l *LMI) hear(m *message) {
	u := &l.user
	if !l.waiting || m.received != u.sent {
		l.stats.SequenceErrors++
		return
	}
	l.stats.StatusesReceived++
	l.form = m.form
	l.waiting, l.polls = false, l.polls[:0]
	u.received = m.send
	if m.report == fullStatus {
		l.known, l.stale = true, true
		l.theirs = make(map[uint32]reported, len(m.pvcs))
		for _, p := range m.pvcs {
			l.theirs[p.dlci] = p.reported()
		}
	}
	u.note(true, &l.cfg)
}

// hearOne takes what is told without being asked for.
func (l *LMI) hearOne(p pvcStatus) {
	if !l.known || l.form == Auto {
		l.stats.Unexpected++
		return
	}
	l.stats.StatusesReceived++
	l.stale = true
	_, ok := l.theirs[p.dlci]
	switch {
	case p.bits&pvcDeleted != 0:
		delete(l.theirs, p.dlci)
	case ok || len(l.theirs) < MaxPVCs:
		l.theirs[p.dlci] = p.reported()
	}
}

func (p pvcStatus) reported() reported {
	r := reported{isNew: p.bits&pvcNew != 0}
	if p.bits&pvcActive != 0 {
		r.status = Active
	}
	return r
}

// Advance says what time it is.
func (l *LMI) Advance(now time.Time) {
	if l.user.runs && !now.Before(l.pollAt) {
		if l.waiting {
			l.stats.Timeouts++
			l.user.note(false, &l.cfg)
			l.forget()
		}
		l.poll(now)
	}
	if !l.checkAt.IsZero() && !now.Before(l.checkAt) {
		l.stats.Timeouts++
		l.network.note(false, &l.cfg)
		l.checkAt = now.Add(l.cfg.T392)
		if !l.network.up {
			l.checkAt = time.Time{} // until it asks again
			l.forget()
		}
	}
	l.refresh()
}

// forget has the form learned anew, if it was learned and serves nobody.
func (l *LMI) forget() {
	if l.cfg.Form == Auto && !l.user.up && !l.network.up {
		l.form = Auto
	}
}

// poll has an enquiry sent: where the form is not known, one of each, as IOS does.
// A full status is asked for in every N391th enquiry, and as long as the link is
// down or the last one did not come.
func (l *LMI) poll(now time.Time) {
	l.pollAt = now.Add(l.cfg.T391)
	l.waiting = true
	l.user.sent = next(l.user.sent)
	l.pollFull = !l.user.up || !l.known || l.polled >= l.cfg.N391
	if l.pollFull {
		l.polled = 0
	}
	l.polled++
	switch {
	case l.form != Auto:
		l.polls = append(l.polls[:0], l.form)
	case l.cfg.HeaderLen == LongHeader:
		l.polls = append(l.polls[:0], AnnexD, AnnexA)
	default:
		l.polls = append(l.polls[:0], AnnexD, AnnexA, Cisco)
	}
}

// Deadline returns when Advance is to be called; zero: never.
func (l *LMI) Deadline() time.Time {
	if l.pollAt.IsZero() || !l.checkAt.IsZero() && l.checkAt.Before(l.pollAt) {
		return l.checkAt
	}
	return l.pollAt
}

// Transmit appends the next frame that is to be sent.
func (l *LMI) Transmit(b []byte) (_ []byte, ok bool) {
	var m message
	switch {
	case l.reply:
		m = l.status()
	case len(l.polls) > 0:
		m = message{form: l.polls[0], kind: statusEnquiry, report: verification, send: l.user.sent, received: l.user.received}
		if l.pollFull {
			m.report = fullStatus
		}
		l.polls = l.polls[1:]
		l.stats.EnquiriesSent++
	case len(l.async) > 0:
		m = l.asynchronous()
	default:
		return b, false
	}
	return m.append(b, l.cfg.HeaderLen), true
}

// status returns the answer to an enquiry. It is a full one if that is asked for, or
// if something has changed of which the other end does not know: then it does not
// wait for the N391th enquiry to hear of it.
func (l *LMI) status() message {
	l.reply = false
	l.stats.StatusesSent++
	n := &l.network
	n.sent = next(n.sent)
	m := message{form: l.form, kind: statusMessage, report: verification, send: n.sent, received: n.received}
	l.sentFull = l.replyFull || l.changes != l.confirmed
	if !l.sentFull {
		return m
	}
	m.report = fullStatus
	l.shown = l.changes
	clear(l.async) // all that they would say
	for _, dlci := range sorted(l.ours) {
		c := l.ours[dlci]
		c.shown = true
		m.pvcs = append(m.pvcs, pvcStatus{dlci, c.bits()})
	}
	return m
}

func (c *circuit) bits() (b byte) {
	if c.status == Active {
		b |= pvcActive
	}
	if c.isNew {
		b |= pvcNew
	}
	return b
}

// asynchronous returns what is told of one PVC without being asked for.
func (l *LMI) asynchronous() message {
	l.stats.StatusesSent++
	dlci := sorted(l.async)[0]
	delete(l.async, dlci)
	p := pvcStatus{dlci, pvcDeleted}
	if c := l.ours[dlci]; c != nil {
		p.bits = c.bits()
	}
	return message{form: l.form, kind: statusMessage, report: singlePVC, pvcs: []pvcStatus{p}}
}

// refresh has events tell what is different from what they told last.
func (l *LMI) refresh() {
	up := (!l.user.runs || l.user.up) && (!l.network.runs || l.network.up)
	if up != l.up {
		l.up, l.stale = up, true
		e := Event{Kind: LinkDown}
		if up {
			e = Event{Kind: LinkUp, Form: l.form}
		}
		l.events = append(l.events, e)
	}
	if l.user.runs && !l.user.up && l.known {
		l.known, l.theirs, l.stale = false, nil, true
	}
	if !l.network.up {
		clear(l.async)
	}
	if !l.stale {
		return
	}
	l.stale = false
	all := make(map[uint32]struct{}, len(l.told)+len(l.theirs))
	for dlci := range l.told {
		all[dlci] = struct{}{}
	}
	for dlci := range l.theirs {
		all[dlci] = struct{}{}
	}
	for _, dlci := range sorted(all) {
		l.tell(dlci)
	}
}

// tell appends an event of a PVC if there is something to tell.
func (l *LMI) tell(dlci uint32) {
	is := l.local(dlci)
	was, ok := l.told[dlci]
	if !ok || is.status != was.status || is.isNew && !was.isNew {
		l.events = append(l.events, Event{Kind: PVCChanged, DLCI: dlci, Status: is.status, New: is.isNew})
	}
	l.told[dlci] = is
	if is.status == Deleted && l.ours[dlci] == nil {
		delete(l.told, dlci)
	}
}

// local returns the status of a PVC on this side of a pseudowire.
func (l *LMI) local(dlci uint32) reported {
	switch r, ok := l.theirs[dlci]; {
	case !l.up:
		return reported{status: Inactive}
	case !l.user.runs:
		return reported{status: Active}
	case !l.known:
		return reported{status: Inactive}
	case !ok:
		return reported{status: Deleted}
	default:
		return r
	}
}

// Event returns the next event.
func (l *LMI) Event() (_ Event, ok bool) {
	if len(l.events) == 0 {
		return Event{}, false
	}
	e := l.events[0]
	l.events = l.events[1:]
	return e, true
}

// HeaderLen returns the length of the port's headers.
func (l *LMI) HeaderLen() int { return l.cfg.HeaderLen }

// Up reports whether the link is up.
func (l *LMI) Up() bool { return l.up }

// Form returns the form that is spoken, Auto as long as it is not known.
func (l *LMI) Form() Form { return l.form }

// PVC returns the status of a PVC on this side of a pseudowire, which events told
// before.
func (l *LMI) PVC(dlci uint32) Status { return l.told[dlci].status }

// Stats returns the counters.
func (l *LMI) Stats() Stats { return l.stats }

// sorted returns the DLCIs of a table, the lowest first.
func sorted[V any](m map[uint32]V) []uint32 {
	dlcis := make([]uint32, 0, len(m))
	for dlci := range m {
		dlcis = append(dlcis, dlci)
	}
	slices.Sort(dlcis)
	return dlcis
}
