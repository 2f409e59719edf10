package ppp

import (
	"bytes"
	"cmp"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"spanwire/pseudowire"
	"spanwire/testbed/relay"
)

// A wire joins two Links; it loses, repeats and delays what they say, and its clock
// goes from one moment at which something happens to the next. Their owners answer when
// they are asked, after a while.
type wire struct {
	t      testing.TB
	random *rand.Rand
	now    time.Time
	cfg    [2]Config
	ends   [2]*Link
	judges [2]*relay.Judge
	clean  bool // nothing is lost any more
	onWay  arrivals
	sent   int
	events [2][]Event
	lives  [2]int // how many Links an end has had
	secret string // that the owners know
	frames int
	said   [][]byte // all frames
}

// An arrival is of a frame, or of what an owner says.
type arrival struct {
	at     time.Time
	serial int // what was sent first arrives first, if nothing holds it
	to     int
	life   int
	frame  []byte
	proof  *Proof
}

// arrivals is a heap.
type arrivals []arrival

func (a arrivals) Len() int { return len(a) }
func (a arrivals) Less(i, j int) bool {
	return cmp.Or(a[i].at.Compare(a[j].at), cmp.Compare(a[i].serial, a[j].serial)) < 0
}
func (a arrivals) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *arrivals) Push(x any)   { *a = append(*a, x.(arrival)) }
func (a *arrivals) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

const simPassword = "correct horse"

func join(t testing.TB, seed uint64, a, b Config, i relay.Impairment) *wire {
	i.Seed = seed
	w := &wire{t: t, now: time.Unix(1e9, 0), random: rand.New(rand.NewPCG(seed, 1)), cfg: [2]Config{a, b}, secret: simPassword}
	for n := range w.ends {
		w.judges[n] = relay.NewJudge(i, uint64(n))
		w.restart(n)
	}
	return w
}

// restart gives an end a new Link: it knows nothing of the one before.
func (w *wire) restart(n int) {
	w.lives[n]++
	w.ends[n] = newLink(w.t, w.cfg[n], w.random.Uint64())
	w.events[n] = nil
	w.ends[n].Open(w.now)
	w.drain(n)
}

func (w *wire) push(a arrival) {
	w.sent++
	a.serial = w.sent
	heap.Push(&w.onWay, a)
}

// drain carries what an end sends, and answers what it asks.
func (w *wire) drain(n int) {
	frames, events := drain(w.ends[n])
	if len(frames) > 8 || len(events) > 8 {
		w.t.Fatalf("%d frames and %d events at once", len(frames), len(events))
	}
	for _, b := range frames {
		w.frames++
		w.said = append(w.said, b)
		copies := []time.Duration{time.Millisecond}
		if !w.clean {
			copies = w.judges[n].Next(copies)
		}
		for _, d := range copies {
			w.push(arrival{at: w.now.Add(d), to: 1 - n, frame: b})
		}
	}
	for _, e := range events {
		w.events[n] = append(w.events[n], e)
		if e.Proof != nil {
			d := time.Duration(w.random.Int64N(int64(2 * time.Second)))
			w.push(arrival{at: w.now.Add(d), to: n, life: w.lives[n], proof: e.Proof})
		}
	}
}

// answer has an owner answer a Proof.
func (w *wire) answer(a arrival) {
	l := w.ends[a.to]
	if a.life != w.lives[a.to] {
		return
	}
	if a.proof.Method != ByEAP {
		l.Authenticated(w.now, a.proof.Serial, a.proof.Verify(w.secret))
		return
	}
	// Identity is enough, but in a second round.
	if p, _ := parsePacket(a.proof.EAP); p.data[0] == eapIdentity {
		l.EAP(w.now, a.proof.Serial, packet{code: eapRequest, id: p.id + 1, data: []byte{4, 1, 2, 3}}.append(nil))
		return
	}
	l.Authenticated(w.now, a.proof.Serial, Verdict{OK: w.secret == simPassword})
}

// run lets time pass.
func (w *wire) run(d time.Duration) {
	w.t.Helper()
	end := w.now.Add(d)
	for {
		at, who := end, -1
		for n, e := range w.ends {
			if d := e.Deadline(); !d.IsZero() && d.Before(at) {
				at, who = d, n
			}
		}
		if len(w.onWay) > 0 && w.onWay[0].at.Before(at) {
			a := heap.Pop(&w.onWay).(arrival)
			w.now = a.at
			if a.proof != nil {
				w.answer(a)
			} else if _, _, ok := w.ends[a.to].Decap(pseudowire.NewFrame(bytes.Clone(a.frame), 0)); !ok {
				w.ends[a.to].Receive(w.now, a.frame)
			}
			w.check(a.to)
			w.drain(a.to)
			continue
		}
		w.now = at
		if who < 0 {
			return
		}
		w.ends[who].Advance(w.now)
		if d := w.ends[who].Deadline(); !d.IsZero() && !d.After(w.now) {
			w.t.Fatalf("deadline %v after Advance at %v", d, w.now)
		}
		w.check(who)
		w.drain(who)
	}
}

