package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"

	"spanwire/bridge/serial"
	"spanwire/pseudowire"
	"spanwire/pseudowire/framerelay"
	"spanwire/testbed/tshark"
)

// A ce is a customer's router on a serial line: it asks for the status of its PVCs,
// all of them each time.
type ce struct {
	line *serial.Line
	port *serial.FrameRelay
	pvc  *serial.PVC
	done chan error

	mu     sync.Mutex
	status framerelay.Status // of its PVC
	frames [][]byte          // received on it
}

// connect puts a CE on a line of a site, with a PVC.
func (s *site) connect(t *testing.T, line serial.Config, cfg framerelay.Config, dlci uint32) *ce {
	t.Helper()
	c := &ce{done: make(chan error, 1), status: framerelay.Inactive}
	if err := s.Do(func() (err error) {
		c.line, err = serial.Open(line)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.port, err = serial.NewFrameRelay(c.line, cfg, c.heard); err != nil {
		t.Fatal(err)
	}
	if c.pvc, err = c.port.Add(dlci); err != nil {
		t.Fatal(err)
	}
	c.pvc.Attach(func(frames []pseudowire.Frame) int {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, f := range frames {
			c.frames = append(c.frames, bytes.Clone(f.Bytes()))
		}
		return len(frames)
	})
	go func() { c.done <- c.line.Run() }()
	return c
}

func (c *ce) heard(e framerelay.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Kind == framerelay.PVCChanged {
		c.status = e.Status
	}
}

// leave takes the CE from its line.
func (c *ce) leave(t *testing.T) {
	t.Helper()
	c.port.Close()
	if err := c.line.Close(); err != nil {
		t.Error(err)
	}
	if err := <-c.done; err != nil {
		t.Error(err)
	}
}

// await waits until the CE hears that its PVC has a status, and returns how many
// enquiries that took.
func (c *ce) await(t *testing.T, want framerelay.Status) (polls uint64) {
	t.Helper()
	before := c.port.Stats().LMI.EnquiriesSent
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		c.mu.Lock()
		got := c.status
		c.mu.Unlock()
		if got == want {
			return c.port.Stats().LMI.EnquiriesSent - before
		}
		if time.Now().After(end) {
			up, form := c.port.Up()
			t.Fatalf("the PVC is %v, want %v; LMI %v up %v: %+v", got, want, form, up, c.port.Stats().LMI)
		}
	}
}

// awaitFrame waits for the next frame that the CE receives.
func (c *ce) awaitFrame() []byte {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		if len(c.frames) > 0 {
			f := c.frames[0]
			c.frames = c.frames[1:]
			c.mu.Unlock()
			return f
		}
		c.mu.Unlock()
	}
	return nil
}

// ping returns an IP packet as RFC 2427 section 4.1 carries it, behind a header.
func ping(t *testing.T, h framerelay.Header, headerLen, size int) []byte {
	t.Helper()
	const unnumbered, nlpidIP = 0x03, 0xcc
	b := append(h.Append(nil, headerLen), unnumbered, nlpidIP)
	ip := layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: []byte{10, 9, 0, 1}, DstIP: []byte{10, 9, 0, 2}}
	icmp := layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 1, Seq: uint16(size)}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&ip, &icmp, gopacket.Payload(bytes.Repeat([]byte{byte(size)}, size))); err != nil {
		t.Fatal(err)
	}
	return append(b, buffer.Bytes()...)
}

