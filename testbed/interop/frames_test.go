package interop

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"spanwire/testbed/netlab"
)

// TestFramesBetweenSites sends every sort of frame that port mode promises from
// one site's TAP to the other's, over UDP and over IP 115, and wants each unchanged.
// RFC 4719 section 3.1.
func TestFramesBetweenSites(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "spanwire")
	if out, err := exec.Command("go", "build", "-o", binary, "spanwire/cmd/spanwire").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, encap := range []string{"udp", "ip"} {
		t.Run(encap, func(t *testing.T) {
			lab, err := netlab.New()
			if err != nil {
				t.Fatal(err)
			}
			defer lab.Close()
			var sites [2]*netlab.Namespace
			for i := range sites {
				if sites[i], err = lab.Namespace(fmt.Sprintf("site %d", i)); err != nil {
					t.Fatal(err)
				}
			}
			if err := lab.Veth(sites[0], "wan", sites[1], "wan", 9216); err != nil {
				t.Fatal(err)
			}
			var taps [2]*netlab.Capture
			for i, site := range sites {
				if err := site.Addr("wan", netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1))); err != nil {
					t.Fatal(err)
				}
			}
			for i, site := range sites {
				text := fmt.Sprintf("[node]\nhostname = \"site%d\"\ncontrol = %q\n[tunnel.t]\nencap = %q\nlocal = \"192.0.2.%d\"\npeer = \"192.0.2.%d\"\n"+
					"[tunnel.t.session.s]\nsession_id = %d\npeer_session_id = %d\nreceive_cookie = \"\"\nsend_cookie = \"\"\ntap = \"lan0\"\n",
					i, filepath.Join(dir, fmt.Sprintf("%s%d.sock", encap, i)), encap, i+1, 2-i, i+1, 2-i)
				file := filepath.Join(dir, fmt.Sprintf("%s%d.toml", encap, i))
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				run := exec.Command(binary, "run", "-c", file, "--log-level", "warn")
				run.Stderr = os.Stderr
				if err := site.Start(run); err != nil {
					t.Fatal(err)
				}
				defer run.Wait()
				defer run.Process.Signal(syscall.SIGTERM)
				taps[i] = awaitTAP(t, site)
				defer taps[i].Close()
			}
			for name, want := range portFrames() {
				arrives(t, name, taps, want)
			}
		})
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
