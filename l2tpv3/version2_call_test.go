package l2tpv3

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/testbed/relay"
)

// up returns a LAC and an LNS with a call between them, as configured by change, and
// both its ends.
func callUp(t *testing.T, change func(lac, lns *Version2Config)) (a, b *end, pa, pb *Call) {
	t.Helper()
	lac, lns := lacAndLNS(free(t, "127.0.0.1"), free(t, "127.0.0.2"))
	if change != nil {
		change(&lac, &lns)
	}
	a, b = newEnd(t, "lac"), newEnd(t, "lns")
	b.add(lns)
	a.add(lac)
	return a, b, a.wait(l2tpv2.SessionUp).Port, b.wait(l2tpv2.SessionUp).Port
}

// TestOutgoingCall has an LNS ask for a call that is not placed, and for one that is.
func TestOutgoingCall(t *testing.T) {
	lac, lns := lacAndLNS(free(t, "127.0.0.1"), free(t, "127.0.0.2"))
	lac.Keep, lac.Control.Outgoing, lac.Control.Bearer = nil, true, wire.Some(wire.AnalogBearer)
	a, b := newEnd(t, "lac"), newEnd(t, "lns")
	b.add(lns)
	a.add(lac)
	tunnel := b.wait(l2tpv2.TunnelUp).Tunnel
	a.wait(l2tpv2.TunnelUp)
	ask := wire.OCRQV2{MinimumBPS: 1, MaximumBPS: 2, Bearer: wire.AnalogBearer, Framing: wire.AsyncFraming, CalledNumber: "555"}
	for _, placed := range []bool{false, true} {
		pb, err := b.Request(tunnel, ask)
		if err != nil {
			t.Fatal(err)
		}
		place := a.wait(l2tpv2.SessionPlace)
		pa := place.Port
		if pa.Up() || pb.Up() || place.Params.CalledNumber != "555" || !place.Params.LAC || pa.Tunnel() != "isp" {
			t.Errorf("%+v", place)
		}
		if !placed {
			if err := pa.Close(wire.CDNV2{Result: wire.Result{Code: wire.CDNBusy}, Cause: wire.Cause{Code: 17, Message: 0x45}}); err != nil {
				t.Error(err)
			}
			if down := b.wait(l2tpv2.SessionDown); down.Port != pb || down.Result.Code != wire.CDNBusy || down.Cause.Code != 17 {
				t.Errorf("%+v", down)
			}
			continue
		}
		if err := pa.Answer(wire.OCCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 56000, Framing: wire.AsyncFraming}}); err != nil {
			t.Error(err)
		}
		up := b.wait(l2tpv2.SessionUp)
		if up.Port != pb || up.Params.TxSpeed != 56000 || a.wait(l2tpv2.SessionUp).Port != pa {
			t.Errorf("%+v", up)
		}
		a.carries(pa, b, pb)
		b.carries(pb, a, pa)
	}
	if _, err := b.Request("nobody", ask); err == nil {
		t.Error("a call was begun in a tunnel that is not there")
	}
	ask.Bearer = wire.DigitalBearer
	if _, err := b.Request(tunnel, ask); err == nil {
		t.Error("a call was begun on a line that the LAC has not")
	}
}

