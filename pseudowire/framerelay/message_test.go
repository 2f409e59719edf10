package framerelay

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// describe returns what a message says: "ansi STATUS full 2/1 100:active 200:new,active".
func (m *message) describe() string {
	reports := map[byte]string{fullStatus: "full", verification: "verification", singlePVC: "single"}
	kinds := map[byte]string{statusEnquiry: "ENQUIRY", statusMessage: "STATUS"}
	s := fmt.Sprintf("%v %s %s", m.form, kinds[m.kind], reports[m.report])
	if m.report != singlePVC {
		s += fmt.Sprintf(" %d/%d", m.send, m.received)
	}
	for _, p := range m.pvcs {
		s += " " + p.describe()
	}
	return s
}

func (p pvcStatus) describe() string {
	var words []string
	for _, b := range []struct {
		bit  byte
		name string
	}{{pvcNew, "new"}, {pvcDeleted, "deleted"}, {pvcActive, "active"}} {
		if p.bits&b.bit != 0 {
			words = append(words, b.name)
		}
	}
	if len(words) == 0 {
		words = []string{"inactive"}
	}
	return fmt.Sprintf("%d:%s", p.dlci, strings.Join(words, ","))
}

// octets returns what stands in hex, whose spaces and remarks in brackets are for
// people.
func octets(t testing.TB, hex string) (b []byte) {
	t.Helper()
	for field := range strings.FieldsSeq(hex) {
		if strings.HasPrefix(field, "[") {
			continue
		}
		var v byte
		if n, err := fmt.Sscanf(field, "%02x", &v); n != 1 || err != nil || len(field) != 2 {
			t.Fatalf("%q in %q: %v", field, hex, err)
		}
		b = append(b, v)
	}
	return b
}

// messages are in hex: header, UI, protocol discriminator, call reference, message
// type, information elements.
var messages = []struct {
	hex       string
	headerLen int
	says      string
}{
	{"00 01 03 08 00 75 [report] 51 01 00 [verification] 53 02 01 00", 2, "q933a ENQUIRY full 1/0"},
	{"00 01 03 08 00 75 [report] 51 01 01 [verification] 53 02 ff fe", 2, "q933a ENQUIRY verification 255/254"},
	{"00 01 03 08 00 7d [report] 51 01 01 [verification] 53 02 02 02", 2, "q933a STATUS verification 2/2"},
	{"00 01 03 08 00 7d [report] 51 01 00 [verification] 53 02 01 01 [PVC] 57 03 06 a0 82 [PVC] 57 03 0c c0 8a", 2,
		"q933a STATUS full 1/1 100:active 200:new,active"},
	{"00 01 03 08 00 7d [report] 51 01 02 [PVC] 57 03 06 a0 80", 2, "q933a STATUS single 100:inactive"},
	{"00 01 03 08 00 7d [report] 51 01 02 [PVC] 57 03 3e f8 84", 2, "q933a STATUS single 1007:deleted"},

	{"00 01 03 08 00 75 [shift] 95 [report] 01 01 00 [verification] 03 02 01 00", 2, "ansi ENQUIRY full 1/0"},
	{"00 01 03 08 00 7d [shift] 95 [report] 01 01 00 [verification] 03 02 01 01 [PVC] 07 03 01 80 88 [PVC] 07 03 06 a0 82", 2,
		"ansi STATUS full 1/1 16:new 100:active"},
	{"00 01 03 08 00 7d [shift] 95 [report] 01 01 02 [PVC] 07 03 06 a0 82", 2, "ansi STATUS single 100:active"},

	{"fc f1 03 09 00 75 [report] 01 01 00 [verification] 03 02 01 00", 2, "cisco ENQUIRY full 1/0"},
	{"fc f1 03 09 00 7d [report] 01 01 00 [verification] 03 02 01 01 [PVC] 07 06 00 64 02 00 00 00 [PVC] 07 06 00 c8 08 00 00 00", 2,
		"cisco STATUS full 1/1 100:active 200:new"},

	{"00 00 00 01 03 08 00 75 [report] 51 01 00 [verification] 53 02 01 00", 4, "q933a ENQUIRY full 1/0"},
	{"00 00 00 01 03 08 00 7d [report] 51 01 00 [verification] 53 02 01 01 [PVC] 57 05 00 00 01 c8 82 [PVC] 57 05 01 10 03 88 88", 4,
		"q933a STATUS full 1/1 100:active 147652:new"},
	{"00 00 00 01 03 08 00 7d [shift] 95 [report] 01 01 02 [PVC] 07 05 3f 78 7f fe 80", 4, "ansi STATUS single 8388607:inactive"},
}

