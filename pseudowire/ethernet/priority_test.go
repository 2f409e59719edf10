package ethernet

import (
	"bytes"
	"testing"
)

func TestPriority(t *testing.T) {
	b := decode(t, "0200000000aa 0200000000bb 8100 b064 0800 4500")
	if p, ok := Priority(b); p != 5 || !ok {
		t.Errorf("priority %d, %v; want 5", p, ok)
	}
	if !SetPriority(b, 2) || !bytes.Equal(b, decode(t, "0200000000aa 0200000000bb 8100 5064 0800 4500")) {
		t.Errorf("with priority 2: %x", b)
	}
	for _, hex := range []string{"0200000000aa 0200000000bb 0800 4500", "0200000000aa 0200000000bb 8100 0064 08", "0200000000aa", ""} {
		b, was := decode(t, hex), decode(t, hex)
		if p, ok := Priority(b); p != 0 || ok {
			t.Errorf("%s: priority %d, %v", hex, p, ok)
		}
		if SetPriority(b, 7) || !bytes.Equal(b, was) {
			t.Errorf("%s with a priority: %x", hex, b)
		}
	}
}

// TestDSCPMap is of what RFC 4719 section 4 says: "the ingress LCCE MAY consider the
// user priority field (i.e., 802.1p) of the VLAN tag for traffic classification and
// QoS treatments, such as determining the Differentiated Services (DS) field
// [RFC2474] of the encapsulating IP header. Similarly, the egress LCCE MAY consider
// the DS field of the encapsulating IP header when rewriting the user priority field
// of the VLAN tag".
func TestDSCPMap(t *testing.T) {
	m := ClassSelectors()
	for p := range m.DSCP {
		if m.DSCP[p]&7 != 0 || m.Priority[m.DSCP[p]] != uint8(p) {
			t.Errorf("priority %d: DSCP %d, and back %d", p, m.DSCP[p], m.Priority[m.DSCP[p]])
		}
	}
	if m.DSCP[5] != 40 || m.Priority[46] != 5 || m.Priority[34] != 4 || m.Priority[63] != 7 {
		t.Errorf("%v", m)
	}
	m, err := ParseDSCPMap("5=46, 0=2")
	if err != nil || m.DSCP != [8]uint8{2, 8, 16, 24, 32, 46, 48, 56} || m.Priority[46] != 5 || m.Priority[2] != 0 || m.Priority[40] != 5 {
		t.Errorf("%v, %v", m, err)
	}
	if m, err := ParseDSCPMap(""); err != nil || m != ClassSelectors() {
		t.Errorf("nothing said: %v, %v", m, err)
	}
	for _, text := range []string{"8=0", "0=64", "5", "=", "5=", "=5", "5=4=6", "5=46,", "-1=3", "a=b"} {
		if _, err := ParseDSCPMap(text); err == nil {
			t.Errorf("%q: want an error", text)
		}
	}
	_, err = ParseDSCPMap("8=0")
	if want := `priority: found "8=0", want a priority of 0 to 7 and a DSCP of 0 to 63, such as 5=46`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
