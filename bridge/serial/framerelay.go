package serial

import (
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/bridge"
	"spanwire/pseudowire"
	"spanwire/pseudowire/framerelay"
)

// A FrameRelay is the Frame Relay port on a line: it gives frames to the PVCs whose
// DLCIs they have, and speaks LMI, unless its form is framerelay.NoLMI: then all PVCs are
// active at once and stay so.
type FrameRelay struct {
	line      bridge.Port
	headerLen int
	notify    func(framerelay.Event)
	pvcs      atomic.Pointer[map[uint32]*PVC] // never changed, only replaced
	in, out   drops

	// For take, which has one caller at a time.
	owners [batch]*PVC
	frames [batch]pseudowire.Frame

	mu      sync.Mutex
	lmi     *framerelay.LMI
	timer   *time.Timer
	message []byte
	events  []framerelay.Event // to be told
	telling bool               // by whoever found none before its own
	closed  bool
}

type drops [framerelay.Drops]atomic.Uint64

func (d *drops) load() (all [framerelay.Drops]uint64) {
	for i := range d {
		all[i] = d[i].Load()
	}
	return all
}

// NewFrameRelay returns the port on a line, which must hand on frames from one
// goroutine at a time, as a Line does, and take them without handing on others from
// within Send. Notify is told what happens, in its order and one at a time; it may
// call methods of the port and its PVCs.
func NewFrameRelay(line bridge.Port, cfg framerelay.Config, notify func(framerelay.Event)) (*FrameRelay, error) {
	lmi, err := framerelay.NewLMI(cfg)
	if err != nil {
		return nil, err
	}
	f := &FrameRelay{line: line, headerLen: lmi.HeaderLen(), notify: notify, lmi: lmi}
	f.pvcs.Store(new(map[uint32]*PVC))
	f.mu.Lock() // it is not begun before it is whole
	defer f.mu.Unlock()
	f.timer = time.AfterFunc(0, f.advance)
	line.Attach(f.take)
	return f, nil
}

// take gives frames from the line to their PVCs: those of one PVC together, in their
// order.
func (f *FrameRelay) take(frames []pseudowire.Frame) (taken int) {
	for len(frames) > 0 {
		n := min(len(frames), batch)
		taken += f.takeBatch(frames[:n])
		frames = frames[n:]
	}
	return taken
}

func (f *FrameRelay) takeBatch(frames []pseudowire.Frame) (taken int) {
	owners := f.owners[:len(frames)]
	for i := range frames {
		p, why := f.owner(frames[i].Bytes())
		owners[i] = p
		if why != framerelay.NotDropped {
			f.in[why].Add(1)
		} else {
			taken++
		}
	}
	for i, p := range owners {
		if p == nil {
			continue
		}
		theirs, octets := f.frames[:0], 0
		for j := i; j < len(owners); j++ {
			if owners[j] == p {
				theirs, octets = append(theirs, frames[j]), octets+frames[j].Len()
				owners[j] = nil
			}
		}
		p.inFrames.Add(uint64(len(theirs)))
		p.inOctets.Add(uint64(octets))
		(*p.deliver.Load())(theirs)
	}
	clear(f.frames[:])
	return taken
}

// owner returns the PVC that a frame is for. One of the LMI is for none.
func (f *FrameRelay) owner(frame []byte) (*PVC, framerelay.Drop) {
	h, n, why := framerelay.Parse(frame)
	switch {
	case why != framerelay.NotDropped:
		return nil, why
	case n != f.headerLen:
		return nil, framerelay.DropLength
	case framerelay.Management(h.DLCI, n):
		f.receive(frame)
		return nil, framerelay.NotDropped
	}
	p := (*f.pvcs.Load())[h.DLCI]
	switch {
	case p == nil:
		return nil, framerelay.DropDLCI
	case p.deliver.Load() == nil:
		return nil, framerelay.DropDetached
	}
	return p, framerelay.NotDropped
}

func (f *FrameRelay) receive(frame []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.lmi.Receive(time.Now(), frame)
		f.drain()
	}
}

func (f *FrameRelay) advance() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.lmi.Advance(time.Now())
		f.drain()
	}
}

// drain does what the LMI wants done. It is called with the lock, and lets go of it
// while it tells of events.
func (f *FrameRelay) drain() {
	for {
		b, ok := f.lmi.Transmit(f.message[:0])
		if f.message = b; !ok {
			break
		}
		f.line.Send([]pseudowire.Frame{pseudowire.NewFrame(b, 0)})
	}
	for e, ok := f.lmi.Event(); ok; e, ok = f.lmi.Event() {
		f.events = append(f.events, e)
	}
	if at := f.lmi.Deadline(); !at.IsZero() {
		f.timer.Reset(time.Until(at))
	}
	if f.telling {
		return
	}
	f.telling = true
	for len(f.events) > 0 && f.notify != nil && !f.closed {
		e := f.events[0]
		f.events = f.events[1:]
		f.mu.Unlock()
		f.notify(e)
		f.mu.Lock()
	}
	f.events, f.telling = nil, false
}

