package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"spanwire/bridge/serial"
	"spanwire/pseudowire"
	"spanwire/pseudowire/framerelay"
)

const frameRelayHelp = `Frame-relay makes two sites in network namespaces of its own, each with a customer's
router on a serial line, and runs Spanwire in each as the Frame Relay switch. A
pseudowire (RFC 4591) makes a PVC of DLCI 100 in lyon and DLCI 200 in paris: the LMI
tells both routers so, each in the form that it speaks, ping crosses, and is shown on
both lines and on the network between. Then the router in paris goes, the one in lyon
hears of it, and it comes again.`

// A customer is what a site's router on the serial line is configured for.
type customer struct {
	dlci   uint32
	form   framerelay.Form
	device string // of its PVC
}

var customers = [2]customer{
	{100, framerelay.AnnexA, "pvc100"},
	{200, framerelay.Cisco, "pvc200"},
}

// enquire is how often a customer's router asks for the status of its PVCs. Ten
// seconds are usual, and too long to watch.
const enquire = time.Second

// frameRelay shows that two routers on serial lines reach each other by a PVC.
func frameRelay(ctx context.Context, d *demo) error {
	d.tell("Two sites: customer's router -- serial line -- Spanwire == network == Spanwire -- serial line -- customer's router\n")
	for i, s := range d.sites {
		c := customers[i]
		d.tell("The customer's router in %-5s is %s on DLCI %d, and asks for its status each second by LMI, form %v.\n", s.name, s.host4, c.dlci, c.form)
	}
	if err := d.configure(func(i int, s *site) string {
		return fmt.Sprintf(`[tunnel.%s.session.bank]
pseudowire = "frame-relay"
serial     = "wan1"
dlci       = %d

[serial.wan1]
line    = "udp:127.0.0.1:10001,127.0.0.1:10002"    # as GNS3 and Dynamips have it
capture = %q
t392    = "2s"    # shorter than usual, as are these two: one enquiry that is missing
n392    = 1       # is enough for the line to be down
n393    = 1
`, s.peer, customers[i].dlci, s.capture())
	}); err != nil {
		return err
	}
	wan, err := d.sites[0].router.Capture("wan")
	if err != nil {
		return err
	}
	defer wan.Close()
	if err := d.start(ctx); err != nil {
		return err
	}
	d.tell("\n--- the routers are connected\n")
	var ces [2]*ce
	for i, s := range d.sites {
		if ces[i], err = s.connect(ctx, customers[i]); err != nil {
			return err
		}
		defer func() { ces[i].leave() }()
	}
	if err := d.pvcs(ces, framerelay.Active); err != nil {
		return err
	}
	if err := d.reach(); err != nil {
		return err
	}
	since := time.Time{}
	passed := func(wanted ...string) error {
		all := drain(wan, "network", func(frame []byte) (string, bool) { return decode(frame, decodeFrameRelay) })
		for _, s := range d.sites {
			line, err := s.line(since)
			if err != nil {
				return err
			}
			all = append(all, line...)
		}
		since = time.Now()
		d.list(all)
		for _, w := range wanted {
			if !slices.ContainsFunc(all, func(s sight) bool { return strings.Contains(s.place+": "+s.line, w) }) {
				return fmt.Errorf("nothing was seen of %q", w)
			}
		}
		return nil
	}
	d.tell("\n--- what passed, and where: control messages and LMI, then the frames of the PVC\n")
	if err := passed("line in lyon: DLCI 100", "| DLCI 100", "line in paris: DLCI 200", "| DLCI 200", "PVC 100 active", "PVC 200 active"); err != nil {
		return err
	}

	d.tell("\n--- the router in paris goes\n")
	if err := ces[1].leave(); err != nil {
		return err
	}
	if err := d.pvcs([2]*ce{ces[0]}, framerelay.Inactive); err != nil {
		return err
	}
	if err := passed("PVC 100 inactive"); err != nil {
		return err
	}

	d.tell("\n--- and comes again\n")
	if ces[1], err = d.sites[1].connect(ctx, customers[1]); err != nil {
		return err
	}
	if err := d.pvcs(ces, framerelay.Active); err != nil {
		return err
	}
	if err := passed("PVC 100 active"); err != nil {
		return err
	}
	if err := d.reach(); err != nil {
		return err
	}
	if err := d.status(ctx); err != nil {
		return err
	}
	d.tell("\n--- for Wireshark\n")
	for _, s := range d.sites {
		all, err := s.line(time.Time{})
		if err != nil {
			return err
		}
		d.tell("%s has what passed the line in %s: %d frames are told of above\n", s.capture(), s.name, len(all))
	}
	d.tell("The files go with the demo. With `capture` at a path of yours: wireshark FILE, or tshark -r FILE.\n")
	return nil
}

