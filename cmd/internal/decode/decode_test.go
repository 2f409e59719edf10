package decode

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"spanwire/cookie"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A party is one end of a dialogue.
type party struct {
	at    netip.AddrPort
	id    uint32
	nonce []byte
}

var (
	lyon  = party{netip.MustParseAddrPort("192.0.2.1:1701"), 0x1001, []byte("sixteen of lyon.")}
	paris = party{netip.MustParseAddrPort("192.0.2.2:1701"), 0x2002, []byte("sixteen of paris")}

	old   = wire.NewSecret([]byte("the old secret"))
	fresh = wire.NewSecret([]byte("the new secret"))
)

// silent is a party that uses no nonce.
func (p party) silent() party {
	p.nonce = nil
	return p
}

// A speech is how messages are written.
type speech struct {
	signatures []wire.Signature
	hide       *wire.Secret
}

func signed(s *wire.Secret) speech {
	return speech{signatures: []wire.Signature{{Type: wire.SHA1, Secret: s}}}
}

// say returns a control message to a Control Connection ID; nil is a ZLB.
func (s speech) say(version uint8, id uint32, ns, nr uint16, m wire.Message, local, remote []byte) []byte {
	var body []byte
	if m != nil {
		body = wire.AppendBody(nil, m, &wire.Encoding{Signatures: s.signatures, Hide: s.hide, Random: func(b []byte) { copy(b, "random octets...") }})
	}
	b := wire.AppendControl(nil, wire.ControlHeader{Version: version, ConnectionID: id, Ns: ns, Nr: nr}, body)
	wire.Seal(b, s.signatures, local, remote)
	return b
}

func lcce(p party, name string) wire.LCCE {
	return wire.LCCE{HostName: name, RouterID: 7, ConnectionID: p.id, Nonce: p.nonce, ReceiveWindow: 8, Capabilities: []pseudowire.Type{pseudowire.Ethernet}}
}

// A line is a message of a dialogue, on its way.
type line struct {
	from, to party
	octets   []byte
}

// opening returns how a connection comes to be, and a session in it.
func (s speech) opening(a, b party) []line {
	eight, err := cookie.Parse("0102030405060708")
	if err != nil {
		panic(err)
	}
	call := wire.CallRequest{LocalSessionID: 5, SerialNumber: 1, PseudowireType: pseudowire.Ethernet, RemoteEndID: []byte("office"), Cookie: eight}
	return []line{
		{a, b, s.say(3, 0, 0, 0, &wire.SCCRQ{LCCE: lcce(a, "lyon")}, nil, nil)},
		{b, a, s.say(3, a.id, 0, 1, &wire.SCCRP{LCCE: lcce(b, "paris")}, b.nonce, a.nonce)},
		{a, b, s.say(3, b.id, 1, 1, &wire.SCCCN{}, a.nonce, b.nonce)},
		{b, a, s.say(3, a.id, 1, 2, &wire.ACK{}, b.nonce, a.nonce)},
		{a, b, s.say(3, b.id, 2, 1, &wire.ICRQ{CallRequest: call}, a.nonce, b.nonce)},
	}
}

// ip puts a message into an IP packet.
func ip(t testing.TB, e wire.Encap, l line) []byte {
	t.Helper()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	udp := &layers.UDP{SrcPort: layers.UDPPort(l.from.at.Port()), DstPort: layers.UDPPort(l.to.at.Port())}
	protocol, payload := layers.IPProtocolUDP, []gopacket.SerializableLayer{udp, gopacket.Payload(l.octets)}
	if e == wire.IP {
		protocol, payload = wire.Protocol, []gopacket.SerializableLayer{gopacket.Payload(append(make([]byte, 4), l.octets...))}
	}
	var header gopacket.NetworkLayer
	if l.from.at.Addr().Is4() {
		header = &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: l.from.at.Addr().AsSlice(), DstIP: l.to.at.Addr().AsSlice()}
	} else {
		header = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: l.from.at.Addr().AsSlice(), DstIP: l.to.at.Addr().AsSlice()}
	}
	if err := udp.SetNetworkLayerForChecksum(header); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, options, append([]gopacket.SerializableLayer{header.(gopacket.SerializableLayer)}, payload...)...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A frame is a packet of a capture; whole is its length on the wire, 0: all of it
