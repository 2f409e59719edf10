package l2tpv2

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"spanwire/l2tpv3/wire"
)

// A captured is an L2TP message of a capture.
type captured struct {
	client  bool // sent by it
	message []byte
	head    wire.ControlHeaderV2
	wire.Parsed
}

// capture reads the L2TP messages of a file.
func capture(t *testing.T, file string) (all []captured) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		frame, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
		ip, _ := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		udp, _ := packet.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if udp == nil {
			continue
		}
		m := captured{client: ip.SrcIP.String() == "10.77.0.2", message: bytes.Clone(ip.Payload[8:])}
		if wire.ControlV2(m.message) {
			head, message, err := wire.ParseControlV2(m.message)
			p, bad := wire.ParseV2(message, &wire.DecodingV2{})
			if err != nil || bad != nil {
				t.Fatalf("%x: %v, %v", m.message, err, bad)
			}
			m.head, m.Parsed = head, p
		}
		all = append(all, m)
	}
}

// lives are the captures of whole lives of a tunnel with one call.
var lives = map[string]string{ // the secret by the file's name
	"pap":                     "",
	"chap-lns-stopccn":        "",
	"mschapv2-lns-stopccn":    "",
	"chap-secret-lns-cdn":     "s3kr1t-tunnel",
	"pap-secret-randomvector": "s3kr1t-tunnel",
	"lcp-nak-auth-secret":     "other",
}

// TestReplay puts our node in the place of xl2tpd, once for the LNS and once for the
// client: it is given the same "random" IDs and challenge, hears what the other
// side said, and is to say what xl2tpd said, with the same numbers.
func TestReplay(t *testing.T) {
	for name, words := range lives {
		for _, client := range []bool{true, false} {
			side := "LNS"
			if client {
				side = "client"
			}
			t.Run(name+" as "+side, func(t *testing.T) { replay(t, filepath.Join("testdata/xl2tpd", name+".pcap"), words, client) })
		}
	}
	if files, _ := filepath.Glob("testdata/xl2tpd/*.pcap"); len(files) != len(lives) {
		t.Errorf("%d captures, want %d", len(files), len(lives))
	}
}

