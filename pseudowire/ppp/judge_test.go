package ppp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"spanwire/testbed/tshark"
)

// fields are what tshark is asked for of each frame. Each protocol has its own names.
var fields = []string{
	"frame.protocols", "ppp.code", "ppp.identifier", "pap.code", "pap.identifier", "chap.code", "chap.identifier", "eap.code", "eap.id",
}

// TestWireshark has tshark read what two ends say to each other, and find nothing that
// is malformed.
func TestWireshark(t *testing.T) {
	names := map[Protocol][2]string{ // what tshark calls a protocol, and its codes
		LCP: {"lcp", "ppp"}, IPCP: {"ipcp", "ppp"}, IPV6CP: {"ipv6cp", "ppp"}, CCP: {"ccp", "ppp"},
		PAP: {"pap", "pap"}, CHAP: {"chap", "chap"}, EAP: {"eap", "eap"},
	}
	var frames [][]byte
	for _, m := range simMethods {
		lns, client := pair(m, MPPEOffered)
		w := join(t, 1, lns, client, noTrouble)
		w.run(time.Minute)
		w.wantOpen()
		w.ends[1].Receive(w.now, unhex(t, "80fb 01 01 0004"))
		w.ends[1].Receive(w.now, unhex(t, "c021 63 01 0004"))
		w.drain(1)
		w.ends[0].Close(w.now)
		w.drain(0)
		w.run(time.Minute)
		frames = append(frames, w.said...)
	}
	d := askedBy(t, ByEAP, 0)
	r, _ := d.link.Transmit(nil)
	d.link.Receive(d.now, packet{eapResponse, r[5], []byte("\x01user")}.append(unhex(t, "c227")))
	d.link.Authenticated(d.now, d.wantEvent(PeerEAP).Proof.Serial, Verdict{OK: true})
	more, _ := drain(d.link)
	frames = append(append(frames, r), more...)

	seen := map[string]bool{}
	all, err := tshark.ReadFrames(layers.LinkTypePPP, frames, fields)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range all {
		p, n := header(frames[i])
		c, _ := parsePacket(frames[i][n:])
		name := names[p]
		protocols, id := "ppp:"+name[0], name[1]+".identifier"
		if p == EAP {
			id = "eap.id"
		}
		seen[fmt.Sprint(p, " ", c.code)] = true
		if !strings.HasPrefix(got["frame.protocols"], protocols) || got.Complaint() != "" ||
			got[name[1]+".code"] != fmt.Sprint(c.code) {
			t.Errorf("%v % x: tshark has %q, want %s, code %d", p, frames[i][n:], got, protocols, c.code)
		}
		if got[id] != fmt.Sprint(c.id) && got[id] != fmt.Sprintf("0x%02x", c.id) {
			t.Errorf("%v: tshark has %q, want identifier %d", p, got, c.id)
		}
	}
	if len(seen) < 22 {
		t.Errorf("only %d kinds of packets: %v", len(seen), seen)
	}
}
