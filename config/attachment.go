package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"spanwire/bridge"
	"spanwire/bridge/link"
	"spanwire/bridge/serial"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/pseudowire/framerelay"
)

// A Kind is what a session joins.
type Kind uint8

// The kinds.
const (
	Nothing   Kind = iota
	TAP            // a device of ours
	Interface      // an existing device, or a VLAN of it
	Serial         // a serial line, or a PVC of it
	InHub          // a Hub, of which the session is a port
)

var kindKeys = [...]string{TAP: "tap", Interface: "interface", Serial: "serial", InHub: "hub"}

// An Attachment is what a session joins on the local side, or what else is a port
// of a Hub.
type Attachment struct {
	Kind Kind

	TAP         string // of a TAP, and all down to Addresses
	TAPPattern  bool   // TAP is for ExpandTAP: the session is a template
	Bridge      string // empty: none
	BridgeVLAN  uint16 // that of untagged frames; 0: the bridge decides
	BridgeVLANs *ethernet.VLANs
	MTU         int              // 0: as the path allows
	MAC         net.HardwareAddr // nil: derived from the names
	Addresses   []netip.Prefix

	Interface string

	Serial string // the name of a SerialPort
	DLCI   uint32 // 0: the whole line

	Hub      string // of a session
	Port     bridge.PortConfig
	Stations []Station // that are always behind it

	// Ethernet says which frames of the segment, or of the Hub, are the session's,
	// and which tags they have on the pseudowire. That of a Hub's own port says
	// which of its frames are the Hub's, and which tags they have there.
	Ethernet ethernet.Config
}

// A Station is one that need not be learned.
type Station struct {
	VID uint16 // 0 where the Hub is not aware of VLANs
	MAC bridge.MAC
}

// A SerialPort is a serial line, and how Frame Relay is spoken on it.
type SerialPort struct {
	Name       string // of its section, or the line where it has none
	Line       serial.Config
	FrameRelay framerelay.Config
	NoLMI      bool            // all PVCs are there, and nobody says so
	Carries    pseudowire.Type // what its sessions are; 0: it has none
	Capture    string          // the file that all frames go to; empty: none
}

// A Hub is a learning bridge of sessions and what else is in it.
type Hub struct {
	Name string
	bridge.HubConfig
	Ports []HubPort
}

// A HubPort is what is in a Hub beside sessions.
type HubPort struct {
	Name string
	Attachment
}

// tapFields, ethernetFields and portFields are the keys of an attachment; each kind
// has some of them, see belong.
func tapFields(a *Attachment) []field {
	return []field{
		{"bridge", textType, text(&a.Bridge, interfaceName), ""},
		{"bridge_vlan", integerType, number(&a.BridgeVLAN, 1, ethernet.MaxVID), ""},
		{"bridge_vlans", textType, vlans(&a.BridgeVLANs), ""},
		{"mtu", textOrNumber, mtu(&a.MTU), ""},
		{"mac", textType, mac(&a.MAC), ""},
		{"addresses", arrayType, prefixes(&a.Addresses), ""},
	}
}

func ethernetFields(a *Attachment, d *tags) []field {
	e := &a.Ethernet
	return []field{
		{"vlan", textOrNumber, vlan(&e.Segment), ""},
		{"vlans", textType, vlans(&e.VLANs), ""},
		{"peer_vlan", textOrNumber, vlan(&e.Wire), ""},
		{"outer_tpid", integerType, outerTPID(&d.outer), ""},
		{"priority", integerType, number(&e.Priority, 0, ethernet.Priorities-1), ""},
		{"priority_dscp", textType, priorityDSCP(&e.DSCP), ""},
	}
}

