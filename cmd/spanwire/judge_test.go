package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"spanwire/cmd/internal/api"
	"spanwire/cmd/internal/decode"
	"spanwire/l2tpv3/wire"
	"spanwire/testbed/tshark"
)

// A recording is all that crosses a device of a site.
type recording struct {
	mu     sync.Mutex
	frames [][]byte
	times  []time.Time
}

// record records until the test ends, or stop is called.
func record(t *testing.T, s *site, device string) (r *recording, stop func()) {
	t.Helper()
	ears, index := packetSocket(t, s), s.link(t, device).Attrs().Index
	if err := unix.SetsockoptTimeval(ears, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000}); err != nil {
		t.Fatal(err)
	}
	r = new(recording)
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		b := make([]byte, 1<<16)
		for {
			n, from, err := unix.Recvfrom(ears, b, 0)
			switch {
			case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
				select {
				case <-stopping:
					return
				default:
				}
			case err != nil:
				return
			case from.(*unix.SockaddrLinklayer).Ifindex == index:
				r.mu.Lock()
				for _, f := range segments(b[:n]) {
					r.frames, r.times = append(r.frames, f), append(r.times, time.Now())
				}
				r.mu.Unlock()
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		close(stopping)
		<-stopped
	})
	t.Cleanup(stop)
	return r, stop
}

// segments returns what a frame is on the wire: control messages that were sent by
// UDP_SEGMENT are one where they are sent, and tshark sees the first alone.
func segments(frame []byte) (all [][]byte) {
	const ethernet, ip, udp = 14, 20, 8
	const before = ethernet + ip + udp
	if len(frame) < before || frame[12] != 8 || frame[13] != 0 || frame[ethernet] != 0x45 || frame[ethernet+9] != unix.IPPROTO_UDP {
		return [][]byte{bytes.Clone(frame)}
	}
	for rest := frame[before:]; ; {
		n := len(rest)
		if n >= wire.ControlHeaderLen && rest[0] == 0xc8 {
			n = min(n, max(int(binary.BigEndian.Uint16(rest[2:])), wire.ControlHeaderLen))
		}
		f := append(bytes.Clone(frame[:before]), rest[:n]...)
		binary.BigEndian.PutUint16(f[ethernet+2:], uint16(ip+udp+n))
		binary.BigEndian.PutUint16(f[ethernet+ip+4:], uint16(udp+n))
		clear(f[ethernet+ip+6 : before]) // a checksum of zero is none
		all = append(all, f)
		if rest = rest[n:]; len(rest) == 0 {
			return all
		}
	}
}

