package bridge

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/pseudowire/ethernet"
)

// Tick is how often a Hub wants Advance called.
const Tick = 100 * time.Millisecond

// What a Hub does where its configuration says nothing.
const (
	DefaultAgeing = 300 * time.Second // IEEE 802.1Q table 8-6
	DefaultMACs   = 128 << 10
)

// A HubConfig says how a Hub is to be. The zero value is a bridge that takes no notice
// of VLANs.
type HubConfig struct {
	VLANAware bool          // a station is known by its VLAN and its address, not by its address alone
	Ageing    time.Duration // after which a silent station is forgotten, in whole seconds; 0: DefaultAgeing
	MACs      int           // entries of the table at most; 0: DefaultMACs
}

// A Hub is a learning bridge, IEEE 802.1Q clause 8: what comes in through one of its
// ports goes out through the one behind which its destination was last heard, and
// where that is not known, through all. It reads no clock: Advance says how time goes
// on. All its methods are safe for concurrent use.
//
// As long as it has two ports, neither with a policy of its own, and no static
// entries, it is a Patch: it looks at no frame and learns nothing.
type Hub struct {
	cfg     HubConfig
	ageing  uint32        // seconds
	now     atomic.Uint32 // seconds since the first Advance
	members atomic.Pointer[members]

	mu       sync.Mutex // for all that follows, and for changes of members and the table
	table    table      // may be looked at without
	statics  int
	full     bool // that it is was told
	began    time.Time
	advanced time.Time
	aged     uint32 // when the table was last looked through
	events   []Event
	missed   uint64
}

// members are the ports at one moment. It does not change once it is stored.
type members struct {
	list  []*Member // by index, nil where none is
	patch bool
}

// maxEvents is how many wait for somebody to ask.
const maxEvents = 64

// NewHub returns a Hub without ports.
func NewHub(cfg HubConfig) *Hub {
	if cfg.Ageing <= 0 {
		cfg.Ageing = DefaultAgeing
	}
	if cfg.MACs <= 0 {
		cfg.MACs = DefaultMACs
	}
	h := &Hub{cfg: cfg, ageing: uint32(min((cfg.Ageing+time.Second-1)/time.Second, 1<<30))}
	h.table.init(cfg.MACs)
	h.members.Store(new(members))
	return h
}

// maxMembers is how many ports an entry can tell apart.
const maxMembers = 1 << 16

// Join makes a port one of the Hub's. From now on the Hub takes what comes in through
// it.
func (h *Hub) Join(p Port, cfg PortConfig) (*Member, error) {
	m := &Member{hub: h, port: p, cfg: cfg}
	m.flood[broadcast].init(cfg.Flood.Broadcast)
	m.flood[multicast].init(cfg.Flood.Multicast)
	m.flood[unknown].init(cfg.Flood.Unknown)
	h.mu.Lock()
	list := slices.Clone(h.members.Load().list)
	index := slices.Index(list, nil)
	if index < 0 {
		index = len(list)
		list = append(list, nil)
	}
	if index == maxMembers {
		h.mu.Unlock()
		return nil, fmt.Errorf("hub: %d ports, want no more", maxMembers)
	}
	m.index = uint16(index)
	list[index] = m
	h.store(list)
	h.mu.Unlock()
	p.Attach(m.receive)
	return m, nil
}

// store makes list the ports.
func (h *Hub) store(list []*Member) {
	next := &members{list: list}
	var two []*Member
	plain := h.statics == 0
	for _, m := range list {
		if m != nil {
			two = append(two, m)
			plain = plain && m.plain()
		}
	}
	next.patch = plain && len(two) == 2 && two[0].mayReach(two[1])
	h.members.Store(next)
}

// Leave takes a port out, with all that is known of it. What still comes in through
// it is dropped.
func (h *Hub) Leave(m *Member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.left {
		return
	}
	m.left = true
	h.forget(func(e entry) bool { return e.port() == m.index })
	list := slices.Clone(h.members.Load().list)
	list[m.index] = nil
	h.store(list)
}

