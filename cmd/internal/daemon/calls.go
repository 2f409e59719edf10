package daemon

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns"
	"spanwire/pseudowire/ppp/radius"
)

// A pppCall is a call of L2TPv2 with the end of PPP that it carries.
type pppCall struct {
	*l2tpv3.Call
	profile *profile
	user    *lns.Link       // nil: not of a server
	client  *lns.ClientLink // nil: not of a client
	mtu     atomic.Int32    // that the path carries
}

// called takes what the endpoint tells of L2TPv2.
func (d *daemon) called(e l2tpv3.Version2Event) {
	d.events.tell(func() api.Event { return showCall(&e) })
	switch e.Kind {
	case l2tpv2.SessionUp, l2tpv2.SessionDown:
		d.calls.put(e)
	}
}

// showCall tells an event as the control socket does.
func showCall(e *l2tpv3.Version2Event) api.Event {
	a := api.Event{
		Time: e.Time, Event: e.Kind.String(), Tunnel: e.Tunnel, Host: e.Peer.HostName, Reason: e.Reason, Next: e.Next, Version: 2,
		ID: uint32(e.Params.SessionID), PeerID: uint32(e.Params.PeerSessionID),
	}
	if e.Port != nil {
		a.Session = e.Port.Name()
	}
	if e.Address.Peer.IsValid() {
		a.Peer = e.Address.Peer.String()
	}
	return a
}

// answer opens and closes links as their calls come and go.
func (d *daemon) answer() {
	open := make(map[l2tpv2.CallID]*pppCall)
	for all := d.calls.take(); all != nil; all = d.calls.take() {
		for i := range all {
			e := &all[i]
			switch c := open[e.Call]; e.Kind {
			case l2tpv2.SessionUp:
				tunnel := d.version2(e.Config)
				if tunnel == nil {
					continue
				}
				c = &pppCall{Call: e.Port, profile: d.profile(tunnel.PPP)}
				open[e.Call] = c
				d.link(c)
			case l2tpv2.SessionDown:
				if c != nil {
					delete(open, e.Call)
					c.gone(e)
				}
			}
		}
	}
}

// link opens the end of PPP that a call is for.
func (d *daemon) link(c *pppCall) {
	p := c.profile
	server, client := p.carried(c)
	closed := func(why lns.Closed) { d.hangUp(c, farewell(&why)) }
	from := d.from(c)
	if tells(c.Params()) {
		from.Agreed = func(a ppp.Agreement) { d.hangups.Go(func() { d.tellLAC(c, a) }) }
	}
	var err error
	switch {
	case server != nil:
		c.user, err = server.Open(c, from, closed)
	case client != nil:
		c.client, err = client.Open(c, from, closed)
	default:
		err = fmt.Errorf("TUN %s is lost", p.cfg.TUN())
	}
	if err != nil {
		p.noteError(lastError{err.Error(), "", from.Peer, time.Now()})
		p.note(slog.LevelWarn, "PPP link not opened", err.Error(), "link", c.Name(), "peer", from.Peer.String())
		d.hangUp(c, wire.CDNV2{Result: wire.Result{Code: wire.CDNTemporary, Message: err.Error()}})
		return
	}
	if p.cfg.AutoMTU {
		c.NotifyMTU(func(mtu int) {
			c.mtu.Store(int32(mtu))
			d.work.Go(c.fit) // for the link may have more to do than whoever tells can wait for
		})
	}
}

// fit has the link send no more than the path carries.
func (c *pppCall) fit() {
	mtu := int(c.mtu.Load())
	if c.user != nil {
		c.user.Fit(mtu)
	}
	if c.client != nil {
		c.client.Fit(mtu)
	}
}

// version2 returns a tunnel of L2TPv2 as the file has it; nil: there is none.
func (d *daemon) version2(name string) *config.Version2 {
	for i := range d.file.Tunnels {
		if t := &d.file.Tunnels[i]; t.Name == name {
			return t.Version2
		}
	}
	return nil
}

