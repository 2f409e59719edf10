package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"spanwire/bridge"
	"spanwire/bridge/serial"
	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/pseudowire"
	"spanwire/pseudowire/framerelay"
)

// A serialPort is a serial line, with Frame Relay on it or as it is.
type serialPort struct {
	daemon  *daemon
	cfg     *config.SerialPort
	log     *slog.Logger
	line    *serial.Line
	relay   *serial.FrameRelay // nil: the line is a session's
	file    *os.File           // of the capture, nil: none
	capture *serial.Capture

	mu   sync.Mutex
	pvcs map[uint32]*pvc
}

// openSerials opens the lines that sessions join.
func (d *daemon) openSerials() error {
	for i := range d.file.Serials {
		c := &d.file.Serials[i]
		if c.Carries == 0 {
			d.log.Warn("no session joins a serial line, it stays closed", "serial", c.Name)
			continue
		}
		p := &serialPort{daemon: d, cfg: c, log: d.log.With("serial", c.Name), pvcs: make(map[uint32]*pvc)}
		if err := p.open(); err != nil {
			return errors.Join(fmt.Errorf("serial %s: %w", c.Name, err), p.close())
		}
		d.mu.Lock()
		d.serials[c.Name] = p
		d.mu.Unlock()
		d.work.Go(p.run)
	}
	return nil
}

func (p *serialPort) open() (err error) {
	if p.line, err = serial.Open(p.cfg.Line); err != nil {
		return err
	}
	if p.cfg.Capture != "" {
		if err := p.openCapture(); err != nil {
			return err
		}
	}
	if p.cfg.Carries == pseudowire.FrameRelay {
		if p.relay, err = serial.NewFrameRelay(p.line, p.cfg.FrameRelay, p.heard); err != nil {
			return err
		}
	}
	p.log.Info("serial line open", "line", p.cfg.Line.String(), "carries", p.cfg.Carries.String())
	return nil
}

