package ethernet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"spanwire/pseudowire"
)

// list reads a set of VLANs.
func list(t testing.TB, s string) *VLANs {
	t.Helper()
	v, err := ParseVLANs(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The circuits of the tests.
func circuits(t testing.TB) map[string]Config {
	return map[string]Config{
		"port":            {},
		"allowed":         {VLANs: list(t, "10,20-29")},
		"allowed and 0":   {VLANs: list(t, "0,10")},
		"VLAN":            {Segment: []Tag{{VID: 10}}, Wire: []Tag{{}}},
		"VLAN both":       {Segment: []Tag{{VID: 10}}, Wire: []Tag{{VID: 20}}},
		"VLAN of S-tags":  {Segment: []Tag{{TPID: STag, VID: 10}}, Wire: []Tag{{}}},
		"VLAN to port":    {Segment: []Tag{{VID: 10}}, Priority: 3},
		"port to VLAN":    {Wire: []Tag{{VID: 20}}},
		"port to S-VLAN":  {Wire: []Tag{{TPID: STag, VID: 20}}, VLANs: list(t, "0-100")},
		"QinQ":            {Segment: []Tag{{VID: 42}, {VID: 7}}, Wire: []Tag{{}, {}}},
		"QinQ to VLAN":    {Segment: []Tag{{VID: 42}, {VID: 7}}, Wire: []Tag{{}}},
		"QinQ to port":    {Segment: []Tag{{VID: 42}, {VID: 7}}},
		"QinQ of C-tags":  {Segment: []Tag{{TPID: CTag, VID: 42}, {TPID: CTag, VID: 7}}},
		"customers' tags": {Segment: []Tag{{VID: 42}, {}}, Wire: []Tag{{}}},
		"port by DSCP":    {DSCP: selectors()},
		"VLAN by DSCP":    {Segment: []Tag{{VID: 10}}, Wire: []Tag{{}}, DSCP: selectors()},
		"pop by DSCP":     {Segment: []Tag{{VID: 42}, {VID: 7}}, PeerDSCP: selectors(), DSCP: selectors()},
	}
}

func selectors() *DSCPMap {
	m := ClassSelectors()
	return &m
}

func circuit(t testing.TB, cfg Config) *Circuit {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// framed returns a frame with headroom.
func framed(b []byte, headroom int) pseudowire.Frame {
	return pseudowire.NewFrame(append(make([]byte, headroom), b...), headroom)
}

const (
	ingressVLAN = pseudowire.DropIngressVLAN
	egressVLAN  = pseudowire.DropEgressVLAN
)

// TestTranslate lays frames out as addresses, tags, type, payload.
func TestTranslate(t *testing.T) {
	const addresses = "0200000000aa 0200000000bb "
	all := circuits(t)
	for _, v := range []struct {
		circuit, name string
		frame         string // without the addresses
		ingress       string // to the pseudowire; empty: not at all
		egress        string // from the pseudowire to the segment
	}{
		// RFC 4719 section 1.4: "The PW termination point receives untagged (also
		// referred to as 'raw') or tagged Ethernet frames and delivers them
		// unaltered to the PW termination point on the remote LCCE."
		{"port", "untagged", "0800 45", "0800 45", "0800 45"},
		{"port", "tagged", "8100 000a 0800 45", "8100 000a 0800 45", "8100 000a 0800 45"},

		{"allowed", "of the list", "8100 a00a 0800 45", "8100 a00a 0800 45", "8100 a00a 0800 45"},
		{"allowed", "of a range, S-tag", "88a8 001d 0800 45", "88a8 001d 0800 45", "88a8 001d 0800 45"},
		{"allowed", "the outer decides", "88a8 000a 8100 0007 0800 45", "88a8 000a 8100 0007 0800 45", "88a8 000a 8100 0007 0800 45"},
		{"allowed", "another", "8100 000b 0800 45", "", ""},
		{"allowed", "untagged", "0800 45", "", ""},
		{"allowed", "priority", "8100 a000 0800 45", "", ""},
		{"allowed and 0", "untagged", "0800 45", "0800 45", "0800 45"},
		{"allowed and 0", "priority", "8100 a000 0800 45", "8100 a000 0800 45", "8100 a000 0800 45"},
		{"allowed and 0", "another", "8100 0014 0800 45", "", ""},

		// RFC 4719 section 3.1: "For Ethernet VLAN-to-VLAN mode, the remote LCCE
		// MAY rewrite the VLAN tag."
		{"VLAN", "ours", "8100 b00a 0800 45", "8100 b00a 0800 45", "8100 b00a 0800 45"},
		{"VLAN", "theirs", "8100 b014 0800 45", "", "8100 b00a 0800 45"},
		{"VLAN", "theirs with an S-tag", "88a8 0014 0800 45", "", "88a8 000a 0800 45"},
		{"VLAN", "customer's inside", "88a8 000a 8100 0007 0800 45", "88a8 000a 8100 0007 0800 45", "88a8 000a 8100 0007 0800 45"},
		{"VLAN", "priority", "8100 a000 0800 45", "", "8100 a00a 0800 45"},
		// RFC 4719 section 4: "both ends of the PW must be either tagged or
		// untagged".
		{"VLAN", "untagged", "0800 45", "", ""},
		{"VLAN", "tag without a type", "8100 000a", "", ""},
		{"VLAN", "tag cut off", "8100 000a 08", "", ""},
		{"VLAN of S-tags", "C-tag", "8100 000a 0800 45", "", "88a8 000a 0800 45"},
		{"VLAN of S-tags", "S-tag", "88a8 000a 0800 45", "88a8 000a 0800 45", "88a8 000a 0800 45"},
		{"VLAN both", "ours", "8100 e00a 0800 45", "8100 e014 0800 45", ""},
		{"VLAN both", "theirs", "8100 e014 0800 45", "", "8100 e00a 0800 45"},

		// RFC 4719 section 3.1: "The Ethernet PW can still be used to provide
		// heterogeneous services using NSP functionality at the ingress and/or
		// egress LCCE."
		{"VLAN to port", "ours", "8100 000a 0800 45", "0800 45", "8100 000a 8100 000a 0800 45"},
		{"VLAN to port", "another", "8100 000b 0800 45", "", "8100 000a 8100 000b 0800 45"},
		{"VLAN to port", "S-tag", "88a8 500a 0800 45", "", "8100 500a 88a8 500a 0800 45"},
		{"VLAN to port", "untagged", "0800 45", "", "8100 600a 0800 45"},
		{"VLAN to port", "priority", "8100 a000 0800 45", "", "8100 a00a 0800 45"},
		{"port to VLAN", "untagged", "0800 45", "8100 0014 0800 45", ""},
		{"port to VLAN", "theirs", "8100 0014 0800 45", "8100 0014 8100 0014 0800 45", "0800 45"},
		{"port to VLAN", "priority", "8100 7000 0800 45", "8100 7014 0800 45", ""},
		{"port to VLAN", "tag cut off", "8100 000a", "8100 0014 8100 000a", ""},
		{"port to S-VLAN", "untagged", "0800 45", "88a8 0014 0800 45", ""},
		{"port to S-VLAN", "customer's", "8100 6005 0800 45", "88a8 6014 8100 6005 0800 45", ""},
		{"port to S-VLAN", "customer's priority", "8100 6000 0800 45", "88a8 6014 8100 6000 0800 45", ""},
		{"port to S-VLAN", "customer's that may not", "8100 6065 0800 45", "", ""},
		{"port to S-VLAN", "theirs", "88a8 0014 8100 6005 0800 45", "88a8 0014 88a8 0014 8100 6005 0800 45", "8100 6005 0800 45"},
		{"port to S-VLAN", "theirs that may not", "88a8 0014 8100 6065 0800 45", "88a8 0014 88a8 0014 8100 6065 0800 45", ""},

		{"QinQ", "ours", "88a8 002a 8100 e007 0800 45", "88a8 002a 8100 e007 0800 45", "88a8 002a 8100 e007 0800 45"},
		{"QinQ", "ours, C-tags", "8100 002a 8100 e007 0800 45", "8100 002a 8100 e007 0800 45", "8100 002a 8100 e007 0800 45"},
		{"QinQ", "theirs", "88a8 102b 8100 e008 0800 45", "", "88a8 102a 8100 e007 0800 45"},
		{"QinQ", "one tag", "88a8 002a 0800 45", "", ""},
		{"QinQ", "other inner", "88a8 002a 8100 e008 0800 45", "", "88a8 002a 8100 e007 0800 45"},
		{"QinQ to VLAN", "ours", "88a8 002a 8100 e007 0800 45", "8100 e007 0800 45", "88a8 002a 88a8 0007 8100 e007 0800 45"},
		{"QinQ to VLAN", "theirs", "8100 e008 0800 45", "", "88a8 e02a 8100 e007 0800 45"},
		{"QinQ to port", "ours", "88a8 002a 8100 e007 0800 45", "0800 45", "88a8 002a 8100 0007 88a8 002a 8100 e007 0800 45"},
		{"QinQ to port", "untagged", "0800 45", "", "88a8 002a 8100 0007 0800 45"},
		{"QinQ to port", "priority", "8100 a000 0800 45", "", "88a8 a02a 8100 a007 0800 45"},
		{"QinQ of C-tags", "ours", "8100 002a 8100 e007 0800 45", "0800 45", "8100 002a 8100 0007 8100 002a 8100 e007 0800 45"},
		{"customers' tags", "any", "88a8 002a 8100 e123 0800 45", "8100 e123 0800 45", "88a8 002a 88a8 002a 8100 e123 0800 45"},
	} {
		c := circuit(t, all[v.circuit])
		for _, way := range []struct {
			name string
			do   func(pseudowire.Frame, *Spare) (pseudowire.Frame, pseudowire.Drop)
			want string
			drop pseudowire.Drop
		}{{"ingress", c.Ingress, v.ingress, ingressVLAN}, {"egress", c.Egress, v.egress, egressVLAN}} {
			for _, headroom := range []int{0, 64} {
				f, why := way.do(framed(decode(t, addresses+v.frame), headroom), NewSpare(200))
				if way.want == "" {
					if why != way.drop {
						t.Errorf("%s, %s: %s: %v, %x; want %v", v.circuit, v.name, way.name, why, f.Bytes(), way.drop)
					}
					continue
				}
				want := decode(t, addresses+way.want)
				if why != pseudowire.NotDropped || !bytes.Equal(f.Bytes(), want) {
					t.Errorf("%s, %s: %s with headroom %d: %v\n got %x\nwant %x", v.circuit, v.name, way.name, headroom, why, f.Bytes(), want)
				}
			}
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, v := range []struct {
		cfg  Config
		want string
	}{
		{Config{Segment: []Tag{{VID: 4095}}, Wire: []Tag{{}}}, "segment: VLAN 4095, want 1 to 4094"},
		{Config{Segment: []Tag{{}, {}, {}}}, "segment: 3 tags, want 2 at most"},
		{Config{Wire: []Tag{{TPID: 0x9100, VID: 1}}}, "pseudowire: tags of type 0x9100, want 0x8100 or 0x88a8"},
		{Config{Wire: []Tag{{}}}, "pseudowire: no VLAN for a tag that the other side has not, want 1 to 4094"},
		{Config{Segment: []Tag{{}, {VID: 1}}, Wire: []Tag{{}}}, "segment: no VLAN for a tag that the other side has not, want 1 to 4094"},
		{Config{Priority: 8}, "priority: found 8, want 0 to 7"},
		{Config{DSCP: &DSCPMap{DSCP: [Priorities]uint8{5: 64}}}, "segment: priority 5: DSCP 64, want 0 to 63"},
		{Config{PeerDSCP: &DSCPMap{Priority: [64]uint8{46: 8}}}, "pseudowire: DSCP 46: priority 8, want 0 to 7"},
		{Config{Segment: []Tag{{VID: 1}}, VLANs: new(VLANs)}, "vlans: the circuit is one VLAN, want a list only for a whole port"},
	} {
		if _, err := New(v.cfg); err == nil || err.Error() != v.want {
			t.Errorf("%+v: %v, want %s", v.cfg, err, v.want)
		}
	}
}

// TestDSCP lays frames out as those of TestTranslate. RFC 4719 section 4: "the
// ingress LCCE MAY consider the user priority field (i.e., 802.1p) of the VLAN tag",
// and "the egress LCCE MAY consider the DS field of the encapsulating IP header when
// rewriting the user priority field of the VLAN tag".
func TestDSCP(t *testing.T) {
	const addresses = "0200000000aa 0200000000bb "
	const none = pseudowire.DSCP(0)
	m, err := ParseDSCPMap("5=46")
	if err != nil {
		t.Fatal(err)
	}
	of := pseudowire.DSCPOf
	all := map[string]Config{
		"port":        {DSCP: &m},
		"VLAN":        {Segment: []Tag{{VID: 10}}, Wire: []Tag{{}}, DSCP: &m},
		"to port":     {Segment: []Tag{{VID: 10}}, DSCP: &m},
		"to VLAN":     {Wire: []Tag{{VID: 20}}, Priority: 3, DSCP: &m},
		"QinQ":        {Segment: []Tag{{VID: 42}, {VID: 7}}, Wire: []Tag{{}}, DSCP: &m},
		"the other":   {Segment: []Tag{{}}, Wire: []Tag{{VID: 10}}, PeerDSCP: &m},
		"to a hub":    {Wire: []Tag{{VID: 10}}, PeerDSCP: &m},
		"not mapped":  {Segment: []Tag{{VID: 10}}, Wire: []Tag{{}}},
		"transparent": {},
	}
	for _, v := range []struct {
		circuit, way   string
		frame, want    string // without the addresses
		received, send pseudowire.DSCP
	}{
		{"port", "ingress", "8100 b00a 0800 45", "8100 b00a 0800 45", none, of(46)},
		{"port", "ingress", "88a8 000a 8100 a007 0800 45", "88a8 000a 8100 a007 0800 45", none, of(0)}, // 0 is not none
		{"port", "ingress", "0800 45", "0800 45", none, none},
		{"port", "egress", "8100 300a 0800 45", "8100 b00a 0800 45", of(46), none}, // drop eligible as it was
		{"port", "egress", "8100 a00a 0800 45", "8100 000a 0800 45", of(0), none},
		{"port", "egress", "8100 a00a 0800 45", "8100 a00a 0800 45", none, none},
		{"port", "egress", "0800 45", "0800 45", of(46), none},

		{"VLAN", "ingress", "8100 e00a 0800 45", "8100 e00a 0800 45", none, of(56)},
		{"VLAN", "egress", "8100 0014 0800 45", "8100 a00a 0800 45", of(46), none},

		// The priority is that on the segment, whose tag goes.
		{"to port", "ingress", "8100 600a 8100 a007 0800 45", "8100 a007 0800 45", none, of(24)},
		{"to port", "ingress", "8100 a00a 0800 45", "0800 45", none, of(46)},
		{"to port", "egress", "0800 45", "8100 c00a 0800 45", of(48), none},
		{"to port", "egress", "8100 2007 0800 45", "8100 c00a 8100 2007 0800 45", of(48), none},
		{"to port", "egress", "8100 2007 0800 45", "8100 200a 8100 2007 0800 45", none, none},

		{"to VLAN", "ingress", "8100 a005 0800 45", "8100 a014 8100 a005 0800 45", none, of(46)},
		{"to VLAN", "ingress", "8100 a000 0800 45", "8100 a014 0800 45", none, of(46)}, // a priority alone
		{"to VLAN", "ingress", "0800 45", "8100 6014 0800 45", none, of(24)},           // of the tag that it gets
		{"to VLAN", "egress", "8100 0014 8100 0005 0800 45", "8100 a005 0800 45", of(40), none},

		{"QinQ", "ingress", "88a8 402a 8100 a007 0800 45", "8100 a007 0800 45", none, of(16)},
		{"QinQ", "egress", "8100 e008 0800 45", "88a8 402a 8100 e007 0800 45", of(17), none}, // the outermost alone

		{"the other", "egress", "8100 a00a 0800 45", "8100 a00a 0800 45", none, of(46)},
		{"the other", "ingress", "8100 0014 0800 45", "8100 a00a 0800 45", of(46), none},
		{"to a hub", "egress", "8100 a00a 0800 45", "0800 45", none, of(46)},
		// What came for one pseudowire says nothing of how to leave by another.
		{"to a hub", "egress", "8100 a00a 0800 45", "0800 45", of(8), of(46)},
		{"to a hub", "ingress", "0800 45", "8100 a00a 0800 45", of(46), none},

		{"not mapped", "ingress", "8100 a00a 0800 45", "8100 a00a 0800 45", none, none},
		{"not mapped", "egress", "8100 a014 0800 45", "8100 a00a 0800 45", of(8), none},
		{"transparent", "ingress", "8100 a00a 0800 45", "8100 a00a 0800 45", none, none},
		{"transparent", "egress", "8100 a00a 0800 45", "8100 a00a 0800 45", of(8), none},
	} {
		c := circuit(t, all[v.circuit])
		do := c.Ingress
		if v.way == "egress" {
			do = c.Egress
		}
		for _, headroom := range []int{0, 64} {
			f := framed(decode(t, addresses+v.frame), headroom)
			f.ReceivedDSCP = v.received
			f, why := do(f, NewSpare(200))
			want := decode(t, addresses+v.want)
			if why != pseudowire.NotDropped || !bytes.Equal(f.Bytes(), want) || f.SendDSCP != v.send || f.ReceivedDSCP != v.received {
				t.Errorf("%s, %s of %s with headroom %d: %v\n got %x, to be sent with %#x\nwant %x, %#x",
					v.circuit, v.way, v.frame, headroom, why, f.Bytes(), f.SendDSCP, want, v.send)
			}
		}
	}
	for name, cfg := range all {
		if got := circuit(t, cfg).Transparent(); got != (name == "transparent") {
			t.Errorf("%s: transparent %v", name, got)
		}
	}
}

// TestDSCPMapIsCopied changes what a Circuit was made from.
func TestDSCPMapIsCopied(t *testing.T) {
	m := ClassSelectors()
	c := circuit(t, Config{DSCP: &m})
	m.DSCP[5] = 1
	f, _ := c.Ingress(framed(decode(t, "0200000000aa 0200000000bb 8100 a00a 0800 45"), 64), nil)
	if f.SendDSCP != pseudowire.DSCPOf(40) {
		t.Errorf("asks for %#x, want %#x", f.SendDSCP, pseudowire.DSCPOf(40))
	}
}

// TestDescriptionMoves wants what is counted from the front of a super-frame to be
// counted from there with other tags too.
func TestDescriptionMoves(t *testing.T) {
	tagged := decode(t, "0200000000aa 0200000000bb 8100 000a 0800 4500 0000000000000000 0000000000000000")
	plain := decode(t, "0200000000aa 0200000000bb 0800 4500 0000000000000000 0000000000000000")
	g := func(kind pseudowire.GSOKind, header, size, start, offset uint16) pseudowire.GSO {
		return pseudowire.GSO{Kind: kind, HeaderLen: header, Size: size, ChecksumStart: start, ChecksumOffset: offset}
	}
	c := circuit(t, Config{Segment: []Tag{{VID: 10}}})
	for _, v := range []struct {
		name      string
		was, want pseudowire.GSO
		egress    bool
	}{
		{name: "pop, whole", was: pseudowire.GSO{}},
		{name: "push, whole", was: pseudowire.GSO{}, egress: true},
		{name: "pop, checksum", was: g(0, 0, 0, 38, 16), want: g(0, 0, 0, 34, 16)},
		{name: "push, checksum", was: g(0, 0, 0, 34, 16), want: g(0, 0, 0, 38, 16), egress: true},
		{name: "pop, TCP", was: g(pseudowire.GSOTCPv4, 70, 1448, 38, 16), want: g(pseudowire.GSOTCPv4, 66, 1448, 34, 16)},
		{name: "push, UDP", was: g(pseudowire.GSOUDP, 42, 1200, 34, 6), want: g(pseudowire.GSOUDP, 46, 1200, 38, 6), egress: true},
		// HeaderLen is a hint that may be of the frame without its tag.
		{name: "pop, hint too short", was: g(pseudowire.GSOTCPv4, 14, 1448, 38, 16), want: g(pseudowire.GSOTCPv4, 14, 1448, 34, 16)},
		{name: "push, hint too long", was: g(pseudowire.GSOTCPv4, 65534, 1448, 34, 16), want: g(pseudowire.GSOTCPv4, 65535, 1448, 38, 16), egress: true},
	} {
		do, b := c.Ingress, tagged
		if v.egress {
			do, b = c.Egress, plain
		}
		for _, headroom := range []int{0, 64} {
			f := framed(b, headroom)
			f.GSO = v.was
			f, why := do(f, NewSpare(200))
			if why != pseudowire.NotDropped || f.GSO != v.want {
				t.Errorf("%s: %v, %+v; want %+v", v.name, why, f.GSO, v.want)
			}
		}
	}
	for _, v := range []struct {
		start  uint16
		egress bool
	}{{17, false}, {0, false}, {65532, true}} {
		do, b := c.Ingress, tagged
		if v.egress {
			do, b = c.Egress, plain
		}
		f := framed(b, 64)
		f.GSO = g(0, 0, 0, v.start, 16)
		if f, why := do(f, nil); why != pseudowire.DropMalformed {
			t.Errorf("checksum from %d: %v, %+v", v.start, why, f.GSO)
		}
	}
}

func TestShortFrames(t *testing.T) {
	for name, cfg := range circuits(t) {
		c := circuit(t, cfg)
		for n := range HeaderLen {
			f := framed(make([]byte, n), 64)
			_, in := c.Ingress(f, nil)
			_, out := c.Egress(f, nil)
			if wantIn, wantOut := pseudowire.DropMalformed, pseudowire.DropRunt; !c.Transparent() && (in != wantIn || out != wantOut) {
				t.Errorf("%s: %d octets: %v and %v, want %v and %v", name, n, in, out, wantIn, wantOut)
			}
		}
	}
}

// TestSpare has frames move where there is no headroom, until there is no room.
func TestSpare(t *testing.T) {
	c := circuit(t, Config{Wire: []Tag{{VID: 20}}})
	b := decode(t, "0200000000aa 0200000000bb 0800 4500")
	want := decode(t, "0200000000aa 0200000000bb 8100 0014 0800 4500")
	spare := NewSpare(2 * (pseudowire.Headroom + len(b)))
	for range 3 {
		first, why1 := c.Ingress(framed(b, 3), spare)
		second, why2 := c.Ingress(framed(b, 0), spare)
		if why1 != pseudowire.NotDropped || why2 != pseudowire.NotDropped || !bytes.Equal(first.Bytes(), want) || !bytes.Equal(second.Bytes(), want) {
			t.Errorf("%v, %x; %v, %x", why1, first.Bytes(), why2, second.Bytes())
		}
		if first.Headroom() != pseudowire.Headroom-TagLen {
			t.Errorf("headroom %d after the move", first.Headroom())
		}
		f := framed(b, 3)
		if _, why := c.Ingress(f, spare); why != pseudowire.DropNoBuffer || !bytes.Equal(f.Bytes(), b) {
			t.Errorf("without room: %v, and the frame is %x", why, f.Bytes())
		}
		if f, why := c.Ingress(framed(b, 4), spare); why != pseudowire.NotDropped || !bytes.Equal(f.Bytes(), want) {
			t.Errorf("without room, but headroom: %v, %x", why, f.Bytes())
		}
		spare.Reset()
	}
	for _, none := range []*Spare{nil, new(Spare)} {
		if _, why := c.Ingress(framed(b, 0), none); why != pseudowire.DropNoBuffer {
			t.Errorf("without a spare: %v", why)
		}
	}
}

func TestTranslateAllocatesNothing(t *testing.T) {
	spare := NewSpare(4096)
	buf := make([]byte, 64+100)
	for name, cfg := range circuits(t) {
		c := circuit(t, cfg)
		for _, headroom := range []int{0, 64} {
			got := testing.AllocsPerRun(100, func() {
				spare.Reset()
				f, _ := c.Ingress(pseudowire.NewFrame(buf[:headroom+100], headroom), spare)
				c.Egress(f, spare)
			})
			if got != 0 {
				t.Errorf("%s: %v allocations a frame, want 0", name, got)
			}
		}
	}
}

// A picture is a frame as the tests see it.
type picture struct {
	addresses [12]byte
	tags      []tci
	rest      []byte // a type, and what it says
}

// A tci is a tag of a picture.
type tci struct{ TPID, Value uint16 }

func (p picture) bytes() []byte {
	b := slices.Clone(p.addresses[:])
	for _, t := range p.tags {
		b = binary.BigEndian.AppendUint16(b, t.TPID)
		b = binary.BigEndian.AppendUint16(b, t.Value)
	}
	return append(b, p.rest...)
}

// translated is the same as Circuit.translate, on pictures.
func (p picture) translated(from, to []Tag, priority uint8) (_ picture, ok bool) {
	if len(p.tags) < len(from) {
		return p, false
	}
	for i, want := range from {
		got := p.tags[i]
		if want.TPID != 0 && want.TPID != got.TPID || want.VID != 0 && want.VID != got.Value&0xfff {
			return p, false
		}
	}
	inherited := uint16(priority) << 13
	if len(p.tags) > 0 {
		inherited = p.tags[0].Value & 0xf000
	}
	inner, outside := p.tags[len(from):], p.tags[:len(from)]
	if len(from) == 0 && len(to) > 0 && len(inner) > 0 && inner[0].TPID == CTag && inner[0].Value&0xfff == 0 && to[len(to)-1].TPID == CTag {
		inner, outside = inner[1:], inner[:1]
	}
	var tags []tci
	for i, t := range to {
		tag := tci{Value: inherited}
		if was := i - len(to) + len(outside); was >= 0 {
			tag = outside[was]
		}
		if t.TPID != 0 {
			tag.TPID = t.TPID
		}
		if t.VID != 0 {
			tag.Value = tag.Value&0xf000 | t.VID
		}
		tags = append(tags, tag)
	}
	p.tags = append(tags, inner...)
	return p, true
}

// drawTags draws one side of a circuit.
func drawTags(t *rapid.T, label string) []Tag {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Tag {
		return Tag{
			TPID: rapid.SampledFrom([]uint16{0, CTag, STag}).Draw(t, "TPID"),
			VID:  rapid.SampledFrom([]uint16{0, 1, 2, MaxVID}).Draw(t, "VID"),
		}
	}), 0, MaxTags).Draw(t, label)
}

func drawPicture(t *rapid.T) picture {
	p := picture{
		tags: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) tci {
			return tci{
				TPID:  rapid.SampledFrom([]uint16{CTag, STag}).Draw(t, "TPID"),
				Value: rapid.SampledFrom([]uint16{0, 1, 2, MaxVID}).Draw(t, "VID") | rapid.Uint16Range(0, 15).Draw(t, "priority")<<12,
			}
		}), 0, 4).Draw(t, "tags"),
		rest: append([]byte{8, 0}, rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "rest")...),
	}
	copy(p.addresses[:], rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "addresses"))
	return p
}

