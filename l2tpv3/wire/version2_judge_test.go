package wire_test

import (
	"net"
	"strings"
	"testing"

	"spanwire/l2tpv3/wire"
)

// TestWiresharkV2 has tshark read every message of L2TPv2, and look for what is
// malformed. Of its type tshark tells the number.
func TestWiresharkV2(t *testing.T) {
	peer := wire.PeerV2{Protocol: wire.ProtocolV2, HostName: "a.example", Framing: 3, Bearer: wire.Some(wire.BearerType(3)), TunnelID: 1, ReceiveWindow: 8,
		VendorName: "Spanwire", Firmware: 1, Challenge: []byte("sixteen octets.."), DiffServ: wire.Some(uint16(0xb800))}
	response := make([]byte, 16)
	connected := wire.ConnectedV2{TxSpeed: 1e9, RxSpeed: 1e6, Framing: 1, Sequence: true, LCPWant: []byte{7, 2}, LCPAllow: []byte{8, 2}}
	all := []wire.Message{
		&wire.SCCRQV2{PeerV2: peer, TieBreaker: wire.Some(uint64(1))},
		&wire.SCCRPV2{PeerV2: peer, Response: response},
		&wire.SCCCNV2{Response: response},
		&wire.HELLOV2{},
		&wire.OCRQV2{SessionID: 1, SerialNumber: 2, MinimumBPS: 3, MaximumBPS: 4, Bearer: 1, Framing: 1, CalledNumber: "555", SubAddress: "1", DiffServ: wire.Some(uint16(1))},
		&wire.OCRPV2{SessionID: 2, PhysicalChannelID: wire.Some(uint32(3))},
		&wire.OCCNV2{ConnectedV2: connected},
		&wire.ICRQV2{SessionID: 1, SerialNumber: 2, Bearer: wire.Some(wire.BearerType(1)), CalledNumber: "555", CallingNumber: "444", SubAddress: "1"},
		&wire.ICRPV2{SessionID: 2},
		&wire.ICCNV2{ConnectedV2: connected, Proxy: wire.Proxy{InitialReceived: []byte{1, 4, 5, 220}, LastSent: []byte{7, 2}, LastReceived: []byte{8, 2},
			AuthenType: wire.AuthenCHAP, Name: "alice", Challenge: response, ID: 1, Response: response}, PrivateGroupID: []byte("g")},
		&wire.SLIV2{ACCM: wire.Some(wire.ACCM{Send: 1, Receive: 2}), LastSent: []byte{7, 2}, LastReceived: []byte{8, 2}},
		&wire.WENV2{Errors: wire.CallErrors{CRC: 1, Alignment: 2}},
		&wire.CDNV2{SessionID: 1, Result: wire.Result{Code: wire.CDNError, Error: wire.ErrorResources, Message: "no room"}, Cause: wire.Cause{Code: 16, Message: 0x45, Advisory: "bye"},
			Disconnects: []wire.Disconnect{{Code: wire.DisconnectAuthFailed, Protocol: 0xc223, Direction: wire.AtPeer, Message: "no"}}},
		&wire.StopCCNV2{TunnelID: 1, Result: wire.Result{Code: wire.StopShutdown}},
	}
	a := &side{address: net.IPv4(192, 0, 2, 1)}
	a.peer = &side{address: net.IPv4(192, 0, 2, 2)}
	secret := wire.NewSecretV2([]byte("secret"))
	for _, hide := range []*wire.SecretV2{nil, secret} {
		d := &dialogue{}
		for i, m := range all {
			body := wire.AppendBodyV2(nil, m, &wire.EncodingV2{Hide: hide, Random: func(b []byte) { copy(b, "sixteen octets..") }})
			d.carry(t, a, wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: 1, SessionID: 2, Ns: uint16(i), Nr: 1}, body))
		}
		d.carry(t, a, wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: 1, Ns: uint16(len(all)), Nr: 1}, nil))
		frame := []byte{0xff, 0x03, 0xc0, 0x21, 1, 1, 0, 4} // an LCP Configure-Request
		for _, h := range []wire.DataHeaderV2{
			{TunnelID: 1, SessionID: 2},
			{TunnelID: 1, SessionID: 2, Length: true, Sequenced: true, Ns: 5, Priority: true},
			{TunnelID: 1, SessionID: 2, Offset: wire.Some(uint16(4))},
		} {
			d.carry(t, a, append(wire.AppendDataHeaderV2(nil, h, len(frame)), frame...))
		}
		for i, v := range d.judged(t, "") {
			want := ""
			if i < len(all) {
				want = []string{"1", "2", "3", "6", "7", "8", "9", "10", "11", "12", "16", "15", "14", "4"}[i]
			}
			// It knows not the AVPs of RFC 3308 and RFC 3437.
			v.warning = strings.Trim(strings.ReplaceAll(v.warning, "Vendor-Specific AVP data", ""), ",")
			if v.warning != "" || v.message != want {
				t.Errorf("packet %d: message %q, want %q: %q", i+1, v.message, want, v.warning)
			}
		}
	}
}
