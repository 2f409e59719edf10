package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spanwire/bridge"
	"spanwire/bridge/serial"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
	"spanwire/pseudowire/framerelay"
)

// joining is a file with sessions that join something, one for each text.
func joining(sections string, sessions ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[node]\nhostname = \"lyon\"\n%s\n[tunnel.t]\npeer = \"192.0.2.2\"\n", sections)
	for i, s := range sessions {
		fmt.Fprintf(&b, "[tunnel.t.session.s%d]\nsession_id = %d\npeer_session_id = %[2]d\nreceive_cookie = \"%016x\"\nsend_cookie = \"%016x\"\n%s\n",
			i, i+1, 2*i+1, 2*i+2, s)
	}
	return b.String()
}

// tagged compares what has no other words than its own.
var tagged = cmp.Options{
	addresses,
	cmp.Comparer(func(a, b *ethernet.VLANs) bool {
		return a == b || a != nil && b != nil && a.String() == b.String()
	}),
}

// TestAttachments wants of every kind of attachment what its keys say.
func TestAttachments(t *testing.T) {
	list, err := ethernet.ParseVLANs("10,20-29")
	if err != nil {
		t.Fatal(err)
	}
	none := []ethernet.Tag(nil)
	one := func(vid uint16) []ethernet.Tag { return []ethernet.Tag{{VID: vid}} }
	selectors := ethernet.ClassSelectors()
	const line = "udp:127.0.0.1:10001,127.0.0.1:10002"
	for _, v := range []struct {
		text string
		kind pseudowire.Type
		want Attachment
	}{
		{`tap = "a0"`, pseudowire.Ethernet, Attachment{Kind: TAP, TAP: "a0"}},
		{"tap = \"a0\"\nbridge = \"b\"\nbridge_vlan = 5\nbridge_vlans = \"10,20-29\"", pseudowire.Ethernet,
			Attachment{Kind: TAP, TAP: "a0", Bridge: "b", BridgeVLAN: 5, BridgeVLANs: list}},
		{"tap = \"a0\"\nvlans = \"10,20-29\"", pseudowire.Ethernet, Attachment{Kind: TAP, TAP: "a0", Ethernet: ethernet.Config{VLANs: list}}},
		{`interface = "eth1"`, pseudowire.Ethernet, Attachment{Kind: Interface, Interface: "eth1"}},
		{"interface = \"eth1\"\nvlan = 10", pseudowire.Ethernet, // a port is at the other end
			Attachment{Kind: Interface, Interface: "eth1", Ethernet: ethernet.Config{Segment: one(10), Wire: none}}},
		{"interface = \"eth1\"\nvlan = 10\npseudowire = \"vlan\"", pseudowire.EthernetVLAN, // the tag travels
			Attachment{Kind: Interface, Interface: "eth1", Ethernet: ethernet.Config{Segment: one(10), Wire: one(0)}}},
		{"interface = \"eth1\"\npeer_vlan = 10\npseudowire = \"vlan\"\npriority = 5", pseudowire.EthernetVLAN, // we are the port
			Attachment{Kind: Interface, Interface: "eth1", Ethernet: ethernet.Config{Wire: one(10), Priority: 5}}},
		{"tap = \"a0\"\nvlan = \"42.7\"\npseudowire = \"vlan\"\nouter_tpid = 0x8100", pseudowire.EthernetVLAN,
			Attachment{Kind: TAP, TAP: "a0", Ethernet: ethernet.Config{Segment: []ethernet.Tag{{TPID: ethernet.CTag, VID: 42}, {VID: 7}}, Wire: one(0)}}},
		{"tap = \"a0\"\npriority_dscp = \"class-selectors\"", pseudowire.Ethernet, Attachment{Kind: TAP, TAP: "a0", Ethernet: ethernet.Config{DSCP: &selectors}}},
		{"tap = \"a0\"\npseudowire = \"vlan\"", pseudowire.EthernetVLAN, Attachment{Kind: TAP, TAP: "a0"}}, // whatever tag it has
		{"hub = \"lab\"\ngroup = 1\nspoke = true\nmac_limit = 9\nover_limit = \"pass\"\nbpdu = \"disable\"\nbroadcast_limit = 1\nmulticast_limit = 2\nunknown_limit = 3\nstations = [\"02:00:00:00:00:01\", \"02:00:00:00:00:02@10\"]",
			pseudowire.Ethernet, Attachment{Kind: InHub, Hub: "lab",
				Port: bridge.PortConfig{Group: 1, Spoke: true, MACLimit: 9, OverLimit: bridge.PassUnlearned, BPDU: bridge.DisablePort,
					Flood: bridge.Flood{Broadcast: bridge.Rate{Frames: 1}, Multicast: bridge.Rate{Frames: 2}, Unknown: bridge.Rate{Frames: 3}}},
				Stations: []Station{{MAC: bridge.MAC{2, 0, 0, 0, 0, 1}}, {VID: 10, MAC: bridge.MAC{2, 0, 0, 0, 0, 2}}}}},
		{"serial = \"" + line + "\"\npseudowire = \"hdlc\"", pseudowire.HDLC, Attachment{Kind: Serial, Serial: line}},
		{"serial = \"wan1\"\npseudowire = \"ppp\"", pseudowire.PPP, Attachment{Kind: Serial, Serial: "wan1"}},
		{"serial = \"wan1\"\ndlci = 100\npseudowire = \"frame-relay\"", pseudowire.FrameRelay, Attachment{Kind: Serial, Serial: "wan1", DLCI: 100}},
	} {
		f := parsed(t, joining("[hub.lab]\nvlan_aware = true\n[serial.wan1]\nline = \"unix:/a,/b\"", v.text))
		s := f.Tunnels[0].Sessions[0]
		if d := cmp.Diff(v.want, s.Attachment, tagged); d != "" {
			t.Errorf("%s (-want +got):\n%s", v.text, d)
		}
		if s.Params.Pseudowire != v.kind {
			t.Errorf("%s: pseudowire %v, want %v", v.text, s.Params.Pseudowire, v.kind)
		}
	}
}

