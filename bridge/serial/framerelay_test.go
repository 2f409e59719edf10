package serial

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"spanwire/pseudowire"
	"spanwire/pseudowire/framerelay"
)

// A cable is one end of a line without sockets: what is sent arrives at the other
// end, after a moment and in its order.
type cable struct {
	far     *cable
	mu      sync.Mutex // held while deliver runs
	cut     bool
	deliver func([]pseudowire.Frame) int

	sending sync.Mutex
	onWay   [][]byte
}

func plug() (a, b *cable) {
	a, b = new(cable), new(cable)
	a.far, b.far = b, a
	return a, b
}

func (c *cable) Attach(deliver func([]pseudowire.Frame) int) { c.deliver = deliver }

func (c *cable) Send(frames []pseudowire.Frame) int {
	c.sending.Lock()
	defer c.sending.Unlock()
	for _, f := range frames {
		c.onWay = append(c.onWay, bytes.Clone(f.Bytes()))
		time.AfterFunc(time.Millisecond, c.arrive)
	}
	return len(frames)
}

func (c *cable) arrive() {
	c.far.mu.Lock()
	defer c.far.mu.Unlock()
	c.sending.Lock()
	b := c.onWay[0]
	c.onWay = c.onWay[1:]
	c.sending.Unlock()
	if !c.far.cut {
		c.far.deliver([]pseudowire.Frame{frame(b)})
	}
}

// cutOff has nothing arrive at this end.
func (c *cable) cutOff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
}

// A diary has what a port was notified of.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) note(e framerelay.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, e.String())
}

// want wants what was noted since it was called last.
func (d *diary) want(t testing.TB, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if strings.Join(d.lines, "; ") != strings.Join(want, "; ") {
		t.Errorf("notified of %q, want %q", d.lines, want)
	}
	d.lines = nil
}

// TestFrameRelayTimers is a network and its user on a line.
func TestFrameRelayTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dceNotes, dteNotes diary
		a, b := plug()
		dce, err := NewFrameRelay(a, framerelay.Config{}, dceNotes.note)
		if err != nil {
			t.Fatal(err)
		}
		dte, err := NewFrameRelay(b, framerelay.Config{Role: framerelay.DTE}, dteNotes.note)
		if err != nil {
			t.Fatal(err)
		}
		pvc, err := dce.Add(100)
		if err != nil {
			t.Fatal(err)
		}
		far, err := dte.Add(100)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		dceNotes.want(t, "link up, ansi", "DLCI 100 active")
		dteNotes.want(t, "link up, ansi", "DLCI 100 new, inactive")
		if up, form := dte.Up(); !up || form != framerelay.AnnexD {
			t.Errorf("up %v, %v, want it up in Annex D", up, form)
		}
		pvc.SetActive(true)
		time.Sleep(20 * time.Second) // two polls
		dteNotes.want(t, "DLCI 100 active")
		if pvc.Status() != framerelay.Active || far.Status() != framerelay.Active {
			t.Errorf("%v and %v, want both active", pvc.Status(), far.Status())
		}
		pvc.SetActive(false)
		time.Sleep(20 * time.Second)
		dteNotes.want(t, "DLCI 100 inactive")
		other, err := dce.Add(200)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		dteNotes.want(t, "DLCI 200 new, inactive")
		pvc.Close()
		pvc.Close()
		pvc.SetActive(true)
		other.SetActive(true)
		time.Sleep(20 * time.Second)
		dteNotes.want(t, "DLCI 100 deleted", "DLCI 200 active")
		dceNotes.want(t, "DLCI 200 active")

		// What the network sends does not arrive, then nothing does.
		b.cutOff()
		time.Sleep(45 * time.Second)
		dteNotes.want(t, "link down", "DLCI 100 inactive", "DLCI 200 inactive")
		dceNotes.want(t, "link down", "DLCI 200 inactive") // it sees that nothing arrives
		a.cutOff()
		time.Sleep(time.Minute)
		if dce.Stats().LMI.Timeouts == 0 || dte.Stats().LMI.Timeouts == 0 {
			t.Errorf("%+v and %+v, want timeouts", dce.Stats().LMI, dte.Stats().LMI)
		}

		dce.Close()
		dte.Close()
		before := dte.Stats().LMI
		time.Sleep(time.Hour)
		if got := dte.Stats().LMI; got != before {
			t.Errorf("after Close %+v, want %+v", got, before)
		}
		other.SetActive(false)
		other.Close()
		if _, err := dce.Add(300); err != nil {
			t.Error(err)
		}
		dceNotes.want(t)
	})
}

