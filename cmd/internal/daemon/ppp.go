package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"spanwire/config"
	"spanwire/pseudowire/ppp/lns"
	"spanwire/pseudowire/ppp/radius"
)

// partingTime is how long PPP has to say goodbye, and RADIUS to be told.
const partingTime = 3 * time.Second

// A profile is a profile of PPP that is open: the links of an LNS, or those of a
// client, one after the other.
type profile struct {
	cfg    *config.PPP
	log    *slog.Logger
	server *lns.Server
	client *lns.Client
}

// A nas is what is known to RADIUS servers.
type nas struct {
	client     *radius.Client
	accounting *radius.Accounting // nil: nobody is told
	dynamic    *radius.Dynamic    // nil: nobody is obeyed
}

// openPPP opens the profiles that tunnels of L2TPv2 join, with their RADIUS servers.
func (d *daemon) openPPP() error {
	used := make(map[string]bool)
	for i := range d.file.Tunnels {
		if v := d.file.Tunnels[i].Version2; v != nil {
			used[v.PPP] = true
		}
	}
	for i := range d.file.PPP {
		c := &d.file.PPP[i]
		if !used[c.Name] {
			d.log.Warn("no tunnel joins a profile of PPP, it stays closed", "ppp", c.Name)
			continue
		}
		p := &profile{cfg: c, log: d.log.With("ppp", c.Name)}
		if err := d.openProfile(p); err != nil {
			return fmt.Errorf("ppp %s: %w", c.Name, err)
		}
		d.profiles[c.Name] = p
	}
	for i := range d.file.RADIUS {
		if err := d.obey(&d.file.RADIUS[i]); err != nil {
			return fmt.Errorf("radius %s: %w", d.file.RADIUS[i].Name, err)
		}
	}
	return nil
}

func (d *daemon) openProfile(p *profile) (err error) {
	if c := p.cfg.Client; c != nil {
		cfg := *c
		cfg.Log = p.log
		cfg.Event = func(e lns.ClientEvent) { p.tell(e.Kind, &e.Status, "", &e.Closed) }
		p.client, err = lns.NewClient(cfg)
		return err
	}
	cfg := *p.cfg.Server
	cfg.Log = p.log
	cfg.Event = func(e lns.Event) { p.tell(e.Kind, &e.Status, e.Text, &e.Closed) }
	if p.cfg.RADIUS != "" {
		n, err := d.openRADIUS(p.cfg.RADIUS)
		if err != nil {
			return err
		}
		cfg.RADIUS, cfg.Accounting = n.client, n.accounting
	}
	p.server, err = lns.New(cfg)
	return err
}

// tell logs what happened to a link.
func (p *profile) tell(kind lns.EventKind, s *lns.Status, text string, closed *lns.Closed) {
	args := []any{"link", s.Call.Name, "user", s.User, "peer", s.Call.Peer.String()}
	level := slog.LevelInfo
	switch kind {
	case lns.Refused:
		level, args = slog.LevelWarn, append(args, "method", s.Method.String(), "why", text)
	case lns.Down:
		args = append(args, "why", closed.String(), "in_octets", s.InOctets, "out_octets", s.OutOctets)
	default:
		args = append(args, "method", s.Method.String(), "address", s.Address.String(), "prefix", s.Prefix.String(), "mtu", s.MTU)
	}
	p.log.Log(context.Background(), level, "PPP link "+kind.String(), args...)
}

// openRADIUS opens what RADIUS servers are told, once for all profiles.
func (d *daemon) openRADIUS(name string) (*nas, error) {
	if n := d.nases[name]; n != nil {
		return n, nil
	}
	var c *config.RADIUS
	for i := range d.file.RADIUS {
		if d.file.RADIUS[i].Name == name {
			c = &d.file.RADIUS[i]
		}
	}
	n := new(nas)
	var err error
	if n.client, err = radius.New(c.Config); err != nil {
		return nil, fmt.Errorf("radius %s: %w", name, err)
	}
	if len(c.Accounting) > 0 {
		accounts := c.Accounts
		accounts.Log = d.log.With("radius", name)
		if n.accounting, err = n.client.OpenAccounting(accounts); err != nil {
			return nil, fmt.Errorf("radius %s: %w", name, err)
		}
	}
	d.nases[name] = n
	return n, nil
}

// obey has RADIUS servers end and change the links of the profiles that ask them.
func (d *daemon) obey(c *config.RADIUS) (err error) {
	n := d.nases[c.Name]
	if n == nil || !c.Dynamic.Listen.IsValid() {
		return nil
	}
	var servers []*lns.Server
	for _, p := range d.profiles {
		if p.server != nil && p.cfg.RADIUS == c.Name {
			servers = append(servers, p.server)
		}
	}
	dynamic := c.Dynamic
	dynamic.Log = d.log.With("radius", c.Name)
	n.dynamic, err = n.client.ListenDynamic(dynamic, func(ctx context.Context, o radius.Order) (answer radius.ErrorCause) {
		for _, s := range servers { // the first that has the session says what becomes of it
			if answer = s.Obey(ctx, o); answer != radius.SessionContextNotFound {
				return answer
			}
		}
		return answer
	})
	return err
}

// closePPP ends all links, while the tunnels are still there to say so.
func (d *daemon) closePPP() {
	ctx, cancel := context.WithTimeout(context.Background(), partingTime)
	defer cancel()
	var work sync.WaitGroup
	for _, n := range d.nases {
		if n.dynamic != nil {
			n.dynamic.Close()
		}
	}
	for _, p := range d.profiles {
		work.Go(func() {
			var err error
			if p.server != nil {
				err = p.server.Close(ctx)
			}
			if p.client != nil {
				err = p.client.Close(ctx)
			}
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				p.log.Warn("closing PPP", "err", err)
			}
		})
	}
	work.Wait()
	for name, n := range d.nases {
		if n.accounting == nil {
			continue
		}
		if err := n.accounting.Close(ctx); err != nil {
			d.log.Warn("RADIUS was not told all", "radius", name, "err", err)
		}
	}
}
