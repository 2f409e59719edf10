package l2tpv3

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane/user"
	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// An end is an endpoint that speaks L2TPv2, over loopback.
type end struct {
	*Endpoint
	t   *testing.T
	log *locked

	mu     sync.Mutex
	events []Version2Event
	frames map[*Call][]string // that have come
}

func newEnd(t *testing.T, name string) *end {
	t.Helper()
	e := &end{t: t, log: new(locked), frames: make(map[*Call][]string)}
	e.Endpoint = New(user.New(), slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})), control.Config{
		HostName: name, RouterID: 1, VendorName: "Spanwire", Capabilities: []pseudowire.Type{pseudowire.Ethernet}, Active: true,
	})
	e.NotifyVersion2(e.tell)
	t.Cleanup(func() {
		e.Close()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, e.log)
		}
	})
	return e
}

func (e *end) tell(v Version2Event) {
	if v.Kind == l2tpv2.SessionUp {
		v.Port.Attach(func(frames []pseudowire.Frame) int {
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, f := range frames {
				e.frames[v.Port] = append(e.frames[v.Port], string(f.Bytes()))
			}
			return len(frames)
		})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events = append(e.events, v)
}

// wait waits for an event, and takes it and those before it.
func (e *end) wait(kind l2tpv2.EventKind) (v Version2Event) {
	e.t.Helper()
	within(e.t, kind.String(), func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		i := slices.IndexFunc(e.events, func(v Version2Event) bool { return v.Kind == kind })
		if i < 0 {
			return fmt.Errorf("there is none")
		}
		v, e.events = e.events[i], e.events[i+1:]
		return nil
	})
	return v
}

// carries wants frames of a call to come to another's end.
func (e *end) carries(from *Call, to *end, at *Call) {
	e.t.Helper()
	const frame = "\xff\x03\xc0\x21\x01\x01\x00\x04"
	within(e.t, from.Name()+" carries frames", func() error {
		sendFrame(from, frame)
		to.mu.Lock()
		defer to.mu.Unlock()
		if got := to.frames[at]; !slices.Contains(got, frame) {
			return fmt.Errorf("%q came; %+v", got, at.Stats())
		}
		delete(to.frames, at)
		return nil
	})
}

func sendFrame(p *Call, frame string) int {
	b := append(make([]byte, pseudowire.Headroom), frame...)
	return p.Send([]pseudowire.Frame{pseudowire.NewFrame(b, pseudowire.Headroom)})
}

// quickV2 is impatient.
var quickV2 = l2tpv2.TunnelConfig{Timeout: 20 * time.Millisecond, MaxTimeout: 20 * time.Millisecond, Retries: 50, DialRetries: 3,
	RedialMin: 20 * time.Millisecond, RedialMax: 50 * time.Millisecond}

// aCall is what a LAC indicates.
func aCall(called string) l2tpv2.IncomingCall {
	return l2tpv2.IncomingCall{
		Request:   wire.ICRQV2{CalledNumber: called},
		Connected: wire.ICCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 1e8, Framing: wire.SyncFraming}},
	}
}

// lacAndLNS returns a tunnel's ends: who dials and keeps a call, and who accepts.
func lacAndLNS(here, there netip.AddrPort) (lac, lns Version2Config) {
	call := aCall("555")
	lac = Version2Config{
		TunnelConfig: TunnelConfig{Name: "isp", Socket: transport.Config{Local: here}, Peer: Host{Addr: there.Addr(), Port: there.Port()}},
		Control:      quickV2, Keep: &call,
	}
	lac.Control.Dial = true
	lns = Version2Config{
		TunnelConfig: TunnelConfig{Name: "phones", Socket: transport.Config{Local: there}},
		From:         []netip.Prefix{netip.PrefixFrom(here.Addr(), here.Addr().BitLen())},
		Control:      quickV2,
	}
	lns.Control.Incoming = true
	return lac, lns
}

func (e *end) add(cfg Version2Config) {
	e.t.Helper()
	if err := e.AddVersion2(cfg); err != nil {
		e.t.Fatal(err)
	}
}