// TestFrameRelayWithoutLMI has PVCs that nobody tells of, and a router at the other end
// that asks for them in vain.
func TestFrameRelayWithoutLMI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var notes, routerNotes diary
		a, b := plug()
		f, err := NewFrameRelay(a, framerelay.Config{Form: framerelay.NoLMI}, notes.note)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		router, err := NewFrameRelay(b, framerelay.Config{Role: framerelay.DTE}, routerNotes.note)
		if err != nil {
			t.Fatal(err)
		}
		defer router.Close()
		p, err := f.Add(100)
		if err != nil {
			t.Fatal(err)
		}
		far, err := router.Add(100)
		if err != nil {
			t.Fatal(err)
		}
		var heard atomic.Int64
		p.Attach(func(frames []pseudowire.Frame) int { heard.Add(int64(len(frames))); return len(frames) })
		p.SetActive(true)
		p.SetActive(false)
		time.Sleep(time.Minute)
		notes.want(t, "link up, none", "DLCI 100 active")
		routerNotes.want(t)
		if up, form := f.Up(); !up || form != framerelay.NoLMI || p.Status() != framerelay.Active {
			t.Errorf("up %v, %v, DLCI 100 %v; want true, none, active", up, form, p.Status())
		}
		far.Send([]pseudowire.Frame{frame([]byte{0x18, 0x41, 3, 0xcc})})
		time.Sleep(time.Second)
		s := f.Stats()
		if n := heard.Load(); n != 1 || s.In != [framerelay.Drops]uint64{} || s.LMI.Unexpected == 0 || s.LMI.StatusesSent != 0 {
			t.Errorf("%d frames of the PVC, want 1; %+v, want nothing dropped but enquiries", n, s)
		}
	})
}

