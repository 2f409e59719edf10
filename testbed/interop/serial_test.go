package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/bridge/serial"
	"spanwire/pseudowire"
	"spanwire/pseudowire/framerelay"
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

// TestInactiveLimit has a PVC be inactive and a line be silent for too long: their
// sessions are closed with the results 18 of RFC 4591 and 21 of RFC 4349, and opened
// again once the circuits are active.
func TestInactiveLimit(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "spanwire")
	build(t, binary, "spanwire/cmd/spanwire")
	_, sites := connected(t, 2)
	const limit = 3 * time.Second
	lmi := framerelay.Config{Role: framerelay.DTE, Form: framerelay.AnnexA, T391: time.Second, N391: 1, N392: 1, N393: 1}
	var ces, lines [2]*serial.Line
	var relays [2]*serial.FrameRelay
	var active [2]atomic.Bool // the PVC at a site's router
	for end, s := range sites {
		s.start(t, binary, fmt.Sprintf("[serial.wan]\nline = \"unix:%[1]s/wan,%[1]s/ce\"\nt392 = \"2s\"\nn392 = 1\nn393 = 1\ninactive_limit = %[2]q\n"+
			"[serial.line]\nline = \"unix:%[1]s/line,%[1]s/end\"\ninactive_limit = %[2]q\n"+
			"[tunnel.t]\nmode = %[3]q\nlocal = \"192.0.2.%[4]d\"\npeer = \"192.0.2.%[5]d\"\n"+
			"[tunnel.t.session.pvc]\npseudowire = \"frame-relay\"\nserial = \"wan\"\ndlci = 100\n"+
			"[tunnel.t.session.whole]\npseudowire = \"hdlc\"\nserial = \"line\"\n",
			s.dir, limit, []string{"dial", "accept"}[end], end+1, 2-end))
	}
	open := func(cfg serial.Config) *serial.Line {
		t.Helper()
		l, err := serial.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		go l.Run()
		t.Cleanup(func() { l.Close() })
		return l
	}
	// join has routers be at both lines of a site.
	join := func(end int) {
		t.Helper()
		dir := sites[end].dir
		ces[end] = open(serial.Config{Network: serial.Unix, Local: dir + "/ce", Peer: dir + "/wan"})
		lines[end] = open(serial.Config{Network: serial.Unix, Local: dir + "/end", Peer: dir + "/line"})
		var err error
		if relays[end], err = serial.NewFrameRelay(ces[end], lmi, func(e framerelay.Event) {
			if e.Kind == framerelay.PVCChanged {
				active[end].Store(e.Status == framerelay.Active)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := relays[end].Add(100); err != nil {
			t.Fatal(err)
		}
	}
	// await waits until the sessions of the second site are as they should be, and its
	// router's PVC is, while the lines that are open are not silent.
	await := func(pvc bool, want ...string) {
		t.Helper()
		var got []string
		for patience := time.Now().Add(patience); !slices.Equal(got, want) || active[1].Load() != pvc; time.Sleep(50 * time.Millisecond) {
			for _, l := range lines {
				if l != nil {
					l.Send([]pseudowire.Frame{pseudowire.NewFrame([]byte{0x8f, 0, 0x80, 0x35, 0, 0, 0, 2}, 0)})
				}
			}
			got = sites[1].calls(t, binary)
			if time.Now().After(patience) {
				t.Fatalf("sessions %q, PVC active %v; want %q, %v", got, active[1].Load(), want, pvc)
			}
		}
	}
	for end := range sites {
		join(end)
	}
	await(true, "established", "established")
	relays[0].Close()
	for _, l := range []*serial.Line{ces[0], lines[0]} {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	lines[0] = nil
	await(false, "closed by peer: result 18 (PVC has been inactive for an extended period)", "closed by peer: result 21 (HDLC link has been inactive for an extended period)")
	join(0)
	await(true, "established", "established")
	for _, r := range relays {
		r.Close()
	}
}

// calls tells of a site's sessions their states, or why they are not established.
func (s *site) calls(t *testing.T, binary string) (all []string) {
	t.Helper()
	out, err := exec.Command(binary, "status", "--json", "--control", s.socket()).Output()
	if err != nil {
		return nil // it is not ready yet
	}
	var status struct {
		Tunnels []struct {
			Sessions []struct {
				Call struct {
					State     string `json:"state"`
					LastError string `json:"last_error"`
				}
			}
		}
	}
	if err := json.Unmarshal(out, &status); err != nil {
		t.Fatal(err)
	}
	for _, session := range status.Tunnels[0].Sessions {
		if session.Call.State == "idle" && session.Call.LastError != "" {
			all = append(all, session.Call.LastError)
		} else {
			all = append(all, session.Call.State)
		}
	}
	return all
}