func replay(t *testing.T, file, words string, client bool) {
	all := capture(t, file)
	var ids []uint16
	var challenge []byte
	for _, m := range all {
		if m.client != client {
			continue
		}
		switch m := m.Message.(type) {
		case *wire.SCCRQV2:
			ids, challenge = append(ids, m.TunnelID), m.Challenge
		case *wire.SCCRPV2:
			ids, challenge = append(ids, m.TunnelID), m.Challenge
		case *wire.ICRQV2:
			ids = append(ids, m.SessionID)
		case *wire.ICRPV2:
			ids = append(ids, m.SessionID)
		}
	}
	cfg := here()
	cfg.Random = func(b []byte) {
		switch len(b) {
		case 2:
			b[0], b[1] = byte(ids[0]>>8), byte(ids[0])
			ids = ids[1:]
		case challengeSize:
			copy(b, challenge)
		}
	}
	peer := Address{Peer: netip.MustParseAddrPort("10.77.0.2:1701")}
	if client {
		peer.Peer = netip.MustParseAddrPort("10.77.0.1:1701")
	}
	s := &dialogue{t: t, Node: New(cfg), now: start, at: peer}
	tunnel := TunnelConfig{Name: "x", Dial: client, Incoming: true}
	if words != "" {
		tunnel.Secret = wire.NewSecretV2([]byte(words))
	}
	if err := s.Add(s.now, tunnel); err != nil {
		t.Fatal(err)
	}
	b := Binding{Peers: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24")}}
	if client {
		b.At = peer
	}
	s.Bind(s.now, "x", b)
	s.after(0)
	up := false
	for _, m := range all {
		switch {
		case !wire.ControlV2(m.message):
			h, frame, err := wire.ParseDataV2(m.message)
			if err != nil || len(frame) == 0 {
				t.Fatalf("%x: %v", m.message, err)
			}
			if again := append(wire.AppendDataHeaderV2(nil, h, len(frame)), frame...); !bytes.Equal(again, m.message) {
				t.Errorf("%x became %x", m.message, again)
			}
			if c := s.conns[h.TunnelID]; m.client != client && c != nil && c.state == Established && c.all.Count > 0 && c.byID[h.SessionID] == nil {
				t.Errorf("data for session %d, which is not here", h.SessionID)
			}
		case m.client != client:
			s.receive(m.message)
			for _, e := range s.told {
				switch e.Kind {
				case TunnelUp:
					if client {
						if _, err := s.Indicate(s.now, "x", IncomingCall{Connected: wire.ICCNV2{ConnectedV2: wire.ConnectedV2{Framing: wire.SyncFraming}}}); err != nil {
							t.Fatal(err)
						}
						s.drain()
					}
				case SessionUp:
					up = true
				}
			}
			s.told = nil
		case m.Message != nil:
			for len(s.sent) > 0 && s.sent[0].Message == nil {
				s.sent = s.sent[1:]
			}
			if len(s.sent) == 0 { // xl2tpd does so of its own will
				switch m.Type {
				case wire.TypeCDN:
					s.Hangup(s.now, s.lastCall, wire.CDNV2{Result: wire.Result{Code: wire.CDNCarrier}})
				case wire.TypeStopCCN:
					s.Down(s.now, "x")
				}
				s.drain()
			}
			for len(s.sent) > 0 && s.sent[0].Message == nil {
				s.sent = s.sent[1:]
			}
			if len(s.sent) == 0 {
				t.Fatalf("silent, where xl2tpd sent %v", m.Type)
			}
			said := s.sent[0]
			s.sent = s.sent[1:]
			if said.Type != m.Type || said.TunnelID != m.head.TunnelID || said.SessionID != m.head.SessionID || said.Ns != m.head.Ns || said.Nr != m.head.Nr {
				t.Errorf("sent %v %+v, xl2tpd sent %v %+v", said.Type, said.ControlHeaderV2, m.Type, m.head)
			}
			switch theirs := m.Message.(type) {
			case *wire.SCCRPV2:
				if ours := said.Message.(*wire.SCCRPV2); !bytes.Equal(ours.Response, theirs.Response) || !bytes.Equal(ours.Challenge, theirs.Challenge) {
					t.Errorf("sent %+v, xl2tpd sent %+v", ours, theirs)
				}
			case *wire.SCCCNV2:
				if ours := said.Message.(*wire.SCCCNV2); !bytes.Equal(ours.Response, theirs.Response) {
					t.Errorf("sent %+v, xl2tpd sent %+v", ours, theirs)
				}
			}
		}
	}
	if !up {
		t.Error("the session was never up")
	}
	if ended := len(s.calls) == 0; !ended {
		t.Error("the session is still there")
	}
	if d := s.DropCounts(); d != ([Drops]uint64{}) {
		t.Errorf("dropped %v", d)
	}
}

// FuzzNode has a node hear anything, in any order, with numbers that fit and IDs that
// are its own, so that it comes far. It must not panic, and must keep of one piece.
func FuzzNode(f *testing.F) {
	var lifelike []byte
	for name := range lives {
		t := new(testing.T)
		lifelike = lifelike[:0]
		for _, m := range capture(t, filepath.Join("testdata/xl2tpd", name+".pcap")) {
			if m.client && wire.ControlV2(m.message) && len(m.message) < 256 {
				lifelike = append(lifelike, 0x0f, byte(len(m.message)))
				lifelike = append(lifelike, m.message...)
			}
		}
		f.Add(bytes.Clone(lifelike), strings.Contains(name, "secret"))
	}
	f.Fuzz(func(t *testing.T, b []byte, dial bool) {
		cfg := both(dial)
		cfg.Secret, cfg.NoChallenge, cfg.Listen = secret, true, true
		s := tell(t, cfg)
		s.secret = secret
		for len(b) >= 2 {
			how, n := b[0], int(b[1])
			b = b[2:]
			m := bytes.Clone(b[:min(n, len(b))])
			b = b[len(m):]
			s.nudge(m, how)
			s.Receive(s.now, s.at, m)
			for range 64 {
				if _, _, ok := s.Transmit(nil); !ok {
					break
				}
			}
			for e, ok := s.Event(); ok; e, ok = s.Event() {
				switch e.Kind {
				case SessionPlace:
					s.Answer(s.now, e.Call, wire.OCCNV2{})
				case TunnelUp:
					s.Indicate(s.now, e.Tunnel, IncomingCall{})
					s.Request(s.now, e.Tunnel, wire.OCRQV2{})
				}
			}
			if how&0x40 != 0 {
				s.now = s.now.Add(1 << (20 + how>>2&0xf))
				s.Advance(s.now)
			}
			(&network{t: t, now: s.now}).sound(&host{Node: s.Node, name: "node"})
		}
	})
}

// nudge makes a message fit what the node expects.
func (s *dialogue) nudge(m []byte, how byte) {
	if len(m) < wire.ControlHeaderLen {
		return
	}
	if how&1 != 0 {
		m[0], m[1], m[2], m[3] = 0xc8, 2, byte(len(m)>>8), byte(len(m))
	}
	c := s.own()
	if c == nil {
		return
	}
	if t, _ := wire.TypeOf(m); how&2 != 0 && t != wire.TypeSCCRQ {
		m[4], m[5] = byte(c.id>>8), byte(c.id)
	}
	if how&4 != 0 {
		m[8], m[9] = byte(c.delivered>>8), byte(c.delivered)
		sent := c.reliable.Stats().Sent
		m[10], m[11] = byte(sent>>8), byte(sent)
	}
	if how&8 != 0 {
		for id := range c.byID {
			m[6], m[7] = byte(id>>8), byte(id)
			break
		}
	}
}