func TestFrameRelayErrors(t *testing.T) {
	a, _ := plug()
	if _, err := NewFrameRelay(a, framerelay.Config{HeaderLen: 3}, nil); err == nil || err.Error() != "lmi: headers of 3 octets, want 2 or 4" {
		t.Errorf("headers of 3 octets: %v", err)
	}
	f, err := NewFrameRelay(a, framerelay.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Add(100); err != nil {
		t.Error(err)
	}
	if _, err := f.Add(100); err == nil || err.Error() != "frame relay: DLCI 100 is there" {
		t.Errorf("the same DLCI twice: %v", err)
	}
	if _, err := f.Add(1023); err == nil || err.Error() != "lmi: DLCI 1023, want 16 to 1007 with a header of 2 octets" {
		t.Errorf("Cisco's DLCI: %v", err)
	}
}

// A sink is a line that takes all that is sent, and tells of it.
type sink struct {
	deliver func([]pseudowire.Frame) int
	send    func([]pseudowire.Frame) int
}

func (s *sink) Attach(deliver func([]pseudowire.Frame) int) { s.deliver = deliver }
func (s *sink) Send(frames []pseudowire.Frame) int          { return s.send(frames) }

// TestBatchOfManyPVCs gives each PVC its frames together and in their order.
func TestBatchOfManyPVCs(t *testing.T) {
	line := &sink{send: func(f []pseudowire.Frame) int { return len(f) }}
	f, err := NewFrameRelay(line, framerelay.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var calls []string
	for _, dlci := range []uint32{100, 200, 300} {
		p, err := f.Add(dlci)
		if err != nil {
			t.Fatal(err)
		}
		if dlci == 300 {
			continue // to nothing
		}
		p.Attach(func(frames []pseudowire.Frame) int {
			s := fmt.Sprint(dlci, ":")
			for _, f := range frames {
				s += " " + string(f.Bytes()[2:])
			}
			calls = append(calls, s)
			return len(frames)
		})
	}
	var in []pseudowire.Frame
	for i, dlci := range []uint32{100, 200, 100, 300, 400, 200, 100} {
		in = append(in, frame(fmt.Append(framerelay.Header{DLCI: dlci}.Append(nil, 2), "f", i)))
	}
	if got := line.deliver(in); got != 5 {
		t.Errorf("%d taken, want 5", got)
	}
	if got, want := strings.Join(calls, "; "), "100: f0 f2 f6; 200: f1 f5"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := f.Stats().In, ([framerelay.Drops]uint64{framerelay.DropDLCI: 1, framerelay.DropDetached: 1}); got != want {
		t.Errorf("dropped %v, want %v", got, want)
	}

	// And what is more than one batch.
	calls = nil
	in = in[:0]
	for range 3 * batch {
		in = append(in, frame(append(framerelay.Header{DLCI: 100}.Append(nil, 2), "x"...)))
	}
	if got := line.deliver(in); got != 3*batch || len(calls) != 3 {
		t.Errorf("%d taken in %d calls, want %d in 3", got, len(calls), 3*batch)
	}
}

// TestPVCSend wants what is no frame of the port left out, and the rest sent.
func TestPVCSend(t *testing.T) {
	var sent []string
	line := &sink{send: func(f []pseudowire.Frame) int {
		for _, f := range f {
			sent = append(sent, fmt.Sprintf("%x", f.Bytes()))
		}
		return len(f)
	}}
	f, err := NewFrameRelay(line, framerelay.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := f.Add(200)
	if err != nil {
		t.Fatal(err)
	}
	if p.DLCI() != 200 {
		t.Errorf("DLCI %d, want 200", p.DLCI())
	}
	all := []pseudowire.Frame{
		frame([]byte{0x18, 0x41, 1}),
		frame([]byte{0x18, 0x40, 0x01, 1}), // 3 octets
		frame([]byte{0x18, 0x41}),          // nothing behind it
		frame([]byte{0x00, 0x01, 2}),       // whatever its DLCI is: no peer speaks LMI here
		frame([]byte{0xfe, 0xff, 3}),
		frame([]byte{0x00, 0x00, 0x02, 0x91, 1}), // 4 octets
	}
	if got := p.Send(all); got != 3 {
		t.Errorf("%d sent, want 3", got)
	}
	if got, want := strings.Join(sent, " "), "308101 308102 328f03"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := f.Stats().Out, ([framerelay.Drops]uint64{framerelay.DropAddress: 1, framerelay.DropShort: 1, framerelay.DropLength: 1}); got != want {
		t.Errorf("dropped %v, want %v", got, want)
	}
	if got, want := p.Stats(), (PVCStats{OutFrames: 3, OutOctets: 9, OutErrors: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	p.Close()
	if got := p.Send(all[:1]); got != 0 || p.Stats().OutErrors != 4 {
		t.Errorf("after Close: %d sent, %+v", got, p.Stats())
	}
}

// TestPVCsAllocateNothing counts for frames on their way through.
func TestPVCsAllocateNothing(t *testing.T) {
	line := &sink{send: func(f []pseudowire.Frame) int { return len(f) }}
	f, err := NewFrameRelay(line, framerelay.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var in []pseudowire.Frame
	for i := range batch {
		dlci := uint32(100 + i%3)
		if i < 3 {
			p, err := f.Add(dlci)
			if err != nil {
				t.Fatal(err)
			}
			p.Attach(p.Send)
		}
		in = append(in, frame(append(framerelay.Header{DLCI: dlci}.Append(nil, 2), "x"...)))
	}
	if n := testing.AllocsPerRun(100, func() {
		if line.deliver(in) != batch {
			t.Error("not all taken")
		}
	}); n != 0 {
		t.Errorf("%v allocations a batch, want none", n)
	}
}

// TestNotifiedPortsCallEachOther has two ports tell each other of their PVCs, from
// all sides at once.
func TestNotifiedPortsCallEachOther(t *testing.T) {
	var ports [2]*FrameRelay
	var pvcs [2]*PVC
	var lines [2]*sink
	var ready sync.WaitGroup
	ready.Add(1)
	for i := range ports {
		lines[i] = &sink{send: func(f []pseudowire.Frame) int { return len(f) }}
		var err error
		ports[i], err = NewFrameRelay(lines[i], framerelay.Config{N392: 1, N393: 1, T392: time.Hour}, func(e framerelay.Event) {
			ready.Wait()
			if e.Kind == framerelay.PVCChanged {
				pvcs[1-i].SetActive(e.Status == framerelay.Active)
				pvcs[i].Status()
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer ports[i].Close()
		if pvcs[i], err = ports[i].Add(100); err != nil {
			t.Fatal(err)
		}
	}
	ready.Done()
	var work sync.WaitGroup
	for i := range ports {
		work.Go(func() {
			for n := range 2000 {
				// Every second one acknowledges what was sent last: up and down.
				good := byte(ports[i].Stats().LMI.StatusesSent % 255)
				if good == 0 {
					good = 255
				}
				lines[i].deliver([]pseudowire.Frame{frame([]byte{0, 1, 3, 8, 0, 0x75, 0x51, 1, 1, 0x53, 2, 1, good + byte(n%2)})})
			}
		})
	}
	work.Wait()
	for i := range ports {
		if s := ports[i].Stats().LMI; s.SequenceErrors < 900 {
			t.Errorf("port %d: %+v, want it to go down often", i, s)
		}
	}
}

// A customer is a CE of Frame Relay that knows Annex D and nothing of this program's
// code.
type customer struct {
	*station
	headerLen      int
	sent, received byte
	wrong          byte           // is added to what it says that it received
	pvcs           map[uint32]int // the status bits of the last full status
	data           [][]byte       // frames that came while it waited for a status
}

// header returns a header with the flags FECN 8, BECN 4, DE 2 and, of the first
// octet, C/R 1.
func (c *customer) header(dlci uint32, flags byte) []byte {
	cr := flags & 1 << 1
	if c.headerLen == 2 {
		return []byte{byte(dlci>>4)<<2 | cr, byte(dlci)<<4 | flags&14 | 1}
	}
	return []byte{byte(dlci>>17)<<2 | cr, byte(dlci>>13)<<4 | flags&14, byte(dlci>>6) << 1, byte(dlci)<<2 | 1}
}

// poll asks for a status and waits for it.
func (c *customer) poll(full bool) {
	c.t.Helper()
	report := byte(1)
	if full {
		report = 0
	}
	c.sent++
	c.send(append(c.header(0, 0), 3, 8, 0, 0x75, 0x95, 1, 1, report, 3, 2, c.sent, c.received+c.wrong))
	for {
		f := c.receive()
		if !bytes.HasPrefix(f, c.header(0, 0)) {
			c.data = append(c.data, f)
			continue
		}
		if err := c.read(f[c.headerLen:]); err != nil {
			c.t.Fatalf("%x: %v", f, err)
		}
		return
	}
}

// read reads a status.
func (c *customer) read(b []byte) error {
	if len(b) < 12 || !bytes.HasPrefix(b, []byte{3, 8, 0, 0x7d, 0x95, 1, 1}) || b[8] != 3 || b[9] != 2 {
		return errors.New("no status of Annex D")
	}
	report, send, received := b[7], b[10], b[11]
	if received != c.sent || send != c.received%255+1 {
		return fmt.Errorf("numbers %d and %d, want %d and %d", send, received, c.received%255+1, c.sent)
	}
	c.received = send
	if b = b[12:]; report == 1 {
		if len(b) > 0 {
			return errors.New("PVCs in a verification")
		}
		return nil
	}
	c.pvcs = map[uint32]int{}
	for n := c.headerLen + 1; len(b) > 0; b = b[2+n:] {
		if len(b) < 2+n || b[0] != 7 || int(b[1]) != n {
			return errors.New("no PVC")
		}
		dlci := uint32(b[2])<<4 | uint32(b[3]&0x7f)>>3
		if n == 5 {
			dlci = dlci<<13 | uint32(b[4])<<6 | uint32(b[5]&0x7f)>>1
		}
		c.pvcs[dlci] = int(b[1+n] & 0x7f)
	}
	return nil
}

// wantStatus wants PVCs, by the bits N 8 and A 2, within two polls.
func (c *customer) wantStatus(want string) {
	c.t.Helper()
	for range 2 {
		if c.poll(false); fmt.Sprint(c.pvcs) == want {
			return
		}
	}
	c.t.Errorf("after two polls: PVCs %v, want %s", c.pvcs, want)
}

// nextData returns the next frame that is no status.
func (c *customer) nextData() (f []byte) {
	c.t.Helper()
	if len(c.data) == 0 {
		return c.receive()
	}
	f, c.data = c.data[0], c.data[1:]
	return f
}

// TestPseudowireOfPVCs has two customers at the two ends of a pseudowire, whose peers
// tell each other of their PVCs as a Circuit Status AVP does.
func TestPseudowireOfPVCs(t *testing.T) {
	for _, headerLen := range []int{framerelay.ShortHeader, framerelay.LongHeader} {
		t.Run(fmt.Sprintf("headers of %d octets", headerLen), func(t *testing.T) {
			var customers [2]*customer
			var ports [2]*FrameRelay
			var pvcs [2]*PVC
			var captures [2]bytes.Buffer
			var recorders [2]*Capture
			var lines [2]*Line
			var active [2]atomic.Bool // what a PVC was told last
			heard := func(i int, want bool) {
				t.Helper()
				await(t, func() bool { return active[i].Load() == want }, func() string { return fmt.Sprintf("PVC %d was not told that it is active %v", i, want) })
			}
			cfg := framerelay.Config{HeaderLen: headerLen, T392: time.Hour}
			for i := range ports {
				l, s := open(t, networks[0].address)
				lines[i], customers[i] = l, &customer{station: s, headerLen: headerLen}
				var err error
				if recorders[i], err = NewCapture(&captures[i], FrameRelayLink); err != nil {
					t.Fatal(err)
				}
				l.Capture(recorders[i])
				ports[i], err = NewFrameRelay(l, cfg, func(e framerelay.Event) {
					if e.Kind == framerelay.PVCChanged {
						pvcs[1-i].SetActive(e.Status == framerelay.Active)
						active[1-i].Store(e.Status == framerelay.Active)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				defer ports[i].Close()
				if pvcs[i], err = ports[i].Add(uint32(100 + 100*i)); err != nil {
					t.Fatal(err)
				}
			}
			pvcs[0].Attach(pvcs[1].Send)
			pvcs[1].Attach(pvcs[0].Send)
			for i := range lines {
				run(t, lines[i])
			}
			near, far := customers[0], customers[1]

			near.poll(true)
			if got := fmt.Sprint(near.pvcs); got != "map[100:8]" {
				t.Errorf("PVCs %s, want 100 new", got)
			}
			near.poll(false) // now its line is up, which the other end hears
			heard(1, true)
			far.poll(true)
			if got := fmt.Sprint(far.pvcs); got != "map[200:10]" {
				t.Errorf("PVCs %s, want 200 new and active", got)
			}
			far.poll(false)
			heard(0, true)
			far.wantStatus("map[200:2]")
			near.wantStatus("map[100:2]")

			through(t, near, 100, far, 200)
			through(t, far, 200, near, 100)

			// The far line fails: three enquiries acknowledge what was not sent.
			far.wrong = 7
			for range 3 {
				far.poll(false)
			}
			heard(0, false)
			near.wantStatus("map[100:0]")
			far.wrong = 0
			for range 3 {
				far.poll(false)
			}
			heard(0, true)
			near.wantStatus("map[100:2]")

			for i := range lines {
				lines[i].Capture(nil)
				if err := recorders[i].End(); err != nil {
					t.Error(err)
				}
				judge(t, captures[i].Bytes())
			}

			hostile(t, near, ports[0])
			through(t, near, 100, far, 200)

			// The far port is removed from the network.
			pvcs[1].Close()
			near.send(append(near.header(100, 0), 1))
			far.wantStatus("map[]")
			each, last := uint64(headerLen+len(ipPacket)), uint64(headerLen+1)
			for i, want := range []PVCStats{
				{InFrames: 16 + 16 + 1, InOctets: 32*each + last, OutFrames: 16, OutOctets: 16 * each},
				{InFrames: 16, InOctets: 16 * each, OutFrames: 16 + 16, OutOctets: 32 * each, OutErrors: 1},
			} {
				await(t, func() bool { return pvcs[i].Stats() == want }, func() string { return fmt.Sprintf("PVC %d: %+v, want %+v", i, pvcs[i].Stats(), want) })
			}
		})
	}
}

// ipPacket is an IP packet as RFC 2427 section 4.1 has it behind a header.
var ipPacket = []byte{0x03, 0xcc, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0x66, 0xad, 10, 0, 0, 1, 10, 0, 0, 2}

// through sends frames with all flags from one customer to the other. RFC 4591
// section 4.1 has them pass with all but the DLCI as it was.
func through(t *testing.T, from *customer, dlci uint32, to *customer, want uint32) {
	t.Helper()
	for flags := range byte(16) {
		from.send(append(from.header(dlci, flags), ipPacket...))
		if got, want := to.nextData(), append(to.header(want, flags), ipPacket...); !bytes.Equal(got, want) {
			t.Errorf("flags %04b: %x, want %x", flags, got, want)
		}
	}
}

// hostile sends what is to be counted and goes nowhere.
func hostile(t *testing.T, c *customer, f *FrameRelay) {
	t.Helper()
	before := f.Stats()
	good := c.header(100, 0)
	other := (&customer{headerLen: framerelay.ShortHeader + framerelay.LongHeader - c.headerLen}).header(100, 0)
	for _, frame := range [][]byte{
		good[:1], good[:c.headerLen-1], good, // ends before there is something
		{0x18, 0x40, 0x02, 0x90, 0x02, 0x02, 0x02, 0x02}, // EA bits that never end
		{0x18, 0x40, 0x01, 0x03},                         // a header of three octets
		{0x19, 0x41, 0x03},                               // of one
		append(other, 1, 2, 3),
		append(c.header(101, 0), 1),
		append(c.header(0, 0), 3, 8, 0, 0x75, 0x95, 1, 1, 0, 3, 3, 1, 1), // LMI: a length that is wrong
		append(c.header(0, 0), 3, 8, 0, 0x75, 0x95, 1, 1, 0, 3, 2, 1),    // one beyond the end
		append(c.header(0, 0), 3, 8, 0, 0x75, 0x95, 1, 255, 0, 3, 2, 1),  // and far beyond
		append(c.header(0, 0), 3, 8, 0, 0x7d, 0x95, 1, 1, 0, 3, 2, 1, 1), // a status, to the network
		append(c.header(0, 0), 3, 8, 0, 0x75, 0x51, 1, 1, 0x53, 2, 1, 1), // Annex A
	} {
		c.send(frame)
	}
	c.poll(false)
	got := f.Stats()
	in := [framerelay.Drops]uint64{
		framerelay.DropShort: 3, framerelay.DropAddress: 3, framerelay.DropLength: 1, framerelay.DropDLCI: 1,
	}
	for i := range got.In {
		if got.In[i] -= before.In[i]; got.In[i] != in[i] {
			t.Errorf("%v: %d frames, want %d", framerelay.Drop(i), got.In[i], in[i])
		}
	}
	if m, u, o := got.LMI.Malformed-before.LMI.Malformed, got.LMI.Unexpected-before.LMI.Unexpected, got.LMI.OtherForm-before.LMI.OtherForm; m != 3 || u != 1 || o != 1 {
		t.Errorf("LMI: %d malformed, %d unexpected, %d of another form, want 3, 1, 1", m, u, o)
	}
}