// TestAgainstPictures holds circuits of all kinds to the same done on lists of tags,
// and has what was put on taken off again.
func TestAgainstPictures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{Segment: drawTags(t, "segment"), Wire: drawTags(t, "wire"), Priority: rapid.Uint8Range(0, 7).Draw(t, "priority")}
		c, err := New(cfg)
		if err != nil {
			return
		}
		// As they are, kinds of tags that are made included.
		segment, wire := c.segment.tags[:c.segment.n], c.wire.tags[:c.wire.n]
		p := drawPicture(t)
		f := framed(p.bytes(), rapid.IntRange(0, 20).Draw(t, "headroom"))
		start := rapid.SampledFrom([]uint16{0, 50}).Draw(t, "checksum")
		f.GSO.ChecksumStart = start

		want, ok := p.translated(segment, wire, cfg.Priority)
		got, why := c.Ingress(f, NewSpare(1000))
		if !ok {
			if why != ingressVLAN {
				t.Fatalf("%v, want %v", why, ingressVLAN)
			}
			return
		}
		if why != pseudowire.NotDropped || !bytes.Equal(got.Bytes(), want.bytes()) {
			t.Fatalf("ingress: %v\n got %x\nwant %x", why, got.Bytes(), want.bytes())
		}
		if start != 0 && int(got.GSO.ChecksumStart)-int(start) != got.Len()-len(p.bytes()) {
			t.Errorf("checksum from %d, was %d; %d octets, were %d", got.GSO.ChecksumStart, start, got.Len(), len(p.bytes()))
		}

		back, ok := want.translated(wire, segment, cfg.Priority)
		again, why := c.Egress(got, NewSpare(1000))
		if ok != (why == pseudowire.NotDropped) {
			t.Fatalf("egress: %v of %x", why, want.bytes())
		}
		if ok && !bytes.Equal(again.Bytes(), back.bytes()) {
			t.Fatalf("egress:\n got %x\nwant %x", again.Bytes(), back.bytes())
		}
		if ok && again.GSO.ChecksumStart != start && again.Len() == len(p.bytes()) {
			t.Errorf("checksum from %d, want %d again", again.GSO.ChecksumStart, start)
		}
		// Where nothing is made that replaces something, nothing is lost.
		priorityTag := len(p.tags) > 0 && p.tags[0].TPID == CTag && p.tags[0].Value&0xfff == 0
		if len(segment) == 0 && ok && !priorityTag {
			if diff := cmp.Diff(p.bytes(), again.Bytes()); diff != "" {
				t.Errorf("pushed and popped: %s", diff)
			}
		}
	})
}