// TestHubsAndSerialPorts wants of sections what their keys say.
func TestHubsAndSerialPorts(t *testing.T) {
	f := parsed(t, joining(`
[hub.lab]
vlan_aware = true
ageing     = "1m"
mac_limit  = 5
[hub.lab.port.lan]
tap   = "lan0"
vlan  = 7
spoke = true
[hub.lab.port.wan]
interface = "eth1"
peer_vlan = 8
[serial.wan1]
line          = "unix:/run/a,/run/b"
header_octets = 4
lmi           = "ansi"
lmi_role      = "nni"
t391          = "5s"
t392          = "6s"
n391          = 2
n392          = 1
n393          = 3
asynchronous  = true
inactive_limit = "5m"
capture       = "x.pcap"
[serial.wan2]
line = "udp:[::1]:1,[::1]:2"
lmi  = "none"
`, "serial = \"wan1\"\ndlci = 70000\npseudowire = \"frame-relay\"", "serial = \"wan1\"\ndlci = 16\npseudowire = \"frame-relay\"",
		"serial = \"unix:/c,/d\"\npseudowire = \"hdlc\"", "hub = \"lab\"\nvlan = 10\npeer_vlan = 20"))
	if d := cmp.Diff([]Hub{{Name: "lab", HubConfig: bridge.HubConfig{VLANAware: true, Ageing: time.Minute, MACs: 5}, Ports: []HubPort{
		{"lan", Attachment{Kind: TAP, TAP: "lan0", Port: bridge.PortConfig{Spoke: true}, Ethernet: ethernet.Config{Segment: []ethernet.Tag{{VID: 7}}}}},
		{"wan", Attachment{Kind: Interface, Interface: "eth1", Ethernet: ethernet.Config{Wire: []ethernet.Tag{{VID: 8}}}}},
	}}}, f.Hubs, tagged); d != "" {
		t.Errorf("hubs (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]SerialPort{
		{Name: "wan1", Line: serial.Config{Network: "unix", Local: "/run/a", Peer: "/run/b"}, Carries: pseudowire.FrameRelay, Capture: "x.pcap", InactiveLimit: 5 * time.Minute,
			FrameRelay: framerelay.Config{Role: framerelay.NNI, Form: framerelay.AnnexD, HeaderLen: 4, T391: 5 * time.Second, T392: 6 * time.Second,
				N391: 2, N392: 1, N393: 3, Asynchronous: true}},
		{Name: "wan2", Line: serial.Config{Network: "udp", Local: "[::1]:1", Peer: "[::1]:2"}, FrameRelay: framerelay.Config{Form: framerelay.NoLMI}},
		{Name: "unix:/c,/d", Line: serial.Config{Network: "unix", Local: "/c", Peer: "/d"}, Carries: pseudowire.HDLC},
	}, f.Serials); d != "" {
		t.Errorf("serial ports (-want +got):\n%s", d)
	}
	if got := f.Tunnels[0].Sessions[3].NSP(); got.Segment[0].VID != 20 || got.Wire[0].VID != 10 {
		t.Errorf("between session and hub: %+v, want the pseudowire's tags on the outside", got)
	}
}