func portFields(a *Attachment) []field {
	p := &a.Port
	limits := []bridge.LimitPolicy{bridge.DropUnlearned, bridge.PassUnlearned}
	policies := []bridge.BPDUPolicy{bridge.PassBPDU, bridge.DropBPDU, bridge.DisablePort}
	return []field{
		{"group", integerType, number(&p.Group, 0, most), ""},
		{"spoke", booleanType, flag(&p.Spoke), ""},
		{"mac_limit", integerType, number(&p.MACLimit, 0, most), ""},
		{"over_limit", textType, choice(&p.OverLimit, limitName, limits), ""},
		{"bpdu", textType, choice(&p.BPDU, bpduName, policies), ""},
		{"broadcast_limit", integerType, number(&p.Flood.Broadcast.Frames, 0, mostFrames), ""},
		{"multicast_limit", integerType, number(&p.Flood.Multicast.Frames, 0, mostFrames), ""},
		{"unknown_limit", integerType, number(&p.Flood.Unknown.Frames, 0, mostFrames), ""},
		{"stations", arrayType, stations(&a.Stations), ""},
	}
}

// mostFrames is the most frames a second that a limit may be.
const mostFrames = 1e9

func limitName(p bridge.LimitPolicy) string { return [...]string{"drop", "pass"}[p] }

func bpduName(p bridge.BPDUPolicy) string { return [...]string{"pass", "drop", "disable"}[p] }

// tags are what keys say of tags that must be put together.
type tags struct {
	outer   uint16 // the TPID of the outer one of two; 0: not said
	travels bool   // the pseudowire is of one VLAN, whose tag is in its frames
}

// complete puts them together.
func (d *tags) complete(e *ethernet.Config) {
	if d.travels && len(e.Segment) > 0 && len(e.Wire) == 0 {
		e.Wire = []ethernet.Tag{{}}
	}
	for _, side := range [][]ethernet.Tag{e.Segment, e.Wire} {
		if d.outer != 0 && len(side) == ethernet.MaxTags {
			side[0].TPID = d.outer
		}
	}
}

// belong says which kinds of attachment have a key.
var belong = []struct {
	kinds []Kind
	keys  []string
}{
	{[]Kind{TAP}, []string{"carrier", "bridge", "mtu", "mac", "addresses"}},
	{[]Kind{TAP, Interface, InHub}, []string{"vlan", "vlans", "peer_vlan", "outer_tpid", "priority", "priority_dscp"}},
	{[]Kind{Serial}, []string{"dlci"}},
	{[]Kind{InHub}, []string{"group", "spoke", "mac_limit", "over_limit", "bpdu", "broadcast_limit", "multicast_limit", "unknown_limit", "stations"}},
}

// attachment finds out what an attachment is, and has its keys agree with each
// other. It returns false if it is none, or not known.
func (p *parser) attachment(in named, a *Attachment, d *tags, wrong map[string]bool, kinds ...Kind) bool {
	at := func(key string) toml.Key { return join(in.path, key) }
	var found string
	for _, kind := range kinds {
		key := kindKeys[kind]
		switch {
		case in.table[key] == nil:
		case found != "":
			p.problem(at(key), "found with %s, want one of the two", found)
			return false
		default:
			a.Kind, found = kind, key
		}
	}
	if found != "" && wrong[found] {
		return false
	}
	inHub := !slices.Contains(kinds, InHub) // a port of its own
	for _, b := range belong {
		var want []string
		for _, kind := range b.kinds {
			if inHub && kind == InHub || slices.Contains(kinds, kind) {
				want = append(want, kindKeys[kind])
			}
		}
		if len(want) == 0 || slices.Contains(b.kinds, a.Kind) || inHub && slices.Contains(b.kinds, InHub) {
			continue
		}
		names := strings.Join(want, " or ")
		for _, key := range b.keys {
			switch {
			case in.table[key] == nil || wrong[key]:
				continue
			case found != "":
				p.problem(at(key), "found with %s, want %s for it", found, names)
			default:
				p.problem(at(key), "found without %s, want %s with it", names, names)
			}
			wrong[key] = true
		}
	}
	d.complete(&a.Ethernet)
	switch a.Kind {
	case TAP:
		if !a.TAPPattern { // which names none yet
			p.claim(at(found), &p.devices, a.TAP, "", a.TAP)
		}
		p.bridgeVLANs(in, a, wrong)
	case Interface:
		p.claim(at(found), &p.devices, a.Interface, VLAN(a.Ethernet.Segment), a.Interface)
	case Nothing:
		return false
	}
	e := a.NSP()
	if key := "vlan"; e.VLANs != nil && len(e.Segment) > 0 {
		if a.Kind == InHub && in.table[key] == nil {
			key = "peer_vlan"
		}
		p.problem(at("vlans"), "found with %s, want one of the two", key)
	} else if _, err := ethernet.New(e); err != nil {
		p.problem(in.path, "%v", err)
	}
	return true
}

