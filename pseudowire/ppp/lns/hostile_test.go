package lns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
)

// said returns a frame in which a control protocol says something.
func said(p ppp.Protocol, code, id byte, data ...byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0xff, 0x03}, uint16(p))
	b = binary.BigEndian.AppendUint16(append(b, code, id), uint16(4+len(data)))
	return append(b, data...)
}

// pap returns an Authenticate-Request.
func pap(id byte, name, password string) []byte {
	data := append([]byte{byte(len(name))}, name...)
	return said(ppp.PAP, 1, id, append(append(data, byte(len(password))), password...)...)
}

// A mallory is a peer that takes whatever is asked of him in LCP, and for the rest does
// what a test has him do.
type mallory struct {
	port   *cableEnd
	link   *Link
	answer func(p ppp.Protocol, packet []byte) // of all else; nil: nothing is answered

	mu    sync.Mutex
	heard map[string]int // by protocol and code
	all   int
}

// mallory has him dial in.
func (w *world) mallory() *mallory {
	w.t.Helper()
	return w.dialRaw(nil)
}

func (w *world) dialRaw(answer func(p ppp.Protocol, packet []byte)) *mallory {
	w.t.Helper()
	a, b := cable()
	m := &mallory{port: b, answer: answer, heard: make(map[string]int)}
	var err error
	if m.link, err = w.server.Open(a, Call{Name: "mallory"}, nil); err != nil {
		w.t.Fatal(err)
	}
	b.Attach(m.deliver)
	return m
}

func (m *mallory) deliver(frames []pseudowire.Frame) int {
	for i := range frames {
		b := frames[i].Bytes()
		p := ppp.Protocol(binary.BigEndian.Uint16(b[2:]))
		m.mu.Lock()
		m.all++
		m.heard[fmt.Sprintf("%v/%d", p, b[4])]++
		m.mu.Unlock()
		if p == ppp.LCP && b[4] == 1 {
			m.say(said(ppp.LCP, 2, b[5], b[8:]...))
		} else if m.answer != nil {
			m.answer(p, b[4:])
		}
	}
	return len(frames)
}

func (m *mallory) say(frames ...[]byte) {
	for _, b := range frames {
		m.port.Send([]pseudowire.Frame{pseudowire.NewFrame(b, 0)})
	}
}

func (m *mallory) count(what string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.heard[what]
}

// TestHalfway has peers that go no further than to some point. None keeps his link for
// longer than it may take to come up, and nothing is left of any.
func TestHalfway(t *testing.T) {
	protocol := func(b []byte) ppp.Protocol { return ppp.Protocol(binary.BigEndian.Uint16(b[2:])) }
	for name, v := range map[string]struct {
		lose  func(frame []byte) bool // of what he says
		say   []byte                  // every five seconds
		least time.Duration           // that he has
		why   string
	}{
		"says nothing":    {func([]byte) bool { return true }, nil, 10 * time.Second, "no answer to Configure-Request"},
		"agrees to LCP":   {func(b []byte) bool { return protocol(b) != ppp.LCP }, nil, 10 * time.Second, "peer did not authenticate in time"},
		"never agrees":    {func(b []byte) bool { return protocol(b) == ppp.LCP && b[4] == 2 }, nil, 10 * time.Second, "no answer to Configure-Request"},
		"proves himself":  {func(b []byte) bool { return protocol(b) == ppp.IPCP || protocol(b) == ppp.IPV6CP }, nil, 20 * time.Second, "no network protocol"},
		"begins again":    {func(b []byte) bool { return protocol(b) != ppp.LCP }, said(ppp.LCP, 1, 99), 100 * time.Second, "no network protocol in time"},
		"proves it again": {func(b []byte) bool { return protocol(b) == ppp.IPCP || protocol(b) == ppp.IPV6CP }, said(ppp.LCP, 1, 99), 100 * time.Second, "no network protocol in time"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := begin(t, usual(t))
				a, b := cable()
				b.lose = func(frame []byte) bool { // nor does he end it
					return v.lose(frame) || protocol(frame) == ppp.LCP && frame[4] == 5
				}
				began := time.Now()
				c := w.dialOver(a, b, ClientConfig{User: "alice", Password: "wonderland"})
				for len(w.server.Links()) > 0 && time.Since(began) < 5*time.Minute {
					settle(5 * time.Second)
					if v.say != nil {
						b.Send([]pseudowire.Frame{pseudowire.NewFrame(v.say, 0)})
					}
				}
				if took := time.Since(began); took < v.least || took > 140*time.Second {
					t.Errorf("it took %v, want %v to 2m20s", took, v.least)
				}
				want(t, "reason", w.lastDown().Reason, v.why)
				c.end(t)
				w.end()
			})
		})
	}
}