func TestMessages(t *testing.T) {
	for _, v := range messages {
		t.Run(v.says, func(t *testing.T) {
			b := octets(t, v.hex)
			m, ok := parseMessage(b, v.headerLen, nil)
			if !ok || m.describe() != v.says {
				t.Fatalf("%x: %v, %s", b, ok, m.describe())
			}
			if got := m.append(nil, v.headerLen); !bytes.Equal(got, b) {
				t.Errorf("written %x, want %x", got, b)
			}
			if _, ok := parseMessage(b, ShortHeader+LongHeader-v.headerLen, nil); ok {
				t.Errorf("on a port with the other header length: no error")
			}
			// Cut short between two PVCs a message is whole as well, in its form.
			statuses := 0
			for n := range b {
				m, ok := parseMessage(b[:n], v.headerLen, nil)
				switch {
				case !ok:
				case m.report != fullStatus || m.kind != statusMessage:
					t.Errorf("%d octets of %x: no error", n, b)
				default:
					statuses++
				}
			}
			if want := strings.Count(v.hex, "[PVC]"); m.report == fullStatus && statuses != want {
				t.Errorf("%d lengths are good, want %d", statuses, want)
			}
		})
	}
}

// TestMalformedMessages breaks a good message in one way each.
func TestMalformedMessages(t *testing.T) {
	for _, v := range []struct{ name, hex string }{
		{"another DLCI", "18 41 03 08 00 75 51 01 00 53 02 01 00"},
		{"DLCI 1023 and the discriminator of DLCI 0", "fc f1 03 08 00 75 51 01 00 53 02 01 00"},
		{"DLCI 0 and Cisco's discriminator", "00 01 03 09 00 75 01 01 00 03 02 01 00"},
		{"no UI", "00 01 13 08 00 75 51 01 00 53 02 01 00"},
		{"a call reference", "00 01 03 08 01 75 51 01 00 53 02 01 00"},
		{"a message of calls", "00 01 03 08 00 05 51 01 00 53 02 01 00"},
		{"nothing but its type", "00 01 03 08 00 75"},
		{"nothing but a shift", "00 01 03 08 00 75 95"},
		{"a header of 3 octets", "00 00 01 03 08 00 75 51 01 00 53 02 01 00"},

		{"no report type", "00 01 03 08 00 75 53 02 01 00"},
		{"two report types", "00 01 03 08 00 75 51 01 00 51 01 00 53 02 01 00"},
		{"an unknown report type", "00 01 03 08 00 75 51 01 03 53 02 01 00"},
		{"a report type of no octets", "00 01 03 08 00 75 51 00 53 02 01 00"},
		{"a report type of two octets", "00 01 03 08 00 75 51 02 00 00 53 02 01 00"},

		{"no sequence numbers", "00 01 03 08 00 75 51 01 00"},
		{"sequence numbers twice", "00 01 03 08 00 75 51 01 00 53 02 01 00 53 02 01 00"},
		{"one sequence number", "00 01 03 08 00 75 51 01 00 53 01 01"},
		{"three sequence numbers", "00 01 03 08 00 75 51 01 00 53 03 01 00 00"},
		{"sequence numbers beyond the end", "00 01 03 08 00 75 51 01 00 53 02 01"},
		{"an identifier at the end", "00 01 03 08 00 75 51 01 00 53 02 01 00 57"},
		{"a length beyond the end", "00 01 03 08 00 75 51 01 00 53 02 01 00 44 7f 00"},
		{"Annex D's elements without a shift", "00 01 03 08 00 75 01 01 00 03 02 01 00"},
		{"Annex A's elements behind a shift", "00 01 03 08 00 75 95 51 01 00 53 02 01 00"},

		{"a PVC of two octets", "00 01 03 08 00 7d 51 01 00 53 02 01 01 57 02 06 a0"},
		{"a PVC of four octets", "00 01 03 08 00 7d 51 01 00 53 02 01 01 57 04 06 a0 82 00"},
		{"a PVC of Cisco's length in Annex A", "00 01 03 08 00 7d 51 01 00 53 02 01 01 57 06 00 64 02 00 00 00"},
		{"a PVC of Annex A's length in Cisco's form", "fc f1 03 09 00 7d 01 01 00 03 02 01 01 07 03 00 64 02"},
		{"a PVC with a long DLCI behind a short header", "00 01 03 08 00 7d 51 01 00 53 02 01 01 57 05 00 00 01 c8 82"},
		{"a PVC in an enquiry", "00 01 03 08 00 75 51 01 00 53 02 01 01 57 03 06 a0 82"},
		{"a PVC in a verification", "00 01 03 08 00 7d 51 01 01 53 02 01 01 57 03 06 a0 82"},
		{"no PVC where there must be one", "00 01 03 08 00 7d 51 01 02"},
		{"two PVCs where there must be one", "00 01 03 08 00 7d 51 01 02 57 03 06 a0 82 57 03 0c c0 82"},
		{"sequence numbers where there are none", "00 01 03 08 00 7d 51 01 02 53 02 01 01 57 03 06 a0 82"},
		{"an enquiry for one PVC", "00 01 03 08 00 75 51 01 02 57 03 06 a0 82"},
	} {
		if m, ok := parseMessage(octets(t, v.hex), ShortHeader, nil); ok {
			t.Errorf("%s: %s: no error", v.name, m.describe())
		}
	}
	many := octets(t, "00 01 03 08 00 7d 51 01 00 53 02 01 01")
	for n := range MaxPVCs + 1 {
		if _, ok := parseMessage(many, ShortHeader, nil); !ok {
			t.Fatalf("%d PVCs: malformed", n)
		}
		many = append(many, 0x57, 3, byte(n>>4)&0x3f, byte(n<<3)&0x78|0x80, 0x80)
	}
	if _, ok := parseMessage(many, ShortHeader, nil); ok {
		t.Errorf("%d PVCs: no error", MaxPVCs+1)
	}
}