// pcap returns the frames that are wanted of what was recorded.
func (r *recording) pcap(t *testing.T, want func(frame []byte) bool) []byte {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, f := range r.frames {
		if !want(f) {
			continue
		}
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: r.times[i], CaptureLength: len(f), Length: len(f)}, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// A setting is how a tunnel of TestJudged is protected.
type setting struct {
	encap, digest string
	secret, hide  bool
	number        int // of its addresses
}

func (s setting) String() string {
	return fmt.Sprintf("%s, digest %s, secret %v, hide %v", s.encap, s.digest, s.secret, s.hide)
}

func (s setting) name() string { return fmt.Sprintf("t%d", s.number) }

// addresses returns lyon's and paris's.
func (s setting) addresses() (lyon, paris string) {
	return fmt.Sprintf("192.0.2.%d", s.number), fmt.Sprintf("192.0.2.%d", 100+s.number)
}

// of reports whether an Ethernet frame is between the two addresses.
func (s setting) of(frame []byte) bool {
	const typeOffset, source, destination = 12, 14 + 12, 14 + 16
	if len(frame) < destination+4 || frame[typeOffset] != 0x08 || frame[typeOffset+1] != 0 {
		return false
	}
	from, to := int(frame[source+3]), int(frame[destination+3])
	return from == s.number && to == 100+s.number || to == s.number && from == 100+s.number
}

// tunnel returns a side's part of the configuration.
func (s setting) tunnel(mode, local, peer, device, secret string) string {
	port := ""
	if s.encap == "udp" {
		port = ":1701"
	}
	text := fmt.Sprintf("[tunnel.%s]\nmode = %q\nencap = %q\nlocal = %q\ndigest = %q\nhostname = %q\nhello = \"300ms\"\nretransmit_timeout = \"500ms\"\n",
		s.name(), mode, s.encap, local+port, s.digest, s.name())
	if mode == "accept" {
		port = ""
	}
	text += fmt.Sprintf("peer = %q\npeer_hostname = %q\n", peer+port, s.name())
	if s.secret {
		text += fmt.Sprintf("secret = %q\n", secret)
	}
	if s.hide {
		text += "hide = true\n"
	}
	for _, session := range []string{"office", "lab"} {
		text += fmt.Sprintf("[tunnel.%s.session.%s]\nremote_end_id = \"end-%s\"\ntap = \"%s%d%s\"\ncookie_overlap = \"100ms\"\n", s.name(), session, session, device, s.number, session)
	}
	return text
}

// TestJudged has two daemons go through all that a control connection is for,
// with every digest there is, hidden AVPs and not, over UDP and IP. Wireshark then
// finds nothing malformed and every digest right, and so does our own decoder,
// which shows what was hidden too.
func TestJudged(t *testing.T) {
	t.Parallel()
	const secret = "correct horse battery staple"
	var all []setting
	for _, encap := range []string{"udp", "ip"} {
		for _, digest := range []string{"md5", "sha1", "both"} {
			all = append(all, setting{encap, digest, true, false, 0}, setting{encap, digest, true, true, 0})
		}
		all = append(all, setting{encap, "md5", false, false, 0}, setting{encap, "both", false, false, 0}, setting{encap, "none", false, false, 0})
	}
	lyon, paris := twoSites(t)
	file := map[*site]string{}
	for s, name := range map[*site]string{lyon: "lyon", paris: "paris"} {
		file[s] = fmt.Sprintf("[node]\nhostname = %q\nrouter_id = \"192.0.2.%d\"\ncontrol = \"CONTROL\"\n", name, len(name))
	}
	for i := range all {
		all[i].number = 11 + i
		a, b := all[i].addresses()
		lyon.address(t, "wan", a+"/24")
		paris.address(t, "wan", b+"/24")
		file[lyon] += all[i].tunnel("dial", a, b, "l", secret)
		file[paris] += all[i].tunnel("accept", b, a, "p", secret)
	}
	r, stop := record(t, lyon, "wan")
	p := paris.start(t, file[paris])
	l := lyon.start(t, file[lyon])
	do := func(verb, name string) {
		t.Helper()
		if err := api.Dial(l.socket).Do(context.Background(), verb, name); err != nil {
			t.Errorf("%s %s: %v", verb, name, err)
		}
	}
	// each waits until a session of each tunnel is as it should be.
	each := func(what string, check func(s *api.Session) bool) {
		t.Helper()
		eventually(t, what, func() error {
			s, err := api.Dial(l.socket).Status(context.Background())
			if err != nil {
				return err
			}
			for _, tunnel := range s.Tunnels {
				if len(tunnel.Sessions) == 0 || !check(&tunnel.Sessions[0]) {
					return fmt.Errorf("tunnel %s is not: %+v", tunnel.Name, tunnel)
				}
			}
			return nil
		})
	}
	l.sessions(t, 2*len(all))
	p.sessions(t, 2*len(all))

	// Circuit status.
	for _, change := range []struct {
		circuit string
		set     func(name string) error
	}{
		{"inactive", func(name string) error { return paris.links.LinkSetDown(paris.link(t, name)) }},
		{"active", func(name string) error { return paris.links.LinkSetUp(paris.link(t, name)) }},
	} {
		for _, s := range all {
			if err := change.set(fmt.Sprintf("p%doffice", s.number)); err != nil {
				t.Fatal(err)
			}
		}
		each("the peer's circuit "+change.circuit, func(s *api.Session) bool { return strings.HasPrefix(s.Call.PeerCircuit, change.circuit) })
	}
	// Another session takes over; a session goes and comes.
	before := make(map[string]uint32)
	each("sessions", func(s *api.Session) bool {
		before[s.Name] = s.SessionID
		return s.Call.State == "established"
	})
	for _, verb := range []struct {
		verb  string
		check func(s *api.Session) bool
	}{
		{"roll", func(s *api.Session) bool { return s.Call.State == "established" && s.SessionID != before[s.Name] }},
		{"down", func(s *api.Session) bool { return s.Call.State == "down" }},
		{"up", func(s *api.Session) bool { return s.Call.State == "established" }},
	} {
		for _, s := range all {
			do(verb.verb, s.name()+"/office")
		}
		each(verb.verb, verb.check)
	}
	// A HELLO of each tunnel, once it is silent.
	eventually(t, "a HELLO of each tunnel", func() error {
		for _, s := range all {
			if text, _ := decoded(t, r.pcap(t, s.of), ""); !strings.Contains(text, " HELLO ") {
				return fmt.Errorf("none of %s (%v)", s.name(), s)
			}
		}
		return nil
	})
	// Half of the tunnels go by command, the others with their daemons.
	for i, s := range all {
		if i%2 == 0 {
			do("down", s.name())
		}
	}
	for _, process := range []*process{l, p} {
		process.Process.Signal(syscall.SIGTERM)
		if code := process.ends(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
	}
	stop()

	for _, s := range all {
		capture := r.pcap(t, s.of)
		given := secret
		if !s.secret {
			given = ""
		}
		text, n := decoded(t, capture, given)
		wantDigests(t, s, text, n)
		if legible := bytes.Contains(capture, []byte("end-office")); legible == s.hide {
			t.Errorf("%v: the Remote End ID can be read in the capture: %v", s, legible)
		}
	}
	for _, secured := range []bool{true, false} {
		given := ""
		if secured {
			given = secret
		}
		capture := r.pcap(t, func(f []byte) bool {
			return slices.ContainsFunc(all, func(s setting) bool { return s.secret == secured && s.of(f) })
		})
		_, n := decoded(t, capture, given)
		capture = oneDigest(capture)
		for _, v := range judged(t, capture, given) {
			if v.expert != "" {
				t.Errorf("secret %v: tshark of packet %s, message %s, digest %s: %s", secured, v.number, v.message, v.digest, v.expert)
			}
			n.Messages--
		}
		if n.Messages != 0 {
			t.Errorf("secret %v: tshark has %d control messages less than our decoder", secured, n.Messages)
		}
		if !secured {
			continue
		}
		// It does look at every digest.
		for _, v := range judged(t, capture, "another secret") {
			if v.digest != "" && v.expert == "" {
				t.Errorf("tshark with another secret: packet %s, message %s, digest %s: nothing wrong", v.number, v.message, v.digest)
			}
		}
	}
}

// oneDigest zeroes in a capture the first of two digests. Wireshark looks at the
// second alone, and takes the first for a part of the message, where RFC 3931
// section 5.4.1 has it: "When calculating a digest for a control message, the Value
// field for both of the Message Digest AVPs MUST be set to zero."
func oneDigest(capture []byte) []byte {
	const size = 20 // of a SHA-1 digest, which is the first
	first, second := []byte{0x80, 6 + 1 + size, 0, 0, 0, 59, 1}, []byte{0x80, 6 + 1 + 16, 0, 0, 0, 59, 0}
	capture = bytes.Clone(capture)
	for rest := capture; ; {
		at := bytes.Index(rest, first)
		if at < 0 {
			return capture
		}
		rest = rest[at+len(first):]
		if len(rest) > size && bytes.HasPrefix(rest[size:], second) {
			clear(rest[:size])
		}
	}
}

// wantDigests wants in what our decoder prints of a tunnel every kind of message,
// with its digest, and hidden values in clear.
func wantDigests(t *testing.T, s setting, text string, n decode.Count) {
	t.Helper()
	for _, kind := range []string{"SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ICRP", "ICCN", "SLI", "CDN", "HELLO", "StopCCN"} {
		if !strings.Contains(text, " "+kind+" id ") {
			t.Errorf("%v: no %s in the capture", s, kind)
		}
	}
	// Of two digests our decoder finds the first right.
	first := "sha1"
	if s.digest == "md5" {
		first = "md5"
	}
	verdict, right := " digest right ("+first+")", n.Messages
	switch {
	case s.digest == "none":
		right = 0
	case !s.secret: // a ZLB has no digest
		verdict, right = " integrity right ("+first+")", n.Messages-strings.Count(text, " ZLB ")
	}
	if n.Wrong+n.Unknown+n.Malformed+n.Partial > 0 || n.Right != right || strings.Count(text, verdict) != right {
		t.Errorf("%v: %v, want %d right:\n%s", s, n, right, text)
	}
	if s.digest != "none" {
		digests := strings.Count(text, "Message Digest: md5 ") + strings.Count(text, "Message Digest: sha1 ")
		want := right
		if s.digest == "both" {
			want *= 2
		}
		if digests != want {
			t.Errorf("%v: %d digests, want %d", s, digests, want)
		}
	}
	end, cookies := ` Remote End ID: "end-office"`, " Assigned Cookie: 8 octets"
	if s.hide {
		end, cookies = "H"+end, "H"+cookies
	}
	for _, want := range []string{end, cookies} {
		if !strings.Contains(text, want) {
			t.Errorf("%v: %q is not in\n%s", s, want, text)
		}
	}
}

// decoded returns what our decoder prints of a capture.
func decoded(t *testing.T, capture []byte, secret string) (string, decode.Count) {
	t.Helper()
	var secrets []*wire.Secret
	if secret != "" {
		secrets = append(secrets, wire.NewSecret([]byte(secret)))
	}
	var text strings.Builder
	n, err := decode.Print(&text, bytes.NewReader(capture), secrets, nil)
	if err != nil {
		t.Fatal(err)
	}
	return text.String(), n
}

// A judgement is what tshark says of a control message.
type judgement struct{ number, message, digest, expert string }

// judged has tshark read the control messages of a capture.
func judged(t *testing.T, capture []byte, secret string) (all []judgement) {
	t.Helper()
	frames, err := tshark.Read(capture, []string{"frame.number", "l2tp.avp.message_type", "l2tp.avp.message_digest"},
		"-o", "l2tp.shared_secret:"+secret, "-Y", "l2tp.ccid and not icmp")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		all = append(all, judgement{f["frame.number"], f["l2tp.avp.message_type"], f["l2tp.avp.message_digest"], f.Complaint()})
	}
	return all
}