// TestPushPop is the identity said plainly: whatever the frame is, but for a tag that
// has a priority alone, and whatever memory is in front of it.
func TestPushPop(t *testing.T) {
	for _, wire := range [][]Tag{{{VID: 20}}, {{TPID: STag, VID: 20}}, {{VID: 42}, {VID: 7}}} {
		c := circuit(t, Config{Wire: wire})
		rapid.Check(t, func(t *rapid.T) {
			b := rapid.SliceOfN(rapid.Byte(), HeaderLen, 2000).Draw(t, "frame")
			if binary.BigEndian.Uint16(b[12:]) == CTag && VID(b) == 0 {
				return
			}
			f := framed(b, rapid.IntRange(0, 64).Draw(t, "headroom"))
			pushed, why := c.Ingress(f, NewSpare(3000))
			if why != pseudowire.NotDropped || pushed.Len() != len(b)+TagLen*len(wire) {
				t.Fatalf("push: %v, %d octets of %d", why, pushed.Len(), len(b))
			}
			popped, why := c.Egress(pushed, nil)
			if why != pseudowire.NotDropped || !bytes.Equal(popped.Bytes(), b) {
				t.Fatalf("pop: %v, %x; want %x", why, popped.Bytes(), b)
			}
		})
	}
}

// TestFront wants changes only where FrontLen says, so that who sends one frame to
// several can put it right again.
func TestFront(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maps := []*DSCPMap{nil, selectors()}
		c, err := New(Config{Segment: drawTags(t, "segment"), Wire: drawTags(t, "wire"),
			DSCP: rapid.SampledFrom(maps).Draw(t, "DSCP"), PeerDSCP: rapid.SampledFrom(maps).Draw(t, "peer DSCP")})
		if err != nil {
			return
		}
		b := drawPicture(t).bytes()
		f := framed(b, rapid.IntRange(0, 20).Draw(t, "headroom"))
		f.ReceivedDSCP = rapid.SampledFrom([]pseudowire.DSCP{0, pseudowire.DSCPOf(10), pseudowire.DSCPOf(46)}).Draw(t, "received")
		rapid.SampledFrom([]func(pseudowire.Frame, *Spare) (pseudowire.Frame, pseudowire.Drop){c.Ingress, c.Egress}).Draw(t, "way")(f, NewSpare(1000))
		copy(f.Bytes(), b[:min(len(b), FrontLen)])
		if !bytes.Equal(f.Bytes(), b) {
			t.Errorf("changed beyond %d octets:\n got %x\nwant %x", FrontLen, f.Bytes(), b)
		}
	})
}

