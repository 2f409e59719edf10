package interop

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestSerialLines carries whole lines between two sites, of HDLC and of PPP, and wants
// every frame as it was, Frame Relay's and its LMI's too. RFC 4349.
func TestSerialLines(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "spanwire")
	build(t, binary, "spanwire/cmd/spanwire")
	_, sites := connected(t, 2)
	kinds := []string{"hdlc", "ppp"}
	lines := make([][2]*net.UDPConn, len(kinds))
	for end, s := range sites {
		text := fmt.Sprintf("[tunnel.t]\nmode = %q\nlocal = \"192.0.2.%d\"\npeer = \"192.0.2.%d\"\n", []string{"dial", "accept"}[end], end+1, 2-end)
		for i, kind := range kinds {
			text += fmt.Sprintf("[tunnel.t.session.s%d]\npseudowire = %q\nserial = \"udp:127.0.0.1:%d,127.0.0.1:%d\"\n", i, kind, 10001+10*i, 10002+10*i)
		}
		if err := s.Do(func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(lo); err != nil {
				return err
			}
			for i := range kinds {
				at := func(port int) *net.UDPAddr { return &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port} }
				if lines[i][end], err = net.DialUDP("udp4", at(10002+10*i), at(10001+10*i)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		s.start(t, binary, text)
	}
	frames := map[string][]byte{
		"IP in Cisco's HDLC":  append([]byte{0x0f, 0x00, 0x08, 0x00, 0x45}, bytes.Repeat([]byte{7}, 1000)...),
		"a keepalive of it":   {0x8f, 0x00, 0x80, 0x35, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff},
		"an LCP request":      {0xff, 0x03, 0xc0, 0x21, 1, 1, 0, 4},
		"an LMI enquiry":      {0x00, 0x01, 0x03, 0x08, 0x00, 0x75, 0x51, 0x01, 0x00, 0x53, 0x02, 0x01, 0x00},
		"a PVC's, DLCI 100":   {0x18, 0x41, 0x03, 0xcc, 0x45},
		"what nobody can say": {0x7e, 0x7d, 0x5e, 0x00},
	}
	for i, kind := range kinds {
		for name, want := range frames {
			for from := range sites {
				if err := crosses(lines[i][from], lines[i][1-from], want); err != nil {
					t.Errorf("%s, from end %d: %s: %v", kind, from, name, err)
				}
			}
		}
	}
	for _, ends := range lines {
		for _, c := range ends {
			c.Close()
		}
	}
}

// crosses sends a frame, again while the tunnel comes up, until it is at the other
// end.
func crosses(from, to *net.UDPConn, want []byte) error {
	var b [2000]byte
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		from.Write(want) // its error: the line is not open yet
		to.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := to.Read(b[:])
		if err == nil && bytes.Equal(b[:n], want) {
			return nil
		}
		if last = err; err == nil {
			last = fmt.Errorf("got %x", b[:n])
		}
	}
	return last
}
