package user

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// captured returns the data messages of L2TPv2 in a file, by the address that sent them.
func captured(t *testing.T, file string) map[netip.Addr][][]byte {
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
	all := map[netip.Addr][][]byte{}
	for {
		packet, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		p := gopacket.NewPacket(packet, layers.LayerTypeEthernet, gopacket.Default)
		ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		udp, _ := p.Layer(layers.LayerTypeUDP).(*layers.UDP)
		if udp != nil && udp.DstPort == 1701 && !wire.ControlV2(udp.Payload) {
			from, _ := netip.AddrFromSlice(ip.SrcIP)
			all[from] = append(all[from], bytes.Clone(udp.Payload))
		}
	}
}

// TestReplayXl2tpd gives the plane what the Linux kernel sent for xl2tpd and pppd, and has
// it send the same frames: what goes out is what the kernel sent, to the last octet.
func TestReplayXl2tpd(t *testing.T) {
	files, err := filepath.Glob("../../l2tpv2/testdata/xl2tpd/*.pcap")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	for _, file := range files {
		sides := captured(t, file)
		if len(sides) != 2 {
			t.Fatalf("%s: data from %d sides, want 2", file, len(sides))
		}
		for side, messages := range sides {
			h, _, err := wire.ParseDataV2(messages[0])
			if err != nil {
				t.Fatal(err)
			}
			p := dataplane.ParamsV2{TunnelID: h.TunnelID, SessionID: h.SessionID, PeerTunnelID: h.TunnelID, PeerSessionID: h.SessionID, LNS: true}
			e := newEndV2(t, "127.0.0.1:0", p)
			e.reach(peerV2)
			for _, m := range messages {
				e.put(from(peerV2, bytes.Clone(m)))
			}
			e.receiver.Flush(time.Now())
			if s := e.v2.Stats(); len(e.got) != len(messages) || s.Drops != [pseudowire.Drops]uint64{} || s.RxLost != 0 {
				t.Fatalf("%s, %v: %d of %d delivered, %+v, %v", file, side, len(e.got), len(messages), s, e.plane.Drops())
			}
			for _, f := range e.got {
				// PPP in HDLC-like framing, or without its address and control fields.
				if !bytes.HasPrefix(f, []byte{0xff, 0x03}) && !bytes.HasPrefix(f, []byte{0}) {
					t.Errorf("%s, %v: a frame %x", file, side, f)
				}
			}

			ear, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer ear.Close()
			e.reach(netip.MustParseAddrPort(ear.LocalAddr().String()))
			e.v2.Number(h.Sequenced)
			var sent [][]byte
			for _, f := range e.got {
				e.v2.Send([]pseudowire.Frame{pseudowire.NewFrame(f, 0)})
				ear.SetReadDeadline(time.Now().Add(5 * time.Second))
				b := make([]byte, 2048)
				n, err := ear.Read(b)
				if err != nil {
					t.Fatal(err)
				}
				sent = append(sent, b[:n])
			}
			if !slices.EqualFunc(sent, messages, bytes.Equal) {
				t.Errorf("%s, %v: sent %x, the kernel %x", file, side, sent, messages)
			}
		}
	}
}
