package l2tpv2

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
)

// TestScale has an LNS serve many clients behind one address, each with a tunnel and a
// call, and wants it to keep little for each, and nothing when they are gone.
func TestScale(t *testing.T) {
	const clients = 10000
	r := rand.NewChaCha8([32]byte{1})
	lns := New(Config{HostName: "lns", HalfOpen: clients, RequestRate: 1e6, Random: func(b []byte) { r.Read(b) }})
	if err := lns.Add(start, TunnelConfig{Name: "lns", Incoming: true}); err != nil {
		t.Fatal(err)
	}
	lns.Bind(start, "lns", Binding{Peers: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	from := func(i int) Address {
		return Address{Peer: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(1000+i))}
	}
	ids := make([][2]uint16, clients) // the LNS's, by client
	up := 0
	buffer := make([]byte, 0, 1500)
	say := func(i int, ns, nr uint16, m wire.Message) {
		var body []byte
		if m != nil {
			body = wire.AppendBodyV2(nil, m, &wire.EncodingV2{})
		}
		lns.Receive(start, from(i), wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: ids[i][0], SessionID: ids[i][1], Ns: ns, Nr: nr}, body))
		for {
			b, to, ok := lns.Transmit(buffer)
			if !ok {
				break
			}
			client := int(to.Peer.Port()) - 1000
			switch t, _ := wire.TypeOf(b); t {
			case wire.TypeSCCRP:
				p, _ := wire.ParseV2(b, &wire.DecodingV2{})
				ids[client][0] = p.Message.(*wire.SCCRPV2).TunnelID
			case wire.TypeICRP:
				ids[client][1] = binary.BigEndian.Uint16(b[len(b)-2:])
			}
		}
		for e, ok := lns.Event(); ok; e, ok = lns.Event() {
			switch e.Kind {
			case SessionUp:
				up++
			case SessionDown:
				up--
			}
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peer := wire.PeerV2{Protocol: wire.ProtocolV2, HostName: "client", Framing: 3, TunnelID: 1, ReceiveWindow: 8}
	for step := range 4 {
		for i := range clients {
			switch step {
			case 0:
				say(i, 0, 0, &wire.SCCRQV2{PeerV2: peer})
			case 1:
				say(i, 1, 1, &wire.SCCCNV2{})
			case 2:
				say(i, 2, 1, &wire.ICRQV2{SessionID: 1})
			case 3:
				say(i, 3, 2, &wire.ICCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 1, Framing: 1}})
			}
		}
	}
	if up != clients || len(lns.names) != clients {
		t.Fatalf("%d tunnels, %d calls up, want %d", len(lns.names), up, clients)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (after.HeapAlloc - before.HeapAlloc) / clients; each > 4096 {
		t.Errorf("%d octets for each client", each)
	} else {
		t.Logf("%d octets for each client", each)
	}
	for i := range clients {
		ids[i][1] = 0
		say(i, 4, 2, &wire.StopCCNV2{TunnelID: 1, Result: wire.Result{Code: wire.StopGeneral}})
	}
	lns.Advance(start.Add(time.Hour))
	if up != 0 || len(lns.conns)+len(lns.requests)+len(lns.calls)+len(lns.timers)+len(lns.names) != 0 {
		t.Errorf("%d calls up, %d tunnels are left", up, len(lns.conns))
	}
}
