package l2tpv2

import (
	"strings"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
)

// aCall is a call that a LAC keeps.
var aCall = IncomingCall{Connected: wire.ICCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 1, Framing: wire.SyncFraming}}}

// TestKeep has a LAC keep a call: it is indicated when the tunnel is up, again after its
// end, later and later, and not while the tunnel is down.
func TestKeep(t *testing.T) {
	s := tell(t, TunnelConfig{Dial: true, OnDemand: true, Incoming: true, Hello: -1})
	s.wantSent("") // nobody has called
	if err := s.Keep(s.now, "there", aCall); err != nil {
		t.Fatal(err)
	}
	s.after(0)
	s.wantSent("SCCRQ") // the call that is kept is a reason to dial
	peerID := uint16(100)
	connect := func() {
		t.Helper()
		request := s.wantSent("ICRQ").(*wire.ICRQV2)
		peerID++
		s.send(request.SessionID, &wire.ICRPV2{SessionID: peerID})
		s.wantSent("ICCN")
		s.wantTold(SessionUp)
	}
	hangUp := func() {
		t.Helper()
		for _, c := range s.calls {
			s.send(c.params.SessionID, &wire.CDNV2{SessionID: peerID, Result: wire.Result{Code: wire.CDNTemporary}})
		}
		s.wantTold(SessionDown)
		s.spoken()
	}
	s.send(0, &wire.SCCRPV2{PeerV2: s.peer})
	s.wantTold(TunnelUp)
	s.spoken()
	s.sent = nil
	for _, c := range s.calls {
		peerID++
		s.send(c.params.SessionID, &wire.ICRPV2{SessionID: peerID})
	}
	s.wantTold(SessionUp)
	s.spoken()
	// What ends soon is indicated again after about 1, 2, 4 seconds.
	for wait := time.Second; wait <= 4*time.Second; wait *= 2 {
		hangUp()
		s.ack()
		if took := s.untilSent(time.Minute); took < wait*3/4 || took > wait*5/4+100*time.Millisecond {
			t.Fatalf("indicated again after %v, want about %v", took, wait)
		}
		connect()
	}
	// What held is as the first.
	s.ack()
	s.after(2 * time.Minute)
	s.spoken()
	hangUp()
	s.ack()
	if took := s.untilSent(time.Minute); took > 1300*time.Millisecond {
		t.Fatalf("indicated again after %v", took)
	}
	connect()
	// While the tunnel is down nothing is indicated, nor when the back-off is over.
	hangUp()
	if err := s.Down(s.now, "there"); err != nil {
		t.Fatal(err)
	}
	s.after(0)
	s.wantSent("StopCCN")
	s.ack()
	s.after(time.Hour)
	s.wantSent("")
	if err := s.Up(s.now, "there"); err != nil {
		t.Fatal(err)
	}
	s.after(0)
	s.wantSent("SCCRQ")
}

// TestKeepWithoutTunnel has the time come at which a call is to be indicated again, when
// the tunnel has been closed by the peer: the machine is to come to rest.
func TestKeepWithoutTunnel(t *testing.T) {
	s := tell(t, TunnelConfig{Dial: true, Incoming: true, Hello: -1, RedialMin: time.Minute, RedialMax: time.Minute})
	if err := s.Keep(s.now, "there", aCall); err != nil {
		t.Fatal(err)
	}
	s.after(0)
	s.send(0, &wire.SCCRPV2{PeerV2: s.peer})
	s.wantTold(TunnelUp)
	s.spoken()
	for _, c := range s.calls {
		s.send(c.params.SessionID, &wire.ICRPV2{SessionID: 101})
		s.send(c.params.SessionID, &wire.CDNV2{SessionID: 101, Result: wire.Result{Code: wire.CDNTemporary}})
	}
	s.wantTold(SessionDown)
	s.send(0, &wire.StopCCNV2{TunnelID: 100, Result: wire.Result{Code: wire.StopShutdown}})
	s.wantTold(TunnelDown)
	for _, p := range s.peers { // the later of the two, whatever chance says
		p.redialAt = p.kept.at.Add(time.Hour)
		p.arrange()
		due := p.kept.at
		s.Advance(due)
		if at := s.Deadline(); !at.After(due) {
			t.Errorf("at %v the next deadline is %v", due, at)
		}
	}
}

// TestKeepRefuses keeps calls that cannot be.
func TestKeepRefuses(t *testing.T) {
	s := tell(t, TunnelConfig{Incoming: true})
	if err := s.Keep(s.now, "there", aCall); err == nil {
		t.Error("a call in tunnels that peers ask for")
	}
	if err := s.Keep(s.now, "nobody", aCall); err == nil {
		t.Error("a call in no tunnel")
	}
	s = tell(t, TunnelConfig{Dial: true})
	long := aCall
	long.Connected.PrivateGroupID = make([]byte, 2000)
	if err := s.Keep(s.now, "there", long); err == nil {
		t.Error("a call that fits into no message")
	}
	// A framing that the peer does not take is tried again, and noted.
	bad := aCall
	bad.Connected.Framing = wire.AsyncFraming
	if err := s.Keep(s.now, "there", bad); err != nil {
		t.Fatal(err)
	}
	s.peer.Framing = wire.SyncFraming
	s.established()
	if e := s.wantTold(Noted); !strings.Contains(e.Reason, "the peer takes framing sync, not async") {
		t.Errorf("%q", e.Reason)
	}
	s.after(2 * time.Second)
	s.wantTold(Noted)
}

// TestOffered has one that is offered by whoever speaks L2TPv3 be dialled when that says
// so, once each time, and yield.
func TestOffered(t *testing.T) {
	s := tell(t, TunnelConfig{Dial: true, Offered: true, Incoming: true})
	id, err := s.Indicate(s.now, "there", aCall)
	if err != nil {
		t.Fatal(err)
	}
	s.after(0)
	s.wantSent("") // though somebody calls
	if _, err := s.Offer(s.now, "there"); err != nil {
		t.Fatal(err)
	}
	s.after(10 * time.Second)
	s.wantSent("")
	s.Dial(s.now, "there")
	s.after(0)
	s.wantSent("SCCRQ")
	if _, err := s.Offer(s.now, "there"); err == nil {
		t.Error("offered while it is dialled")
	}
	s.after(20 * time.Minute) // nobody answers
	if e := s.wantTold(TunnelDown); !e.Next.IsZero() {
		t.Errorf("dialled again at %v", e.Next)
	}
	if e := s.wantTold(SessionDown); e.Call != id {
		t.Errorf("%+v", e)
	}
	if len(s.conns) != 0 {
		t.Errorf("%d tunnels are left", len(s.conns))
	}
	s.sent = nil
	s.Dial(s.now, "there")
	s.after(0)
	s.established()
	s.Yield(s.now, "there")
	s.after(0)
	if m := s.wantSent("StopCCN").(*wire.StopCCNV2); m.Result.Message != "L2TPv3 is spoken" {
		t.Errorf("%+v", m)
	}
	s.wantTold(TunnelDown)
	s.Yield(s.now, "nobody")
	s.Dial(s.now, "nobody")
	s.Down(s.now, "there")
	s.Dial(s.now, "there")
	s.ack()
	s.after(time.Hour)
	s.wantSent("")
}