// Add makes a PVC, which the LMI tells of at once as inactive. Without an LMI the port
// is notified that it is active.
func (f *FrameRelay) Add(dlci uint32) (*PVC, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pvcs := maps.Clone(*f.pvcs.Load())
	if pvcs[dlci] != nil {
		return nil, fmt.Errorf("frame relay: DLCI %d is there", dlci)
	}
	if err := f.lmi.SetPVC(dlci, framerelay.Inactive); err != nil {
		return nil, err
	}
	if pvcs == nil {
		pvcs = make(map[uint32]*PVC)
	}
	p := &PVC{port: f, circuit: framerelay.Circuit{DLCI: dlci, HeaderLen: f.headerLen}}
	pvcs[dlci] = p
	f.pvcs.Store(&pvcs)
	f.drainOpen()
	return p, nil
}

// drainOpen is drain, unless the port is closed.
func (f *FrameRelay) drainOpen() {
	if !f.closed {
		f.drain()
	}
}

// FrameRelayStats are a port's counters.
type FrameRelayStats struct {
	In  [framerelay.Drops]uint64 // frames of the line that were dropped, by reason
	Out [framerelay.Drops]uint64 // frames of pseudowires
	LMI framerelay.Stats
}

// Stats returns the counters.
func (f *FrameRelay) Stats() FrameRelayStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return FrameRelayStats{f.in.load(), f.out.load(), f.lmi.Stats()}
}

// Up reports whether the link is up, and in which form it speaks.
func (f *FrameRelay) Up() (bool, framerelay.Form) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lmi.Up(), f.lmi.Form()
}

// Close ends the LMI. The line stays open, and frames of PVCs go on to pass.
func (f *FrameRelay) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.timer.Stop()
}

// A PVC is a DLCI of a port. It is a bridge.Port, to be joined with a session.
type PVC struct {
	port    *FrameRelay
	circuit framerelay.Circuit
	deliver atomic.Pointer[func([]pseudowire.Frame) int]
	closed  atomic.Bool

	inFrames, inOctets, outFrames, outOctets, outErrors atomic.Uint64
}

// PVCStats are a PVC's counters.
type PVCStats struct {
	InFrames, InOctets   uint64 // from the line
	OutFrames, OutOctets uint64 // to the line
	OutErrors            uint64 // refused by the line, or no frames of this port
}

// DLCI returns the PVC's DLCI.
func (p *PVC) DLCI() uint32 { return p.circuit.DLCI }

// Attach implements bridge.Port.
func (p *PVC) Attach(deliver func([]pseudowire.Frame) int) { p.deliver.Store(&deliver) }

// Send implements bridge.Port. It writes the PVC's DLCI over that of the frames, in
// place.
func (p *PVC) Send(frames []pseudowire.Frame) (sent int) {
	if p.closed.Load() {
		p.outErrors.Add(uint64(len(frames)))
		return 0
	}
	from := 0 // frames[from:] are still to be sent
	for i := range frames {
		if why := p.circuit.Egress(frames[i].Bytes()); why != framerelay.NotDropped {
			p.port.out[why].Add(1)
			sent += p.send(frames[from:i])
			from = i + 1
		}
	}
	sent += p.send(frames[from:])
	p.outErrors.Add(uint64(len(frames) - sent))
	return sent
}

// send sends frames that are the PVC's.
func (p *PVC) send(frames []pseudowire.Frame) (sent int) {
	if len(frames) > 0 {
		sent = p.port.line.Send(frames)
	}
	octets := 0
	for i := range frames[:sent] {
		octets += frames[i].Len()
	}
	p.outFrames.Add(uint64(sent))
	p.outOctets.Add(uint64(octets))
	return sent
}

// SetActive says whether the PVC is active beyond this port, as the Circuit Status of
// the session's peer has it. A DCE and an NNI report it to the other end of the line.
func (p *PVC) SetActive(active bool) {
	f := p.port
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.closed.Load() {
		return
	}
	s := framerelay.Inactive
	if active {
		s = framerelay.Active
	}
	// It is a PVC of the port: there is nothing wrong with it.
	_ = f.lmi.SetPVC(p.circuit.DLCI, s)
	f.drainOpen()
}

// Status returns what the session's peer is to be told of the PVC, which the port has
// been notified of before.
func (p *PVC) Status() framerelay.Status {
	p.port.mu.Lock()
	defer p.port.mu.Unlock()
	return p.port.lmi.PVC(p.circuit.DLCI)
}

// Stats returns the counters.
func (p *PVC) Stats() PVCStats {
	return PVCStats{p.inFrames.Load(), p.inOctets.Load(), p.outFrames.Load(), p.outOctets.Load(), p.outErrors.Load()}
}

// Close removes the PVC from its port: frames of its DLCI are of none any more, and
// what it is given to send goes nowhere.
func (p *PVC) Close() {
	f := p.port
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.closed.Swap(true) {
		return
	}
	pvcs := maps.Clone(*f.pvcs.Load())
	delete(pvcs, p.circuit.DLCI)
	f.pvcs.Store(&pvcs)
	f.lmi.RemovePVC(p.circuit.DLCI)
	f.drainOpen()
}
