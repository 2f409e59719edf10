package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strings"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/dataplane/user"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/testbed/netlab"
)

// What a frame costs with more and more sessions in the table is measured by one
// thread, which has both ends of a tunnel over UDP on loopback: it sends some of a
// session's frames, then some of another's, receives them all in a batch, and goes
// on with other sessions. So that is all that a processor does for a frame, the
// kernel's part included and waiting left out. The sessions come in an order in
// which no memory follows the last one's.

// A turn is how many frames a session sends at once.
type turn struct {
	name   string
	frames int // divides frameBatch
	slice  int // frames of one measurement, so that each of 10,000 sessions has its turn
}

var turns = []turn{{inBursts, 32, 320_000}, {oneByOne, 1, 20_032}}

const (
	inBursts = "32 frames of a session at once"
	oneByOne = "one frame of a session at once"
)

// tableSizes are how many sessions there are at each end.
var tableSizes = []int{1, 100, 10000}

const (
	frameBatch  = 64 // frames that are received together
	frameOctets = 60
	sliceRounds = 9 // measurements of each size of each round, in turn
)

// A sessionCost is what a frame costs with so many sessions.
type sessionCost struct {
	Turn        string    `json:"turn"`
	Sessions    int       `json:"sessions"`
	Nanoseconds []float64 `json:"ns"` // of processor time a frame, sent and received
}

// A trunk is a tunnel whose both ends are here, with sessions in a plane of each.
type trunk struct {
	plane    *user.Plane
	reader   *transport.Reader
	receiver dataplane.Receiver
	send     []dataplane.Link // in the order of their turns
	next     int
	arrived  int
}

// sessionCosts measures all sizes in turn.
func sessionCosts(ctx context.Context, rounds int, say progress) (costs []sessionCost, _ error) {
	lab, err := netlab.New()
	if err != nil {
		return nil, err
	}
	defer lab.Close()
	n, err := lab.Namespace("sessions")
	if err != nil {
		return nil, err
	}
	err = n.Do(func() error { // on a thread of its own
		var trunks []*trunk
		for i, size := range tableSizes {
			t, err := newTrunk(size, i)
			if err != nil {
				return err
			}
			trunks = append(trunks, t)
		}
		for _, b := range turns {
			at := len(costs)
			for _, size := range tableSizes {
				costs = append(costs, sessionCost{Turn: b.name, Sessions: size})
			}
			for slice := range sliceRounds*rounds + 1 {
				say("frames with many sessions: %s: %d of %d", b.name, slice, sliceRounds*rounds)
				for i, t := range trunks {
					ns, err := t.measure(ctx, b)
					if err != nil {
						return err
					}
					if slice > 0 { // the first warms up
						costs[at+i].Nanoseconds = append(costs[at+i].Nanoseconds, ns)
					}
				}
			}
		}
		return nil
	})
	return costs, err
}

// newTrunk opens a tunnel with sessions.
func newTrunk(sessions, number int) (*trunk, error) {
	var conns [2]*transport.Conn
	for i := range conns {
		local := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, byte(number), byte(i + 1)}), wire.Port)
		c, err := transport.Listen(transport.Config{Encap: wire.UDP, Local: local})
		if err != nil {
			return nil, err
		}
		conns[i] = c
	}
	there, err := conns[0].NewPath(transport.PathConfig{Peer: conns[1].LocalAddr()})
	if err != nil {
		return nil, err
	}
	back, err := conns[1].NewPath(transport.PathConfig{Peer: conns[0].LocalAddr()})
	if err != nil {
		return nil, err
	}
	t := &trunk{plane: user.New(), reader: conns[1].NewReader()}
	t.receiver = t.plane.NewReceiver(conns[1])
	near := user.New()
	deliver := func(frames []pseudowire.Frame) int {
		t.arrived += len(frames)
		return len(frames)
	}
	for range sessions {
		p := dataplane.Params{Pseudowire: pseudowire.Ethernet, SessionID: rand.Uint32N(1<<32-1) + 1, PeerSessionID: rand.Uint32N(1<<32-1) + 1}
		if p.ReceiveCookie, err = cookie.New(cookie.DefaultSize); err != nil {
			return nil, err
		}
		if p.SendCookie, err = cookie.New(cookie.DefaultSize); err != nil {
			return nil, err
		}
		from, err := near.Open(p)
		if err != nil {
			return nil, err
		}
		from.SetPath(conns[0], there)
		p.SessionID, p.PeerSessionID = p.PeerSessionID, p.SessionID
		p.ReceiveCookie, p.SendCookie = p.SendCookie, p.ReceiveCookie
		to, err := t.plane.Open(p)
		if err != nil {
			return nil, err
		}
		to.SetPath(conns[1], back)
		to.Attach(deliver)
		t.send = append(t.send, from)
	}
	rand.Shuffle(len(t.send), func(i, j int) { t.send[i], t.send[j] = t.send[j], t.send[i] })
	return t, nil
}