// TestUnknownElements wants elements passed over that only others know.
func TestUnknownElements(t *testing.T) {
	for _, v := range []struct{ hex, says string }{
		{"00 01 03 08 00 75 51 01 00 53 02 01 00 [unknown] 28 03 61 62 63", "q933a ENQUIRY full 1/0"},
		{"00 01 03 08 00 7d 51 01 00 [short] a0 53 02 01 01 [empty] 7e 00 57 03 06 a0 82", "q933a STATUS full 1/1 100:active"},
		{"00 01 03 08 00 75 51 01 00 53 02 01 00 [longest] 44 ff" + strings.Repeat(" 00", 255), "q933a ENQUIRY full 1/0"},
		// Cisco's third bit says that the other end is not ready to receive, and
		// the last three octets are a bandwidth.
		{"fc f1 03 09 00 7d 01 01 00 03 02 01 01 07 06 00 64 06 00 fa 00", "cisco STATUS full 1/1 100:active"},
		// Whoever does not care for the octets' first bits is understood.
		{"00 01 03 08 00 7d 95 01 01 00 03 02 01 01 07 03 86 20 02", "ansi STATUS full 1/1 100:active"},
	} {
		m, ok := parseMessage(octets(t, v.hex), ShortHeader, nil)
		if !ok || m.describe() != v.says {
			t.Errorf("%s: %v, %s, want %s", v.hex, ok, m.describe(), v.says)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, v := range messages {
		f.Add(octets(f, v.hex), v.headerLen == LongHeader)
	}
	f.Add(octets(f, "00 01 03 08 00 7d 51 01 00 a0 53 02 01 01 57 03 06 a0"), false)
	f.Fuzz(func(t *testing.T, frame []byte, long bool) {
		n := ShortHeader
		if long {
			n = LongHeader
		}
		m, ok := parseMessage(frame, n, nil)
		if !ok {
			return
		}
		if len(m.pvcs) > MaxPVCs {
			t.Fatalf("%d PVCs", len(m.pvcs))
		}
		again, ok := parseMessage(m.append(nil, n), n, nil)
		if !ok || cmp.Diff(m, again, cmp.AllowUnexported(message{}, pvcStatus{})) != "" {
			t.Fatalf("%x says %s; written and read again %v, %s", frame, m.describe(), ok, again.describe())
		}
	})
}