// was captured.
type frame struct {
	octets []byte
	whole  int
}

// file writes a pcap.
func file(t testing.TB, link layers.LinkType, frames ...frame) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(1<<16, link); err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		info := gopacket.CaptureInfo{Timestamp: time.Unix(1e9, int64(i)*1e6), CaptureLength: len(f.octets), Length: max(f.whole, len(f.octets))}
		if err := w.WritePacket(info, f.octets); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// raw writes a pcap of raw IP.
func raw(t testing.TB, e wire.Encap, lines ...line) []byte {
	t.Helper()
	var frames []frame
	for _, l := range lines {
		frames = append(frames, frame{octets: ip(t, e, l)})
	}
	return file(t, layers.LinkTypeRaw, frames...)
}

// print decodes a capture that is sound.
func print(t *testing.T, capture []byte, secrets ...*wire.Secret) (string, Count) {
	t.Helper()
	var out strings.Builder
	n, err := Print(&out, bytes.NewReader(capture), secrets, nil)
	if err != nil {
		t.Fatalf("%v; %v\n%s", err, n, &out)
	}
	return out.String(), n
}

// verdicts returns of each message its type and what was said of its digest.
func verdicts(out string) (all []string) {
	for l := range strings.Lines(out) {
		if strings.HasPrefix(l, " ") {
			continue
		}
		title, words, _ := strings.Cut(strings.TrimSpace(l), ", ")
		f := strings.Fields(title)
		if f[4] == "L2TPv2" {
			f[4] += " " + f[5]
		}
		all = append(all, strings.TrimSpace(f[4]+" "+words))
	}
	return all
}

func TestPrint(t *testing.T) {
	s := signed(old)
	s.hide = old
	lines := s.opening(lyon, paris)
	out, n := print(t, raw(t, wire.UDP, lines[0], lines[4]), old)
	want := `01:46:40.000000 192.0.2.1:1701 > 192.0.2.2:1701 SCCRQ id 0 ns 0 nr 0, digest right (sha1)
    M  Message Digest: sha1 DIGEST
    M  Host Name: "lyon"
    M  Router ID: 0.0.0.7
    M  Assigned Control Connection ID: 4097
    M  Pseudowire Capabilities List: ethernet
    M  Receive Window Size: 8
    M  Control Message Authentication Nonce: 7369787465656e206f66206c796f6e2e
`
	head, rest, _ := strings.Cut(out, "01:46:40.001000")
	_, digest, _ := strings.Cut(head, "sha1 ")
	if digest = digest[:40]; strings.Trim(digest, "0123456789abcdef") != "" {
		t.Errorf("digest %q", digest)
	}
	if d := cmp.Diff(sorted(want), sorted(strings.Replace(head, digest, "DIGEST", 1))); d != "" {
		t.Errorf("SCCRQ (-want +got):\n%s", d)
	}
	// The ICRQ's nonces are not in this capture, but what is hidden is hidden
	// with the secret alone.
	for _, want := range []string{"ICRQ id 8194 ns 2 nr 1, digest not checked: the capture lacks the nonces\n", `H Remote End ID: "office"`, "H Assigned Cookie: 8 octets"} {
		if !strings.Contains(rest, want) {
			t.Errorf("%q is not in\n%s", want, rest)
		}
	}
	if strings.Contains(out, "01020304") {
		t.Errorf("a cookie is shown:\n%s", out)
	}
	if want := (Count{Packets: 2, Messages: 2, Right: 1, Unknown: 1}); n != want {
		t.Errorf("%v, want %v", n, want)
	}
	if out, _ := print(t, raw(t, wire.UDP, lines...)); strings.Contains(out, "office") || !strings.Contains(out, "H Remote End ID: 16 octets") {
		t.Errorf("without the secret:\n%s", out)
	}
}

// sorted is for what may come in any order.
func sorted(text string) map[string]int {
	all := make(map[string]int)
	for l := range strings.Lines(text) {
		all[l]++
	}
	return all
}