// measure returns the nanoseconds of processor time that a frame costs.
func (t *trunk) measure(ctx context.Context, b turn) (float64, error) {
	frames := make([]pseudowire.Frame, b.frames)
	for i := range frames {
		buf := make([]byte, pseudowire.Headroom+frameOctets)
		copy(buf[pseudowire.Headroom:], "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45")
		frames[i] = pseudowire.NewFrame(buf, pseudowire.Headroom)
	}
	deadline := time.Now().Add(time.Minute)
	before, err := threadCPU()
	if err != nil {
		return 0, err
	}
	for sent := 0; sent < b.slice; sent += frameBatch {
		for range frameBatch / b.frames {
			if n := t.send[t.next].Send(frames); n != len(frames) {
				return 0, fmt.Errorf("%d of %d frames were sent", n, len(frames))
			}
			t.next = (t.next + 1) % len(t.send)
		}
		for t.arrived = 0; t.arrived < frameBatch; {
			datagrams, err := t.reader.Read(deadline)
			if err != nil {
				return 0, fmt.Errorf("%d of %d frames came: %w", t.arrived, frameBatch, err)
			}
			for i := range datagrams {
				d := &datagrams[i]
				_, id, rest := wire.Classify(wire.UDP, d.Frame.Bytes())
				d.Frame = d.Frame.Skip(d.Frame.Len() - len(rest))
				t.receiver.Receive(d, id)
			}
			t.receiver.Flush(time.Now())
		}
	}
	after, err := threadCPU()
	if err == nil {
		err = ctx.Err()
	}
	return float64(after-before) / float64(b.slice), err
}

// printSessions prints what frames cost.
func (r *report) printSessions(w io.Writer) {
	heads := [][]string{{"CPU ns a frame, with so many sessions"}}
	for _, size := range tableSizes {
		heads[0] = append(heads[0], fmt.Sprint(size))
	}
	heads[0] = append(heads[0], fmt.Sprintf("%d to 1", tableSizes[len(tableSizes)-1]))
	var rows [][]string
	for _, b := range turns {
		row := []string{b.name}
		for _, size := range tableSizes {
			v, ok := r.sessionCost(b.name, size)
			row = append(row, cell("%.0f", v, ok))
		}
		v, ok := r.manyToOne(b.name)
		rows = append(rows, append(row, cell("%.2f", v, ok)))
	}
	printTable(w, heads, rows)
}

func (r *report) sessionCost(turn string, sessions int) (float64, bool) {
	for _, c := range r.Sessions {
		if c.Turn == turn && c.Sessions == sessions && len(c.Nanoseconds) > 0 {
			return median(c.Nanoseconds), true
		}
	}
	return 0, false
}

// manyToOne returns what a frame costs with most sessions to what it costs with
// one.
func (r *report) manyToOne(turn string) (float64, bool) {
	many, ok := r.sessionCost(turn, tableSizes[len(tableSizes)-1])
	one, also := r.sessionCost(turn, tableSizes[0])
	return many / one, ok && also
}

// An idling is what a process with sessions uses while nothing goes over them.
type idling struct {
	Sessions int     `json:"sessions"`
	Percent  float64 `json:"percent"` // of one processor, the mean of both ends
}

// idleSessions is how many sessions are idle.
const idleSessions = 100

// idle has two ends keep a control connection with sessions, each with a TAP, and
// measures for some seconds what the processes use.
func idle(ctx context.Context, s site) (i *idling, err error) {
	lab, err := netlab.New()
	if err != nil {
		return nil, err
	}
	defer lab.Close()
	f := new(figures)
	r, err := kind{name: "idle", setUp: func(ctx context.Context, _ *netlab.Lab, r *row, s site) error { return r.many(ctx, s, idleSessions) }}.build(ctx, lab, f, s)
	defer r.close()
	if err != nil {
		return nil, fmt.Errorf("idle: %w", err)
	}
	for end := range 2 {
		if n, _, _, _ := r.end(end); err == nil {
			err = devices(n, idleSessions+1) // and the underlay
		}
	}
	if err != nil {
		return nil, fmt.Errorf("idle: %w", err)
	}
	const settle, length = 5 * time.Second, 10 * time.Second // a new device is not idle at first
	c, err := watch(r.pids(), settle, length)()
	if err != nil {
		return nil, err
	}
	return &idling{idleSessions, 100 * c.own / 2}, ctx.Err()
}

// many runs the binary at both ends with many sessions under one control
// connection.
func (r *row) many(ctx context.Context, s site, sessions int) error {
	for i := range 2 {
		n, under, over, far := r.end(i)
		// With IPv6 each TAP asks for routers, again and again for minutes: then the
		// sessions are not idle.
		if err := n.Do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0) }); err != nil {
			return err
		}
		file, err := os.CreateTemp(s.dir, "idle-*.toml")
		if err != nil {
			return err
		}
		defer file.Close()
		mode := [2]string{"dial", "accept"}[i]
		var b strings.Builder
		fmt.Fprintf(&b, "[node]\nhostname = \"idle%d\"\nrouter_id = \"192.0.2.%d\"\ncontrol = %q\n[tunnel.t]\nmode = %q\nlocal = \"%s:1701\"\npeer = \"%s\"\n", i, i+1, file.Name()+".sock", mode, under, far)
		for k := range sessions {
			fmt.Fprintf(&b, "[tunnel.t.session.s%d]\ntap = \"o%d\"\n", k, k)
			if k == 0 {
				fmt.Fprintf(&b, "addresses = [\"%s/24\"]\n", over)
			}
		}
		if _, err := file.WriteString(b.String()); err != nil {
			return err
		}
		if err := r.start(ctx, n, s.spanwire, "run", "-c", file.Name(), "--log-level", "error"); err != nil {
			return err
		}
	}
	return nil
}

// printIdle prints what idle sessions cost.
func (r *report) printIdle(w io.Writer) {
	if r.Idle != nil {
		fmt.Fprintf(w, "idle, %d sessions: %.2f %% of a processor at each end\n\n", r.Idle.Sessions, r.Idle.Percent)
	}
}