// Flush forgets what was learned behind a port: its circuit is down, and its stations
// may be elsewhere. Static entries stay.
func (h *Hub) Flush(m *Member) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !m.left {
		h.forget(func(e entry) bool { return e.port() == m.index && !e.static() })
	}
}

// forget removes the entries that which tells.
func (h *Hub) forget(which func(entry) bool) {
	if h.table.live == 0 {
		return
	}
	list := h.members.Load().list
	h.table.all(func(s *slot, _ key, e entry) bool {
		if which(e) {
			h.remove(list, s, e)
		}
		return true
	})
}

func (h *Hub) remove(list []*Member, s *slot, e entry) {
	h.table.remove(s)
	h.full = false
	if e.static() {
		h.statics--
		return
	}
	list[e.port()].lose()
}

// SetStatic says for good behind which port a station is, whatever it sends where.
// The VID is 0 where the Hub is not aware of VLANs.
func (h *Hub) SetStatic(m *Member, vid uint16, mac MAC) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	k, err := h.newKey(vid, mac)
	if err != nil {
		return err
	}
	if m.left {
		return fmt.Errorf("hub: static entry %s: the port has left", mac)
	}
	list := h.members.Load().list
	if s, e := h.table.find(k); s != nil {
		h.remove(list, s, e)
	}
	if !h.table.insert(k, newEntry(m.index, 0, staticEntry)) {
		return fmt.Errorf("hub: static entry %s: the table is full", mac)
	}
	h.statics++
	h.store(list)
	return nil
}

// Forget removes an entry, static or learned, and reports whether there was one.
func (h *Hub) Forget(vid uint16, mac MAC) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	k, err := h.newKey(vid, mac)
	if err != nil {
		return false
	}
	s, e := h.table.find(k)
	if s == nil {
		return false
	}
	list := h.members.Load().list
	h.remove(list, s, e)
	h.store(list)
	return true
}

func (h *Hub) newKey(vid uint16, mac MAC) (key, error) {
	switch {
	case mac.group() || mac == MAC{}:
		return 0, fmt.Errorf("hub: static entry %s: want the address of one station", mac)
	case vid != 0 && !h.cfg.VLANAware:
		return 0, errors.New("hub: static entry in a VLAN: the hub is not aware of VLANs")
	case vid > ethernet.MaxVID:
		return 0, fmt.Errorf("hub: static entry in VLAN %d, want 0 to %d", vid, ethernet.MaxVID)
	}
	return newKey(vid, mac), nil
}

// Advance says how late it is. Rates and ages go by it.
func (h *Hub) Advance(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.began.IsZero() {
		h.began, h.advanced = now, now
	}
	elapsed := now.Sub(h.advanced)
	if elapsed <= 0 {
		return
	}
	h.advanced = now
	list := h.members.Load().list
	for _, m := range list {
		if m != nil {
			for i := range m.flood {
				m.flood[i].fill(elapsed)
			}
		}
	}
	seconds := uint32(now.Sub(h.began) / time.Second)
	h.now.Store(seconds)
	if seconds == h.aged {
		return
	}
	h.aged = seconds
	h.forget(func(e entry) bool { return !e.static() && seconds-e.heard() >= h.ageing })
}

// An Entry is what the Hub knows of a station.
type Entry struct {
	VID    uint16
	MAC    MAC
	Port   *Member
	Static bool
	Silent time.Duration // since the station was last heard, in whole seconds
}

// Entries yields the entries of the table, in no order. Those that come and go
// meanwhile may be among them or not.
func (h *Hub) Entries() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		now := h.now.Load()
		h.table.all(func(_ *slot, k key, e entry) bool {
			list := h.members.Load().list
			if int(e.port()) >= len(list) || list[e.port()] == nil {
				return true // it leaves just now
			}
			entry := Entry{VID: k.vid(), MAC: k.mac(), Port: list[e.port()], Static: e.static()}
			if heard := e.heard(); !entry.Static && heard < now {
				entry.Silent = time.Duration(now-heard) * time.Second
			}
			return yield(entry)
		})
	}
}