func TestDigests(t *testing.T) {
	s, both := signed(old), speech{signatures: []wire.Signature{{Type: wire.SHA1, Secret: fresh}, {Type: wire.SHA1, Secret: old}}}
	open := s.opening(lyon, paris)
	right := func(types ...string) (all []string) {
		for _, name := range types {
			all = append(all, name+" digest right (sha1)")
		}
		return all
	}
	five := right("SCCRQ", "SCCRP", "SCCCN", "ACK", "ICRQ")
	md5 := speech{signatures: []wire.Signature{{Type: wire.MD5, Secret: old}, {Type: wire.SHA1, Secret: old}}}
	integral := speech{signatures: []wire.Signature{{Type: wire.MD5, Secret: integrity}}}
	quiet := integral.opening(lyon.silent(), paris.silent())
	spoilt := append([]line(nil), quiet...)
	spoilt[2].octets = bytes.Clone(spoilt[2].octets)
	spoilt[2].octets[len(spoilt[2].octets)-1] ^= 1
	lyon2, paris2 := lyon, paris // the same IDs again
	lyon2.nonce, paris2.nonce = []byte("another of lyon."), []byte("another of paris")
	neighbour := paris2 // another node that has chosen paris's ID
	neighbour.at = netip.MustParseAddrPort("198.51.100.2:1701")
	behind := party{netip.MustParseAddrPort("192.0.2.1:40000"), lyon.id, []byte("behind the same.")} // another node at lyon's address
	refusal := line{paris, lyon, s.say(3, lyon.id, 0, 1, &wire.StopCCN{Result: wire.Result{Code: wire.StopExists}}, nil, lyon.nonce)}
	telling := line{paris, lyon, s.say(3, lyon.id, 0, 1, &wire.StopCCN{ConnectionID: 99, Result: wire.Result{Code: wire.StopNotAuthorized}}, nil, lyon.nonce)}
	lied := append([]line(nil), open...)
	lied[1].octets = signed(fresh).say(3, lyon.id, 0, 1, &wire.SCCRP{LCCE: lcce(paris, "paris")}, paris.nonce, lyon.nonce)

	for _, v := range []struct {
		name    string
		lines   []line
		secrets []*wire.Secret
		want    []string
	}{
		{"all", open, []*wire.Secret{old}, five},
		{"md5 and sha1", md5.opening(lyon, paris), []*wire.Secret{old},
			[]string{"SCCRQ digest right (md5)", "SCCRP digest right (md5)", "SCCCN digest right (md5)", "ACK digest right (md5)", "ICRQ digest right (md5)"}},
		{"no secret", open, nil, []string{"SCCRQ digest not checked: no secret", "SCCRP digest not checked: no secret", "SCCCN digest not checked: no secret",
			"ACK digest not checked: no secret", "ICRQ digest not checked: no secret"}},
		{"another secret", open, []*wire.Secret{fresh}, []string{"SCCRQ digest WRONG", "SCCRP digest WRONG", "SCCCN digest WRONG", "ACK digest WRONG", "ICRQ digest WRONG"}},
		{"two secrets", append(append([]line(nil), open...), signed(fresh).opening(lyon2, paris2)...), []*wire.Secret{old, fresh}, append(append([]string(nil), five...), five...)},
		{"signed with two secrets", both.opening(lyon, paris), []*wire.Secret{old}, five},
		{"without digests", speech{}.opening(lyon.silent(), paris.silent()), []*wire.Secret{old}, []string{"SCCRQ", "SCCRP", "SCCCN", "ACK", "ICRQ"}},
		{"a ZLB", []line{{paris, lyon, speech{}.say(3, lyon.id, 1, 2, nil, nil, nil)}}, nil, []string{"ZLB"}},

		{"integrity", quiet, nil, []string{"SCCRQ integrity right (md5)", "SCCRP integrity right (md5)", "SCCCN integrity right (md5)", "ACK integrity right (md5)", "ICRQ integrity right (md5)"}},
		{"integrity, and a secret for others", quiet[:2], []*wire.Secret{old}, []string{"SCCRQ integrity right (md5)", "SCCRP integrity right (md5)"}},
		{"integrity lost", spoilt[:4], nil, []string{"SCCRQ integrity right (md5)", "SCCRP integrity right (md5)", "SCCCN integrity WRONG", "ACK integrity right (md5)"}},

		{"without the SCCRQ", open[1:], []*wire.Secret{old}, []string{"SCCRP digest not checked: the capture lacks the nonces", "SCCCN digest not checked: the capture lacks the nonces",
			"ACK digest not checked: the capture lacks the nonces", "ICRQ digest not checked: the capture lacks the nonces"}},
		{"without the SCCRP", append(open[:1:1], open[2:]...), []*wire.Secret{old}, []string{"SCCRQ digest right (sha1)", "SCCCN digest not checked: the capture lacks the nonces",
			"ACK digest not checked: the capture lacks the nonces", "ICRQ digest not checked: the capture lacks the nonces"}},
		{"all twice", append(append(append([]line(nil), open[:3]...), open[:3]...), open[3:]...), []*wire.Secret{old}, append(right("SCCRQ", "SCCRP", "SCCCN"), five...)},

		{"one ID after the other", append(append([]line(nil), open...), s.opening(lyon2, paris2)...), []*wire.Secret{old}, append(append([]string(nil), five...), five...)},
		{"late for an ID that is used again", append(append(append([]line(nil), open[:3]...), s.opening(lyon2, paris2)...), open[3:]...), []*wire.Secret{old},
			append(append(right("SCCRQ", "SCCRP", "SCCCN"), five...), right("ACK", "ICRQ")...)},
		{"one ID at two nodes", interleave(open, s.opening(lyon2, neighbour)), []*wire.Secret{old},
			right("SCCRQ", "SCCRQ", "SCCRP", "SCCRP", "SCCCN", "SCCCN", "ACK", "ACK", "ICRQ", "ICRQ")},
		{"one ID twice behind an address", interleave(open, s.opening(behind, neighbour)), []*wire.Secret{old},
			right("SCCRQ", "SCCRQ", "SCCRP", "SCCRP", "SCCCN", "SCCCN", "ACK", "ACK", "ICRQ", "ICRQ")},

		{"refused", []line{open[0], refusal}, []*wire.Secret{old}, right("SCCRQ", "StopCCN")},
		{"refused, the SCCRQ not seen", []line{refusal}, []*wire.Secret{old}, []string{"StopCCN digest not checked: the capture lacks the nonces"}},
		{"refused with another secret", []line{open[0], refusal}, []*wire.Secret{fresh}, []string{"SCCRQ digest WRONG", "StopCCN digest WRONG"}},
		{"a refusal that is acknowledged", []line{open[0], telling, {lyon, paris, s.say(3, 99, 1, 1, &wire.ACK{}, lyon.nonce, nil)}}, []*wire.Secret{old}, right("SCCRQ", "StopCCN", "ACK")},
		{"taken back", []line{open[0], {lyon, paris, s.say(3, 0, 1, 0, &wire.StopCCN{ConnectionID: lyon.id, Result: wire.Result{Code: wire.StopShutdown}}, lyon.nonce, nil)}},
			[]*wire.Secret{old}, right("SCCRQ", "StopCCN")},
		{"one is wrong, then the right one", append(lied[:2:2], open[1:]...), []*wire.Secret{old},
			append([]string{"SCCRQ digest right (sha1)", "SCCRP digest WRONG"}, five[1:]...)},
	} {
		for _, e := range []wire.Encap{wire.UDP, wire.IP} {
			out, n := print(t, raw(t, e, v.lines...), v.secrets...)
			if d := cmp.Diff(v.want, verdicts(out)); d != "" {
				t.Errorf("%s over %v (-want +got):\n%s", v.name, e, d)
			}
			if want := fmt.Sprintf("digests right %d, wrong %d, not checked %d; malformed 0", strings.Count(out, " right ("), strings.Count(out, "WRONG"), strings.Count(out, "not checked")); !strings.Contains(n.String(), want) || n.Messages != len(v.lines) {
				t.Errorf("%s over %v: %v, want %s", v.name, e, n, want)
			}
		}
	}
}

