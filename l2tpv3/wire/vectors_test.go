package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"spanwire/cookie"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A shape is what a vector's name says of its data messages.
type shape struct {
	encap     wire.Encap
	cookies   map[uint32]string // by Session ID, hexadecimal
	sublayer  pseudowire.Sublayer
	sequenced bool
}

// The Session IDs on which the two sides receive.
const toA, toB = 0x00001001, 0xf0e02002

func shapeOf(t *testing.T, name string) shape {
	t.Helper()
	parts := strings.Split(strings.TrimSuffix(name, ".pcap"), "-")
	s := shape{cookies: map[uint32]string{}}
	if strings.HasPrefix(parts[0], "ip") {
		s.encap = wire.IP
	}
	sizes, ok := map[string][2]int{"c0": {0, 0}, "c4": {4, 4}, "c8": {8, 8}, "c48": {4, 8}}[parts[1]]
	if !ok {
		t.Fatalf("%s: cookie %s", name, parts[1])
	}
	s.cookies[toB] = "0102030405060708"[:2*sizes[0]]
	s.cookies[toA] = "a1a2a3a4a5a6a7a8"[:2*sizes[1]]
	if parts[2] == "dflt" {
		s.sublayer = pseudowire.DefaultSublayer
	}
	s.sequenced = len(parts) > 3 && parts[3] == "seq"
	return s
}

// TestKernelVectors decodes what the Linux kernel sent and encodes it again.
func TestKernelVectors(t *testing.T) {
	files, err := filepath.Glob("../../testbed/vectors/kernel/*.pcap")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d vectors, want all: %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			s := shapeOf(t, name)
			messages := payloads(t, file, s.encap)
			if len(messages) < 8 {
				t.Fatalf("%d data messages, want 8", len(messages))
			}
			next := map[uint32]uint32{}
			for _, b := range messages {
				check(t, s, b, next)
			}
			if len(next) != 2 {
				t.Errorf("Session IDs %v, want both", next)
			}
		})
	}
}

func check(t *testing.T, s shape, b []byte, next map[uint32]uint32) {
	t.Helper()
	kind, id, rest := wire.Classify(s.encap, b)
	want, known := s.cookies[id]
	if kind != wire.Data || !known {
		t.Fatalf("%x: kind %d, session %#x", b, kind, id)
	}
	octets, _ := hex.DecodeString(want)
	c, err := cookie.FromBytes(octets)
	if err != nil || !c.Match(rest) {
		t.Fatalf("%x: cookie does not match %s: %v", rest, want, err)
	}
	header := wire.AppendDataHeader(nil, s.encap, id, c, s.sublayer)
	rest = rest[c.Len():]
	n := next[id]
	if s.sublayer == pseudowire.DefaultSublayer {
		got, sequenced, err := wire.Sequence(rest)
		if err != nil || sequenced != s.sequenced || sequenced && got != n {
			t.Fatalf("%x: number %d, sequenced %v, %v; want %d, %v", rest, got, sequenced, err, n, s.sequenced)
		}
		if sequenced {
			wire.PutSequence(header[len(header)-4:], got)
		}
		rest = rest[4:]
	}
	next[id] = n + 1
	if again := append(header, rest...); !bytes.Equal(again, b) {
		t.Errorf("encoded again\n%x, want\n%x", again, b)
	}
	if len(rest) < 14 || rest[6] != 2 || rest[10] != 0xaa {
		t.Errorf("frame %x: want one from 02:00:00:00:aa:01 or :02", rest)
	}
}

// payloads returns what the outer packets of a capture carry, fragments put
// together.
func payloads(t *testing.T, file string, e wire.Encap) (messages [][]byte) {
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
	partial := map[uint16][]byte{} // fragments of IPv4 packets, which are in order here
	for {
		frame, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return messages
		}
		if err != nil {
			t.Fatal(err)
		}
		packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.NoCopy)
		var payload []byte
		if ip, ok := packet.Layer(layers.LayerTypeIPv4).(*layers.IPv4); ok {
			if ip.Protocol != layers.IPProtocolUDP && ip.Protocol != wire.Protocol {
				continue
			}
			payload = append(partial[ip.Id], ip.Payload...)
			partial[ip.Id] = payload
			if ip.Flags&layers.IPv4MoreFragments != 0 {
				continue
			}
			delete(partial, ip.Id)
		} else if ip, ok := packet.Layer(layers.LayerTypeIPv6).(*layers.IPv6); ok {
			if ip.NextHeader != layers.IPProtocolUDP && ip.NextHeader != wire.Protocol {
				continue
			}
			payload = ip.Payload
		} else {
			continue
		}
		if e == wire.UDP {
			payload = payload[8:]
		}
		messages = append(messages, payload)
	}
}
