package interop

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"spanwire/testbed/interop/station"
	"spanwire/testbed/netlab"
)

// TestFramesBetweenSites sends every sort of frame that port mode promises from one
// site's TAP to the other's and back, over UDP and over IP 115, and wants each
// unchanged, and so all that TCP says. Either TAP takes super-frames or, where the user
// has made it, none. RFC 4719 section 3.1.
func TestFramesBetweenSites(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "spanwire")
	build(t, binary, "spanwire/cmd/spanwire")
	for _, encap := range []string{"udp", "ip"} {
		for _, plain := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
			t.Run(fmt.Sprintf("%s, plain %v", encap, plain), func(t *testing.T) {
				lab, err := netlab.New()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(lab.Close)
				var sites [2]*site
				for i := range sites {
					name := fmt.Sprintf("site%d", i)
					n, err := lab.Namespace(name)
					if err != nil {
						t.Fatal(err)
					}
					sites[i] = &site{Namespace: n, name: name, dir: t.TempDir()}
				}
				if err := lab.Veth(sites[0].Namespace, "wan", sites[1].Namespace, "wan", 9216); err != nil {
					t.Fatal(err)
				}
				var taps [2]*netlab.Capture
				for i, s := range sites {
					if err := s.Addr("wan", netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1))); err != nil {
						t.Fatal(err)
					}
					if plain[i] {
						s.makeTAP(t, "lan0")
					}
				}
				for i, s := range sites {
					s.start(t, binary, fmt.Sprintf("[tunnel.t]\nencap = %q\nlocal = \"192.0.2.%d\"\npeer = \"192.0.2.%d\"\n"+
						"[tunnel.t.session.s]\nsession_id = %d\npeer_session_id = %d\nreceive_cookie = \"\"\nsend_cookie = \"\"\n"+
						"tap = \"lan0\"\naddresses = [\"10.9.0.%d/24\", \"fd00:9::%d/64\"]\n", encap, i+1, 2-i, i+1, 2-i, i+1, i+1))
					s.status(t, binary, 1)
					taps[i] = awaitTAP(t, s.Namespace)
					t.Cleanup(taps[i].Close)
				}
				for name, want := range portFrames() {
					arrives(t, name, taps, want)
					arrives(t, name+", back", [2]*netlab.Capture{taps[1], taps[0]}, want)
				}
				for seed, to := range []string{"10.9.0.1", "10.9.0.2", "fd00:9::1", "fd00:9::2"} {
					from, at := sites[1-seed%2].Namespace, netip.AddrPortFrom(netip.MustParseAddr(to), 7000)
					for _, what := range []station.Talk{
						station.Flow{Seed: uint64(seed), Octets: 4 << 20}, // the neighbour is found
						station.Burst{Seed: uint64(seed), Count: 300, Largest: 9000},
						station.Burst{Seed: uint64(seed), Count: 300, Largest: 1400},
					} {
						if err := talk(from, sites[seed%2].Namespace, at, what); err != nil {
							t.Errorf("%+v: %v", what, err)
						}
					}
				}
				// A TAP that takes super-frames shows it by the length of what it is given,
				// which is more than a frame has, on average.
				for i, s := range sites {
					d := s.devices(t)["lan0"]
					if super := d.TxBytes/d.TxPackets > 9216; super == plain[i] {
						t.Errorf("%s: %d octets in %d frames, want super-frames: %v", s.name, d.TxBytes, d.TxPackets, !plain[i])
					}
				}
			})
		}
	}
}

func awaitTAP(t *testing.T, site *netlab.Namespace) *netlab.Capture {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := site.Capture("lan0")
		if err == nil {
			return c
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// arrives sends a frame, again while the tunnel comes up, until it is at the other
// end.
func arrives(t *testing.T, name string, taps [2]*netlab.Capture, want []byte) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if err := taps[0].Send(want); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for again := time.Now().Add(300 * time.Millisecond); ; {
			frame, err := taps[1].Receive(again)
			if err != nil {
				break
			}
			if bytes.Equal(frame, want) {
				return
			}
		}
	}
	t.Errorf("%s: did not arrive as it was", name)
}

func portFrames() map[string][]byte {
	frames := map[string][]byte{}
	for _, f := range []struct {
		name string
		dst  [6]byte
		rest []byte
		size int
	}{
		{"least", [6]byte{2, 0, 0, 0, 0, 9}, []byte{0x88, 0xb5}, 60},
		{"broadcast", [6]byte{255, 255, 255, 255, 255, 255}, []byte{0x88, 0xb5}, 200},
		{"multicast", [6]byte{1, 0, 0x5e, 0, 0, 9}, []byte{0x88, 0xb5}, 200},
		{"tagged", [6]byte{2, 0, 0, 0, 0, 9}, []byte{0x81, 0, 0x20, 100, 0x88, 0xb5}, 1518},
		{"two tags", [6]byte{2, 0, 0, 0, 0, 9}, []byte{0x88, 0xa8, 0, 7, 0x81, 0, 0, 100, 0x88, 0xb5}, 1522},
		{"jumbo", [6]byte{2, 0, 0, 0, 0, 9}, []byte{0x88, 0xb5}, 9014},
		{"LLDP", [6]byte{1, 0x80, 0xc2, 0, 0, 0xe}, []byte{0x88, 0xcc}, 120},
		{"STP", [6]byte{1, 0x80, 0xc2}, []byte{0, 46, 0x42, 0x42, 3}, 60},
		{"LACP", [6]byte{1, 0x80, 0xc2, 0, 0, 2}, []byte{0x88, 9}, 124},
	} {
		b := make([]byte, f.size)
		for i := range b {
			b[i] = byte(i)
		}
		copy(b[copy(b, f.dst[:]):], append([]byte{2, 0, 0, 0, 0, 8}, f.rest...))
		frames[f.name] = b
	}
	return frames
}