// NSP returns what stands between the two that are joined: the segment and the
// pseudowire, or, in a Hub, the pseudowire and the Hub.
func (a *Attachment) NSP() ethernet.Config {
	e := a.Ethernet
	if a.Kind == InHub {
		e.Segment, e.Wire = e.Wire, e.Segment
		e.DSCP, e.PeerDSCP = e.PeerDSCP, e.DSCP
	}
	return e
}

// bridgeVLANs has the VLANs that a TAP has in its bridge agree with each other.
func (p *parser) bridgeVLANs(in named, a *Attachment, wrong map[string]bool) {
	for _, key := range []string{"bridge_vlan", "bridge_vlans"} {
		if in.table[key] != nil && a.Bridge == "" && !wrong["bridge"] {
			p.problem(join(in.path, key), "found without bridge, want bridge with it")
		}
	}
	switch v := a.BridgeVLANs; {
	case v == nil:
	case v.Has(0):
		p.problem(join(in.path, "bridge_vlans"), "found %q, want VLANs from 1 to %d: frames of none are in bridge_vlan", v, ethernet.MaxVID)
	case v.Has(a.BridgeVLAN):
		p.problem(join(in.path, "bridge_vlans"), "found %q, want it without %d, which is bridge_vlan", v, a.BridgeVLAN)
	}
}

// VLANs returns those that a TAP has in its bridge; zero: as the bridge has it.
func (a *Attachment) VLANs() link.VLANs {
	v := link.VLANs{PVID: a.BridgeVLAN}
	for vid := uint16(1); a.BridgeVLANs != nil && vid <= ethernet.MaxVID; vid++ {
		if a.BridgeVLANs.Has(vid) {
			v.Tagged = append(v.Tagged, vid)
		}
	}
	return v
}

// Filters reports whether a bridge of the file must filter VLANs.
func (f *File) Filters(bridge string) bool {
	filters := func(a *Attachment) bool { return a.Bridge == bridge && (a.BridgeVLAN != 0 || a.BridgeVLANs != nil) }
	return slices.ContainsFunc(f.Tunnels, func(t Tunnel) bool {
		return slices.ContainsFunc(t.Sessions, func(s Session) bool { return filters(&s.Attachment) })
	}) || slices.ContainsFunc(f.Hubs, func(h Hub) bool {
		return slices.ContainsFunc(h.Ports, func(p HubPort) bool { return filters(&p.Attachment) })
	})
}

// VLAN shows tags as the file has them.
func VLAN(tags []ethernet.Tag) string {
	var all []string
	for _, t := range tags {
		if t.VID != 0 { // any
			all = append(all, strconv.Itoa(int(t.VID)))
		}
	}
	return strings.Join(all, ".")
}

// A claim is a device, or some of its frames, that somebody has.
type claim struct {
	part string // the VLAN; empty: the whole
	path toml.Key
}

// claim has nobody else have a device, or its VLAN. What the file has is shown.
func (p *parser) claim(path toml.Key, claims *map[string][]claim, name, part string, shown any) {
	for _, other := range (*claims)[name] {
		if !overlap(part, other.part) {
			continue
		}
		owner, key := other.path[:len(other.path)-1], other.path[len(other.path)-1]
		p.problem(path, "found %s, which is that of %s, want another", found(shown), p.other(owner, key))
		return
	}
	*claims = mapped(*claims)
	(*claims)[name] = append((*claims)[name], claim{part, path})
}