// TestIndicate has a LAC indicate calls before there is a tunnel, on demand and to
// nobody.
func TestIndicate(t *testing.T) {
	lac, lns := lacAndLNS(free(t, "127.0.0.1"), free(t, "127.0.0.2"))
	lac.Keep, lac.Control.OnDemand = nil, true
	a, b := newEnd(t, "lac"), newEnd(t, "lns")
	a.add(lac)
	first, err := a.Indicate("isp", aCall("1"))
	if err != nil {
		t.Fatal(err)
	}
	if first.Tunnel() != "isp" || first.PeerAddress().IsValid() || first.Peer() != (l2tpv2.Peer{}) || first.Up() {
		t.Errorf("%s to %v", first.Tunnel(), first.PeerAddress())
	}
	if down := a.wait(l2tpv2.SessionDown); down.Port != first || !strings.Contains(down.Reason, "the peer does not answer") {
		t.Errorf("%+v", down)
	}
	b.add(lns)
	ports := map[string]*Call{}
	for i := range 20 {
		p, err := a.Indicate("isp", aCall(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		ports[fmt.Sprint(i)] = p
	}
	for range ports {
		ua, ub := a.wait(l2tpv2.SessionUp), b.wait(l2tpv2.SessionUp)
		if ports[ua.Params.CalledNumber] != ua.Port || ub.Params.CalledNumber == "" {
			t.Errorf("%+v", ua)
		}
	}
	if _, err := a.Indicate("nobody", aCall("1")); err == nil {
		t.Error("a call was begun in a tunnel that is not there")
	}
}

// TestKeep has the call that a client keeps be there again after its end, but not while
// its tunnel is down by command.
func TestKeep(t *testing.T) {
	a, b, pa, pb := callUp(t, nil)
	for range 2 {
		if err := pb.Close(wire.CDNV2{Result: wire.Result{Code: wire.CDNTemporary}}); err != nil {
			t.Fatal(err)
		}
		down, up := a.wait(l2tpv2.SessionDown), a.wait(l2tpv2.SessionUp)
		if down.Port != pa || up.Port == pa || up.Time.Sub(down.Time) < 10*time.Millisecond {
			t.Errorf("%v after %v", up.Time, down.Time)
		}
		pa, pb = up.Port, b.wait(l2tpv2.SessionUp).Port
	}
	if err := a.Down("isp"); err != nil {
		t.Fatal(err)
	}
	a.wait(l2tpv2.TunnelDown)
	time.Sleep(200 * time.Millisecond)
	if s := a.Status().Version2[0]; s.State != Down || len(s.Calls) != 0 || pa.Up() || s.LastError != l2tpv2.ByCommand {
		t.Errorf("%+v", s)
	}
	if err := a.Up("isp"); err != nil {
		t.Fatal(err)
	}
	pa = a.wait(l2tpv2.SessionUp).Port
	// A call can be ended by its name, and the LNS can end a tunnel.
	if err := a.Down(pa.Name()); err != nil {
		t.Fatal(err)
	}
	if down := a.wait(l2tpv2.SessionDown); down.Port != pa || down.Reason != l2tpv2.ByCommand {
		t.Errorf("%+v", down)
	}
	b.wait(l2tpv2.TunnelUp)
	b.wait(l2tpv2.SessionUp)
	pb = b.wait(l2tpv2.SessionUp).Port
	if err := b.Down(pb.Tunnel()); err != nil {
		t.Fatal(err)
	}
	b.wait(l2tpv2.TunnelDown)
	a.wait(l2tpv2.TunnelDown)
	a.wait(l2tpv2.SessionUp)
	for _, name := range []string{"", "isp#1", "isp/4711", "isp/x", "nobody", "#"} {
		if a.Down(name) == nil {
			t.Errorf("%q was closed", name)
		}
	}
}

// TestNumber has data have sequence numbers: as the LNS switches them, as it is
// configured, and where the LAC requires them.
//
// RFC 2661 section 5.4: "Sequencing may be enabled or disabled by the LNS at any time
// during the life of a session."
func TestNumber(t *testing.T) {
	numbering := func(e *end, from *Call, to *end, at *Call, want bool) {
		t.Helper()
		within(t, fmt.Sprintf("%s with numbers: %v", from.Name(), want), func() error {
			e.carries(from, to, at)
			if from.link.Numbering() != want {
				return fmt.Errorf("it is %v", !want)
			}
			return nil
		})
	}
	a, b, pa, pb := callUp(t, nil)
	for _, on := range []bool{false, true, false} {
		pb.Number(on)
		numbering(b, pb, a, pa, on)
		numbering(a, pa, b, pb, on)
	}
	a, b, pa, pb = callUp(t, func(_, lns *Version2Config) { lns.Number = true })
	numbering(b, pb, a, pa, true)
	numbering(a, pa, b, pb, true)
	a, b, pa, pb = callUp(t, func(lac, _ *Version2Config) { lac.Keep.Connected.Sequence = true })
	pb.Number(false)
	numbering(a, pa, b, pb, true)
	numbering(b, pb, a, pa, true)
}

// TestDiffServ has the data of a call be sent in the class that was agreed upon, and the
// tunnel's own be as it was, also when the peer has moved. RFC 3308.
func TestDiffServ(t *testing.T) {
	const expedited, better = 46 << 10, 10 << 10
	loopback := netip.MustParseAddr("127.0.0.1")
	portNAT := free(t, "127.0.0.1")
	var r *relay.Relay
	nat := func(to netip.AddrPort, from netip.AddrPort) {
		t.Helper()
		var err error
		if r, err = relay.New(portNAT, netip.AddrPortFrom(loopback, 0), from, to, relay.Impairment{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
	}
	var here, there netip.AddrPort
	a, b, pa, pb := callUp(t, func(lac, lns *Version2Config) {
		here, there = lac.Socket.Local, free(t, "127.0.0.1")
		lns.Socket.Local = there
		lac.Peer.Port, lac.Peer.Addr = portNAT.Port(), loopback
		nat(there, here)
		lac.DSCP, lns.DSCP = 8, 8
		lac.Control.Hello = 50 * time.Millisecond
		lac.Keep.Request.DiffServ, lns.Control.CallDiffServ = wire.Some[uint16](expedited), wire.Some[uint16](expedited)
		lac.Control.DiffServ, lns.Control.DiffServ = wire.Some[uint16](better), wire.Some[uint16](better)
	})
	check := func(e *end, p *Call) {
		t.Helper()
		c := e.channel
		c.mu.Lock()
		defer c.mu.Unlock()
		tunnel := p.tunnel
		if got := tunnel.path.Config(); got.DSCP != 10 {
			t.Errorf("%s: messages are sent with DSCP %d, want 10", p.Name(), got.DSCP)
		}
		if path := tunnel.paths[46]; path == nil || path.Peer() != tunnel.at.Peer || len(tunnel.paths) != 1 {
			t.Errorf("%s: data goes by %v", p.Name(), tunnel.paths)
		}
	}
	check(a, pa)
	check(b, pb)
	former := pb.PeerAddress()
	r.Close()
	nat(there, here)
	if moved := b.wait(l2tpv2.TunnelMoved); moved.Address.Peer == former || pb.PeerAddress() != moved.Address.Peer {
		t.Errorf("moved from %v to %v, %v", former, moved.Address.Peer, pb.PeerAddress())
	}
	check(b, pb)
	a.carries(pa, b, pb)
	b.carries(pb, a, pa)
	for _, v := range []struct {
		code uint16
		dscp uint8
		ok   bool
	}{{expedited, 46, true}, {0, 0, true}, {better | 2, 10, true}, {1, 0, false}, {expedited | 1<<9, 0, false}} {
		if dscp, ok := diffServ(wire.Some(v.code)); ok != v.ok || ok && dscp != v.dscp {
			t.Errorf("PHB code %#04x: DSCP %d, %v", v.code, dscp, ok)
		}
	}
}

// TestCallEndsInDelivery has whoever is handed frames end the call, as PPP does, while
// the peer ends it too.
func TestCallEndsInDelivery(t *testing.T) {
	a, b, _, _ := callUp(t, func(lac, _ *Version2Config) { lac.Control.RedialMin, lac.Control.RedialMax = 1, time.Millisecond })
	for range 50 {
		a.mu.Lock()
		a.events = nil
		a.mu.Unlock()
		pa, pb := a.one(), b.one()
		var once sync.Once
		ended := make(chan error, 1)
		pb.Attach(func(frames []pseudowire.Frame) int {
			once.Do(func() {
				time.Sleep(time.Millisecond)
				pb.Close(wire.CDNV2{Result: wire.Result{Code: wire.CDNCarrier}})
				ended <- b.Up("phones")
			})
			return len(frames)
		})
		within(t, "an end", func() error {
			sendFrame(pa, "\xff\x03\xc0\x21")
			pa.Close(wire.CDNV2{Result: wire.Result{Code: wire.CDNCarrier}})
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
				return nil
			default:
				if !pb.Up() { // the peer was first
					return nil
				}
				return fmt.Errorf("the call goes on")
			}
		})
	}
}

// one waits for the one call that is up, and returns it.
func (e *end) one() (p *Call) {
	e.t.Helper()
	within(e.t, "a call", func() error {
		for _, s := range e.Status().Version2 {
			for _, k := range s.Calls {
				if k.call.Up() {
					p = k.call
					return nil
				}
			}
		}
		return fmt.Errorf("there is none")
	})
	return p
}

// TestCloseWhileCallsAreSetUp closes both ends while calls come and go.
func TestCloseWhileCallsAreSetUp(t *testing.T) {
	for range 3 {
		a, b, _, _ := callUp(t, nil)
		var work sync.WaitGroup
		stop := make(chan struct{})
		for _, do := range []func(){
			func() { a.Indicate("isp", aCall("1")) },
			func() {
				if p, err := a.Indicate("isp", aCall("1")); err == nil {
					p.Close(wire.CDNV2{Result: wire.Result{Code: wire.CDNCarrier}})
					p.Attach(nil)
					p.Stats()
				}
			},
			func() {
				for _, s := range b.Status().Version2 {
					for _, k := range s.Calls {
						k.call.Number(true)
						k.call.SetLink(wire.SLIV2{})
						k.call.Params()
						k.call.NotifyMTU(func(int) {})
						sendFrame(k.call, "frame")
					}
				}
			},
			func() { a.Down("isp"); a.Up("isp"); a.Glance() },
		} {
			work.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
						do()
					}
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		work.Go(a.Close)
		b.Close()
		close(stop)
		work.Wait()
		if _, err := a.Indicate("isp", aCall("1")); err == nil {
			t.Error("a call was begun after Close")
		}
		if err := a.AddVersion2(Version2Config{TunnelConfig: TunnelConfig{Name: "late"}}); err == nil {
			t.Error("a tunnel was added after Close")
		}
		for _, e := range []*end{a, b} {
			if n := e.plane.Drops(); n[pseudowire.DropBusy] != 0 {
				t.Errorf("%d messages were lost", n[pseudowire.DropBusy])
			}
		}
	}
}
