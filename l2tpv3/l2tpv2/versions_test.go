package l2tpv2_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// An end is an endpoint that speaks some versions of L2TP by one UDP port, as a driver
// would join them.
type end struct {
	t      *testing.T
	at     netip.AddrPort
	speaks []l2tpv2.Version
	v2     *l2tpv2.Node
	v3     *control.LCCE
	sent   []string
	told   []string
	now    time.Time
}

var begin = time.Unix(1e9, 0)

func newEnd(t *testing.T, at string, speaks ...l2tpv2.Version) *end {
	e := &end{t: t, at: netip.MustParseAddrPort(at), speaks: speaks, now: begin}
	r := rand.New(rand.NewPCG(uint64(e.at.Addr().As4()[3]), 1))
	random := func(b []byte) {
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	}
	e.v2 = l2tpv2.New(l2tpv2.Config{HostName: at, Random: random})
	e.v3 = control.New(control.Config{HostName: at, RouterID: 1, Capabilities: []pseudowire.Type{pseudowire.PPP}, Random: random, Active: true})
	return e
}

// dial has it dial the peer in both versions.
func (e *end) dial(peer netip.AddrPort, cfg2 l2tpv2.TunnelConfig, cfg3 control.TunnelConfig) {
	cfg2.Name, cfg2.Dial, cfg2.OnDemand = "x", true, true
	cfg3.Name, cfg3.Dial = "x", true
	cfg3.Offer = func(now time.Time) *wire.SCCRQV2 {
		m, err := e.v2.Offer(now, "x")
		if err != nil {
			e.t.Fatal(err)
		}
		return m
	}
	e.v2.Add(e.now, cfg2)
	e.v2.Bind(e.now, "x", l2tpv2.Binding{At: l2tpv2.Address{Peer: peer}})
	e.v3.Add(e.now, cfg3)
	e.v3.Bind(e.now, "x", control.Binding{At: control.Address{Peer: peer}})
}

// listen has it accept in the versions that it speaks.
func (e *end) listen(cfg2 l2tpv2.TunnelConfig, cfg3 control.TunnelConfig) {
	all := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	cfg2.Name, cfg3.Name = "x", "x"
	e.v2.Add(e.now, cfg2)
	e.v2.Bind(e.now, "x", l2tpv2.Binding{Peers: all})
	e.v3.Add(e.now, cfg3)
	e.v3.Bind(e.now, "x", control.Binding{Peers: all})
}

func (e *end) speak(v l2tpv2.Version) bool {
	for _, o := range e.speaks {
		if o == v {
			return true
		}
	}
	return false
}

// receive takes a datagram: its version, and what it asks for, say whose it is.
func (e *end) receive(from netip.AddrPort, b []byte) {
	version := l2tpv2.Version3
	if kind, _, _ := wire.Classify(wire.UDP, b); kind == wire.Version2 {
		version = l2tpv2.Version2
	}
	if t, ok := wire.TypeOf(b); ok && t == wire.TypeSCCRQ {
		version = l2tpv2.Choose(b, e.speaks...)
	}
	switch {
	case !e.speak(version):
	case version == l2tpv2.Version2:
		e.v2.Receive(e.now, l2tpv2.Address{Peer: from}, b)
	case version == l2tpv2.Version3:
		e.v3.Receive(e.now, control.Address{Peer: from}, b)
	}
}

// drain sends to the peer and does what events ask for.
func (e *end) drain(peer *end) (busy bool) {
	send := func(b []byte) {
		busy = true
		t, _ := wire.TypeOf(b)
		e.sent = append(e.sent, fmt.Sprintf("%v/%d", t, b[1]&0xf))
		peer.receive(e.at, b)
	}
	for {
		if b, _, ok := e.v3.Transmit(nil); ok {
			send(b)
			continue
		}
		if b, _, ok := e.v2.Transmit(nil); ok {
			send(b)
			continue
		}
		break
	}
	for ev, ok := e.v3.Event(); ok; ev, ok = e.v3.Event() {
		e.told = append(e.told, "3: "+ev.Kind.String()+" "+ev.Reason)
		if ev.Kind == control.TunnelUp {
			e.v2.Withdraw(e.now, "x")
		}
	}
	for ev, ok := e.v2.Event(); ok; ev, ok = e.v2.Event() {
		e.told = append(e.told, "2: "+ev.Kind.String()+" "+ev.Reason)
		switch {
		case ev.Kind == l2tpv2.TunnelDialing:
			e.v3.FallBack(e.now, "x")
		case ev.Kind == l2tpv2.TunnelDown && ev.Config == "x":
			e.v3.Up(e.now, "x") // and see what the peer speaks now
		}
	}
	return busy
}