// from says where a link comes from.
func (d *daemon) from(c *pppCall) lns.Call {
	q, peer, at := c.Params(), c.Peer(), c.PeerAddress()
	a := lns.Call{Name: c.Name(), Peer: at, Proxy: lns.Proxy(q.Proxy)}
	a.Port = radius.Port{
		Number: uint32(q.TunnelID)<<16 | uint32(q.SessionID), ID: c.Name(),
		CalledStationID: q.CalledNumber, CallingStationID: q.CallingNumber,
		Tunnel: radius.Tunnel{
			Client: at.Addr(), ClientAuthID: peer.HostName, ServerAuthID: d.file.Node.Hostname,
			AssignmentID: c.Tunnel(), Connection: fmt.Sprint(q.SerialNumber),
		},
	}
	if q.TxSpeed != 0 {
		a.Port.ConnectInfo = fmt.Sprint(q.TxSpeed)
		if q.RxSpeed != 0 && q.RxSpeed != q.TxSpeed {
			a.Port.ConnectInfo += fmt.Sprintf("/%d", q.RxSpeed)
		}
	}
	return a
}

// tells reports whether the LAC of a call is to be told what LCP agrees on: where its line
// is asynchronous, for which it escapes characters, or where it has wishes of its own.
func tells(q l2tpv2.Params) bool {
	return !q.LAC && (q.Framing == wire.AsyncFraming || len(q.LCPWant)+len(q.LCPAllow) > 0)
}

// tellLAC tells it. We ask the user for no ACCM, so what comes from him has all
// characters escaped. RFC 2661 section 6.14, RFC 3437 section 2.3.
func (d *daemon) tellLAC(c *pppCall, a ppp.Agreement) {
	if err := c.SetLink(setLink(c.Params(), a)); err != nil {
		d.log.Debug("the LAC was not told what LCP agreed on", "call", c.Name(), "err", err)
	}
}

func setLink(q l2tpv2.Params, a ppp.Agreement) wire.SLIV2 {
	m := wire.SLIV2{ACCM: wire.Some(wire.ACCM{Send: a.ACCM, Receive: 0xffffffff})}
	if len(q.LCPWant)+len(q.LCPAllow) > 0 {
		m.LastSent, m.LastReceived = a.Sent, a.Received
	}
	return m
}

// gone ends the link of a call that is over.
func (c *pppCall) gone(e *l2tpv3.Version2Event) {
	cause := radius.LostCarrier
	switch {
	case e.Result.Code == wire.CDNAdministrative || e.Reason == l2tpv2.ByCommand:
		cause = radius.AdminReset
	case e.Result.Code == wire.CDNError:
		cause = radius.PortError
	}
	c.profile.left(c)
	if c.user != nil {
		c.user.Close(cause)
	}
	if c.client != nil {
		c.client.Close()
	}
}

// A crew does what nobody waits for, but at the end. There may be more to do while
// somebody waits, which a sync.WaitGroup does not allow.
type crew struct {
	mu   sync.Mutex
	done sync.Cond
	busy int
}

// Go does something at once.
func (c *crew) Go(do func()) {
	c.mu.Lock()
	c.busy++
	c.mu.Unlock()
	go func() {
		do()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.busy--; c.busy == 0 && c.done.L != nil {
			c.done.Broadcast()
		}
	}()
}

// Wait waits until there is nothing to do for a moment.
func (c *crew) Wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done.L = &c.mu
	for c.busy > 0 {
		c.done.Wait()
	}
}

// hangUp ends a call. It waits for nothing: a link may say that it is closed while it
// takes a frame, for whose end the call's would wait.
func (d *daemon) hangUp(c *pppCall, why wire.CDNV2) {
	d.hangups.Go(func() {
		if err := c.Close(why); err != nil {
			d.log.Debug("call not closed", "call", c.Name(), "err", err)
		}
	})
}

// farewell says in a CDN why a link is closed. RFC 2661 section 4.4.2 has the result,
// and RFC 3145 the cause.
func farewell(c *lns.Closed) wire.CDNV2 {
	m := wire.CDNV2{Result: wire.Result{Code: wire.CDNAdministrative, Message: c.String()}}
	switch c.Reason {
	case ppp.PeerSilent, ppp.NoAnswer:
		m.Result.Code = wire.CDNCarrier
	case ppp.LoopedBack, ppp.Unconverging, ppp.CodesRejected:
		m.Result.Code, m.Result.Error = wire.CDNError, wire.ErrorVendor
	}
	if w := c.Disconnect; w.Code != wire.DisconnectNone {
		m.Disconnects = []wire.Disconnect{{Code: w.Code, Protocol: uint16(w.Protocol), Direction: wire.Direction(w.Direction), Message: c.Text}}
	}
	return m
}