// TestFlood has a peer say 5,000 things at once. It is answered as often as it may be,
// and the others do not suffer.
func TestFlood(t *testing.T) {
	for name, frame := range map[string]func(i int) []byte{
		"Configure-Request": func(i int) []byte { return said(ppp.LCP, 1, byte(i), 1, 4, byte(i>>8)|1, byte(i)) },
		"all is refused":    func(i int) []byte { return said(ppp.LCP, 1, byte(i), 17, 4, 1, 2, 19, 3, 1, byte(i)%200+30, 2) },
		"Configure-Nak":     func(i int) []byte { return said(ppp.LCP, 3, byte(i), 1, 4, 2, byte(i)) },
		"unknown code":      func(i int) []byte { return said(ppp.LCP, 77, byte(i), make([]byte, 1000)...) },
		"unknown protocol":  func(i int) []byte { return append([]byte{0xff, 0x03, 0x40 + byte(i)&6, 1}, make([]byte, 1000)...) },
		"Echo-Request":      func(i int) []byte { return said(ppp.LCP, 9, byte(i), make([]byte, 1400)...) },
		"proofs":            func(i int) []byte { return pap(byte(i), "alice", fmt.Sprint(i)) },
		"wrong lengths":     func(i int) []byte { return said(ppp.LCP, 1, byte(i), 1, byte(i), 0)[:8+i%4] },
		"options that end":  func(i int) []byte { return said(ppp.LCP, 1, byte(i), 5, 0, 5, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cfg := usual(t)
				cfg.Methods, cfg.Attempts = []ppp.Method{ppp.ByPAP}, 3
				w := begin(t, cfg)
				m := w.mallory()
				settle(time.Second)
				m.say(said(ppp.LCP, 1, 1))
				settle(time.Second)
				m.mu.Lock()
				m.all = 0
				m.mu.Unlock()
				const n = 5000
				for i := range n {
					m.say(frame(i))
				}
				synctest.Wait()
				m.mu.Lock()
				answers := m.all
				m.mu.Unlock()
				if answers > 250 {
					t.Errorf("%d answers to what is said at once, want some hundred at most", answers)
				}
				m.link.mu.Lock()
				if len(m.link.out) > 0 || len(m.link.after) > 0 || cap(m.link.out) > 1000 {
					t.Errorf("%d frames and %d calls are left, room for %d", len(m.link.out), len(m.link.after), cap(m.link.out))
				}
				m.link.mu.Unlock()
				c := w.dial(ClientConfig{User: "alice", Password: "wonderland"})
				settle(10 * time.Second)
				c.wantAll(t)
				c.end(t)
				settle(3 * time.Minute)
				want(t, "links", len(w.server.Links()), 0)
				w.end()
			})
		})
	}
}

// TestFloodUp has a user whose link is up ask for a router and for a prefix 5,000 times
// at once. RFC 4861 section 6.2.6: "no more than one advertisement every
// MIN_DELAY_BETWEEN_RAS seconds".
func TestFloodUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := begin(t, usual(t))
		a, b := cable()
		adverts, delegations := 0, 0
		a.lose = func(frame []byte) bool {
			if frame[2] == 0 && frame[3] == 0x57 {
				switch packet := frame[4:]; {
				case packet[6] == protocolICMPv6 && packet[ipv6Len] == routerAdvertisement:
					adverts++
				case packet[6] == protocolUDP:
					delegations++
				}
			}
			return false
		}
		c := w.dialOver(a, b, ClientConfig{User: "alice", Password: "wonderland"})
		settle(time.Minute)
		c.wantAll(t)
		adverts = 0
		own := c.link.Status().PPP.LocalID.LinkLocal()
		question := appendUDP6([]byte{0xff, 3, 0, 0x57}, netip.AddrPortFrom(own, dhcpClientPort), netip.AddrPortFrom(routerAddress, dhcpServerPort),
			[]byte{byte(dhcpSolicit), 1, 2, 3, 0, dhcpClientID, 0, 4, 0, 1, 2, 3, 0, dhcpIAPD, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
		const n = 5000
		for range n {
			b.Send([]pseudowire.Frame{pseudowire.NewFrame(append([]byte{0xff, 3, 0, 0x57}, appendSolicitation(nil, own)...), 0)})
			b.Send([]pseudowire.Frame{pseudowire.NewFrame(question, 0)})
		}
		settle(time.Second)
		if adverts != 1 || delegations == 0 || delegations > n {
			t.Errorf("%d advertisements and %d delegations, want 1, and some up to %d", adverts, delegations, n)
		}
		c.far.mu.Lock()
		if len(c.far.out) > 0 || cap(c.far.out) > 2*packetsWaiting {
			t.Errorf("%d frames are left, room for %d", len(c.far.out), cap(c.far.out))
		}
		c.far.mu.Unlock()
		c.end(t)
		settle(time.Minute)
		w.end()
	})
}

