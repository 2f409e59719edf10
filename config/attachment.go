package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"spanwire/bridge"
	"spanwire/bridge/link"
	"spanwire/pseudowire/ethernet"
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
