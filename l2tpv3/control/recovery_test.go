package control

import (
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
)

// TestSessionsEndWithTheirConnection has sessions in several states end with
// their connection, and those that are established no less than the others.
func TestSessionsEndWithTheirConnection(t *testing.T) {
	n := newNetwork(t, 1)
	a, b := n.node(1, "a"), n.node(2, "b")
	var asks, waits []CircuitConfig
	for _, name := range []string{"one", "two", "three", "four"} {
		k := office(true)
		k.Name, k.RemoteEndID = name, []byte(name)
		k.Outgoing = name == "two"
		asks = append(asks, k)
		k.Initiate = false
		waits = append(waits, k)
	}
	b.cfg.Active = false // so that the outgoing call is not placed
	b.start()
	b.tunnel(a, TunnelConfig{Name: "a", Circuits: waits})
	a.tunnel(b, TunnelConfig{Name: "b", Dial: true, Circuits: asks})
	n.after(2 * time.Second)
	if len(a.active) != 3 || len(a.sessions) != 4 {
		t.Fatalf("%d sessions up of %d, want 3 of 4", len(a.active), len(a.sessions))
	}
	sound(n.fatalf, a.LCCE)
	a.Down(n.now, "b")
	n.drain(a)
	n.after(time.Second)
	for _, o := range n.nodes {
		if len(o.open)+len(o.sessions) != 0 {
			t.Errorf("%s: %d open, %d sessions", o.cfg.HostName, len(o.open), len(o.sessions))
		}
		sound(n.fatalf, o.LCCE)
	}
}

// TestAcknowledgedAndNotAnswered has a peer acknowledge our SCCRQ and then die:
// nothing is left to be repeated, but we do not wait for its SCCRP for ever.
func TestAcknowledgedAndNotAnswered(t *testing.T) {
	s := tell(t, TunnelConfig{Dial: true, RedialMin: time.Second, Circuits: []CircuitConfig{office(true)}})
	s.want("SCCRQ", 0, 0)
	s.after(10 * time.Second)
	s.sent = nil
	s.nr = 1
	s.send(nil)
	s.after(29 * time.Second)
	s.wantSilence()
	s.wantState(WaitCtlReply)
	s.after(3 * time.Second)
	s.event(TunnelDown)
	s.want("SCCRQ", 0, 0)
}

// TestRolloverAwaitsTheICCN has the ICCN by which a session takes over be lost
// for longer than the overlap: until it has arrived the peer sends by the former
// session, which goes on to receive.
func TestRolloverAwaitsTheICCN(t *testing.T) {
	n := newNetwork(t, 1)
	a, b := couple(n, sharedSecret)
	n.after(2 * time.Second)
	n.frames, n.nextFrames, n.strict = 10*time.Millisecond, n.now, true
	a.Roll(n.now, "b/office")
	n.drain(a)
	for len(a.open["b/office"]) < 2 {
		n.after(time.Millisecond)
	}
	flight := n.flight[:0] // the ICCN is lost, and what comes after it
	for _, p := range n.flight {
		if p.data != nil || p.from == b.at {
			flight = append(flight, p)
		}
	}
	n.flight = flight
	n.loss = 1
	n.after(13 * time.Second)
	if len(a.open["b/office"]) != 2 || a.active["b/office"] == 0 {
		t.Fatalf("%v open while the peer sends by the former", a.open["b/office"])
	}
	if err := a.Roll(n.now, "b/office"); err == nil {
		t.Error("a session is to take over before the one that takes over has")
	}
	n.loss = 0
	n.after(20 * time.Second)
	n.mirrored(a, "b/office", b, "a/office")
	if len(a.open["b/office"]) != 1 || len(b.open["a/office"]) != 1 || n.sentFrames < 1000 {
		t.Errorf("%v and %v open, %d frames", a.open, b.open, n.sentFrames)
	}
}

// TestOutgoingCallRollsOver has the session of an outgoing call be taken over
// from: the peer, which placed the call, must not send by the new session before
// its parameters are known here.
func TestOutgoingCallRollsOver(t *testing.T) {
	s := tell(t, dials(CircuitConfig{
		Name: "office", RemoteEndID: []byte("office"), Pseudowire: office(true).Pseudowire, Initiate: true, Outgoing: true,
	})).answer()
	m := get[*wire.OCRQ](s)
	s.send(&wire.OCRP{CallReply: wire.CallReply{LocalSessionID: 9, RemoteSessionID: m.LocalSessionID, Status: wire.CircuitActive}})
	s.send(&wire.OCCN{CallConnected: wire.CallConnected{LocalSessionID: 9, RemoteSessionID: m.LocalSessionID}})
	s.event(SessionUp)
	s.Roll(s.now, "there/office")
	s.after(0)
	get[*wire.ICRQ](s)
	s.quiet()
}

// TestPeerStopsWhileOurStopCCNWaits has the peer close a connection while our own
// StopCCN waits behind what is not acknowledged: there is nothing left to tell.
func TestPeerStopsWhileOurStopCCNWaits(t *testing.T) {
	s := tell(t, accepts(office(false)))
	s.peer.ReceiveWindow = 1
	s.establish()
	s.sent = nil
	s.send(icrq(9))
	s.next("ICRP") // which is never acknowledged
	s.quiet()
	s.Down(s.now, "there")
	s.after(0)
	s.quiet() // the window is full
	s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopShutdown}})
	s.wantACK()
	s.after(20 * time.Second)
	s.wantSilence()
	s.after(3 * time.Minute)
	if len(s.conns)+len(s.sessions) != 0 {
		t.Errorf("%d connections are left", len(s.conns))
	}
}

// TestLingeringIsBounded has peers without a secret come and go: what answers for
// their repetitions is no more than so many.
func TestLingeringIsBounded(t *testing.T) {
	n := here()
	n.HalfOpen = 10
	s := tellNode(t, n, accepts(office(false)))
	for i := range 100 {
		s.id, s.ns, s.nr = 0, 0, 0
		s.peer.ConnectionID = uint32(1000 + i)
		s.send(s.request())
		s.next("SCCRP")
		if s.nr = 1; i%2 == 0 {
			s.send(&wire.SCCCN{})
		}
		s.send(&wire.StopCCN{ConnectionID: s.peer.ConnectionID, Result: wire.Result{Code: wire.StopGeneral}})
		s.sent, s.told = nil, nil
		sound(t.Fatalf, s.LCCE)
	}
	if len(s.conns) != 10 || len(s.lingering) != 10 {
		t.Errorf("%d connections, %d lingering, want 10", len(s.conns), len(s.lingering))
	}
	s.after(3 * time.Minute)
	if len(s.conns) != 0 {
		t.Errorf("%d connections are left", len(s.conns))
	}
}
