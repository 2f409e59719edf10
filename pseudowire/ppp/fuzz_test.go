package ppp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"spanwire/pseudowire"
)

// FuzzHeader wants no header longer than its frame.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{"ff030021", "ff0321", "0021", "21", "ff03", ""} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, n := header(b)
		if n > len(b) || n == 0 && p != 0 || n > HeaderLen {
			t.Errorf("% x: %v, %d octets", b, p, n)
		}
	})
}

// FuzzPacket wants a packet that is read to be written as it was, and its options to be
// all there is of it.
func FuzzPacket(f *testing.F) {
	for _, s := range []string{"0101000a0506010203040000", "01010004", "0101000301", "010100080102030402"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := parsePacket(b)
		if !ok {
			return
		}
		if got := p.append(nil); !bytes.HasPrefix(b, got) {
			t.Errorf("% x: written as % x", b, got)
		}
		if !wellFormed(p.data) {
			return
		}
		var all []byte
		for o := range options(p.data) {
			if again := appendOption(nil, o.kind, o.data...); !bytes.Equal(again, o.raw) {
				t.Errorf("option % x written as % x", o.raw, again)
			}
			all = append(all, o.raw...)
		}
		if !bytes.Equal(all, p.data) {
			t.Errorf("options % x of % x", all, p.data)
		}
	})
}

// FuzzFailure wants no panic, and digits.
func FuzzFailure(f *testing.F) {
	f.Add("E=691 R=1 C=0123 V=3 M=no")
	f.Fuzz(func(t *testing.T, s string) {
		if e, r, m := parseFailure(s); len(e) > 10 || len(r) > 10 || len(m) > len(s) {
			t.Errorf("%q: %q %q %q", s, e, r, m)
		}
	})
}

// hostileConfigs are Links that are attacked.
var hostileConfigs = []Config{
	{IPv4: ours},
	{Verify: []Method{ByPAP}, IPv4: ours, Attempts: 3},
	{Verify: []Method{ByMSCHAP2, ByCHAP}, Name: "lns", IPv4: lnsIPv4, Attempts: 3, Encryption: MPPEOffered},
	{Verify: []Method{ByEAP}, IPv4: ours, Encryption: MPPERequired},
	{Name: "client", Password: "secret", Prove: []Method{ByMSCHAP2, ByCHAP, ByPAP}, IPv4: clientIPv4, Encryption: CCPEmpty},
}

// A victim is a Link that is attacked, and what is wanted of it.
type victim struct {
	t    testing.TB
	link *Link
	now  time.Time
	last [][]byte // what it sent last
}

func newVictim(t testing.TB, cfg Config) *victim {
	cfg.MRU = 1400
	v := &victim{t: t, link: newLink(t, cfg, 1), now: time.Unix(1e9, 0)}
	v.link.Open(v.now)
	v.take()
	return v
}

// take takes what there is. No input makes a Link send or tell more than a few things,
// none of them long; and it takes no transition that is none.
func (v *victim) take() {
	v.t.Helper()
	frames, events := drain(v.link)
	if len(frames) > 8 || len(events) > 8 {
		v.t.Fatalf("%d frames and %d events at once\n%s", len(frames), len(events), lines(events))
	}
	for _, b := range frames {
		p, n := header(b)
		if c, ok := parsePacket(b[n:]); len(b) > HeaderLen+DefaultMRU+packetHeaderLen || n != HeaderLen || !ok || len(b) != n+packetHeaderLen+len(c.data) {
			v.t.Fatalf("%v: %d octets, header %d, %v", p, len(b), n, ok)
		}
	}
	if len(frames) > 0 {
		v.last = frames
	}
	for _, e := range events {
		switch p := e.Proof; {
		case e.Kind == PeerEAP && p.ID%3 > 0:
			v.link.EAP(v.now, p.Serial, packet{eapRequest, p.ID + 1, []byte{4, 1}}.append(nil))
		case p != nil:
			a := p.Verify("secret")
			a.OK = a.OK || p.ID%2 == 0
			v.link.Authenticated(v.now, p.Serial, a)
		}
		_ = fmt.Sprint(e)
	}
	if len(events) > 0 {
		v.take()
	}
	s := v.link.Status()
	if s.Stats.Illegal > 0 {
		v.t.Fatalf("%d illegal transitions", s.Stats.Illegal)
	}
	for bit, a := range map[uint32]*automaton{bitIPv4: &v.link.ipcp.automaton, bitIPv6: &v.link.ipv6cp.automaton} {
		if open := v.link.open.Load()&bit != 0; open && (a.state != Opened || s.LCP != Opened || s.Phase != Network) {
			v.t.Fatalf("%v is open, %v in phase %v", a.protocol, a.state, s.Phase)
		}
	}
	if v.link.cfg.Encryption == MPPERequired && v.link.open.Load()&(bitIPv4|bitIPv6) != 0 && !s.Encrypted {
		v.t.Fatal("open without encryption")
	}
}

