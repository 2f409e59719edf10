package daemon

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns"
	"spanwire/pseudowire/ppp/radius"
)

// TestFarewell wants of a link's end what a CDN can say of it. RFC 2661 section 4.4.2
// and RFC 3145.
func TestFarewell(t *testing.T) {
	for _, v := range []struct {
		closed lns.Closed
		want   wire.CDNV2
	}{
		{lns.Closed{Cause: radius.UserRequest, Reason: ppp.ByPeer, Disconnect: lns.Disconnect{Code: 3, Direction: 1}}, wire.CDNV2{
			Result:      wire.Result{Code: wire.CDNAdministrative, Message: "closed by peer"},
			Disconnects: []wire.Disconnect{{Code: wire.DisconnectNormal, Direction: wire.AtPeer}}}},
		{lns.Closed{Reason: ppp.PeerSilent, Disconnect: lns.Disconnect{Code: 8, Protocol: ppp.LCP}}, wire.CDNV2{
			Result:      wire.Result{Code: wire.CDNCarrier, Message: "no answer to Echo-Request"},
			Disconnects: []wire.Disconnect{{Code: 8, Protocol: 0xc021}}}},
		{lns.Closed{Reason: ppp.Unconverging, Disconnect: lns.Disconnect{Code: 5, Protocol: ppp.LCP}}, wire.CDNV2{
			Result:      wire.Result{Code: wire.CDNError, Error: wire.ErrorVendor, Message: "no end to the negotiation of LCP"},
			Disconnects: []wire.Disconnect{{Code: 5, Protocol: 0xc021}}}},
		{lns.Closed{Reason: ppp.AuthFailed, Text: "wrong password", Disconnect: lns.Disconnect{Code: 16, Protocol: ppp.CHAP, Direction: 1}}, wire.CDNV2{
			Result:      wire.Result{Code: wire.CDNAdministrative, Message: "wrong password"},
			Disconnects: []wire.Disconnect{{Code: 16, Protocol: 0xc223, Direction: wire.AtPeer, Message: "wrong password"}}}},
		{lns.Closed{Text: "idle timeout"}, wire.CDNV2{Result: wire.Result{Code: wire.CDNAdministrative, Message: "idle timeout"}}},
	} {
		if d := cmp.Diff(v.want, farewell(&v.closed)); d != "" {
			t.Errorf("%v (-want +got):\n%s", v.closed, d)
		}
	}
}

// TestSetLink wants the LAC of an asynchronous line to be told what to escape, and one
// with wishes what became of them, and nobody else.
func TestSetLink(t *testing.T) {
	a := ppp.Agreement{ACCM: 0x000a0000, Sent: []byte{1}, Received: []byte{2}}
	accm := wire.Some(wire.ACCM{Send: 0x000a0000, Receive: 0xffffffff})
	for _, v := range []struct {
		params l2tpv2.Params
		tells  bool
		want   wire.SLIV2
	}{
		{l2tpv2.Params{Framing: wire.SyncFraming}, false, wire.SLIV2{ACCM: accm}},
		{l2tpv2.Params{Framing: wire.SyncFraming | wire.AsyncFraming}, false, wire.SLIV2{ACCM: accm}},
		{l2tpv2.Params{Framing: wire.AsyncFraming}, true, wire.SLIV2{ACCM: accm}},
		{l2tpv2.Params{Framing: wire.AsyncFraming, LAC: true}, false, wire.SLIV2{ACCM: accm}},
		{l2tpv2.Params{Framing: wire.SyncFraming, LCPAllow: []byte{3}}, true, wire.SLIV2{ACCM: accm, LastSent: a.Sent, LastReceived: a.Received}},
	} {
		if got := tells(v.params); got != v.tells {
			t.Errorf("%+v: told %v, want %v", v.params, got, v.tells)
		}
		if d := cmp.Diff(v.want, setLink(v.params, a)); d != "" {
			t.Errorf("%+v (-want +got):\n%s", v.params, d)
		}
	}
}

// TestCrew wants Wait to wait, also for what comes while it does.
func TestCrew(t *testing.T) {
	var c crew
	c.Wait()
	var done atomic.Int32
	for range 100 {
		c.Go(func() {
			time.Sleep(time.Millisecond)
			c.Go(func() {
				time.Sleep(time.Millisecond)
				done.Add(1)
			})
		})
	}
	c.Wait()
	if n := done.Load(); n != 100 {
		t.Errorf("%d of 100 are done", n)
	}
}
