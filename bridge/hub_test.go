package bridge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/pseudowire/gso"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// station returns the address of a station.
func station(n int) MAC {
	return MAC{2, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

var (
	everybody = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	some      = MAC{1, 0, 0x5e, 0, 0, 1}
	tree      = MAC{1, 0x80, 0xc2, 0, 0, 0}
)

// packet returns the octets of a frame.
func packet(dst, src MAC, tag []byte, payload string) []byte {
	b := append(dst[:], src[:]...)
	b = append(b, tag...)
	return append(append(b, 0x88, 0xb5), payload...)
}

func vlan(vid uint16) []byte { return binary.BigEndian.AppendUint16([]byte{0x81, 0}, vid) }

// frame returns a frame with headroom.
func frame(b []byte) pseudowire.Frame {
	return pseudowire.NewFrame(append(make([]byte, 16), b...), 16)
}

// A socket is a port of a test. It says what it was sent, in the calls that it came in.
type socket struct {
	deliver func([]pseudowire.Frame) int
	calls   []string
	refuse  int // how many of each call
}

func (s *socket) Attach(deliver func([]pseudowire.Frame) int) { s.deliver = deliver }

func (s *socket) Send(frames []pseudowire.Frame) int {
	var payloads []string
	for i := range frames {
		payloads = append(payloads, string(frames[i].Bytes()[14:]))
		// What a port may do.
		for j := range frames[i].Headroom() {
			frames[i].Prepend(frames[i].Headroom())[j] = 0xee
		}
	}
	s.calls = append(s.calls, strings.Join(payloads, ","))
	return max(0, len(frames)-s.refuse)
}

// sent returns what came since it was last asked, a call between spaces.
func (s *socket) sent() string {
	all := strings.Join(s.calls, " ")
	s.calls = nil
	return all
}

// hub returns a Hub with some ports.
func hub(t testing.TB, cfg HubConfig, ports ...PortConfig) (*Hub, []*socket, []*Member) {
	t.Helper()
	h := NewHub(cfg)
	h.Advance(start)
	var sockets []*socket
	var list []*Member
	for _, cfg := range ports {
		s := new(socket)
		m, err := h.Join(s, cfg)
		if err != nil {
			t.Fatal(err)
		}
		sockets, list = append(sockets, s), append(list, m)
	}
	return h, sockets, list
}

// in has a frame come in.
func (s *socket) in(dst, src MAC, payload string) int {
	return s.deliver([]pseudowire.Frame{frame(packet(dst, src, nil, payload))})
}

// want compares what the ports were sent.
func want(t testing.TB, when string, sockets []*socket, wants ...string) {
	t.Helper()
	for i, s := range sockets {
		if got := s.sent(); got != wants[i] {
			t.Errorf("%s: port %d was sent %q, want %q", when, i, got, wants[i])
		}
	}
}

func TestHubLearns(t *testing.T) {
	h, s, m := hub(t, HubConfig{}, PortConfig{}, PortConfig{}, PortConfig{})
	s[0].in(station(2), station(1), "who")
	want(t, "unknown", s, "", "who", "who")
	s[1].in(station(1), station(2), "here")
	want(t, "known", s, "here", "", "")
	s[0].in(everybody, station(1), "all")
	want(t, "broadcast", s, "", "all", "all")
	if n := s[0].in(station(1), station(1), "self"); n != 1 {
		t.Errorf("same side: %d taken", n)
	}
	want(t, "same side", s, "", "", "")
	if p, ok := h.Lookup(0, station(2)); !ok || p != m[1] || h.Len() != 2 {
		t.Errorf("station 2: %v, %v; %d entries", p, ok, h.Len())
	}
	if _, ok := h.Lookup(0, station(3)); ok {
		t.Error("station 3 is known")
	}
	got := m[0].Stats()
	var drops [Verdicts]uint64
	drops[SameSide] = 1
	if diff := cmp.Diff(MemberStats{InFrames: 3, InOctets: 3*14 + 10, OutFrames: 1, OutOctets: 18, Flooded: 2, MACs: 1, Drops: drops}, got); diff != "" {
		t.Errorf("statistics: %s", diff)
	}
	if m[0].Port() != s[0] || m[0].Config() != (PortConfig{}) {
		t.Error("port or configuration are not what joined")
	}
}

// TestNeighboursGoTogether has frames of one batch in as few calls as there can be.
func TestNeighboursGoTogether(t *testing.T) {
	_, s, m := hub(t, HubConfig{}, PortConfig{}, PortConfig{}, PortConfig{})
	s[1].in(everybody, station(1), "")
	s[2].in(everybody, station(2), "")
	want(t, "hello", s, " ", "", "")
	var batch []pseudowire.Frame
	for i, v := range []struct{ dst, src MAC }{
		{station(1), station(0)}, {station(1), station(0)}, {station(1), station(5)}, {station(2), station(0)},
		{everybody, station(0)}, {station(9), station(0)}, {some, station(0)},
		{station(0), station(0)}, {station(1), some}, {station(1), station(0)},
	} {
		batch = append(batch, frame(packet(v.dst, v.src, nil, fmt.Sprint(i))))
	}
	if n := s[0].deliver(batch); n != 9 {
		t.Errorf("%d taken, want all but that of a group", n)
	}
	want(t, "batch", s, "", "0,1,2 4,5,6 9", "3 4,5,6")
	s[1].refuse, s[2].refuse = 1, 1
	if n := s[0].deliver(batch); n != 6 {
		t.Errorf("%d taken by ports that refuse one of each call, want 6", n)
	}
	if n := m[0].Stats().Drops[Refused]; n != 5 {
		t.Errorf("%d refused, want 5", n)
	}
}

// TestTwoPortsArePatched has all pass, sources that are none and frames that never
// should cross, until there is something to be known.
func TestTwoPortsArePatched(t *testing.T) {
	h, s, _ := hub(t, HubConfig{}, PortConfig{}, PortConfig{})
	odd := func(when string, passes bool) {
		t.Helper()
		if passes != (s[0].in(station(1), some, "x") == 1) || passes != (s[1].sent() == "x") {
			t.Errorf("%s: patched %v, want %v", when, !passes, passes)
		}
	}
	odd("two", true)
	if h.Len() != 0 {
		t.Errorf("%d stations learned", h.Len())
	}
	third, err := h.Join(new(socket), PortConfig{})
	if err != nil {
		t.Fatal(err)
	}
	odd("three", false)
	if err := h.SetStatic(third, 0, station(7)); err != nil {
		t.Fatal(err)
	}
	h.Leave(third)
	h.Leave(third)
	odd("two again", true)
	member := h.members.Load().list[0]
	if err := h.SetStatic(member, 0, station(7)); err != nil {
		t.Fatal(err)
	}
	odd("static entry", false)
	if !h.Forget(0, station(7)) || h.Forget(0, station(7)) || h.Forget(0, some) {
		t.Error("forgotten what is not there, or not what is")
	}
	odd("without", true)
	h.Leave(member)
	if n := s[0].in(everybody, station(1), "x"); n != 0 {
		t.Errorf("%d taken from a port that has left", n)
	}
	if n := s[1].in(everybody, station(1), "x"); n != 1 || h.members.Load().list[1].Stats().Drops[Alone] != 1 {
		t.Errorf("%d taken from one that is alone", n)
	}
	for name, cfg := range map[string][2]PortConfig{
		"group": {{Group: 1}, {Group: 1}},
		"spoke": {{Spoke: true}, {Spoke: true}},
		"limit": {{MACLimit: 1}, {}},
		"flood": {{}, {Flood: Flood{Multicast: Rate{Octets: 1}}}},
		"bpdu":  {{BPDU: DropBPDU}, {}},
	} {
		h, _, _ := hub(t, HubConfig{}, cfg[:]...)
		if h.members.Load().patch {
			t.Errorf("%s: patched", name)
		}
	}
}

// A cable joins two ports of hubs.
type cable struct{ a, b plug }

type plug struct {
	other *plug
	to    func([]pseudowire.Frame) int
}

func newCable() *cable {
	c := new(cable)
	c.a.other, c.b.other = &c.b, &c.a
	return c
}

func (p *plug) Attach(deliver func([]pseudowire.Frame) int) { p.to = deliver }
func (p *plug) Send(frames []pseudowire.Frame) int {
	copies := make([]pseudowire.Frame, len(frames))
	for i := range frames {
		copies[i] = frame(frames[i].Bytes())
	}
	return p.other.to(copies)
}

// TestFullMesh joins sites, each with each, by pseudowires of one group: everybody
// hears everything once, and there is no end to a storm if there is a loop.
func TestFullMesh(t *testing.T) {
	const sites = 5
	hubs := make([]*Hub, sites)
	local := make([]*socket, sites)
	for i := range hubs {
		h, s, _ := hub(t, HubConfig{}, PortConfig{})
		hubs[i], local[i] = h, s[0]
	}
	for i := range sites {
		for j := range i {
			c := newCable()
			if _, err := hubs[i].Join(&c.a, PortConfig{Group: 1}); err != nil {
				t.Fatal(err)
			}
			if _, err := hubs[j].Join(&c.b, PortConfig{Group: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	local[0].in(everybody, station(0), "hello")
	want(t, "to all", local, "", "hello", "hello", "hello", "hello")
	for i := 1; i < sites; i++ {
		local[i].in(station(0), station(i), fmt.Sprint("from ", i))
		want(t, "to one", local, fmt.Sprint("from ", i), "", "", "", "")
	}
	local[4].in(everybody, station(4), "hello")
	want(t, "to all", local, "hello", "hello", "hello", "hello", "")
	local[3].in(station(4), station(3), "across")
	want(t, "between others", local, "", "", "", "", "across")
}

func TestSplitHorizonOfKnownStations(t *testing.T) {
	_, s, m := hub(t, HubConfig{}, PortConfig{Spoke: true}, PortConfig{Spoke: true}, PortConfig{})
	s[1].in(everybody, station(1), "hello")
	want(t, "from a spoke", s, "", "", "hello")
	s[0].in(station(1), station(0), "psst")
	want(t, "to a spoke", s, "", "", "")
	if n := m[0].Stats().Drops[SplitHorizon]; n != 1 {
		t.Errorf("%d held back, want 1", n)
	}
	s[2].in(everybody, station(2), "all")
	want(t, "from the hub", s, "all", "all", "")
}

func TestAgeing(t *testing.T) {
	h, s, m := hub(t, HubConfig{Ageing: 9500 * time.Millisecond}, PortConfig{}, PortConfig{}, PortConfig{})
	s[0].in(everybody, station(1), "")
	s[0].in(everybody, station(2), "")
	h.Advance(start.Add(5 * time.Second))
	s[0].in(everybody, station(1), "")
	silent := map[MAC]time.Duration{}
	for e := range h.Entries() {
		silent[e.MAC] = e.Silent
		if e.Port != m[0] || e.Static || e.VID != 0 {
			t.Errorf("%+v", e)
		}
	}
	if diff := cmp.Diff(map[MAC]time.Duration{station(1): 0, station(2): 5 * time.Second}, silent); diff != "" {
		t.Error(diff)
	}
	h.Advance(start.Add(9999 * time.Millisecond))
	if h.Len() != 2 {
		t.Errorf("%d known before the time, want 2", h.Len())
	}
	h.Advance(start) // as when somebody sets the clock
	h.Advance(start.Add(10 * time.Second))
	if _, ok := h.Lookup(0, station(1)); !ok || h.Len() != 1 || m[0].Stats().MACs != 1 {
		t.Errorf("%d known, station 1 %v; want it alone", h.Len(), ok)
	}
	h.Advance(start.Add(15 * time.Second))
	if h.Len() != 0 || m[0].Stats().MACs != 0 {
		t.Errorf("%d known at the end", h.Len())
	}
}

// TestStorms lets pass what a second has room for, and counts the rest.
func TestStorms(t *testing.T) {
	h, s, m := hub(t, HubConfig{},
		PortConfig{Flood: Flood{Broadcast: Rate{Frames: 10}, Multicast: Rate{Octets: 1000}, Unknown: Rate{Frames: 100, Octets: 100}}},
		PortConfig{}, PortConfig{})
	payload := strings.Repeat("x", 86) // a frame of 100 octets
	passed := func(dst MAC, n int) (taken int) {
		for range n {
			taken += s[0].in(dst, station(1), payload)
		}
		return taken
	}
	check := func(when string, broadcast, multicast, unknown int) {
		t.Helper()
		if b, m, u := passed(everybody, 30), passed(some, 30), passed(station(9), 30); b != broadcast || m != multicast || u != unknown {
			t.Errorf("%s: %d, %d and %d passed, want %d, %d and %d", when, b, m, u, broadcast, multicast, unknown)
		}
	}
	check("at first", 10, 10, 1)
	check("at once", 0, 0, 0)
	now := start
	for range 10 {
		now = now.Add(50 * time.Millisecond)
		h.Advance(now)
	}
	check("half a second later", 5, 5, 1)
	h.Advance(now.Add(time.Hour))
	check("much later", 10, 10, 1)
	d := m[0].Stats().Drops
	if d[BroadcastStorm] != 95 || d[MulticastStorm] != 95 || d[UnknownStorm] != 117 {
		t.Errorf("%d, %d and %d in storms", d[BroadcastStorm], d[MulticastStorm], d[UnknownStorm])
	}
	s[1].in(everybody, station(9), "")
	if n := passed(station(9), 10); n != 10 {
		t.Errorf("%d passed to a station that is known, want 10", n)
	}
	// A super-frame counts as what it stands for, and what is too much is owed.
	h.Advance(now.Add(2 * time.Hour))
	super := frame(make([]byte, 14+4*1000+40))
	copy(super.Bytes(), packet(everybody, station(1), nil, ""))
	super.GSO = pseudowire.GSO{Kind: pseudowire.GSOTCPv4, HeaderLen: 54, Size: 200}
	s[0].deliver([]pseudowire.Frame{super})
	if n := m[0].flood[broadcast].frames.tokens.Load(); n != -10 {
		t.Errorf("%d tokens left of 10 by a super-frame of 20, want -10", n)
	}
}

func TestMoves(t *testing.T) {
	h, s, m := hub(t, HubConfig{}, PortConfig{}, PortConfig{}, PortConfig{})
	s[0].in(everybody, station(1), "")
	s[1].in(everybody, station(1), "")
	want(t, "hello", s, "", "", " ")
	s[2].in(station(1), station(2), "where")
	want(t, "moved", s, "", "where", "")
	e, ok := h.Event()
	if want := (Event{Kind: Moved, Port: m[1], From: m[0], MAC: station(1)}); !ok || e != want {
		t.Errorf("%+v, want %+v", e, want)
	}
	if a, b := m[0].Stats(), m[1].Stats(); a.MACs != 0 || b.MACs != 1 || a.Moves != 0 || b.Moves != 1 {
		t.Errorf("from %+v to %+v", a, b)
	}
	if e, ok := h.Event(); ok {
		t.Errorf("another event: %+v", e)
	}
	for range maxEvents {
		s[0].in(everybody, station(1), "")
		s[1].in(everybody, station(1), "")
	}
	n := 0
	for _, ok := h.Event(); ok; _, ok = h.Event() {
		n++
	}
	if n != maxEvents || h.Missed() != maxEvents || m[0].Stats().Moves != maxEvents {
		t.Errorf("%d events, %d missed, %d moves", n, h.Missed(), m[0].Stats().Moves)
	}
	if s := fmt.Sprint(Moved, Limited, Full, Disabled, EventKind(9)); s != "moved mac limit table full bpdu: disabled event 9" {
		t.Error(s)
	}
}

func TestMACLimit(t *testing.T) {
	for _, policy := range []LimitPolicy{DropUnlearned, PassUnlearned} {
		h, s, m := hub(t, HubConfig{}, PortConfig{MACLimit: 2, OverLimit: policy}, PortConfig{}, PortConfig{})
		for range 2 {
			for i := range 4 {
				s[0].in(everybody, station(i), fmt.Sprint(i))
			}
		}
		wanted := "0 1 0 1"
		if policy == PassUnlearned {
			wanted = "0 1 2 3 0 1 2 3"
		}
		want(t, "over the limit", s, "", wanted, wanted)
		if got := m[0].Stats(); got.MACs != 2 || got.Unlearned != 4 || (got.Drops[MACLimited] == 4) != (policy == DropUnlearned) {
			t.Errorf("%+v", got)
		}
		e, ok := h.Event()
		if want := (Event{Kind: Limited, Port: m[0], MAC: station(2)}); !ok || e != want {
			t.Errorf("%+v, want %+v", e, want)
		}
		if e, ok := h.Event(); ok {
			t.Errorf("told again: %+v", e)
		}
		// A station of another port does not move there either.
		s[1].in(everybody, station(9), "")
		s[0].in(everybody, station(9), "")
		if p, _ := h.Lookup(0, station(9)); p != m[1] {
			t.Error("a station moved to a full port")
		}
		h.Flush(m[0])
		s[0].in(everybody, station(3), "3")
		if p, _ := h.Lookup(0, station(3)); p != m[0] {
			t.Error("no room after a flush")
		}
	}
}

func TestFullTable(t *testing.T) {
	h, s, m := hub(t, HubConfig{MACs: 2}, PortConfig{}, PortConfig{}, PortConfig{})
	for i := range 4 {
		s[0].in(everybody, station(i), fmt.Sprint(i))
	}
	want(t, "too many", s, "", "0 1 2 3", "0 1 2 3")
	e, ok := h.Event()
	if want := (Event{Kind: Full, Port: m[0], MAC: station(2)}); !ok || e != want || h.Len() != 2 || m[0].Stats().Unlearned != 2 {
		t.Errorf("%+v, want %+v; %d entries, %+v", e, want, h.Len(), m[0].Stats())
	}
	if err := h.SetStatic(m[0], 0, station(9)); err == nil || err.Error() != "hub: static entry 02:00:00:00:09:00: the table is full" {
		t.Errorf("a static entry more: %v", err)
	}
}

func TestBPDUs(t *testing.T) {
	h, s, m := hub(t, HubConfig{}, PortConfig{}, PortConfig{BPDU: DropBPDU}, PortConfig{BPDU: DisablePort})
	for _, group := range []MAC{tree, {1, 0x80, 0xc2, 0, 0, 8}, {1, 0, 0x0c, 0xcc, 0xcc, 0xcd}} {
		s[0].in(group, station(0), "a")
		want(t, "passed", s, "", "a", "a")
		s[1].in(group, station(1), "b")
		want(t, "dropped", s, "", "", "")
	}
	s[1].in(MAC{1, 0x80, 0xc2, 0, 0, 0x0e}, station(1), "LLDP")
	want(t, "LLDP", s, "LLDP", "", "LLDP")
	s[2].in(everybody, station(2), "")
	want(t, "before", s, "", "", "")
	for range 2 {
		s[2].deliver([]pseudowire.Frame{frame(packet(tree, station(2), nil, "c")), frame(packet(everybody, station(2), nil, "d"))})
	}
	s[0].in(everybody, station(0), "e")
	s[0].in(station(2), station(0), "f")
	want(t, "disabled", s, "", "e f", "")
	e, ok := h.Event()
	if want := (Event{Kind: Disabled, Port: m[2]}); !ok || e != want {
		t.Errorf("%+v, want %+v", e, want)
	}
	if e, ok := h.Event(); ok {
		t.Errorf("told again: %+v", e)
	}
	if got := m[2].Stats(); !got.Disabled || got.Drops[BPDU] != 1 || got.Drops[PortDisabled] != 3 || got.MACs != 0 {
		t.Errorf("%+v", got)
	}
	m[2].Enable()
	s[2].in(everybody, station(2), "g")
	s[0].in(station(2), station(0), "h")
	want(t, "enabled", s, "g", "g", "h")
	// A known station behind a disabled port: only a static one is.
	if err := h.SetStatic(m[2], 0, station(7)); err != nil {
		t.Fatal(err)
	}
	s[2].in(tree, station(2), "")
	if n := s[0].in(station(7), station(0), "i"); n != 0 || m[0].Stats().Drops[PortDisabled] != 1 {
		t.Errorf("to a disabled port: %d taken, %+v", n, m[0].Stats())
	}
}

func TestStaticEntries(t *testing.T) {
	h, s, m := hub(t, HubConfig{VLANAware: true, Ageing: time.Second}, PortConfig{}, PortConfig{}, PortConfig{MACLimit: 1})
	if err := h.SetStatic(m[2], 0, station(1)); err != nil {
		t.Fatal(err)
	}
	s[0].in(everybody, station(1), "") // it is not believed
	s[1].in(everybody, station(1), "")
	want(t, "hello", s, "", "", " ")
	h.Advance(start.Add(time.Hour))
	h.Flush(m[2])
	s[0].in(station(1), station(0), "there")
	want(t, "static", s, "", "", "there")
	if got := m[2].Stats(); got.MACs != 0 || got.Moves != 0 {
		t.Errorf("%+v", got)
	}
	// What was learned gives way.
	s[0].in(everybody, station(5), "")
	if err := h.SetStatic(m[1], 0, station(5)); err != nil || m[0].Stats().MACs != 1 {
		t.Errorf("%v, %+v; want one station less", err, m[0].Stats())
	}
	n := 0
	for e := range h.Entries() {
		if e.Static {
			n++
		}
	}
	for range h.Entries() {
		break
	}
	if n != 2 {
		t.Errorf("%d static entries, want 2", n)
	}
	plain, _, _ := hub(t, HubConfig{}, PortConfig{})
	h.Leave(m[2])
	for _, v := range []struct {
		h    *Hub
		m    *Member
		vid  uint16
		mac  MAC
		want string
	}{
		{h, m[0], 0, some, "hub: static entry 01:00:5e:00:00:01: want the address of one station"},
		{h, m[0], 0, MAC{}, "hub: static entry 00:00:00:00:00:00: want the address of one station"},
		{h, m[0], 4095, station(1), "hub: static entry in VLAN 4095, want 0 to 4094"},
		{h, m[2], 0, station(1), "hub: static entry 02:00:00:00:01:00: the port has left"},
		{plain, plain.members.Load().list[0], 1, station(1), "hub: static entry in a VLAN: the hub is not aware of VLANs"},
	} {
		if err := v.h.SetStatic(v.m, v.vid, v.mac); err == nil || err.Error() != v.want {
			t.Errorf("%v, want %s", err, v.want)
		}
	}
}

// TestVLANs has a station in two VLANs, behind two ports.
func TestVLANs(t *testing.T) {
	for _, aware := range []bool{false, true} {
		h, s, _ := hub(t, HubConfig{VLANAware: aware}, PortConfig{}, PortConfig{}, PortConfig{})
		for i, s := range s[:2] {
			s.deliver([]pseudowire.Frame{frame(packet(everybody, station(1), vlan(uint16(i)+1), ""))})
		}
		for _, s := range s {
			s.sent()
		}
		for vid := range uint16(4) {
			s[2].deliver([]pseudowire.Frame{frame(packet(station(1), station(2), vlan(0xe000|vid), fmt.Sprint(vid)))})
		}
		tagged := func(vid ...int) (s string) {
			for i, vid := range vid {
				s += fmt.Sprintf("%s%s\x88\xb5%d", " "[:min(i, 1)], string([]byte{0xe0, byte(vid)}), vid)
			}
			return s
		}
		if aware {
			want(t, "aware", s, tagged(0, 1, 3), tagged(0, 2, 3), "")
		} else {
			want(t, "not aware", s, "", tagged(0, 1, 2, 3), "")
		}
		if n := map[bool]int{false: 2, true: 6}[aware]; h.Len() != n {
			t.Errorf("aware %v: %d entries, want %d", aware, h.Len(), n)
		}
	}
}

// A finisher is a port that completes checksums in place, as a session does.
type finisher struct {
	t    *testing.T
	sums []uint16
	to   func([]pseudowire.Frame) int
}

func (f *finisher) Attach(deliver func([]pseudowire.Frame) int) { f.to = deliver }
func (f *finisher) Send(frames []pseudowire.Frame) int {
	for _, frame := range frames {
		whole, err := gso.Complete(frame)
		if err != nil {
			f.t.Error(err)
		}
		f.sums = append(f.sums, binary.BigEndian.Uint16(whole.Bytes()[14+8:]))
	}
	return len(frames)
}

// TestFloodedChecksums floods a frame whose checksum is partial.
func TestFloodedChecksums(t *testing.T) {
	h := NewHub(HubConfig{})
	var ports [4]finisher
	for i := range ports {
		ports[i].t = t
		if _, err := h.Join(&ports[i], PortConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	f := frame(packet(everybody, station(1), nil, "abcdefgh\x00\x00ijkl"))
	f.GSO = pseudowire.GSO{ChecksumStart: 14, ChecksumOffset: 8}
	bad := frame(packet(everybody, station(1), nil, ""))
	bad.GSO = pseudowire.GSO{ChecksumStart: 14, ChecksumOffset: 8}
	if n := ports[0].to([]pseudowire.Frame{f, bad}); n != 1 {
		t.Errorf("%d taken, want 1", n)
	}
	for i := range ports[1:] {
		if got := ports[i+1].sums; !slices.Equal(got, ports[1].sums) || len(got) != 1 {
			t.Errorf("checksum at port %d: %#x, want %#x", i+1, got, ports[1].sums)
		}
	}
	if n := h.members.Load().list[0].Stats().Drops[Malformed]; n != 1 {
		t.Errorf("%d malformed, want 1", n)
	}
}

func TestVerdictNames(t *testing.T) {
	seen := map[string]bool{"": true}
	for v := range Verdicts {
		if seen[v.String()] {
			t.Errorf("%d: %q", v, v)
		}
		seen[v.String()] = true
	}
	if Verdicts.String() != "unknown" {
		t.Error(Verdicts.String())
	}
}

func TestTooManyPorts(t *testing.T) {
	h := NewHub(HubConfig{})
	h.members.Store(&members{list: slices.Repeat([]*Member{new(Member)}, maxMembers)})
	if _, err := h.Join(new(socket), PortConfig{}); err == nil || err.Error() != "hub: 65536 ports, want no more" {
		t.Error(err)
	}
}

// A model is a Hub as one would say it.
type model struct {
	aware  bool
	limit  int // of the table
	ageing int // seconds
	now    int
	ports  []*modelPort
	known  map[modelKey]*modelEntry
}

type modelPort struct {
	cfg      PortConfig
	disabled bool
	left     bool
	want     []string
	socket   *socket
	member   *Member
}

type modelKey struct {
	vid uint16
	mac MAC
}

type modelEntry struct {
	port   *modelPort
	static bool
	heard  int
}

func (m *model) present() (list []*modelPort) {
	for _, p := range m.ports {
		if !p.left {
			list = append(list, p)
		}
	}
	return list
}

func (m *model) reach(a, b *modelPort) bool {
	return a != b && !(a.cfg.Group != 0 && a.cfg.Group == b.cfg.Group) && !(a.cfg.Spoke && b.cfg.Spoke)
}

func (m *model) patched() bool {
	list := m.present()
	for _, e := range m.known {
		if e.static {
			return false
		}
	}
	for _, p := range list {
		if p.cfg.MACLimit != 0 || p.cfg.BPDU != PassBPDU {
			return false
		}
	}
	return len(list) == 2 && m.reach(list[0], list[1])
}

func (m *model) learned(p *modelPort) (n int) {
	for _, e := range m.known {
		if e.port == p && !e.static {
			n++
		}
	}
	return n
}

// in has a frame come in.
func (m *model) in(p *modelPort, vid uint16, dst, src MAC, payload string) (taken int) {
	if p.left {
		return 0
	}
	if m.patched() {
		for _, o := range m.present() {
			if o != p {
				o.want = append(o.want, payload)
			}
		}
		return 1
	}
	if p.disabled || src.group() || src == (MAC{}) {
		return 0
	}
	if !m.aware {
		vid = 0
	}
	if dst == tree && p.cfg.BPDU != PassBPDU {
		if p.cfg.BPDU == DisablePort {
			p.disabled = true
			m.flush(p)
		}
		return 0
	}
	e := m.known[modelKey{vid, src}]
	if e != nil && (e.static || e.port == p) {
		e.heard = m.now
	} else if p.cfg.MACLimit > 0 && m.learned(p) >= p.cfg.MACLimit {
		if p.cfg.OverLimit == DropUnlearned {
			return 0
		}
	} else if e != nil || len(m.known) < m.limit {
		m.known[modelKey{vid, src}] = &modelEntry{port: p, heard: m.now}
	}
	if e := m.known[modelKey{vid, dst}]; e != nil {
		switch {
		case e.port == p || !m.reach(p, e.port):
			return 1
		case e.port.disabled:
			return 0
		}
		e.port.want = append(e.port.want, payload)
		return 1
	}
	for _, o := range m.present() {
		if m.reach(p, o) && !o.disabled {
			o.want = append(o.want, payload)
		}
	}
	return 1
}

func (m *model) flush(p *modelPort) {
	for k, e := range m.known {
		if e.port == p && !e.static {
			delete(m.known, k)
		}
	}
}

// TestAgainstModel plays with a Hub and its model.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{
			aware: rapid.Bool().Draw(t, "aware"), limit: rapid.SampledFrom([]int{3, 100}).Draw(t, "limit"),
			ageing: rapid.IntRange(1, 5).Draw(t, "ageing"), known: map[modelKey]*modelEntry{},
		}
		h := NewHub(HubConfig{VLANAware: m.aware, MACs: m.limit, Ageing: time.Duration(m.ageing) * time.Second})
		h.Advance(start)
		configs := rapid.Custom(func(t *rapid.T) PortConfig {
			if rapid.Bool().Draw(t, "plain") {
				return PortConfig{}
			}
			return PortConfig{
				Group: rapid.IntRange(0, 2).Draw(t, "group"), Spoke: rapid.Bool().Draw(t, "spoke"),
				MACLimit: rapid.IntRange(0, 2).Draw(t, "limit"), OverLimit: rapid.SampledFrom([]LimitPolicy{DropUnlearned, PassUnlearned}).Draw(t, "over limit"),
				BPDU: rapid.SampledFrom([]BPDUPolicy{PassBPDU, DropBPDU, DisablePort}).Draw(t, "BPDU"),
			}
		})
		join := func(t *rapid.T) {
			if len(m.present()) == 5 {
				return
			}
			p := &modelPort{cfg: configs.Draw(t, "port"), socket: new(socket)}
			var err error
			if p.member, err = h.Join(p.socket, p.cfg); err != nil {
				t.Fatal(err)
			}
			m.ports = append(m.ports, p)
		}
		for range rapid.IntRange(2, 4).Draw(t, "ports") {
			join(t)
		}
		ports := func(t *rapid.T) *modelPort { return rapid.SampledFrom(m.ports).Draw(t, "port") }
		vids := rapid.Uint16Range(0, 2)
		stations := rapid.SampledFrom([]MAC{station(1), station(2), station(3), station(4), station(5)})
		serial := 0
		deliver := func(t *rapid.T) {
			p := ports(t)
			var batch []pseudowire.Frame
			taken := 0
			for range rapid.IntRange(1, 6).Draw(t, "frames") {
				serial++
				dst := rapid.SampledFrom([]MAC{station(1), station(2), station(3), station(4), everybody, some, tree}).Draw(t, "to")
				src := rapid.SampledFrom([]MAC{station(1), station(2), station(3), station(1), station(2), some, {}}).Draw(t, "from")
				vid := vids.Draw(t, "VID")
				b := packet(dst, src, vlan(vid), fmt.Sprint(serial))
				batch = append(batch, frame(b))
				taken += m.in(p, vid, dst, src, string(b[14:]))
			}
			if got := p.socket.deliver(batch); got != taken {
				t.Fatalf("%d taken, want %d", got, taken)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"frames":      deliver,
			"more frames": deliver,
			"even more":   deliver,
			"time": func(t *rapid.T) {
				m.now += rapid.IntRange(0, 3).Draw(t, "seconds")
				h.Advance(start.Add(time.Duration(m.now)*time.Second + 999*time.Millisecond))
				for k, e := range m.known {
					if !e.static && m.now-e.heard >= m.ageing {
						delete(m.known, k)
					}
				}
			},
			"flush": func(t *rapid.T) {
				p := ports(t)
				h.Flush(p.member)
				if !p.left {
					m.flush(p)
				}
			},
			"join": join,
			"leave": func(t *rapid.T) {
				p := ports(t)
				h.Leave(p.member)
				p.left = true
				for k, e := range m.known {
					if e.port == p {
						delete(m.known, k)
					}
				}
			},
			"enable": func(t *rapid.T) {
				p := ports(t)
				p.member.Enable()
				p.disabled = false
			},
			"static": func(t *rapid.T) {
				p, k := ports(t), modelKey{vids.Draw(t, "VID"), stations.Draw(t, "station")}
				_, replaced := m.known[k]
				ok := !p.left && (m.aware || k.vid == 0) && (replaced || len(m.known) < m.limit)
				if err := h.SetStatic(p.member, k.vid, k.mac); (err == nil) != ok {
					t.Fatalf("%v, want success %v", err, ok)
				}
				if ok {
					m.known[k] = &modelEntry{port: p, static: true}
				}
			},
			"forget": func(t *rapid.T) {
				k := modelKey{vids.Draw(t, "VID"), stations.Draw(t, "station")}
				if _, ok := m.known[k]; h.Forget(k.vid, k.mac) != ok {
					t.Fatalf("forgotten %v, want %v", !ok, ok)
				}
				delete(m.known, k)
			},
			"": func(t *rapid.T) {
				for i, p := range m.ports {
					var got []string
					for _, call := range p.socket.calls {
						got = append(got, strings.Split(call, ",")...)
					}
					if !slices.Equal(got, p.want) {
						t.Fatalf("port %d was sent %q, want %q", i, got, p.want)
					}
					p.socket.calls, p.want = nil, nil
					if s := p.member.Stats(); s.MACs != m.learned(p) || s.Disabled != p.disabled {
						t.Fatalf("port %d: %+v, want %d stations, disabled %v", i, s, m.learned(p), p.disabled)
					}
				}
				found := map[modelKey]bool{}
				for e := range h.Entries() {
					k := modelKey{e.VID, e.MAC}
					want := m.known[k]
					if want == nil || want.port.member != e.Port || want.static != e.Static || !e.Static && e.Silent != time.Duration(m.now-want.heard)*time.Second {
						t.Fatalf("%+v, want %+v", e, want)
					}
					found[k] = true
				}
				if len(found) != len(m.known) || h.Len() != len(found) {
					t.Fatalf("%d entries of %d, want %d", len(found), h.Len(), len(m.known))
				}
				if h.members.Load().patch != m.patched() {
					t.Fatalf("patched %v, want %v", !m.patched(), m.patched())
				}
			},
		})
	})
}

// A sink is a port that only counts, from any goroutine.
type sink struct {
	deliver func([]pseudowire.Frame) int
	frames  atomic.Int64
}

func (s *sink) Attach(deliver func([]pseudowire.Frame) int) { s.deliver = deliver }
func (s *sink) Send(frames []pseudowire.Frame) int {
	s.frames.Add(int64(len(frames)))
	return len(frames)
}

// TestAllAtOnce is for the race detector: ports that receive, come and go, while time
// goes on and somebody asks.
func TestAllAtOnce(t *testing.T) {
	h := NewHub(HubConfig{VLANAware: true, Ageing: 3 * time.Second, MACs: 3000})
	h.Advance(start)
	var work sync.WaitGroup
	var done atomic.Bool
	var fixed []*Member
	for i := range 4 {
		s := new(sink)
		m, err := h.Join(s, PortConfig{Group: i / 2, BPDU: DropBPDU, Flood: Flood{Unknown: Rate{Frames: 1 << 20}}})
		if err != nil {
			t.Fatal(err)
		}
		fixed = append(fixed, m)
		work.Go(func() {
			batch := make([]pseudowire.Frame, 32)
			for n := i; !done.Load(); n++ {
				for j := range batch {
					batch[j] = frame(packet(station((n*7+j)%2000), station((n*13+j)%4000), vlan(uint16(n%3)), ""))
				}
				s.deliver(batch)
			}
		})
	}
	work.Go(func() {
		for !done.Load() {
			s := new(sink)
			m, err := h.Join(s, PortConfig{})
			if err != nil {
				t.Error(err)
				return
			}
			s.deliver([]pseudowire.Frame{frame(packet(everybody, station(1), nil, ""))})
			h.SetStatic(m, 1, station(77))
			h.Leave(m)
			s.deliver([]pseudowire.Frame{frame(packet(everybody, station(1), nil, ""))})
		}
	})
	for i := range 300 {
		h.Advance(start.Add(time.Duration(i) * 100 * time.Millisecond))
		for e := range h.Entries() {
			if e.Port == nil {
				t.Error("an entry without a port")
			}
		}
		for _, ok := h.Event(); ok; _, ok = h.Event() {
		}
		if i%50 == 0 {
			h.Flush(fixed[i/50%4])
		}
	}
	done.Store(true)
	work.Wait()
	total := 0
	for _, m := range fixed {
		total += m.Stats().MACs
	}
	statics := 0
	for e := range h.Entries() {
		if e.Static {
			statics++
		}
	}
	if n := h.Len(); total != n || statics != 0 {
		t.Errorf("%d stations at the ports, %d static entries, %d in the table", total, statics, n)
	}
	h.Advance(start.Add(time.Hour))
	if h.Len() != 0 {
		t.Errorf("%d left", h.Len())
	}
}

func TestHubAllocatesNothing(t *testing.T) {
	h := NewHub(HubConfig{VLANAware: true})
	var sinks [3]sink
	for i := range sinks {
		if _, err := h.Join(&sinks[i], PortConfig{MACLimit: 100}); err != nil {
			t.Fatal(err)
		}
	}
	var batch []pseudowire.Frame
	for i := range 64 {
		batch = append(batch, frame(packet([]MAC{station(i), everybody, station(64 + i)}[i%3], station(i), vlan(7), "")))
	}
	now := start
	h.Advance(now)
	if got := testing.AllocsPerRun(100, func() {
		now = now.Add(time.Second)
		h.Advance(now)
		sinks[0].deliver(batch)
		sinks[1].deliver(batch)
	}); got != 0 {
		t.Errorf("%v allocations a batch, want 0", got)
	}
}

// TestHubWithMany has 100,000 stations, each found by its first frame.
func TestHubWithMany(t *testing.T) {
	const many = 100_000
	h := NewHub(HubConfig{MACs: many})
	h.Advance(start)
	var sinks [3]sink
	for i := range sinks {
		if _, err := h.Join(&sinks[i], PortConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range many {
		sinks[i%2].deliver([]pseudowire.Frame{frame(packet(everybody, station(i), nil, ""))})
	}
	before := sinks[2].frames.Load()
	for i := 1; i < many; i++ {
		n := sinks[i%2].frames.Load()
		sinks[2].deliver([]pseudowire.Frame{frame(packet(station(i), station(0), nil, ""))})
		if sinks[i%2].frames.Load() != n+1 {
			t.Fatalf("station %d was not found", i)
		}
	}
	if h.Len() != many || sinks[2].frames.Load() != before {
		t.Errorf("%d stations, want %d", h.Len(), many)
	}
	h.Advance(start.Add(DefaultAgeing))
	if h.Len() != 0 {
		t.Errorf("%d left", h.Len())
	}
}

// benchmark has batches of 64 go from one port to others, to and from stations that
// next returns.
func benchmark(b *testing.B, many int, next func(i int) int) {
	h := NewHub(HubConfig{MACs: many + 1})
	h.Advance(start)
	var sinks [3]sink
	for i := range sinks {
		h.Join(&sinks[i], PortConfig{})
	}
	for i := range many {
		sinks[1].deliver([]pseudowire.Frame{frame(packet(everybody, station(i), nil, ""))})
	}
	var batches [64][]pseudowire.Frame
	for i := range batches {
		for j := range 64 {
			batches[i] = append(batches[i], frame(packet(station(next(i*64+j)), station(many), nil, "")))
		}
	}
	b.ReportAllocs()
	frames := 0
	for i := 0; b.Loop(); i++ {
		sinks[0].deliver(batches[i%64])
		frames += 64
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames), "ns/frame")
}

func BenchmarkOneFlow(b *testing.B) { benchmark(b, 100_000, func(int) int { return 5 }) }

func BenchmarkLookups100000(b *testing.B) {
	benchmark(b, 100_000, func(i int) int { return i * 40503 % 100_000 })
}

// BenchmarkNewStations is a flood of sources that nobody has heard before, with a
// table that is always full, or not yet.
func BenchmarkNewStations(b *testing.B) {
	h := NewHub(HubConfig{Ageing: time.Second})
	now := start
	h.Advance(now)
	var sinks [3]sink
	for i := range sinks {
		h.Join(&sinks[i], PortConfig{})
	}
	f := []pseudowire.Frame{frame(packet(everybody, station(0), nil, ""))}
	n := uint32(0)
	for b.Loop() {
		if n++; n%(1<<16) == 0 {
			now = now.Add(time.Second)
			h.Advance(now)
		}
		binary.BigEndian.PutUint32(f[0].Bytes()[7:], n)
		sinks[0].deliver(f)
	}
}

func FuzzHub(f *testing.F) {
	f.Add(packet(everybody, station(1), nil, "x"), packet(station(1), station(2), vlan(5), "y"))
	f.Add([]byte{}, bytes.Repeat([]byte{0x81, 0, 0, 1}, 100))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		h := NewHub(HubConfig{VLANAware: true, MACs: 4})
		var sinks [3]sink
		for i := range sinks {
			if _, err := h.Join(&sinks[i], PortConfig{MACLimit: i, BPDU: BPDUPolicy(i)}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range sinks {
			sinks[i].deliver([]pseudowire.Frame{frame(a), frame(b), frame(a)})
		}
		for e := range h.Entries() {
			if e.MAC.group() || e.VID > 0xfff || e.VID != ethernet.VID(a) && e.VID != ethernet.VID(b) {
				t.Errorf("%+v", e)
			}
		}
	})
}