func (v *victim) hear(frame []byte) {
	v.t.Helper()
	f := bytes.Clone(frame)
	if _, _, ok := v.link.Decap(pseudowire.NewFrame(f, 0)); !ok {
		v.link.Receive(v.now, f)
	}
	for i := range f {
		f[i] = 0x5a // nothing of it is kept
	}
	v.take()
}

func (v *victim) pass(d time.Duration) {
	v.t.Helper()
	v.now = v.now.Add(d)
	v.link.Advance(v.now)
	if at := v.link.Deadline(); !at.IsZero() && !at.After(v.now) {
		v.t.Fatalf("deadline %v after Advance at %v", at, v.now)
	}
	v.take()
}

// FuzzReceive gives a Link frames: of each, one octet says how long it is and, if it is
// 255, that what the Link sent last comes back with other codes.
func FuzzReceive(f *testing.F) {
	script := func(frames ...string) (b []byte) {
		for _, s := range frames {
			frame := unhex(f, s)
			b = append(append(b, byte(len(frame))), frame...)
		}
		return b
	}
	for n := range hostileConfigs {
		f.Add(byte(n), script("ff03c0210101000a05060a0b0c0d", "ff02", "c0230101000f047573657206736563726574", "80210101000a0306c000024d"))
		f.Add(byte(n), append(script("c0210101000403"), 255, 2, 255, 3, 255, 4))
		f.Add(byte(n), append(script("c021010100040304c023"), 255, 2))
	}
	f.Fuzz(func(t *testing.T, n byte, b []byte) {
		v := newVictim(t, hostileConfigs[int(n)%len(hostileConfigs)])
		for steps := 0; len(b) > 1 && steps < 300; steps++ {
			size := int(b[0])
			b = b[1:]
			switch {
			case size == 255 && len(v.last) > 0:
				frame := bytes.Clone(v.last[len(v.last)-1])
				frame[4] = b[0]
				b = b[1:]
				v.hear(frame)
			case size == 254:
				v.pass(time.Duration(b[0]) * 100 * time.Millisecond)
				b = b[1:]
			default:
				size = min(size, len(b))
				v.hear(b[:size])
				b = b[size:]
			}
		}
		v.pass(time.Hour)
	})
}

// FuzzProxy gives a Link what an LAC tells.
func FuzzProxy(f *testing.F) {
	f.Add(byte(0), []byte{5, 6, 1, 2, 3, 4}, []byte{1, 4, 5, 0}, "", []byte{}, []byte{}, uint16(4))
	f.Add(byte(1), []byte{3, 4, 0xc0, 0x23}, []byte{}, "user", []byte{}, []byte("secret"), uint16(3))
	f.Add(byte(2), []byte{3, 5, 0xc2, 0x23, 0x81}, []byte{}, "user", make([]byte, 16), make([]byte, 49), uint16(2))
	f.Fuzz(func(t *testing.T, n byte, sent, received []byte, name string, challenge, response []byte, kind uint16) {
		v := &victim{t: t, link: newLink(t, hostileConfigs[int(n)%len(hostileConfigs)], 1), now: time.Unix(1e9, 0)}
		v.link.OpenProxy(v.now, Proxy{InitialReceived: received, LastSent: sent, LastReceived: received, Type: ProxyType(kind), Name: name, Challenge: challenge, Response: response})
		v.take()
		v.hear(unhex(t, "c0210101000a05060a0b0c0d"))
		v.pass(time.Hour)
	})
}