func interleave(a, b []line) (all []line) {
	for i := range a {
		all = append(all, a[i], b[i])
	}
	return all
}

// TestHiddenConnectionID follows a connection whose IDs are hidden.
func TestHiddenConnectionID(t *testing.T) {
	lines := signed(old).opening(lyon, paris)
	for i, p := range []party{lyon, paris} {
		lines[i].octets = hideID(t, p.id, lines[i].octets, p.nonce, [][]byte{nil, lyon.nonce}[i])
	}
	out, _ := print(t, raw(t, wire.UDP, lines...), old)
	if want := []string{"SCCRQ digest right (sha1)", "SCCRP digest right (sha1)", "SCCCN digest right (sha1)", "ACK digest right (sha1)", "ICRQ digest right (sha1)"}; !cmp.Equal(verdicts(out), want) {
		t.Errorf("%s\nwant all right", out)
	}
}

// hideID hides the Assigned Control Connection ID of a message, RFC 3931 section
// 5.3: a Random Vector is put before it.
func hideID(t *testing.T, id uint32, message, local, remote []byte) []byte {
	t.Helper()
	plain := binary.BigEndian.AppendUint32([]byte{0x80, 10, 0, 0, 0, 61}, id)
	at := bytes.Index(message, plain)
	if at < 0 {
		t.Fatal("no Assigned Control Connection ID")
	}
	vector := []byte("a vector")
	mac := hmac.New(md5.New, []byte("the old secret"))
	mac.Write([]byte{1})
	stream := md5.Sum(bytes.Join([][]byte{{0, 61}, mac.Sum(nil), vector}, nil))
	sub := append([]byte{0, 4}, plain[6:]...)
	for i := range sub {
		sub[i] ^= stream[i]
	}
	hidden := append(append([]byte{0x80, byte(6 + len(vector)), 0, 0, 0, 36}, vector...), 0xc0, byte(6+len(sub)), 0, 0, 0, 61)
	message = bytes.Join([][]byte{message[:at], hidden, sub, message[at+len(plain):]}, nil)
	binary.BigEndian.PutUint16(message[2:], uint16(len(message)))
	if remote == nil {
		local = nil // an SCCRQ
	}
	wire.Seal(message, signed(old).signatures, local, remote)
	return message
}