// check wants what is true at any time.
func (w *wire) check(n int) {
	l := w.ends[n]
	if l.stats.Illegal != 0 {
		w.t.Fatalf("end %d: %d illegal transitions", n, l.stats.Illegal)
	}
	for _, a := range l.automata() {
		if a.state.timed() != !a.restartAt.IsZero() {
			w.t.Fatalf("end %d: %v is %v, its timer %v", n, a.protocol, a.state, a.restartAt)
		}
		if a.protocol != LCP && a.state >= Closed && l.phase != Network && l.phase != Terminate {
			w.t.Fatalf("end %d: %v is %v in phase %v", n, a.protocol, a.state, l.phase)
		}
	}
	for bit, a := range map[uint32]*automaton{bitIPv4: &l.ipcp.automaton, bitIPv6: &l.ipv6cp.automaton} {
		if open := l.open.Load()&bit != 0; open != (a.state == Opened) {
			w.t.Fatalf("end %d: %v is %v, its data path open: %v", n, a.protocol, a.state, open)
		}
	}
}

// An LNS and its client.
var (
	lnsIPv4 = IPv4Config{
		Local: netip.MustParseAddr("192.0.2.1"), Peer: netip.MustParseAddr("192.0.2.77"),
		DNS: [2]netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")},
	}
	clientIPv4 = IPv4Config{AskDNS: true}
)

func pair(m Method, e Encryption) (lns, client Config) {
	lns = Config{Name: "lns", Verify: []Method{m}, MRU: 1400, IPv4: lnsIPv4, Encryption: e}
	if m == NoMethod {
		lns.Verify = nil
	}
	client = Config{Name: "DOMAIN\\user", Password: simPassword, Prove: []Method{ByMSCHAP2, ByCHAP, ByPAP}, IPv4: clientIPv4, Encryption: e}
	return lns, client
}

// wantOpen wants both ends to be open, and what they agreed on to be the same.
func (w *wire) wantOpen() {
	w.t.Helper()
	lns, client := w.ends[0].Status(), w.ends[1].Status()
	for n, s := range []Status{lns, client} {
		if s.Phase != Network || s.LCP != Opened || s.IPCP != Opened || s.IPV6CP != Opened {
			w.t.Fatalf("end %d: phase %v, LCP %v, IPCP %v, IPV6CP %v, reason %v, events\n%s",
				n, s.Phase, s.LCP, s.IPCP, s.IPV6CP, s.Reason, lines(w.events[n]))
		}
	}
	if lns.Local != client.Peer || lns.Peer != client.Local || client.DNS != w.cfg[0].IPv4.DNS || lns.Peer != w.cfg[0].IPv4.Peer {
		w.t.Fatalf("lns %v to %v; client %v to %v, DNS %v", lns.Local, lns.Peer, client.Local, client.Peer, client.DNS)
	}
	if lns.LocalID != client.PeerID || lns.PeerID != client.LocalID || lns.LocalID == lns.PeerID || lns.LocalID == (InterfaceID{}) {
		w.t.Fatalf("lns %v to %v; client %v to %v", lns.LocalID, lns.PeerID, client.LocalID, client.PeerID)
	}
	if lns.MRU != client.PeerMRU || lns.PeerMRU != client.MRU || lns.Encrypted != client.Encrypted {
		w.t.Fatalf("lns %+v, client %+v", lns, client)
	}
	w.wantData()
}

// wantData wants packets to pass in both directions.
func (w *wire) wantData() {
	w.t.Helper()
	for from := range w.ends {
		for p, text := range map[Protocol]string{IPv4: "\x45 a packet", IPv6: "\x60 another"} {
			buf := append(make([]byte, pseudowire.Headroom), text...)
			f, ok := w.ends[from].Prepend(pseudowire.NewFrame(buf, pseudowire.Headroom), p)
			if !ok {
				w.t.Fatalf("end %d: Prepend of %v: not open", from, p)
			}
			got, f, ok := w.ends[1-from].Decap(f)
			if !ok || got != p || string(f.Bytes()) != text {
				w.t.Fatalf("end %d: Decap: %v %q, %v", 1-from, got, f.Bytes(), ok)
			}
		}
	}
}

// traffic has each end send a packet of each protocol, if it can.
func (w *wire) traffic() {
	for from, l := range w.ends {
		for p, text := range map[Protocol]string{IPv4: "\x45 a packet", IPv6: "\x60 another"} {
			f, ok := l.Prepend(pseudowire.NewFrame(append(make([]byte, pseudowire.Headroom), text...), pseudowire.Headroom), p)
			if ok {
				w.push(arrival{at: w.now.Add(time.Millisecond), to: 1 - from, frame: f.Bytes()})
			}
		}
	}
}

var noTrouble relay.Impairment