func talk(a, b *end, d time.Duration) {
	until := a.now.Add(d)
	for {
		for a.drain(b) || b.drain(a) {
			continue
		}
		next := until
		for _, at := range []time.Time{a.v2.Deadline(), a.v3.Deadline(), b.v2.Deadline(), b.v3.Deadline()} {
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		a.now, b.now = next, next
		if !next.Before(until) {
			return
		}
		for _, e := range []*end{a, b} {
			e.v2.Advance(next)
			e.v3.Advance(next)
		}
	}
}

func (e *end) has(word string) bool {
	for _, s := range e.told {
		if strings.HasPrefix(s, word) {
			return true
		}
	}
	return false
}

// TestAutomaticFallback dials peers of each kind with an SCCRQ for both versions. RFC
// 3931 section 4.7.3: "If the peer implementation is L2TPv3-capable, a control message
// with the Ver field set to 3 and an L2TPv3 header and message format will be sent in
// response to the SCCRQ. Operation may then continue as L2TPv3. If a message is
// received with the Ver field set to 2, it must be assumed that the peer
// implementation is L2TPv2-only, thus enabling fallback to L2TPv2 mode to safely
// occur."
func TestAutomaticFallback(t *testing.T) {
	outer := wire.NewSecretV2([]byte("outer"))
	for _, secrets := range []bool{false, true} {
		var cfg2 l2tpv2.TunnelConfig
		var cfg3 control.TunnelConfig
		if secrets {
			cfg2.Secret = outer
			cfg3.Secrets = []*wire.Secret{wire.NewSecret([]byte("other"))}
		}
		for _, v := range []struct {
			speaks []l2tpv2.Version
			want   string
		}{
			{[]l2tpv2.Version{l2tpv2.Version2}, "2"},
			{[]l2tpv2.Version{l2tpv2.Version3}, "3"},
			{[]l2tpv2.Version{l2tpv2.Version2, l2tpv2.Version3}, "3"},
		} {
			t.Run(fmt.Sprintf("%v, secrets %v", v.speaks, secrets), func(t *testing.T) {
				a, b := newEnd(t, "192.0.2.1:1701", l2tpv2.Version2, l2tpv2.Version3), newEnd(t, "192.0.2.2:1701", v.speaks...)
				a.dial(b.at, cfg2, cfg3)
				b.listen(cfg2, cfg3)
				talk(a, b, time.Minute)
				if a.sent[0] != "SCCRQ/2" || b.sent[0] != "SCCRP/"+v.want || a.sent[1] != "SCCCN/"+v.want {
					t.Errorf("%v, answered %v", a.sent, b.sent)
				}
				for _, e := range []*end{a, b} {
					if !e.has(v.want+": tunnel up") || e.has("2: tunnel up") && e.has("3: tunnel up") {
						t.Errorf("%v", e.told)
					}
				}
				if v.want == "2" && !a.has("3: tunnel down "+control.FellBack) {
					t.Errorf("%v", a.told)
				}
				talk(a, b, time.Hour)
				for _, e := range []*end{a, b} {
					for _, m := range e.sent {
						if m != "SCCRQ/2" && !strings.HasSuffix(m, "/"+v.want) {
							t.Errorf("sent %s", m)
						}
					}
					if s := e.v2.DropCounts(); s != ([l2tpv2.Drops]uint64{}) {
						t.Errorf("dropped %v", s)
					}
				}
				// A peer that is upgraded is found out.
				if v.want == "2" {
					a.told = nil
					b.v2.Close(b.now)
					b.speaks = []l2tpv2.Version{l2tpv2.Version3}
					talk(a, b, time.Minute)
					if !a.has("3: tunnel up") {
						t.Errorf("%v", a.told)
					}
				}
			})
		}
	}
}