func TestVersions(t *testing.T) {
	offer := speech{}.say(2, 0, 0, 0, &wire.SCCRQ{LCCE: lcce(lyon.silent(), "lyon")}, nil, nil)
	avp := func(attr uint16, value ...byte) []byte {
		b := []byte{0x80, byte(6 + len(value)), 0, 0, byte(attr >> 8), byte(attr)}
		return append(b, value...)
	}
	two := func(t byte, avps ...[]byte) []byte {
		return wire.AppendControl(nil, wire.ControlHeader{Version: 2, ConnectionID: 7 << 16}, bytes.Join(append([][]byte{avp(0, 0, t)}, avps...), nil))
	}
	for _, v := range []struct {
		name   string
		octets []byte
		want   []string
	}{
		{"an SCCRQ that offers both", offer, []string{"SCCRQ"}},
		{"an SCCRQ of L2TPv2", two(1, avp(2, 1, 0), avp(3, 0, 0, 0, 3), avp(7, 'l', 'n', 's'), avp(9, 0, 7)), []string{"L2TPv2 SCCRQ"}},
		{"a HELLO of L2TPv2", two(6), []string{"L2TPv2 HELLO"}},
		{"an unknown message of L2TPv2", two(99), []string{"L2TPv2 message"}},
		{"a ZLB of L2TPv2", wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: 7}, nil), []string{"L2TPv2 ZLB"}},
		{"data of L2TPv2", []byte{0x40, 2, 0, 12, 0, 7, 0, 9, 0xff, 3, 0, 0x21}, nil},
		{"L2F", []byte{0xc0, 1, 0, 12, 0, 7, 0, 9, 0xff, 3, 0, 0x21}, nil},
		{"data of L2TPv3", []byte{0, 3, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4}, nil},
		{"an octet", []byte{0xc8}, nil},
		{"nothing", nil, nil},
	} {
		out, n := print(t, raw(t, wire.UDP, line{lyon, paris, v.octets}))
		if got := verdicts(out); !cmp.Equal(got, v.want) || n.Malformed != 0 || n.Partial != 0 {
			t.Errorf("%s: %q, want %q; %v", v.name, got, v.want, n)
		}
	}
	if out, _ := print(t, raw(t, wire.UDP, line{lyon, paris, offer})); !strings.Contains(out, "SCCRQ with a header of version 2 id 0") {
		t.Errorf("an SCCRQ that offers both:\n%s", out)
	}
}