var simMethods = []Method{NoMethod, ByPAP, ByCHAP, ByMSCHAP2}

// TestSim has two ends find together over a bad network, lose each other, and find
// together again.
func TestSim(t *testing.T) {
	bad := relay.Impairment{Loss: 0.15, Duplicate: 0.1, Reorder: 0.15, Hold: 400 * time.Millisecond, Delay: 10 * time.Millisecond, Jitter: 60 * time.Millisecond}
	rounds := 150
	if testing.Short() {
		rounds = 20
	}
	closed := 0
	for seed := range uint64(rounds) {
		for _, m := range simMethods {
			e := CCPRejected
			if m == ByMSCHAP2 {
				e = Encryption(seed % 4)
			}
			lns, client := pair(m, e)
			lns.FirstRestart = time.Duration(1+seed%3) * 500 * time.Millisecond
			t.Run(fmt.Sprintf("%v/%d", m, seed), func(t *testing.T) {
				w := join(t, seed, lns, client, bad)
				w.run(2 * time.Minute)
				for n := range w.ends {
					if w.ends[n].phase == Dead { // the network was too bad: so be it
						closed++
						w.restart(n)
					}
				}
				if seed%3 == 0 {
					w.restart(int(seed / 3 % 2)) // it loses its memory
				}
				w.clean = true
				w.run(2 * time.Minute)
				for n := range w.ends { // who was given up by the other gives up as well
					if w.ends[n].phase == Dead {
						w.restart(n)
					}
				}
				w.traffic() // who has given up hears of who has not
				w.run(time.Minute)
				w.wantOpen()
				w.ends[seed%2].Close(w.now)
				w.drain(int(seed % 2))
				w.run(10 * time.Second)
				for n, want := range []Reason{ByUs, ByPeer} {
					n = (n + int(seed%2)) % 2
					if s := w.ends[n].Status(); s.Phase != Dead || s.Reason != want {
						t.Errorf("end %d: phase %v, reason %q, want dead, %q", n, s.Phase, s.Reason, want)
					}
				}
			})
		}
	}
	t.Logf("%d ends of %d gave up in the bad network", closed, 2*rounds*len(simMethods))
}

// TestPair wants every way to authenticate and to encrypt to work where nothing is
// lost, and says what passes.
func TestPair(t *testing.T) {
	for _, m := range simMethods {
		for e := CCPRejected; e <= MPPERequired; e++ {
			t.Run(fmt.Sprintf("%v/%d", m, e), func(t *testing.T) {
				lns, client := pair(m, e)
				w := join(t, 1, lns, client, relay.Impairment{})
				w.run(20 * time.Second)
				if e == MPPERequired && m != ByMSCHAP2 {
					if s := w.ends[0].Status(); s.Phase != Dead || s.Reason != NoEncryption {
						t.Fatalf("phase %v, reason %q, want dead, no encryption", s.Phase, s.Reason)
					}
					return
				}
				w.wantOpen()
				s := w.ends[0].Status()
				if want := m == ByMSCHAP2 && e >= MPPEOffered; s.Encrypted != want {
					t.Errorf("encrypted %v, want %v", s.Encrypted, want)
				}
				if want := client.Name; s.Method != m || m != NoMethod && s.User != want {
					t.Errorf("user %q by %v, want %q by %v", s.User, s.Method, want, m)
				}
				if w.frames > 40 {
					t.Errorf("%d frames until the link is open", w.frames)
				}
				before := w.frames
				w.run(100 * time.Second)
				if more := w.frames - before; more == 0 || more > 40 {
					t.Errorf("%d frames in 100 s of silence", more)
				}
				w.wantOpen()
			})
		}
	}
}

// TestWrongPassword wants each method to fail at both ends, and to say so.
func TestWrongPassword(t *testing.T) {
	for _, m := range simMethods[1:] {
		lns, client := pair(m, CCPRejected)
		w := join(t, 1, lns, client, relay.Impairment{})
		w.secret = "battery staple"
		w.run(20 * time.Second)
		for n, want := range []Reason{AuthFailed, ProofRefused} {
			if s := w.ends[n].Status(); s.Phase != Dead || s.Reason != want {
				t.Errorf("%v: end %d: phase %v, reason %q, want dead, %q", m, n, s.Phase, s.Reason, want)
			}
		}
	}
}

// TestBothProve has both ends prove who they are.
func TestBothProve(t *testing.T) {
	for _, m := range []Method{ByPAP, ByCHAP, ByMSCHAP2} {
		lns, client := pair(m, CCPRejected)
		lns.Password, lns.Prove = simPassword, []Method{m}
		client.Verify = []Method{m}
		w := join(t, 1, lns, client, relay.Impairment{})
		w.run(20 * time.Second)
		w.wantOpen()
		if s := w.ends[1].Status(); s.User != "lns" || s.Method != m || s.Proof != m {
			t.Errorf("user %q by %v, want lns by %v", s.User, s.Method, m)
		}
	}
}