// TestFrameRelay joins two customers' routers by a PVC that is DLCI 100 at one and
// DLCI 200 at the other, in every form of LMI and both lengths of headers: what one
// says goes over with all its bits but the DLCI, what becomes of one end the other
// hears within two polls, and tshark finds nothing wrong on either line. RFC 4591.
func TestFrameRelay(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "spanwire")
	build(t, binary, "spanwire/cmd/spanwire")
	for _, v := range []struct {
		form      framerelay.Form
		headerLen int
	}{
		{framerelay.AnnexA, framerelay.ShortHeader},
		{framerelay.AnnexD, framerelay.ShortHeader},
		{framerelay.Cisco, framerelay.ShortHeader},
		{framerelay.AnnexA, framerelay.LongHeader},
	} {
		t.Run(fmt.Sprintf("%v, %d octets", v.form, v.headerLen), func(t *testing.T) {
			t.Parallel()
			_, sites := connected(t, 2)
			dlcis := [2]uint32{100, 200}
			var ces [2]*ce
			cfg := framerelay.Config{Role: framerelay.DTE, Form: v.form, HeaderLen: v.headerLen, T391: time.Second, N391: 1, N392: 1, N393: 1}
			back := serial.Config{Network: serial.UDP, Local: "127.0.0.1:10002", Peer: "127.0.0.1:10001"}
			for i, s := range sites {
				if err := s.Do(func() error {
					lo, err := netlink.LinkByName("lo")
					if err != nil {
						return err
					}
					return netlink.LinkSetUp(lo)
				}); err != nil {
					t.Fatal(err)
				}
				mode := []string{"dial", "accept"}[i]
				s.start(t, binary, fmt.Sprintf("[serial.wan]\nline = \"udp:127.0.0.1:10001,127.0.0.1:10002\"\nheader_octets = %d\nt392 = \"2s\"\nn392 = 1\nn393 = 1\ncapture = %q\n"+
					"[tunnel.t]\nmode = %q\nlocal = \"192.0.2.%d\"\npeer = \"192.0.2.%d\"\n"+
					"[tunnel.t.session.bank]\npseudowire = \"frame-relay\"\nserial = \"wan\"\ndlci = %d\n",
					v.headerLen, s.capture(), mode, i+1, 2-i, dlcis[i]))
				ces[i] = s.connect(t, back, cfg, dlcis[i])
			}
			for _, c := range ces {
				c.await(t, framerelay.Active)
			}
			for i := range 16 {
				h := framerelay.Header{DLCI: dlcis[i%2], CR: i&1 != 0, FECN: i&2 != 0, BECN: i&4 != 0, DE: i&8 != 0}
				from, to := ces[i%2], ces[1-i%2]
				sent := ping(t, h, v.headerLen, 10+80*i)
				h.DLCI = dlcis[1-i%2]
				want := append(h.Append(nil, v.headerLen), sent[v.headerLen:]...)
				if n := from.pvc.Send([]pseudowire.Frame{pseudowire.NewFrame(sent, 0)}); n != 1 {
					t.Fatal("the line does not take the frame")
				}
				if got := to.awaitFrame(); !bytes.Equal(got, want) {
					t.Errorf("sent %+v, got\n%x\nwant\n%x", h, got, want)
				}
			}

			// One end goes, and comes again. RFC 3931 section 5.4.5: "Links that have a
			// similar mechanism available (e.g., Frame Relay) MUST map the setting of this
			// bit to the associated signaling for that link."
			ces[1].leave(t)
			sites[1].awaitPVC(t, binary, "inactive")
			if polls := ces[0].await(t, framerelay.Inactive); polls > 2 {
				t.Errorf("the other end's loss was heard after %d polls, want 2 at most", polls)
			}
			ces[1] = sites[1].connect(t, back, cfg, dlcis[1])
			sites[1].awaitPVC(t, binary, "active")
			if polls := ces[0].await(t, framerelay.Active); polls > 2 {
				t.Errorf("the other end's return was heard after %d polls, want 2 at most", polls)
			}
			for i, c := range ces {
				c.leave(t)
				sites[i].stop(t)
				sites[i].judge(t, v.form)
			}
		})
	}
}

// capture is the file of a site's serial line.
func (s *site) capture() string { return filepath.Join(s.dir, s.name+".pcap") }

// awaitPVC waits until the site's own end of its PVC has a status.
func (s *site) awaitPVC(t *testing.T, binary, want string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		var status struct {
			Tunnels []struct{ Sessions []struct{ PVC string } }
		}
		out, err := exec.Command(binary, "status", "--json", "--control", s.socket()).Output()
		if err == nil {
			err = json.Unmarshal(out, &status)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := status.Tunnels[0].Sessions[0].PVC
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: the PVC is %s, want %s", s.name, got, want)
		}
	}
}

// judge has tshark read the capture of a site's line: management in its form and IP,
// nothing else, and nothing malformed.
func (s *site) judge(t *testing.T, form framerelay.Form) {
	t.Helper()
	capture, err := os.ReadFile(s.capture())
	if err != nil {
		t.Fatal(err)
	}
	all, err := tshark.Read(capture, []string{"frame.protocols"}, "-o", "ip.check_checksum:TRUE")
	if err != nil {
		t.Fatal(err)
	}
	management := "fr:q933"
	if form == framerelay.Cisco {
		management = "fr:lmi"
	}
	count := map[string]int{}
	for _, f := range all {
		count[f["frame.protocols"]+f.Complaint()]++
	}
	if len(count) != 2 || count[management] < 8 || count["fr:ip:icmp:data"] != 16 {
		t.Errorf("%s: tshark: %v, want 8 frames of %s at least, 16 of fr:ip:icmp:data and no other", s.name, count, management)
	}
}