func TestMalformed(t *testing.T) {
	hello := speech{}.say(3, 7, 0, 0, &wire.HELLO{}, nil, nil)
	long, unlike := bytes.Clone(hello), bytes.Clone(hello)
	long[3] += 9 // its Length is more than there is
	unlike[0] = 0x80
	endless := bytes.Clone(hello)
	endless[13] = 200 // the AVP's is
	for _, v := range []struct {
		name   string
		octets []byte
		want   string
	}{
		{"length", long, "malformed control message header: length 29"},
		{"bits", unlike, "want bits T, L and S"},
		{"short", hello[:9], "9 octets, want 12"},
		{"AVP", endless, "malformed: "},
	} {
		out, n := print(t, raw(t, wire.UDP, line{lyon, paris, v.octets}))
		if n.Malformed != 1 || !strings.Contains(out, v.want) {
			t.Errorf("%s: %v, want 1 malformed, %q:\n%s", v.name, n, v.want, out)
		}
	}
}

// TestForgets has more connections than are remembered.
func TestForgets(t *testing.T) {
	d := dialogues{ends: make(map[end][]pair)}
	for i := range 3 * maxEnds {
		d.learn(end{lyon.at.Addr(), uint32(i)}, pair{own: lyon.nonce})
	}
	for i := range 3 * maxPairs {
		d.learn(end{lyon.at.Addr(), 3*maxEnds - 1}, pair{own: []byte{byte(i)}})
	}
	if n := len(d.ends); n != maxEnds || len(d.order) != maxEnds || len(d.ends[end{lyon.at.Addr(), 3*maxEnds - 1}]) != maxPairs {
		t.Errorf("%d ends in an order of %d, %d pairs of one, want %d and %d", n, len(d.order), len(d.ends[end{lyon.at.Addr(), 3*maxEnds - 1}]), maxEnds, maxPairs)
	}
}

func TestFiles(t *testing.T) {
	sccrq := ip(t, wire.UDP, signed(old).opening(lyon, paris)[0])
	good := file(t, layers.LinkTypeRaw, frame{octets: sccrq}, frame{octets: sccrq})
	var nano, ng, zipped bytes.Buffer
	info := gopacket.CaptureInfo{Timestamp: time.Unix(1e9, 1000), CaptureLength: len(sccrq), Length: len(sccrq)}
	w := pcapgo.NewWriterNanos(&nano)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(info, sccrq); err != nil {
		t.Fatal(err)
	}
	// As Wireshark captures on several devices at once.
	nw, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	second, err := nw.AddInterface(pcapgo.NgInterface{LinkType: layers.LinkTypeRaw})
	if err != nil {
		t.Fatal(err)
	}
	third, err := nw.AddInterface(pcapgo.NgInterface{LinkType: layers.LinkTypeLinuxUSB})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		index  int
		octets []byte
	}{{0, ethernet(0x0800, sccrq)}, {third, sccrq}, {second, sccrq}} {
		info.InterfaceIndex, info.CaptureLength, info.Length = v.index, len(v.octets), len(v.octets)
		if err := nw.WritePacket(info, v.octets); err != nil {
			t.Fatal(err)
		}
	}
	if err := nw.Flush(); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(ng.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	big := bigEndian(good[:24+16+len(sccrq)])
	const record = 16
	for _, v := range []struct {
		name    string
		capture []byte
		want    Count
		err     string
	}{
		{"pcap", good, Count{Packets: 2, Messages: 2, Right: 2}, ""},
		{"pcap of nanoseconds", nano.Bytes(), Count{Packets: 1, Messages: 1, Right: 1}, ""},
		{"pcap, big-endian", big, Count{Packets: 1, Messages: 1, Right: 1}, ""},
		{"pcapng", ng.Bytes(), Count{Packets: 3, Foreign: 1, Messages: 2, Right: 2}, ""},
		{"pcapng in gzip", zipped.Bytes(), Count{Packets: 3, Foreign: 1, Messages: 2, Right: 2}, ""},
		{"pcap without packets", good[:24], Count{}, ""},
		{"pcap that ends in a packet", good[:len(good)-7], Count{Packets: 1, Messages: 1, Right: 1}, "it ends within a packet, after 1"},
		{"pcap that ends before a packet", good[:len(good)-len(sccrq)], Count{Packets: 1, Messages: 1, Right: 1}, "it ends within a packet, after 1"},
		{"pcap that ends in a packet's header", good[:len(good)-len(sccrq)-record/2], Count{Packets: 1, Messages: 1, Right: 1}, "it ends within a packet, after 1"},
		{"pcapng that ends in a packet", ng.Bytes()[:ng.Len()-9], Count{Packets: 2, Foreign: 1, Messages: 1, Right: 1}, "it ends within a packet, after 2"},
		{"gzip that ends", zipped.Bytes()[:zipped.Len()/4], Count{}, "EOF"},
		{"nothing", nil, Count{}, "no capture: it has 0 octets"},
		{"three octets", good[:3], Count{}, "no capture: it has 3 octets"},
		{"a text", []byte("#!/bin/sh\nexit 0, and more than enough of it\n"), Count{}, "nknown magic"},
	} {
		n, err := Print(new(bytes.Buffer), bytes.NewReader(v.capture), []*wire.Secret{old}, nil)
		if (err == nil) != (v.err == "") || err != nil && !strings.Contains(err.Error(), v.err) {
			t.Errorf("%s: %v, want %q", v.name, err, v.err)
		}
		if n != v.want {
			t.Errorf("%s: %v, want %v", v.name, n, v.want)
		}
	}
	if got, want := (Count{Packets: 9, Partial: 1, Foreign: 2}).String(), "; malformed 0; not whole in the capture 1; of links that are not known here 2"; !strings.HasSuffix(got, want) {
		t.Errorf("%q, want at its end %q", got, want)
	}
}