// TestVersion2 has a LAC and an LNS find each other, a call carry frames both ways, and
// its end told to the other with what PPP says of it.
func TestVersion2(t *testing.T) {
	secret := wire.NewSecretV2([]byte("ssh!"))
	for _, v := range []struct{ name, at, to string }{{"IPv4", "127.0.0.1", "127.0.0.2"}, {"IPv6", "::1", "::1"}} {
		t.Run(v.name, func(t *testing.T) {
			here, there := free(t, v.at), free(t, v.to)
			a, b := newEnd(t, "lac"), newEnd(t, "lns")
			lac, lns := lacAndLNS(here, there)
			lac.Control.Secret, lns.Control.Secret, lac.Control.Hide = secret, secret, true
			lac.Control.RedialMin, lac.Control.RedialMax = time.Minute, time.Minute // the call is not to come again at once
			b.add(lns)
			a.add(lac)
			ea, eb := a.wait(l2tpv2.SessionUp), b.wait(l2tpv2.SessionUp)
			pa, pb := ea.Port, eb.Port
			if !pa.Up() || pa.Config() != "isp" || pa.Tunnel() != "isp" || pa.Name() != fmt.Sprintf("isp/%d", pa.ID()) || pa.PeerAddress() != there || pa.Peer().HostName != "lns" {
				t.Errorf("%s of %s in %s, to %v, %+v", pa.Name(), pa.Config(), pa.Tunnel(), pa.PeerAddress(), pa.Peer())
			}
			if want := fmt.Sprintf("phones#%d", eb.TunnelID); pb.Config() != "phones" || pb.Tunnel() != want || pb.Name() != fmt.Sprintf("%s/%d", want, pb.ID()) || pb.PeerAddress() != here {
				t.Errorf("%s of %s in %s, to %v", pb.Name(), pb.Config(), pb.Tunnel(), pb.PeerAddress())
			}
			if p := pb.Params(); p.LAC || p.CalledNumber != "555" || p.TxSpeed != 1e8 || p.SessionID != pa.Params().PeerSessionID {
				t.Errorf("%+v", p)
			}
			a.carries(pa, b, pb)
			b.carries(pb, a, pa)
			mtu := make(chan int, 1)
			pa.NotifyMTU(func(n int) { mtu <- n })
			if got, want := <-mtu, 65535-map[string]int{"IPv4": 20, "IPv6": 40}[v.name]-8-10-4; got != want {
				t.Errorf("MTU %d, want %d", got, want)
			}
			if err := pb.SetLink(wire.SLIV2{ACCM: wire.Some(wire.ACCM{Send: 1, Receive: 2})}); err != nil {
				t.Error(err)
			}
			if got := a.wait(l2tpv2.SessionLink); got.Link.ACCM.Value.Receive != 2 || got.Port != pa {
				t.Errorf("%+v", got.Link)
			}
			if err := pa.Report(wire.CallErrors{CRC: 7}); err != nil {
				t.Error(err)
			}
			if got := b.wait(l2tpv2.SessionErrors); got.Errors.CRC != 7 || got.Port != pb {
				t.Errorf("%+v", got.Errors)
			}
			stats := pb.Stats()
			why := wire.CDNV2{Result: wire.Result{Code: wire.CDNAdministrative},
				Disconnects: []wire.Disconnect{{Code: wire.DisconnectAuthFailed, Protocol: 0xc223, Direction: wire.AtPeer}}}
			if err := pb.Close(why); err != nil {
				t.Error(err)
			}
			down := a.wait(l2tpv2.SessionDown)
			if down.Port != pa || !down.ByPeer || down.Result.Code != wire.CDNAdministrative || len(down.Disconnects) != 1 || down.Disconnects[0] != why.Disconnects[0] {
				t.Errorf("%+v", down)
			}
			if down := b.wait(l2tpv2.SessionDown); down.Port != pb || down.ByPeer {
				t.Errorf("%+v", down)
			}
			if pa.Up() || sendFrame(pa, "late") != 0 || pa.Stats().Drops[pseudowire.DropNoPeer] != 1 || pb.Stats().RxPackets != stats.RxPackets || stats.RxPackets == 0 {
				t.Errorf("up %v, %+v; then %+v", pa.Up(), pa.Stats(), pb.Stats())
			}
			if pb.Close(why) == nil || pa.SetLink(wire.SLIV2{}) == nil {
				t.Error("what has ended was ended, and told of")
			}
			// The endpoint says farewell.
			b.Close()
			if down := a.wait(l2tpv2.TunnelDown); !down.ByPeer || down.Result.Code != wire.StopShutdown {
				t.Errorf("%+v", down)
			}
			log := a.log.String()
			if !strings.Contains(log, "sent ICRQ") || !strings.Contains(log, "Called Number (hidden)") || strings.Contains(log, "ssh!") {
				t.Errorf("the log does not tell the dialogue, or tells the secret")
			}
		})
	}
}