// overlap reports whether two parts of a device have frames in common: the whole,
// or a provider's VLAN and a customer's in it.
func overlap(a, b string) bool {
	return a == "" || b == "" || strings.HasPrefix(a+".", b+".") || strings.HasPrefix(b+".", a+".")
}

// mapped returns the map, or a new one.
func mapped[M ~map[K]V, K comparable, V any](m M) M {
	if m == nil {
		return make(M)
	}
	return m
}

// serials reads the serial ports that have sections.
func (p *parser) serials() {
	if p.root["serial"] == nil {
		return
	}
	for _, in := range p.named(toml.Key{"serial"}, p.root) {
		s := SerialPort{Name: in.name}
		wrong := p.section(in.path, in.table, every, serialFields(&s))
		if !wrong["line"] {
			p.claim(join(in.path, "line"), &p.lineEnds, s.Line.Network+":"+s.Line.Local, "", s.Line.String())
		}
		if _, err := framerelay.NewLMI(s.FrameRelay); err != nil {
			p.problem(in.path, "%v", err)
		}
		p.read.Serials = append(p.read.Serials, s)
	}
}

// serialFields are the keys of [serial.NAME].
func serialFields(s *SerialPort) []keys {
	q := &s.FrameRelay
	forms := []framerelay.Form{framerelay.Auto, framerelay.AnnexA, framerelay.AnnexD, framerelay.Cisco, framerelay.NoLMI}
	roles := []framerelay.Role{framerelay.DCE, framerelay.DTE, framerelay.NNI}
	return []keys{{every, []field{
		{"line", textType, line(&s.Line), wantLine},
		{"header_octets", integerType, oneOf(&q.HeaderLen, framerelay.ShortHeader, framerelay.LongHeader), ""},
		{"lmi", textType, choice(&q.Form, framerelay.Form.String, forms), ""},
		{"lmi_role", textType, choice(&q.Role, framerelay.Role.String, roles), ""},
		{"t391", textType, duration(&q.T391, time.Second, 30*time.Second), ""},
		{"t392", textType, duration(&q.T392, time.Second, 60*time.Second), ""},
		{"n391", integerType, number(&q.N391, 1, 255), ""},
		{"n392", integerType, number(&q.N392, 1, 10), ""},
		{"n393", integerType, number(&q.N393, 1, 10), ""},
		{"asynchronous", booleanType, flag(&q.Asynchronous), ""},
		{"capture", textType, text(&s.Capture, fileName), ""},
	}}}
}

// serialPort has a session of a serial port be of a kind that the port is of.
func (p *parser) serialPort(in named, s *Session, wrong map[string]bool) {
	at := func(key string) toml.Key { return join(in.path, key) }
	port := p.port(s.Serial, at("serial"))
	if port == nil {
		return
	}
	relayed := s.Params.Pseudowire == pseudowire.FrameRelay
	if s.Circuit != nil && relayed {
		s.Circuit.FrameRelayHeaderLen = port.headerLen()
	}
	switch {
	case wrong["pseudowire"] || wrong["dlci"]:
	case relayed && s.DLCI == 0:
		p.problem(at("dlci"), "missing, want the DLCI of the session's PVC")
	case relayed && port.Carries != 0 && port.Carries != pseudowire.FrameRelay:
		p.split(at("serial"), s.Serial, "the whole line")
	case relayed:
		if err := framerelay.CheckDLCI(s.DLCI, port.headerLen()); err != nil {
			p.problem(at("dlci"), "%v", err)
			return
		}
		port.Carries = pseudowire.FrameRelay
		p.claim(at("dlci"), &p.circuits, s.Serial, fmt.Sprint(s.DLCI), int64(s.DLCI))
	case s.DLCI != 0:
		p.problem(at("dlci"), `found %d, want pseudowire = "frame-relay" with it`, s.DLCI)
	case port.Carries == pseudowire.FrameRelay:
		p.split(at("serial"), s.Serial, "PVCs")
	default:
		port.Carries = s.Params.Pseudowire
		p.claim(at("serial"), &p.circuits, s.Serial, "", s.Serial)
	}
}