// bigEndian turns the numbers of a pcap of one packet around.
func bigEndian(b []byte) []byte {
	b = bytes.Clone(b)
	for _, at := range []int{0, 8, 12, 16, 20, 24, 28, 32, 36} {
		n := binary.LittleEndian.Uint32(b[at:])
		binary.BigEndian.PutUint32(b[at:], n)
	}
	for _, at := range []int{4, 6} {
		n := binary.LittleEndian.Uint16(b[at:])
		binary.BigEndian.PutUint16(b[at:], n)
	}
	return b
}

// TestWriterFails wants no more read for one who does not listen.
func TestWriterFails(t *testing.T) {
	capture := raw(t, wire.UDP, signed(old).opening(lyon, paris)...)
	n, err := Print(broken{}, bytes.NewReader(capture), nil, nil)
	if err == nil || n.Messages != 1 {
		t.Errorf("%v, %v, want an error after one message", n, err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, fmt.Errorf("broken pipe") }

func FuzzPrint(f *testing.F) {
	s := signed(old)
	s.hide = old
	lines := s.opening(lyon, paris)
	f.Add(raw(f, wire.UDP, lines...))
	f.Add(raw(f, wire.IP, lines...))
	for _, v := range wrapped(ip(f, wire.UDP, lines[0])) {
		f.Add(file(f, v.link, frame{octets: v.octets}))
	}
	var ng bytes.Buffer
	w, err := pcapgo.NewNgWriter(&ng, layers.LinkTypeRaw)
	if err != nil {
		f.Fatal(err)
	}
	b := ip(f, wire.UDP, lines[0])
	if err := w.WritePacket(gopacket.CaptureInfo{CaptureLength: len(b), Length: len(b)}, b); err != nil {
		f.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		f.Fatal(err)
	}
	f.Add(ng.Bytes())
	f.Fuzz(func(t *testing.T, capture []byte) {
		if bytes.HasPrefix(capture, []byte{0x1f, 0x8b}) {
			return // gzip's own bounds are not ours
		}
		var out bytes.Buffer
		n, _ := Print(&out, bytes.NewReader(capture), []*wire.Secret{old, fresh}, []*wire.SecretV2{wire.NewSecretV2([]byte("the old secret"))})
		if n.Right+n.Wrong+n.Unknown > n.Messages || n.Messages+n.Partial > 2*n.Packets || n.Packets > len(capture) {
			t.Errorf("%+v of %d octets", n, len(capture))
		}
		// An AVP has 6 octets at least, and of its value no more than 4 for each
		// octet are shown.
		if most := 200 + 100*len(capture); out.Len() > most {
			t.Errorf("%d octets printed of %d", out.Len(), len(capture))
		}
		for _, r := range out.String() {
			if r < ' ' && r != '\n' || r == 0x7f {
				t.Fatalf("%q is printed", r)
			}
		}
	})
}
