package l2tpv3

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// An Endpoint is an LCCE: the sockets of this node and the tunnels over them.
type Endpoint struct {
	plane   dataplane.Plane
	log     *slog.Logger
	ctx     context.Context
	stop    context.CancelFunc
	work    sync.WaitGroup // tunnels and readers
	channel *channel
	closing sync.Once
	dynamic atomic.Bool // there is a tunnel with a control connection

	mu      sync.Mutex
	tunnels []*Tunnel
	sockets map[transport.Config]*transport.Conn
}

// New returns an endpoint without tunnels, whose sessions the plane carries. The
// node is what it tells peers of itself.
func New(plane dataplane.Plane, log *slog.Logger, node control.Config) *Endpoint {
	ctx, stop := context.WithCancel(context.Background())
	e := &Endpoint{
		plane:   plane,
		log:     log,
		ctx:     ctx,
		stop:    stop,
		sockets: make(map[transport.Config]*transport.Conn),
	}
	if node.Random == nil {
		node.Random = func(b []byte) { rand.Read(b) } // which never fails
	}
	e.channel = newChannel(e, node)
	e.work.Go(func() { e.channel.run(ctx) })
	return e
}

// AddTunnel opens a static tunnel with its sessions and keeps it open. Its errors
// are those of the configuration: an address that is not there yet, a name that
// does not resolve and a missing route are waited for.
func (e *Endpoint) AddTunnel(cfg TunnelConfig, sessions []SessionConfig) (*Tunnel, error) {
	t := &Tunnel{endpoint: e, cfg: cfg, log: e.log.With("tunnel", cfg.Name)}
	for _, c := range sessions {
		e.reserve(c.SessionID)
		link, err := e.plane.Open(c.Params)
		if err != nil {
			t.closeLinks()
			return nil, fmt.Errorf("tunnel %s: %w", cfg.Name, err)
		}
		t.sessions = append(t.sessions, static(link, c.Params))
	}
	t.enter(Resolving, nil)

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		t.closeLinks()
		return nil, fmt.Errorf("tunnel %s: %w", cfg.Name, net.ErrClosed)
	}
	e.tunnels = append(e.tunnels, t)
	e.work.Go(func() { t.run(e.ctx) })
	return t, nil
}

// reserve keeps a static Session ID from dynamic sessions.
func (e *Endpoint) reserve(id uint32) {
	e.channel.mu.Lock()
	defer e.channel.mu.Unlock()
	e.channel.lcce.Reserve(id)
}

// Close ends all tunnels, closes the sockets, and returns when nothing of the
// endpoint runs any more.
func (e *Endpoint) Close() { e.closing.Do(e.close) }

func (e *Endpoint) close() {
	e.channel.close()
	e.stop()
	e.mu.Lock()
	for _, c := range e.sockets {
		c.Close()
	}
	e.mu.Unlock()
	e.work.Wait()
	for _, t := range e.tunnels {
		t.closeLinks()
	}
	e.channel.mu.Lock()
	for _, d := range e.channel.all {
		for _, s := range d.sessions {
			s.close()
		}
	}
	calls := slices.Collect(maps.Values(e.channel.calls))
	e.channel.mu.Unlock()
	for _, p := range calls {
		if l := p.stop(); l != nil {
			l.Close()
		}
	}
}

// socket returns the Conn that tunnels with this Config share, and starts reading
// it when it is first asked for.
func (e *Endpoint) socket(cfg transport.Config) (*transport.Conn, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	if c := e.sockets[cfg]; c != nil {
		return c, nil
	}
	c, err := transport.Listen(cfg)
	if err != nil {
		return nil, err
	}
	e.sockets[cfg] = c
	e.tellBuffers(c)
	via := e.channel.via(c)
	e.work.Go(func() { e.read(c, via) })
	return c, nil
}

// tellBuffers says so where the kernel gave a socket smaller buffers than asked.
func (e *Endpoint) tellBuffers(c *transport.Conn) {
	cfg := c.Config()
	receive, send := c.Buffers()
	log := e.log.With("encap", cfg.Encap.String(), "local", cfg.Local.String())
	if want := cfg.ReceiveBufferSize(); receive < want {
		log.Warn("the kernel gave a smaller receive buffer: raise sysctl net.core.rmem_max", "want", want, "have", receive)
	}
	if want := cfg.SendBufferSize(); send < want {
		log.Warn("the kernel gave a smaller send buffer: raise sysctl net.core.wmem_max", "want", want, "have", send)
	}
}

// read takes what comes out of a socket until it is closed.
func (e *Endpoint) read(c *transport.Conn, via int) {
	reader, receiver := c.NewReader(), e.plane.NewReceiver(c)
	encap, wildcard := c.Config().Encap, c.Config().Local.Addr().IsUnspecified()
	var deadline time.Time
	for {
		datagrams, err := reader.Read(deadline)
		for i := range datagrams {
			e.dispatch(receiver, encap, via, wildcard, &datagrams[i])
		}
		deadline = receiver.Flush(time.Now())
		switch {
		case err == nil || errors.Is(err, os.ErrDeadlineExceeded):
		case errors.Is(err, net.ErrClosed):
			return
		default:
			e.log.Warn("reading a socket", "encap", encap.String(), "local", c.LocalAddr().String(), "err", err)
			select {
			case <-e.ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	}
}

// dispatch sends a datagram where it belongs by its first octets.
func (e *Endpoint) dispatch(r dataplane.Receiver, encap wire.Encap, via int, wildcard bool, d *transport.Datagram) {
	kind, sessionID, rest := wire.Classify(encap, d.Frame.Bytes())
	switch kind {
	case wire.Data:
		d.Frame = d.Frame.Skip(d.Frame.Len() - len(rest))
		r.Receive(d, sessionID)
	case wire.Short:
		e.plane.Drop(pseudowire.DropShort)
	case wire.Control, wire.Version2:
		switch {
		case kind == wire.Version2 && !wire.ControlV2(rest):
			r.ReceiveV2(d)
		case !e.dynamic.Load():
			e.plane.Drop(pseudowire.DropControl)
		case !e.channel.receive(via, wildcard, d, rest):
			e.plane.Drop(pseudowire.DropBusy)
		}
	default:
		e.plane.Drop(pseudowire.DropVersion)
	}
}