// pvcs waits until each customer's router has heard that its PVC is as wanted.
func (d *demo) pvcs(ces [2]*ce, want framerelay.Status) error {
	began := time.Now()
	for i, c := range ces {
		if c == nil {
			continue
		}
		at, err := c.await(want)
		if err != nil {
			return fmt.Errorf("the customer's router in %s: %w", d.sites[i].name, err)
		}
		d.tell("The customer's router in %-5s heard after %.1f s that PVC %d is %v.\n", d.sites[i].name, at.Sub(began).Seconds(), c.dlci, want)
	}
	return nil
}

// A ce is a customer's router: what its host sends by the device of the PVC goes over
// the serial line as RFC 2427 has it.
type ce struct {
	customer
	tun    *os.File
	line   *serial.Line
	port   *serial.FrameRelay
	pvc    *serial.PVC
	events chan heard
	left   bool
}

// A heard is what the LMI told, and when.
type heard struct {
	framerelay.Event
	at time.Time
}

// connect puts a customer's router on the site's line. The line's other end is where
// Spanwire runs, the device in the site's host.
func (s *site) connect(ctx context.Context, cfg customer) (c *ce, err error) {
	c = &ce{customer: cfg, events: make(chan heard, 64)}
	if c.tun, err = device(ctx, s.host, c.device, unix.IFF_TUN); err != nil {
		return nil, err
	}
	if err := s.addresses(c.device); err != nil {
		return nil, err
	}
	if err := s.router.Do(func() (err error) {
		c.line, err = serial.Open(serial.Config{Network: serial.UDP, Local: "127.0.0.1:10002", Peer: "127.0.0.1:10001"})
		return err
	}); err != nil {
		return nil, err
	}
	if c.port, err = serial.NewFrameRelay(c.line, framerelay.Config{Role: framerelay.DTE, Form: c.form, T391: enquire, N391: 1, N392: 1, N393: 1}, c.hear); err != nil {
		return nil, err
	}
	if c.pvc, err = c.port.Add(c.dlci); err != nil {
		return nil, err
	}
	c.pvc.Attach(c.receive)
	go c.line.Run()
	go c.send()
	return c, nil
}

// leave takes the router from its line, if it is there.
func (c *ce) leave() error {
	if c.left {
		return nil
	}
	c.left = true
	c.port.Close()
	return errors.Join(c.line.Close(), c.tun.Close())
}

func (c *ce) hear(e framerelay.Event) {
	select {
	case c.events <- heard{e, time.Now()}:
	default: // nobody has waited for long
	}
}

// await waits until the router hears that its PVC has a status.
func (c *ce) await(want framerelay.Status) (at time.Time, _ error) {
	limit := 8 * time.Second
	for end := time.After(limit); ; {
		select {
		case e := <-c.events:
			if e.Kind == framerelay.PVCChanged && e.Status == want {
				return e.at, nil
			}
		case <-end:
			return at, fmt.Errorf("PVC %d is not %v within %v", c.dlci, want, limit)
		}
	}
}

// send sends the packets of the device until it is closed.
func (c *ce) send() {
	header := append(framerelay.Header{DLCI: c.dlci}.Append(nil, framerelay.ShortHeader), unnumbered)
	for packet := make([]byte, 1<<16); ; {
		n, err := c.tun.Read(packet)
		if err != nil {
			return
		}
		nlpid := byte(nlpidIPv4)
		if n > 0 && packet[0]>>4 == 6 {
			nlpid = nlpidIPv6
		}
		frame := append(append(slices.Clone(header), nlpid), packet[:n]...)
		c.pvc.Send([]pseudowire.Frame{pseudowire.NewFrame(frame, 0)})
	}
}

// receive gives the packets of frames to the device.
func (c *ce) receive(frames []pseudowire.Frame) (taken int) {
	for _, f := range frames {
		b := f.Bytes()
		if b = b[framerelay.ShortHeader:]; len(b) < 2 || b[0] != unnumbered || b[1] != nlpidIPv4 && b[1] != nlpidIPv6 {
			continue
		}
		if _, err := c.tun.Write(b[2:]); err == nil {
			taken++
		}
	}
	return taken
}

// capture is the file of the frames on the site's line.
func (s *site) capture() string { return strings.TrimSuffix(s.file, filepath.Ext(s.file)) + ".pcap" }

// line returns what passed the site's line.
func (s *site) line(since time.Time) (all []sight, err error) {
	f, err := os.Open(s.capture())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		return nil, err
	}
	for {
		frame, info, err := r.ReadPacketData()
		if err != nil { // the end, or a frame that is being written
			return all, nil
		}
		if line, ok := decodeFrameRelay(frame); ok && info.Timestamp.After(since) {
			all = append(all, sight{info.Timestamp, "line in " + s.name, line})
		}
	}
}