// TestLoops has a peer answer everything with a Nak or a Reject, for ever.
func TestLoops(t *testing.T) {
	for name, answer := range map[string]func(request []byte) []byte{
		"another MRU":  func(b []byte) []byte { return said(ppp.LCP, 3, b[5], 1, 4, 4, b[5]) },
		"another sign": func(b []byte) []byte { return said(ppp.LCP, 3, b[5], 5, 6, 1, 2, 3, b[5]) },
		"another way":  func(b []byte) []byte { return said(ppp.LCP, 3, b[5], 3, 4, 0xc0, 0x99) },
		"refuses all":  func(b []byte) []byte { return said(ppp.LCP, 4, b[5], b[8:]...) },
		"our own":      func(b []byte) []byte { return said(ppp.LCP, 1, b[5], b[8:]...) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := begin(t, usual(t))
				a, b := cable()
				frames := 0
				b.Attach(func(all []pseudowire.Frame) int {
					for i := range all {
						frames++
						if f := all[i].Bytes(); f[2] == 0xc0 && f[3] == 0x21 && f[4] == 1 {
							b.Send([]pseudowire.Frame{pseudowire.NewFrame(answer(f), 0)})
						}
					}
					return len(all)
				})
				if _, err := w.server.Open(a, Call{}, nil); err != nil {
					t.Fatal(err)
				}
				settle(150 * time.Second)
				want(t, "links", len(w.server.Links()), 0)
				if frames > 200 {
					t.Errorf("%d frames, want some dozen", frames)
				}
				w.end()
			})
		})
	}
}

// TestGuess has somebody guess a password at speed: each link has so many tries, and
// many links are no more than many links.
func TestGuess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg := usual(t)
		cfg.Methods, cfg.Attempts = []ppp.Method{ppp.ByPAP}, 3
		w := begin(t, cfg)
		const links, guesses = 100, 50
		var all []*mallory
		for range links {
			m := w.mallory()
			all = append(all, m)
			m.say(said(ppp.LCP, 1, 1))
		}
		settle(time.Second)
		for i := range guesses {
			for k, m := range all {
				m.say(pap(byte(i), "alice", fmt.Sprintf("guess %d", k*guesses+i)))
			}
			synctest.Wait() // each is judged before the next
		}
		want(t, "refused", w.server.Counts().Refused, 3*links)
		for _, m := range all {
			want(t, "Authenticate-Nak", m.count("PAP/3"), 3)
			want(t, "Authenticate-Ack", m.count("PAP/2"), 0)
		}
		settle(10 * time.Second)
		want(t, "links", len(w.server.Links()), 0)
		want(t, "reason", w.lastDown().Reason, ppp.AuthFailed)
		want(t, "who came in", w.server.Counts().Up, 0)
		w.end()
	})
}

// TestStorm has sessions open and close at speed, with a proof on the way each time: no
// more of them wait than may.
func TestStorm(t *testing.T) {
	c := newCrew(1, 3)
	hold := make(chan struct{})
	began := make(chan struct{})
	c.do(func() { close(began); <-hold })
	<-began
	taken, done := 0, 0
	for range 10 {
		if c.do(func() { done++ }) {
			taken++
		}
	}
	close(hold)
	c.wait()
	want(t, "wait", []int{taken, done}, []int{3, 3})

	bubble(t, func(t *testing.T) {
		cfg := usual(t)
		cfg.Methods = []ppp.Method{ppp.ByPAP}
		w := begin(t, cfg)
		w.server.checks.room = 1
		held := make(chan struct{})
		for range w.server.checks.most {
			w.server.checks.do(func() { <-held })
		}
		synctest.Wait()
		var all []*mallory
		for range 3 {
			m := w.mallory()
			all = append(all, m)
			m.say(said(ppp.LCP, 1, 1))
			settle(time.Second)
			m.say(pap(1, "bob", "builder"))
			synctest.Wait()
		}
		want(t, "refused at once", w.server.Counts().Refused, 2)
		close(held)
		settle(time.Second)
		want(t, "judged", all[0].count("PAP/2"), 1)
		for _, m := range all {
			m.link.Close(2)
		}
		w.end()
	})
}