// split notes that one session joins a whole line and others its PVCs.
func (p *parser) split(at toml.Key, name, what string) {
	first := p.circuits[name][0].path
	owner, key := first[:len(first)-1], first[len(first)-1]
	p.problem(at, "found %q, of which %s has %s, want another line", name, p.other(owner, key), what)
}

func (s *SerialPort) headerLen() int {
	if s.FrameRelay.HeaderLen == 0 {
		return framerelay.ShortHeader
	}
	return s.FrameRelay.HeaderLen
}

// port returns the serial port of a name; a line stands for a port of its own.
func (p *parser) port(name string, at toml.Key) *SerialPort {
	f := p.read
	for i := range f.Serials {
		if f.Serials[i].Name == name {
			return &f.Serials[i]
		}
	}
	if !strings.Contains(name, ":") {
		p.problem(at, "found %q, want [serial.%s] with it, or a line: %s", name, name, wantLine)
		return nil
	}
	var cfg serial.Config
	if complaint := line(&cfg)(name); complaint != "" {
		p.problem(at, "found %q, %s", name, complaint)
		return nil
	}
	p.claim(at, &p.lineEnds, cfg.Network+":"+cfg.Local, "", name)
	f.Serials = append(f.Serials, SerialPort{Name: name, Line: cfg})
	return &f.Serials[len(f.Serials)-1]
}

// hubs reads the Hubs.
func (p *parser) hubs() {
	if p.root["hub"] == nil {
		return
	}
	for _, in := range p.named(toml.Key{"hub"}, p.root) {
		h := Hub{Name: in.name}
		p.section(in.path, in.table, every, hubFields(&h), "port")
		if in.table["port"] != nil {
			for _, port := range p.named(join(in.path, "port"), in.table) {
				h.Ports = append(h.Ports, p.hubPort(port, &h))
			}
		}
		p.read.Hubs = append(p.read.Hubs, h)
	}
}

// hubFields are the keys of [hub.NAME].
func hubFields(h *Hub) []keys {
	return []keys{{every, []field{
		{"vlan_aware", booleanType, flag(&h.VLANAware), ""},
		{"ageing", textType, duration(&h.Ageing, time.Second, 12*24*time.Hour), ""},
		{"mac_limit", integerType, number(&h.MACs, 1, most), ""},
	}}}
}

func (p *parser) hubPort(in named, h *Hub) HubPort {
	port := HubPort{Name: in.name}
	a := &port.Attachment
	var d tags
	wrong := p.section(in.path, in.table, every, []keys{{every, slices.Concat([]field{
		{"tap", textType, text(&a.TAP, interfaceName), ""},
		{"interface", textType, text(&a.Interface, interfaceName), ""},
	}, tapFields(a), ethernetFields(a, &d), portFields(a))}})
	if !p.attachment(in, a, &d, wrong, TAP, Interface) && a.Kind == Nothing {
		p.problem(join(in.path, "tap"), "missing, want the name of a TAP, or an interface")
	}
	p.stations(in, a, h)
	return port
}

// member has a session be a port of a Hub that there is.
func (p *parser) member(in named, s *Session) {
	f := p.read
	i := slices.IndexFunc(f.Hubs, func(h Hub) bool { return h.Name == s.Hub })
	if i < 0 {
		p.problem(join(in.path, "hub"), "found %q, want [hub.%s] with it", s.Hub, s.Hub)
		return
	}
	p.stations(in, &s.Attachment, &f.Hubs[i])
}