// Lookup returns what the Hub knows of one station.
func (h *Hub) Lookup(vid uint16, mac MAC) (m *Member, ok bool) {
	s, e := h.table.find(newKey(vid, mac))
	if s == nil {
		return nil, false
	}
	return h.members.Load().at(e)
}

// Len returns the number of entries in the table.
func (h *Hub) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.table.live
}

// at returns the port of an entry; ok is false if it has left.
func (l *members) at(e entry) (m *Member, ok bool) {
	if i := int(e.port()); i < len(l.list) {
		m = l.list[i]
	}
	return m, m != nil
}

// An EventKind is what an Event tells.
type EventKind uint8

// The kinds of events.
const (
	Moved    EventKind = iota // a station is heard behind another port than before
	Limited                   // a port has as many stations as it may have, and there is another
	Full                      // the table has as many entries as it may have, and there is another
	Disabled                  // a BPDU came in through a port that must not have any
)

func (k EventKind) String() string {
	switch k {
	case Moved:
		return "moved"
	case Limited:
		return "mac limit"
	case Full:
		return "table full"
	case Disabled:
		return "bpdu: disabled"
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// An Event is what the Hub's owner should know.
type Event struct {
	Kind EventKind
	Port *Member // where it happened
	From *Member // Moved: from where; nil if that has left
	VID  uint16
	MAC  MAC // of Moved, and the station that there was no room for
}

// Event returns the oldest event that was not asked for yet; call it until !ok.
func (h *Hub) Event() (e Event, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) == 0 {
		return Event{}, false
	}
	e = h.events[0]
	h.events = slices.Delete(h.events, 0, 1)
	return e, true
}

// Missed returns how many events there were that nobody can ask for any more: they
// are too many to wait.
func (h *Hub) Missed() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.missed
}

// tell keeps an event, under the lock.
func (h *Hub) tell(e Event) {
	if h.events == nil {
		h.events = make([]Event, 0, maxEvents)
	}
	if len(h.events) == maxEvents {
		h.missed++
		return
	}
	h.events = append(h.events, e)
}

// learn notes that the station of k was heard behind m. It reports false where m has
// as many stations as it may have.
func (h *Hub) learn(m *Member, k key) bool {
	s, e := h.table.find(k)
	if s != nil && (e.static() || e.port() == m.index) {
		if now := h.now.Load(); !e.static() && e.heard() != now {
			s.refresh(e, now)
		}
		return true
	}
	return h.learnNew(m, k)
}

func (h *Hub) learnNew(m *Member, k key) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m.left {
		return true
	}
	s, e := h.table.find(k) // somebody may have been quicker
	if s != nil && (e.static() || e.port() == m.index) {
		return true
	}
	event := Event{Port: m, VID: k.vid(), MAC: k.mac()}
	if m.cfg.MACLimit > 0 && int(m.macs.Load()) >= m.cfg.MACLimit {
		m.stats.unlearned.Add(1)
		if !m.told {
			m.told = true
			event.Kind = Limited
			h.tell(event)
		}
		return false
	}
	heard := newEntry(m.index, h.now.Load(), 0)
	if s != nil {
		from := h.members.Load().list[e.port()]
		s.set(heard)
		from.lose()
		m.macs.Add(1)
		m.stats.moves.Add(1)
		event.Kind, event.From = Moved, from
		h.tell(event)
		return true
	}
	if !h.table.insert(k, heard) {
		m.stats.unlearned.Add(1)
		if !h.full {
			h.full = true
			event.Kind = Full
			h.tell(event)
		}
		return true
	}
	m.macs.Add(1)
	return true
}