func (p *serialPort) openCapture() (err error) {
	if p.file, err = os.OpenFile(p.cfg.Capture, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	links := map[pseudowire.Type]serial.LinkType{
		pseudowire.FrameRelay: serial.FrameRelayLink,
		pseudowire.HDLC:       serial.CiscoHDLCLink,
		pseudowire.PPP:        serial.PPPLink,
	}
	if p.capture, err = serial.NewCapture(p.file, links[p.cfg.Carries]); err != nil {
		return fmt.Errorf("capture: %w", err)
	}
	p.line.Capture(p.capture)
	return nil
}

// run hands on what comes in until the line is closed.
func (p *serialPort) run() {
	for {
		err := p.line.Run()
		if p.daemon.ctx.Err() != nil {
			return
		}
		p.log.Warn("serial line lost, trying again", "err", err, "in", retryFirst.String())
		if !pause(p.daemon.ctx, retryFirst) {
			return
		}
	}
}

// heard takes what the LMI tells.
func (p *serialPort) heard(e framerelay.Event) {
	p.log.Info("LMI: " + e.String())
	if e.Kind != framerelay.PVCChanged {
		return
	}
	p.mu.Lock()
	c := p.pvcs[e.DLCI]
	p.mu.Unlock()
	if c != nil {
		c.changed(e.Status)
	}
}

// close closes the line for good.
func (p *serialPort) close() error {
	var errs []error
	if p.relay != nil {
		p.relay.Close()
	}
	if p.line != nil {
		errs = append(errs, p.line.Close())
	}
	if p.capture != nil {
		errs = append(errs, p.capture.End())
	}
	if p.file != nil {
		errs = append(errs, p.file.Close())
	}
	return errors.Join(errs...)
}

// show tells how the line stands.
func (p *serialPort) show() api.Serial {
	n := p.line.Stats()
	a := api.Serial{Name: p.cfg.Name, Line: p.cfg.Line.String(), Carries: p.cfg.Carries.String(), Counters: api.Counters{
		"in_frames": n.InFrames, "in_octets": n.InOctets, "in_foreign": n.InForeign, "in_errors": n.InErrors,
		"out_frames": n.OutFrames, "out_octets": n.OutOctets, "out_errors": n.OutErrors,
	}}
	if p.relay == nil {
		return a
	}
	up, form := p.relay.Up()
	s := p.relay.Stats()
	a.LMI = &api.LMI{Up: up, Form: form.String(), Role: p.cfg.FrameRelay.Role.String()}
	for why := framerelay.NotDropped + 1; why < framerelay.Drops; why++ {
		a.Counters["in_"+why.String()] = s.In[why]
		a.Counters["out_"+why.String()] = s.Out[why]
	}
	for name, count := range map[string]uint64{
		"enquiries_sent": s.LMI.EnquiriesSent, "enquiries_received": s.LMI.EnquiriesReceived,
		"statuses_sent": s.LMI.StatusesSent, "statuses_received": s.LMI.StatusesReceived,
		"timeouts": s.LMI.Timeouts, "sequence_errors": s.LMI.SequenceErrors, "malformed": s.LMI.Malformed,
		"other_form": s.LMI.OtherForm, "unexpected": s.LMI.Unexpected,
	} {
		a.Counters["lmi_"+name] = count
	}
	return a
}

// newSerial returns the segment of a session that joins a serial line.
func (d *daemon) newSerial(s *config.Session, name string) (segment, error) {
	port := d.serials[s.Serial]
	if port.relay == nil {
		return &line{port: port}, nil
	}
	c := &pvc{port: port}
	port.mu.Lock()
	port.pvcs[s.DLCI] = c // before it is there, for its first event
	port.mu.Unlock()
	var err error
	c.pvc, err = port.relay.Add(s.DLCI)
	return c, err
}

// A line is the segment of a session that carries a whole line.
type line struct{ port *serialPort }

func (l *line) join(session *l2tpv3.Session, tell func(up bool)) {
	bridge.Patch(l.port.line, session)
	if tell == nil {
		return
	}
	tell(true)
	if l.port.cfg.InactiveLimit > 0 {
		l.port.daemon.work.Go(func() { l.watch(session, tell) })
	}
}

// lookEach is how often a line is looked at for what has come from it.
const lookEach = time.Second

// watch closes the circuit of a line that has been silent for too long, until something
// comes from it. A line has no other way of telling that it is inactive. RFC 4349
// section 3.2.
func (l *line) watch(session *l2tpv3.Session, tell func(up bool)) {
	d, limit := l.port.daemon, l.port.cfg.InactiveLimit
	frames, since, closed := l.port.line.Stats().InFrames, time.Now(), false
	for pause(d.ctx, min(limit, lookEach)) {
		now := l.port.line.Stats().InFrames
		switch {
		case now != frames:
			frames, since = now, time.Now()
			if closed {
				closed = false
				tell(true)
			}
		case !closed && time.Since(since) >= limit:
			closed = true
			d.endpoint.CloseCircuit(session, control.Inactive)
		}
	}
}

func (l *line) carry(bool)                             {}
func (l *line) show() api.Joined                       { return api.Joined{Serial: l.port.cfg.Name} }
func (l *line) drops() (none [pseudowire.Drops]uint64) { return none }
func (l *line) close()                                 {}

// A pvc is the segment of a session that is one PVC of a line.
type pvc struct {
	port *serialPort
	pvc  *serial.PVC

	mu      sync.Mutex
	session *l2tpv3.Session
	tell    func(up bool)
	status  framerelay.Status
	since   time.Time   // of the status
	limit   *time.Timer // how long it may be inactive; nil: it is not, or for ever
}

func (c *pvc) join(session *l2tpv3.Session, tell func(up bool)) {
	bridge.Patch(c.pvc, session)
	if tell == nil {
		c.pvc.SetActive(true) // a static session has nobody who says otherwise
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.tell = session, tell
	tell(c.status == framerelay.Active)
	c.setLimit()
}

// carry has the LMI tell the other end of the line whether the far end of the PVC is
// there.
func (c *pvc) carry(active bool) { c.pvc.SetActive(active) }

// changed takes the status of the PVC on this side, which the session's peer is told.
func (c *pvc) changed(s framerelay.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = s
	if c.tell == nil {
		return
	}
	c.tell(s == framerelay.Active)
	if s == framerelay.Deleted {
		c.port.daemon.endpoint.CloseCircuit(c.session, control.Deleted)
	}
	c.setLimit()
}

// setLimit begins to wait for the PVC to be active, if it is not and the wait is to have
// an end.
func (c *pvc) setLimit() {
	if c.limit != nil {
		c.limit.Stop()
		c.limit = nil
	}
	c.since = time.Now()
	if limit := c.port.cfg.InactiveLimit; limit > 0 && c.status == framerelay.Inactive {
		c.limit = time.AfterFunc(limit, c.late)
	}
}

// late closes the session of a PVC that has been inactive for too long, until it is
// active. RFC 4591 section 3.2.
func (c *pvc) late() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == framerelay.Inactive && time.Since(c.since) >= c.port.cfg.InactiveLimit {
		c.port.daemon.endpoint.CloseCircuit(c.session, control.Inactive)
	}
}

func (c *pvc) show() api.Joined {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.pvc.Stats()
	return api.Joined{Serial: c.port.cfg.Name, DLCI: c.pvc.DLCI(), PVC: c.status.String(), Segment: api.Counters{
		"in_frames": n.InFrames, "in_octets": n.InOctets, "out_frames": n.OutFrames, "out_octets": n.OutOctets, "out_errors": n.OutErrors,
	}}
}

func (c *pvc) drops() (none [pseudowire.Drops]uint64) { return none }

func (c *pvc) close() {
	c.mu.Lock()
	if c.limit != nil {
		c.limit.Stop()
	}
	c.mu.Unlock()
	c.pvc.Close()
}