// stations has those of a port be in a VLAN where the Hub knows of VLANs, and there
// alone, and behind no other port.
func (p *parser) stations(in named, a *Attachment, h *Hub) {
	for _, s := range a.Stations {
		at := join(in.path, "stations")
		if !h.VLANAware && s.VID != 0 {
			p.problem(at, "found %v in VLAN %d, want vlan_aware = true in [hub.%s] with it", s.MAC, s.VID, h.Name)
			return
		}
		p.claim(at, &p.places, h.Name+" "+s.MAC.String(), strconv.Itoa(int(s.VID)), s.MAC.String())
	}
}

func vlan(to *[]ethernet.Tag) setter {
	return func(v any) string {
		tags, err := ethernet.ParseVLAN(fmt.Sprint(v))
		if err != nil {
			return fmt.Sprintf(`want a VLAN from 1 to %d, or a customer's in a provider's: "42.7"`, ethernet.MaxVID)
		}
		*to = tags
		return ""
	}
}

// priorityDSCP takes how priorities and DSCPs belong together.
func priorityDSCP(to **ethernet.DSCPMap) setter {
	return func(v any) string {
		text := v.(string)
		if text == "none" {
			*to = nil
			return ""
		}
		m := ethernet.ClassSelectors()
		if text != "class-selectors" {
			var err error
			if m, err = ethernet.ParseDSCPMap(text); err != nil {
				return `want "none", "class-selectors", or what is to be otherwise than these: "5=46,4=34"`
			}
		}
		*to = &m
		return ""
	}
}

func outerTPID(to *uint16) setter {
	return func(v any) string {
		n := v.(int64)
		if n != ethernet.STag && n != ethernet.CTag {
			return "want 0x88a8 or 0x8100"
		}
		*to = uint16(n)
		return ""
	}
}

func vlans(to **ethernet.VLANs) setter {
	return func(v any) string {
		set, err := ethernet.ParseVLANs(v.(string))
		if err != nil {
			return fmt.Sprintf(`want VLANs from 1 to %d, and 0 for frames of none: "10,20-29"`, ethernet.MaxVID)
		}
		*to = set
		return ""
	}
}

const wantLine = `"udp:LOCAL,PEER" with addresses and ports, or "unix:/LOCAL,/PEER" with paths`

func line(to *serial.Config) setter {
	return func(v any) string {
		cfg, err := serial.ParseConfig(v.(string))
		if err != nil {
			return "want " + wantLine
		}
		*to = cfg
		return ""
	}
}

// stations takes addresses, each with a VLAN or without.
func stations(to *[]Station) setter {
	return func(v any) string {
		const want = `want addresses of stations, with a VLAN where the hub knows of VLANs: ["02:00:00:00:00:01", "02:00:00:00:00:02@10"]`
		list, _ := v.([]any)
		if list == nil {
			return want
		}
		var all []Station
		for i, v := range list {
			text, _ := v.(string)
			address, digits, tagged := strings.Cut(text, "@")
			var hw net.HardwareAddr
			vid := uint64(0)
			bad := mac(&hw)(address) != ""
			if tagged {
				var err error
				vid, err = strconv.ParseUint(digits, 10, 16)
				bad = bad || err != nil || vid < 1 || vid > ethernet.MaxVID
			}
			if bad {
				return fmt.Sprintf("at place %d %s, %s", i+1, found(v), want)
			}
			all = append(all, Station{VID: uint16(vid), MAC: bridge.MAC(hw)})
		}
		*to = all
		return ""
	}
}

// serialName takes the name of a section or a line, see port.
func serialName(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("/:", r) && !plain(string(r)) }) {
		return "want the name of a section [serial.NAME], or a line: " + wantLine
	}
	return ""
}

func hubName(s string) string {
	if !plain(s) {
		return "want the name of a section [hub.NAME]"
	}
	return ""
}

func fileName(s string) string {
	if s == "" || strings.ContainsRune(s, 0) {
		return "want the name of a file"
	}
	return ""
}