// FuzzReceive has a link that waits for a peer, and one that is up, take frames: each
// begins with an octet that is its length by 2. Whatever comes, the user's packets are
// the user's, and nothing is left when the links are closed.
func FuzzReceive(f *testing.F) {
	join := func(frames ...[]byte) (b []byte) {
		for _, frame := range frames {
			b = append(append(b, byte(len(frame)/2)), append(frame, 0)[:len(frame)/2*2]...)
		}
		return b
	}
	linkLocal, router := netip.MustParseAddr("fe80::1:2:3:4"), routerAddress
	question := appendUDP6([]byte{0xff, 3, 0, 0x57}, netip.AddrPortFrom(linkLocal, 546), netip.AddrPortFrom(router, 547),
		[]byte{1, 1, 2, 3, 0, 1, 0, 4, 0, 1, 2, 3, 0, 25, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(join(said(ppp.LCP, 1, 1, 1, 4, 5, 220), pap(1, "alice", "wonderland"), said(ppp.IPCP, 1, 1, 3, 6, 0, 0, 0, 0)))
	f.Add(join(said(ppp.LCP, 5, 1), said(ppp.CCP, 1, 1, 18, 6, 1, 0, 0, 0x40), said(ppp.LCP, 9, 1, 0, 0, 0, 0)))
	f.Add(join(append([]byte{0xff, 3, 0, 0x21}, datagram("10.0.0.2", "198.51.100.1", 8)...), append([]byte{0x57}, datagram("2001:db8:1::1", "2001:db8::1", 8)...)))
	f.Add(join(append([]byte{0xff, 3, 0, 0x57}, appendSolicitation(nil, linkLocal)...), question, said(ppp.IPV6CP, 5, 3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := usual(t)
		cfg.Methods, cfg.Attempts = []ppp.Method{ppp.ByPAP, ppp.ByMSCHAP2}, 3
		cfg.Encryption = ppp.MPPEOffered
		w := begin(t, cfg)
		m := w.mallory()
		s := &socket{}
		d := &dialler{socket: s, up: func() {}}
		var err error
		d.link, err = ppp.New(ppp.Config{Name: "alice", Password: "wonderland", Prove: []ppp.Method{ppp.ByPAP}})
		if err != nil {
			t.Fatal(err)
		}
		s.far.Store(d)
		d.link.Open(time.Now())
		up, err := w.server.Open(s, Call{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		d.mu.Lock()
		d.drain()
		d.mu.Unlock()
		until(t, "up", func() bool { st := up.Status(); return st.Address.IsValid() && st.Prefix.IsValid() })
		s.far.Store(nil)
		w.tun.take()
		for len(b) > 0 {
			n := min(2*int(b[0]), len(b)-1)
			frame := b[1 : 1+n]
			b = b[1+n:]
			for _, l := range []*Link{m.link, up} {
				room := append(make([]byte, pseudowire.Headroom), frame...)
				l.deliver([]pseudowire.Frame{pseudowire.NewFrame(room, pseudowire.Headroom)})
				l.due(time.Now())
			}
		}
		mine := []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("192.0.2.0/25"),
			netip.MustParsePrefix("2001:db8:1::/60"), netip.MustParsePrefix("2001:db8:8000::/40"), netip.MustParsePrefix("10.0.0.0/29")}
		for _, p := range w.tun.take() {
			from := netip.AddrFrom4([4]byte(p[12:]))
			if p[0]>>4 == 6 {
				from = netip.AddrFrom16([16]byte(p[8:]))
			}
			ok := false
			for _, p := range mine {
				ok = ok || p.Contains(from)
			}
			if !ok {
				t.Errorf("a packet from %v came through", from)
			}
		}
		w.server.checks.wait()
		m.link.Close(2)
		up.Close(2)
		w.end()
	})
}
