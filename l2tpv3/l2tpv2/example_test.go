package l2tpv2_test

import (
	"fmt"
	"net/netip"
	"time"

	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/wire"
)

// A LAC dials an LNS and indicates a call, whose PPP begins when its session is up.
func Example() {
	now := time.Unix(1e9, 0)
	counter := byte(0)
	random := func(b []byte) { // which anybody can foretell
		for i := range b {
			counter++
			b[i] = counter
		}
	}
	secret := wire.NewSecretV2([]byte("of the tunnel, not of PPP"))
	at := map[string]l2tpv2.Address{
		"lac": {Peer: netip.MustParseAddrPort("192.0.2.1:1701")},
		"lns": {Peer: netip.MustParseAddrPort("192.0.2.2:1701")},
	}
	lac := l2tpv2.New(l2tpv2.Config{HostName: "lac", Random: random})
	lac.Add(now, l2tpv2.TunnelConfig{Name: "office", Dial: true, Secret: secret})
	lac.Bind(now, "office", l2tpv2.Binding{At: at["lns"]})
	lns := l2tpv2.New(l2tpv2.Config{HostName: "lns", Random: random})
	lns.Add(now, l2tpv2.TunnelConfig{Name: "clients", Incoming: true, Secret: secret})
	lns.Bind(now, "clients", l2tpv2.Binding{Peers: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}})

	drive := func(name string, n, peer *l2tpv2.Node) (busy bool) {
		n.Advance(now) // when n.Deadline has come
		for b, _, ok := n.Transmit(nil); ok; b, _, ok = n.Transmit(nil) {
			peer.Receive(now, at[name], b) // by a UDP socket
			busy = true
		}
		for e, ok := n.Event(); ok; e, ok = n.Event() {
			switch e.Kind {
			case l2tpv2.TunnelUp:
				fmt.Printf("%s: %v with %s\n", name, e.Kind, e.Peer.HostName)
				if name == "lac" {
					lac.Indicate(now, e.Tunnel, l2tpv2.IncomingCall{
						Request:   wire.ICRQV2{CalledNumber: "555"},
						Connected: wire.ICCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 1e8, Framing: wire.SyncFraming}},
					})
				}
			case l2tpv2.SessionUp:
				fmt.Printf("%s: %v, called %s, PPP at %d bit/s\n", name, e.Kind, e.Params.CalledNumber, e.Params.TxSpeed)
				if name == "lns" {
					lns.Hangup(now, e.Call, wire.CDNV2{
						Result:      wire.Result{Code: wire.CDNAdministrative},
						Disconnects: []wire.Disconnect{{Code: wire.DisconnectAuthFailed, Protocol: 0xc223, Direction: wire.AtPeer}},
					})
				}
			case l2tpv2.SessionDown:
				fmt.Printf("%s: %v: %s\n", name, e.Kind, e.Reason)
			}
			busy = true
		}
		return busy
	}
	for drive("lac", lac, lns) || drive("lns", lns, lac) {
		continue
	}
	// Output:
	// lac: tunnel up with lns
	// lns: tunnel up with lac
	// lac: session up, called 555, PPP at 100000000 bit/s
	// lns: session up, called 555, PPP at 100000000 bit/s
	// lns: session down: result 3 (administrative reasons), authentication failed (16), protocol 0xc223, at peer
	// lac: session down: closed by peer: result 3 (administrative reasons), authentication failed (16), protocol 0xc223, at peer
}