// TestBadAttachments wants to be told what is wrong, and where.
func TestBadAttachments(t *testing.T) {
	const (
		sections = "[hub.lab]\n[serial.wan1]\nline = \"unix:/a,/b\"\n[serial.wan2]\nline = \"unix:/c,/d\"\nheader_octets = 4"
		s0, s1   = "tunnel t: session s0: ", "tunnel t: session s1: "
		relay    = "pseudowire = \"frame-relay\"\nserial = \"wan1\"\n"
	)
	for _, v := range []struct {
		sections string
		sessions []string
		want     string
	}{
		{"", []string{"tap = \"a0\"\ninterface = \"eth1\""}, s0 + `interface: found with tap, want one of the two`},
		{"", []string{"interface = \"eth1\"\nbridge = \"br0\""}, s0 + `bridge: found with interface, want tap for it`},
		{"", []string{"tap = \"a0\"\ngroup = 1"}, s0 + `group: found with tap, want hub for it`},
		{"", []string{"tap = \"a0\"\ndlci = 100"}, s0 + `dlci: found with tap, want serial for it`},
		{sections, []string{"pseudowire = \"hdlc\"\nserial = \"wan1\"\nvlan = 1"}, s0 + `vlan: found with serial, want tap or interface or hub for it`},
		{sections, []string{"pseudowire = \"hdlc\"\nserial = \"wan1\"", relay + "dlci = 100"}, s1 + `serial: found "wan1", of which tunnel t: session s0 (line 17) has the whole line, want another line`},
		{sections, []string{relay + "dlci = 100", "pseudowire = \"hdlc\"\nserial = \"wan1\""}, s1 + `serial: found "wan1", of which tunnel t: session s0 (line 18) has PVCs, want another line`},
		{"", []string{"tap = \"a0\"\nbridge_vlan = 5"}, s0 + `bridge_vlan: found without bridge, want bridge with it`},
		{"", []string{"tap = \"a0\"\nbridge = \"b\"\nbridge_vlan = 5\nbridge_vlans = \"4-6\""}, s0 + `bridge_vlans: found "4-6", want it without 5, which is bridge_vlan`},
		{"", []string{"tap = \"a0\"\nbridge = \"b\"\nbridge_vlans = \"0,4-6\""}, s0 + `bridge_vlans: found "0,4-6", want VLANs from 1 to 4094: frames of none are in bridge_vlan`},
		{"", []string{"tap = \"a0\"\nvlan = 4095"}, s0 + `vlan: found 4095, want a VLAN from 1 to 4094, or a customer's in a provider's: "42.7"`},
		{"", []string{"tap = \"a0\"\nvlan = \"1.2.3\""}, s0 + `vlan: found "1.2.3", want a VLAN from 1 to 4094, or a customer's in a provider's: "42.7"`},
		{"", []string{"tap = \"a0\"\nvlans = \"10-5\""}, s0 + `vlans: found "10-5", want VLANs from 1 to 4094, and 0 for frames of none: "10,20-29"`},
		{"", []string{"tap = \"a0\"\nvlan = 10\nvlans = \"10\""}, s0 + `vlans: found with vlan, want one of the two`},
		{sections, []string{"hub = \"lab\"\npeer_vlan = 10\nvlans = \"10\""}, s0 + `vlans: found with peer_vlan, want one of the two`},
		{"", []string{"tap = \"a0\"\nvlan = \"1.2\"\nouter_tpid = 5"}, s0 + `outer_tpid: found 5, want 0x88a8 or 0x8100`},
		{"", []string{"interface = \"eth1\"", "interface = \"eth1\"\nvlan = 5"}, s1 + `interface: found "eth1", which is that of tunnel t: session s0 (line 11), want another`},
		{"", []string{"interface = \"eth1\"\nvlan = \"5.6\"", "interface = \"eth1\"\nvlan = 5"}, s1 + `interface: found "eth1", which is that of tunnel t: session s0 (line 11), want another`},
		{"", []string{"tap = \"eth1\"", "interface = \"eth1\""}, s1 + `interface: found "eth1", which is that of tunnel t: session s0 (line 11), want another`},
		{"", []string{"interface = \"br0\"", "tap = \"a0\"\nbridge = \"br0\""}, s1 + `bridge: found "br0", which is the interface of tunnel t: session s0 (line 11), want another`},
		{"[hub.lab]\n[hub.lab.port.lan]\ntap = \"a0\"", []string{"tap = \"a0\""}, s0 + `tap: found "a0", which is that of hub lab: port lan (line 5), want another`},
		{"[hub.lab]\n[hub.lab.port.lan]\nspoke = true", []string{"tap = \"a0\""}, `hub lab: port lan: tap: missing, want the name of a TAP, or an interface`},
		{"[hub.lab]\n[hub.lab.port.lan]\ntap = \"a1\"\ndlci = 5", []string{"tap = \"a0\""}, `hub lab: port lan: dlci: unknown key`},
		{"[hub.lab]\nageing = \"0s\"", []string{"tap = \"a0\""}, `hub lab: ageing: found "0s", want a duration from "1s" to "288h0m0s"`},
		{sections, []string{"hub = \"lap\""}, s0 + `hub: found "lap", want [hub.lap] with it`},
		{sections, []string{"hub = \"lab\"\nstations = [\"02:00:00:00:00:01@5\"]"}, s0 + `stations: found 02:00:00:00:00:01 in VLAN 5, want vlan_aware = true in [hub.lab] with it`},
		{sections, []string{"hub = \"lab\"\nstations = [\"02:00:00:00:00:01\"]", "hub = \"lab\"\nstations = [\"02:00:00:00:00:01\"]"},
			s1 + `stations: found "02:00:00:00:00:01", which is that of tunnel t: session s0 (line 17), want another`},
		{sections, []string{"hub = \"lab\"\nstations = [\"01:00:00:00:00:01\"]"},
			s0 + `stations: found array, at place 1 "01:00:00:00:00:01", want addresses of stations, with a VLAN where the hub knows of VLANs: ["02:00:00:00:00:01", "02:00:00:00:00:02@10"]`},
		{sections, []string{"hub = \"lab\"\npseudowire = \"hdlc\""}, s0 + `hub: found with pseudowire "hdlc", want serial for it`},
		{sections, []string{"serial = \"wan1\""}, s0 + `serial: found with pseudowire "ethernet", want "frame-relay", "hdlc" or "ppp"`},
		{sections, []string{"serial = \"wan3\"\npseudowire = \"hdlc\""}, s0 + `serial: found "wan3", want [serial.wan3] with it, or a line: "udp:LOCAL,PEER" with addresses and ports, or "unix:/LOCAL,/PEER" with paths`},
		{sections, []string{"serial = \"udp:1\"\npseudowire = \"hdlc\""}, s0 + `serial: found "udp:1", want "udp:LOCAL,PEER" with addresses and ports, or "unix:/LOCAL,/PEER" with paths`},
		{sections, []string{relay}, s0 + `dlci: missing, want the DLCI of the session's PVC`},
		{sections, []string{relay + "dlci = 15"}, s0 + `dlci: ` + framerelay.CheckDLCI(15, 2).Error()},
		{sections, []string{relay + "dlci = 1008"}, s0 + `dlci: ` + framerelay.CheckDLCI(1008, 2).Error()},
		{sections, []string{relay + "dlci = 100", relay + "dlci = 100"}, s1 + `dlci: found 100, which is that of tunnel t: session s0 (line 18), want another`},
		{sections, []string{"serial = \"wan1\"\npseudowire = \"hdlc\"\ndlci = 100"}, s0 + `dlci: found 100, want pseudowire = "frame-relay" with it`},
		{"[serial.a]\nline = \"unix:/a,/b\"\n[serial.b]\nline = \"unix:/a,/c\"", []string{"tap = \"a0\""}, `serial b: line: found "unix:/a,/c", which is that of serial a (line 4), want another`},
		{"", []string{"tap = \"a0\"\npriority_dscp = \"5=64\""}, s0 + `priority_dscp: found "5=64", want "none", "class-selectors", or what is to be otherwise than these: "5=46,4=34"`},
		{"[serial.a]", []string{"tap = \"a0\""}, `serial a: line: missing, want "udp:LOCAL,PEER" with addresses and ports, or "unix:/LOCAL,/PEER" with paths`},
		{"[serial.a]\nline = \"unix:/a,/b\"\nlmi = \"frf\"", []string{"tap = \"a0\""}, `serial a: lmi: found "frf", want "auto" or "q933a" or "ansi" or "cisco" or "none"`},
	} {
		_, err := Parse("f.toml", []byte(joining(v.sections, v.sessions...)))
		if err == nil || !strings.HasSuffix(err.Error(), ": "+v.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s %v:\n got %v\nwant %s", v.sections, v.sessions, err, v.want)
		}
	}
}

// TestTemplatesJoin wants of a template what can be there for each peer.
func TestTemplatesJoin(t *testing.T) {
	const file = "[hub.lab]\n[tunnel.t]\nmode = \"accept\"\npeer = \"192.0.2.0/24\"\n[tunnel.t.session.s]\n"
	for _, v := range []struct{ text, want string }{
		{"hub = \"lab\"", ""},
		{"interface = \"eth1\"", `f.toml:6: tunnel t: session s: interface: found in a template, want tap or hub: one peer alone may have it`},
		{"serial = \"unix:/a,/b\"\npseudowire = \"hdlc\"", `f.toml:6: tunnel t: session s: serial: found in a template, want tap or hub: one peer alone may have it`},
		{"hub = \"lab\"\nstations = [\"02:00:00:00:00:01\"]", `f.toml:7: tunnel t: session s: stations: found in a template, want it in a session of one peer alone`},
	} {
		_, err := Parse("f.toml", []byte(file+v.text))
		if got := fmt.Sprint(err); got != v.want && (err != nil || v.want != "") {
			t.Errorf("%s:\n got %s\nwant %s", v.text, got, v.want)
		}
	}
}