// FuzzDecrypt wants no panic, and no packet that is not one of IP.
func FuzzDecrypt(f *testing.F) {
	f.Add([]byte{0x90, 0, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMPPE(keys{})
		if p, f, ok := m.decrypt(pseudowire.NewFrame(bytes.Clone(b), 0)); ok && !isIP(p, f.Bytes()) {
			t.Errorf("%v % x", p, f.Bytes())
		}
	})
}

// TestHostile has peers that know PPP well, and speak it at random.
func TestHostile(t *testing.T) {
	seeds := uint64(300)
	if testing.Short() {
		seeds = 30
	}
	phases := map[Phase]int{}
	for seed := range seeds {
		for _, cfg := range hostileConfigs {
			v := newVictim(t, cfg)
			r := rand.New(rand.NewPCG(seed, 1))
			for range 300 {
				v.hear(babble(r, v))
				if r.IntN(10) == 0 {
					v.pass(time.Duration(r.IntN(3000)) * time.Millisecond)
				}
				if r.IntN(5000) == 0 {
					v.link.Close(v.now)
				}
				phases[v.link.phase]++
				if v.link.phase == Dead {
					v = newVictim(t, cfg)
				}
			}
			v.pass(time.Hour)
		}
	}
	t.Logf("phases: %v", phases)
	for p := Dead; p <= Terminate; p++ {
		if phases[p] == 0 {
			t.Errorf("phase %v was never reached", p)
		}
	}
}

// babble returns a frame that makes some sense.
func babble(r *rand.Rand, v *victim) []byte {
	octets := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	if len(v.last) > 0 && r.IntN(3) > 0 { // an answer to what was said
		b := bytes.Clone(v.last[r.IntN(len(v.last))])
		p, n := header(b)
		switch c, _ := parsePacket(b[n:]); {
		case c.code != configureRequest && (p == LCP || p == IPCP || p == IPV6CP || p == CCP):
		case p == CHAP && c.code == chapChallenge:
			c.code, c.data = chapResponse, append([]byte{16}, octets(16)...)
			if r.IntN(2) == 0 {
				c.data = append([]byte{49}, octets(49)...)
			}
			return c.append(b[:n])
		case p == EAP:
			b[n] = eapResponse
		case p == PAP || p == CHAP:
			b[n] = 2 + byte(r.IntN(2))
		default:
			b[n] = []byte{configureAck, configureAck, configureAck, configureNak, configureReject, configureRequest}[r.IntN(6)]
		}
		return b
	}
	protocols := []Protocol{LCP, LCP, LCP, IPCP, IPV6CP, CCP, PAP, CHAP, EAP, IPv4, Compressed, 0x80fb}
	p := protocols[r.IntN(len(protocols))]
	c := packet{code: 1, id: byte(r.IntN(8))}
	if r.IntN(4) == 0 {
		c.code = byte(r.IntN(17))
	}
	switch p {
	case PAP:
		c = papOf(c.id, "user", "secret")
	case CHAP:
		c.data = append([]byte{16}, octets(16)...)
	default:
		if c.code <= configureReject {
			for range r.IntN(4) {
				kind := []byte{1, 2, 3, 5, 7, 8, 18, 129, 131, byte(r.Uint32())}[r.IntN(10)]
				size := map[byte]int{1: 2, 2: 4, 3: 4, 5: 4, 18: 4, 129: 4, 131: 4}[kind]
				if p == IPV6CP && kind == 1 {
					size = 8
				}
				if r.IntN(10) == 0 {
					size = r.IntN(20)
				}
				c.data = appendOption(c.data, kind, octets(size)...)
			}
		} else {
			c.data = octets(r.IntN(30))
			if c.code == protocolReject && r.IntN(2) == 0 {
				c.data = append([]byte{0x80, []byte{0x21, 0x57, 0xfd}[r.IntN(3)]}, c.data...)
			}
		}
	}
	b := c.append([]byte{byte(p >> 8), byte(p)})
	if r.IntN(20) == 0 {
		b = b[:r.IntN(len(b))]
	}
	return b
}
