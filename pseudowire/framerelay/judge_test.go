package framerelay

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"spanwire/testbed/relay"
	"spanwire/testbed/tshark"
)

// fields are what tshark is asked for of each frame.
var fields = []string{
	"frame.protocols", "fr.dlci", "fr.cr", "fr.fecn", "fr.becn", "fr.de",
	"q933.message_type", "q933.report_type", "q933.link_verification.txseq", "q933.link_verification.rxseq", "q933.dlci", "q933.status",
	"lmi.msg_type", "lmi.ele_rcd_type", "lmi.send_seq", "lmi.recv_seq", "lmi.dlci_hi", "lmi.dlci_low", "lmi.dlci_new", "lmi.dlci_act",
	"ip.src",
}

// judged has tshark read frames of one line.
func judged(t *testing.T, frames [][]byte) []tshark.Frame {
	t.Helper()
	all, err := tshark.ReadFrames(layers.LinkTypeFRelay, frames, fields, "-o", "ip.check_checksum:TRUE")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestWireshark has tshark read what two ends say to each other in every form, and
// find nothing that is malformed.
func TestWireshark(t *testing.T) {
	for _, cfg := range []Config{
		{Form: AnnexA}, {Form: AnnexD}, {Form: Cisco}, {},
		{Form: AnnexA, Asynchronous: true}, {Form: AnnexD, Asynchronous: true},
		{Form: AnnexA, HeaderLen: LongHeader}, {Form: AnnexD, HeaderLen: LongHeader, Asynchronous: true},
		{Role: NNI, Form: AnnexA},
	} {
		t.Run(fmt.Sprintf("%v, %v, %d", cfg.Role, cfg.Form, cfg.HeaderLen), func(t *testing.T) {
			far := cfg
			if cfg.Role == DCE {
				far.Role = DTE
			}
			l := join(t, cfg, far, relay.Impairment{})
			for _, s := range []Status{Inactive, Active, Deleted, Active} {
				l.set(0, 100, s)
				l.set(0, 1000, Inactive)
				l.run(25 * time.Second)
			}
			if len(l.frames) < 20 {
				t.Fatalf("%d frames", len(l.frames))
			}
			headerLen := l.ends[0].cfg.HeaderLen
			for i, got := range judged(t, l.frames) {
				m, ok := parseMessage(l.frames[i], headerLen, nil)
				if !ok {
					t.Fatalf("%x", l.frames[i])
				}
				if why := got.Complaint(); why != "" {
					t.Errorf("%s: tshark: %s", m.describe(), why)
				}
				for field, want := range m.fields(headerLen) {
					if got[field] != want {
						t.Errorf("%s: tshark has %s %q, want %q", m.describe(), field, got[field], want)
					}
				}
			}
		})
	}
}

// fields returns what tshark is to say of a message.
func (m *message) fields(headerLen int) map[string]string {
	number := func(n byte) string { return fmt.Sprint(n) }
	if m.form == Cisco {
		// Tshark takes a PVC's DLCI for one of Annex D, and shows another.
		fields := map[string]string{
			"frame.protocols": "fr:lmi", "fr.dlci": "1023",
			"lmi.msg_type": fmt.Sprintf("%#x", m.kind), "lmi.ele_rcd_type": number(m.report), "lmi.send_seq": number(m.send), "lmi.recv_seq": number(m.received),
		}
		var isNew, active []string
		for _, p := range m.pvcs {
			isNew, active = append(isNew, number(p.bits&pvcNew/pvcNew)), append(active, number(p.bits&pvcActive/pvcActive))
		}
		fields["lmi.dlci_new"], fields["lmi.dlci_act"] = strings.Join(isNew, ","), strings.Join(active, ",")
		return fields
	}
	fields := map[string]string{
		"frame.protocols": "fr:q933", "fr.dlci": "0",
		"q933.message_type": fmt.Sprintf("%#x", m.kind), "q933.report_type": number(m.report),
	}
	if m.report != singlePVC {
		fields["q933.link_verification.txseq"], fields["q933.link_verification.rxseq"] = number(m.send), number(m.received)
	}
	var dlcis, statuses []string
	for _, p := range m.pvcs {
		dlcis, statuses = append(dlcis, fmt.Sprint(p.dlci)), append(statuses, number(p.bits>>1))
	}
	fields["q933.status"] = strings.Join(statuses, ",")
	if headerLen == ShortHeader { // of a long one tshark puts the parts together wrongly
		fields["q933.dlci"] = strings.Join(dlcis, ",")
	}
	return fields
}

// TestWiresharkReadsHeaders has tshark read headers in front of IP packets, before
// and after they went through a pseudowire.
func TestWiresharkReadsHeaders(t *testing.T) {
	packet := []byte{0x03, 0xcc, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0x66, 0xad, 10, 0, 0, 1, 10, 0, 0, 2}
	var frames [][]byte
	var want []Header
	for _, v := range headers {
		h := v.header
		frames, want = append(frames, append(h.Append(nil, v.n), packet...)), append(want, h)
		through := bytes.Clone(frames[len(frames)-1])
		h.DLCI = 200
		if why := (Circuit{h.DLCI, v.n}).Egress(through); why != NotDropped {
			t.Fatal(why)
		}
		frames, want = append(frames, through), append(want, h)
	}
	bit := func(set bool) string {
		if set {
			return "1"
		}
		return "0"
	}
	for i, got := range judged(t, frames) {
		if why := got.Complaint(); why != "" {
			t.Errorf("%x: tshark: %s", frames[i], why)
		}
		for field, want := range map[string]string{
			"frame.protocols": "fr:ip", "ip.src": "10.0.0.1",
			"fr.dlci": fmt.Sprint(want[i].DLCI), "fr.cr": bit(want[i].CR), "fr.fecn": bit(want[i].FECN), "fr.becn": bit(want[i].BECN), "fr.de": bit(want[i].DE),
		} {
			if got[field] != want {
				t.Errorf("%x: tshark has %s %q, want %q", frames[i], field, got[field], want)
			}
		}
	}
}
