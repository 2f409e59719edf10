package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"spanwire/bridge"
	"spanwire/pseudowire/ethernet"
)

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

// A Station is one that need not be learned.
type Station struct {
	VID uint16 // 0 where the Hub is not aware of VLANs
	MAC bridge.MAC
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

func hubName(s string) string {
	if !plain(s) {
		return "want the name of a section [hub.NAME]"
	}
	return ""
}
