package decode

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"spanwire/l2tpv3/wire"
)

// TestVersion2 decodes dialogues of xl2tpd and pppd.
func TestVersion2(t *testing.T) {
	const secret = "s3kr1t-tunnel"
	for _, v := range []struct {
		file    string
		secrets []string
		count   Count // of digests
		want    []string
	}{
		{"pap", nil, Count{}, []string{
			"10.77.0.2:1701 > 10.77.0.1:1701 L2TPv2 SCCRQ tunnel 0 session 0 ns 0 nr 0\n    M  Protocol Version: 0100\n    M  Framing Capabilities: sync, async\n",
			": LCP Configure-Request id 1: MRU 1400, ACCM 0x00000000, authentication pap, magic number 0x",
			`: PAP Authenticate-Request id 1: peer "alice"` + "\n", ": IPCP Configure-Nak id ", "address 10.66.0.10", "L2TPv2 StopCCN "}},
		{"chap-secret-lns-cdn", []string{"another", secret}, Count{Right: 2}, []string{
			"ns 0 nr 1, challenge response right\n", "L2TPv2 SCCCN tunnel 40392 session 0 ns 1 nr 1, challenge response right\n", `CHAP Challenge id `, "L2TPv2 CDN "}},
		{"chap-secret-lns-cdn", []string{"another"}, Count{Wrong: 2}, []string{"challenge response WRONG\n"}},
		{"chap-secret-lns-cdn", nil, Count{Unknown: 2}, []string{"challenge response not checked: no secret\n"}},
		{"lcp-nak-auth-secret", []string{"other"}, Count{Right: 2}, []string{": LCP Configure-Nak id 1: authentication chap\n"}},
	} {
		b, err := os.ReadFile(filepath.Join("..", "..", "..", "l2tpv3", "l2tpv2", "testdata", "xl2tpd", v.file+".pcap"))
		if err != nil {
			t.Fatal(err)
		}
		var secrets []*wire.SecretV2
		for _, s := range v.secrets {
			secrets = append(secrets, wire.NewSecretV2([]byte(s)))
		}
		var out strings.Builder
		n, err := Print(&out, bytes.NewReader(b), nil, secrets)
		if err != nil {
			t.Fatal(err)
		}
		if got := (Count{Right: n.Right, Wrong: n.Wrong, Unknown: n.Unknown, Malformed: n.Malformed}); got != v.count || n.Messages < 9 || n.PPP < 10 {
			t.Errorf("%s with %q: %v", v.file, v.secrets, n)
		}
		for _, want := range v.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s with %q: %q is not in\n%s", v.file, v.secrets, want, &out)
			}
		}
		if strings.Contains(out.String(), "wonderland") {
			t.Errorf("%s: a password is shown", v.file)
		}
	}
}

// TestVersion2Alone decodes messages that stand alone, hidden, broken and half captured.
func TestVersion2Alone(t *testing.T) {
	secret := wire.NewSecretV2([]byte("the old secret"))
	hide := &wire.EncodingV2{Hide: secret, Random: func(b []byte) { copy(b, "random octets...") }}
	sccrp := wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: 7}, wire.AppendBodyV2(nil, &wire.SCCRPV2{
		PeerV2: wire.PeerV2{HostName: "lns", TunnelID: 9}, Response: secret.Response(wire.TypeSCCRP, []byte("lost"))}, hide))
	icrq := wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: 7}, wire.AppendBodyV2(nil, &wire.ICRQV2{SessionID: 9, CallingNumber: "0123"}, hide))
	data := wire.AppendDataHeaderV2(nil, wire.DataHeaderV2{TunnelID: 7, SessionID: 9, Length: true, Sequenced: true, Offset: wire.Some(uint16(2))}, 10)
	for _, v := range []struct {
		octets []byte
		want   []string
		count  Count
	}{
		{sccrp, []string{"challenge response not checked: the capture lacks the challenge\n"}, Count{Messages: 1, Unknown: 1}},
		{icrq, []string{`MH Calling Number: "0123"`}, Count{Messages: 1}},
		// As they leave in one call, and with what is no message behind it.
		{append(append([]byte{}, icrq...), icrq...), []string{"ns 0 nr 0\n", `MH Calling Number: "0123"`}, Count{Messages: 2}},
		{append(append([]byte{}, icrq...), "padding, zeros"...), []string{"L2TPv2 ICRQ "}, Count{Messages: 1}},
		{sccrp[:7], []string{"L2TPv2, wire: malformed control message header"}, Count{Malformed: 1}},
		{append(data, "\xff\x03\xc0\x21\x05\x01\x00\x06no"...), []string{`L2TPv2 data tunnel 7 session 9: LCP Terminate-Request id 1: "no"`}, Count{PPP: 1}},
		{append(data, "\xff\x03\x00\x21\x45\x00\x00\x06no"...), nil, Count{}},
		{data[:9], nil, Count{}},
	} {
		var out strings.Builder
		n, err := Print(&out, bytes.NewReader(raw(t, wire.UDP, line{lyon, paris, v.octets})), nil, []*wire.SecretV2{secret})
		v.count.Packets = 1
		if err != nil || n != v.count {
			t.Errorf("%x: %v, %v, want %v", v.octets, n, err, v.count)
		}
		for _, want := range v.want {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%x: %q is not in\n%s", v.octets, want, &out)
			}
		}
		if len(v.want) == 0 && out.Len() > 0 {
			t.Errorf("%x: %s", v.octets, &out)
		}
	}
}