// FuzzCircuit has whatever octets and description go through every circuit both ways.
func FuzzCircuit(f *testing.F) {
	for _, v := range frames {
		f.Add(decode(f, v.hex), uint16(0), uint16(0), uint8(64))
	}
	tags := bytes.Repeat([]byte{0x81, 0, 0, 10}, 1<<14)
	f.Add(tags, uint16(66), uint16(38), uint8(0))
	f.Add(tags[:15], uint16(66), uint16(38), uint8(4))
	f.Add(tags[:17], uint16(0), uint16(1), uint8(0))
	var all []*Circuit
	for _, cfg := range circuits(f) {
		all = append(all, circuit(f, cfg))
	}
	f.Fuzz(func(t *testing.T, b []byte, header, start uint16, headroom uint8) {
		spare := NewSpare(1 << 17)
		for _, c := range all {
			for _, do := range []func(pseudowire.Frame, *Spare) (pseudowire.Frame, pseudowire.Drop){c.Ingress, c.Egress} {
				spare.Reset()
				in := framed(b, int(headroom))
				in.GSO = pseudowire.GSO{Kind: pseudowire.GSOTCPv4, HeaderLen: header, Size: 1, ChecksumStart: start}
				in.ReceivedDSCP = pseudowire.DSCP(header)
				out, why := do(in, spare)
				if why != pseudowire.NotDropped {
					continue
				}
				if grown := out.Len() - len(b); grown%TagLen != 0 || grown > MaxTags*TagLen || grown < -MaxTags*TagLen {
					t.Errorf("%d octets became %d", len(b), out.Len())
				}
				if !c.Transparent() && out.Len() < HeaderLen {
					t.Errorf("%d octets left", out.Len())
				}
				if s := out.GSO.ChecksumStart; !c.Transparent() && start != 0 && int(s)-int(start) != out.Len()-len(b) {
					t.Errorf("checksum from %d, was from %d; %d octets, were %d", s, start, out.Len(), len(b))
				}
			}
		}
	})
}

func BenchmarkPushPop(b *testing.B) {
	c := circuit(b, Config{Wire: []Tag{{VID: 20}}})
	f := framed(make([]byte, 1500), 64)
	for b.Loop() {
		in, _ := c.Ingress(f, nil)
		f, _ = c.Egress(in, nil)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2, "ns/frame")
}

func ExampleCircuit() {
	vlan, _ := ParseVLAN("10")
	c, _ := New(Config{Segment: vlan, Wire: []Tag{{}}})
	frame := []byte("\x02\x00\x00\x00\x00\xaa\x02\x00\x00\x00\x00\xbb\x81\x00\x00\x14\x08\x06...")
	f, why := c.Egress(pseudowire.NewFrame(frame, 0), nil)
	fmt.Println(VID(f.Bytes()), why)
	// Output: 10 not_dropped
}
