package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/l2tpv3/machine"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/lns"
	"spanwire/pseudowire/ppp/lns/users"
	"spanwire/pseudowire/ppp/radius"
)

// partingTime is how long PPP has to say goodbye, and then RADIUS to be told.
const partingTime = 3 * time.Second

// A profile is a profile of PPP that is open: the links of an LNS, or those of a
// client, one after the other. When its TUN is lost it is opened again, and the links
// that there were are closed.
type profile struct {
	daemon *daemon
	cfg    *config.PPP
	log    *slog.Logger
	mtu    int
	nas    *nas // nil: no RADIUS server is asked

	mu      sync.Mutex
	server  *lns.Server // nil: it is none, or not open
	client  *lns.Client // too
	calls   map[*pppCall]bool
	users   *users.Set // who they are by now
	past    totals     // of former servers and links
	told    usage      // what was told last, which does not become less
	parting bool       // it is not opened any more
	last    lastError
	notes   machine.Notes // of links that came to nothing: strangers can cause them
}

// A lastError is the last link that came to nothing, or that ended in another way than
// by a wish.
type lastError struct {
	text, user string
	peer       netip.AddrPort
	time       time.Time
}

// totals are what a profile counts.
type totals struct {
	lns.Counts
	usage
}

// A usage is what links have carried.
type usage struct{ InPackets, InOctets, OutPackets, OutOctets uint64 }

func (u *usage) add(s *lns.Status) {
	u.InPackets += s.InPackets
	u.InOctets += s.InOctets
	u.OutPackets += s.OutPackets
	u.OutOctets += s.OutOctets
}

// A nas is what is known to RADIUS servers.
type nas struct {
	client     *radius.Client
	accounting *radius.Accounting // nil: nobody is told
	dynamic    *radius.Dynamic    // nil: nobody is obeyed
}

// openPPP opens the profiles that tunnels of L2TPv2 join, with their RADIUS servers.
func (d *daemon) openPPP() error {
	for i := range d.file.PPP {
		c := &d.file.PPP[i]
		if !slices.ContainsFunc(d.file.Tunnels, func(t config.Tunnel) bool { return t.Version2 != nil && t.Version2.PPP == c.Name }) {
			d.log.Warn("no tunnel joins a profile of PPP, it stays closed", "ppp", c.Name)
			continue
		}
		p := &profile{daemon: d, cfg: c, log: d.log.With("ppp", c.Name), mtu: d.file.LinkMTU(c), calls: make(map[*pppCall]bool)}
		if c.Server != nil {
			p.users = c.Server.Users
		}
		if c.RADIUS != "" {
			var err error
			if p.nas, err = d.openRADIUS(c.RADIUS); err != nil {
				return fmt.Errorf("ppp %s: %w", c.Name, err)
			}
		}
		failed, err := p.open()
		if err != nil {
			return fmt.Errorf("ppp %s: %w", c.Name, err)
		}
		d.mu.Lock()
		d.profiles[c.Name] = p
		d.mu.Unlock()
		d.work.Go(func() { p.keep(failed) })
	}
	for i := range d.file.RADIUS {
		if err := d.obey(&d.file.RADIUS[i]); err != nil {
			return fmt.Errorf("radius %s: %w", d.file.RADIUS[i].Name, err)
		}
	}
	return nil
}

// profile returns a profile; nil: there is none that is open.
func (d *daemon) profile(name string) *profile {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.profiles[name]
}

// allProfiles returns the profiles, by name.
func (d *daemon) allProfiles() (all []*profile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(d.profiles)) {
		all = append(all, d.profiles[name])
	}
	return all
}

// open opens the TUN, and returns where it is told that it is lost.
func (p *profile) open() (failed <-chan error, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.parting {
		return nil, net.ErrClosed
	}
	var name string
	if p.cfg.Client != nil {
		cfg := *p.cfg.Client
		cfg.MTU, cfg.Log = p.mtu, p.log
		cfg.Event = func(e lns.ClientEvent) { p.happened(e.Kind, &e.Status, "", &e.Closed) }
		if p.client, err = lns.NewClient(cfg); err != nil {
			p.client = nil
			return nil, err
		}
		name, failed = p.client.Name(), p.client.Failed()
	} else {
		cfg := *p.cfg.Server
		cfg.MTU, cfg.Users, cfg.Log = p.mtu, p.users, p.log
		cfg.Event = func(e lns.Event) { p.happened(e.Kind, &e.Status, e.Text, &e.Closed) }
		if p.nas != nil {
			cfg.RADIUS, cfg.Accounting = p.nas.client, p.nas.accounting
		}
		if p.server, err = lns.New(cfg); err != nil {
			p.server = nil
			return nil, err
		}
		name, failed = p.server.Name(), p.server.Failed()
	}
	p.log.Info("TUN open", "tun", name, "mtu", p.mtu)
	return failed, nil
}

// keep opens the TUN again when it is lost, until the daemon closes.
func (p *profile) keep(failed <-chan error) {
	ctx := p.daemon.ctx
	for wait := retryFirst; ; {
		began := time.Now()
		select {
		case <-ctx.Done():
			return
		case err := <-failed:
			if p.isParting() {
				return
			}
			p.log.Warn("TUN lost, its links are closed, opening it again", "err", err)
		}
		gone, cancel := context.WithCancel(ctx)
		cancel() // there is nothing to wait for: no packet comes or goes
		p.close(gone)
		if time.Since(began) > retryMost {
			wait = retryFirst
		}
		for failed = nil; failed == nil; wait = min(2*wait, retryMost) {
			if !pause(ctx, wait) {
				return
			}
			var err error
			if failed, err = p.open(); p.isParting() {
				return
			} else if err != nil {
				p.log.Warn("TUN not opened, trying again", "err", err, "in", min(2*wait, retryMost).String())
			}
		}
	}
}

func (p *profile) isParting() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.parting
}

// close ends all links and removes the TUN.
func (p *profile) close(ctx context.Context) {
	p.mu.Lock()
	server, client := p.server, p.client
	p.server, p.client = nil, nil
	if server != nil {
		p.past.Counts = counts(p.past.Counts, server.Counts())
	}
	p.mu.Unlock()
	var err error
	if server != nil {
		err = server.Close(ctx)
	}
	if client != nil {
		err = client.Close(ctx)
	}
	p.mu.Lock()
	for c := range p.calls { // of links whose peers had not answered when ctx ended
		p.daemon.hangUp(c, wire.CDNV2{Result: wire.Result{Code: wire.CDNAdministrative, Message: "TUN closed"}})
	}
	p.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		p.log.Warn("closing PPP", "err", err)
	}
}

// counts returns the sums.
func counts(a, b lns.Counts) lns.Counts {
	return lns.Counts{
		Opened: a.Opened + b.Opened, Refused: a.Refused + b.Refused, Up: a.Up + b.Up, Closed: a.Closed + b.Closed,
		NoRoom: a.NoRoom + b.NoRoom, Depleted: a.Depleted + b.Depleted,
	}
}

// total returns what all links did, those that there are among them.
func (p *profile) total(links []lns.Status) totals {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.past
	if p.server != nil {
		all.Counts = counts(all.Counts, p.server.Counts())
	}
	for i := range links {
		all.add(&links[i])
	}
	// A link that is just closing is in neither for a moment.
	for _, v := range []struct{ told, now *uint64 }{
		{&p.told.InPackets, &all.InPackets}, {&p.told.InOctets, &all.InOctets},
		{&p.told.OutPackets, &all.OutPackets}, {&p.told.OutOctets, &all.OutOctets},
	} {
		*v.told = max(*v.told, *v.now)
	}
	all.usage = p.told
	return all
}

// count counts what happened to a link, as far as a server does not.
func (p *profile) count(kind lns.EventKind, s *lns.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	client := p.cfg.Client != nil
	switch kind {
	case lns.Up:
		if client {
			p.past.Up++
		}
	case lns.Down:
		p.past.add(s)
		if client {
			p.past.Closed++
			p.past.Opened++
		}
	}
}

// ends returns what links are opened at; both nil: at nothing, the TUN is lost.
func (p *profile) ends() (*lns.Server, *lns.Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.server, p.client
}

// carried takes a call whose link is to be opened, and returns at what.
func (p *profile) carried(c *pppCall) (*lns.Server, *lns.Client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[c] = true
	return p.server, p.client
}

// left takes that a call is no more.
func (p *profile) left(c *pppCall) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, c)
}

// setUsers has who comes in from now on be one of others.
func (p *profile) setUsers(all *users.Set) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users = all
	if p.server != nil {
		p.server.SetUsers(all)
	}
}

// happened logs and shows what happened to a link.
func (p *profile) happened(kind lns.EventKind, s *lns.Status, text string, closed *lns.Closed) {
	p.count(kind, s)
	now := time.Now()
	args := []any{"link", s.Call.Name, "peer", s.Call.Peer.String(), "user", s.User, "method", method(s)}
	level, why := slog.LevelInfo, ""
	switch kind {
	case lns.Refused:
		level, why = slog.LevelWarn, text
	case lns.Down:
		why = closed.String()
		switch closed.Reason {
		case ppp.ByUs, ppp.ByPeer, ppp.NotClosed:
		default:
			level = slog.LevelWarn
		}
	}
	if level == slog.LevelWarn {
		p.noteError(lastError{why, s.User, s.Call.Peer, now})
	}
	what := "PPP link " + kind.String()
	switch {
	case kind == lns.Refused || kind == lns.Down && s.Since.IsZero():
		p.note(level, what, why, args...)
	case kind == lns.Down:
		p.log.Log(context.Background(), level, what, append(args, "why", why, "in_octets", s.InOctets, "out_octets", s.OutOctets)...)
	default:
		p.log.Info(what, append(args, "address", known(s.Address), "prefix", known(s.Prefix), "encryption", encryption(s), "mtu", s.MTU)...)
	}
	p.daemon.events.tell(func() api.Event {
		return api.Event{
			Time: now, Event: "link " + kind.String(), Profile: p.cfg.Name, Link: s.Call.Name, Peer: s.Call.Peer.String(),
			User: s.User, Method: method(s), Address: known(s.Address), Prefix: known(s.Prefix), Delegated: known(s.Delegated), Reason: why,
		}
	})
}

func (p *profile) noteError(e lastError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = e
}

// note logs what strangers can cause, as often as may be.
func (p *profile) note(level slog.Level, what, why string, args ...any) {
	p.mu.Lock()
	more, ok := p.notes.Take(time.Now())
	p.mu.Unlock()
	if ok {
		p.log.Log(context.Background(), level, what, append(args, "why", why+more)...)
	}
}

// known shows an address or a prefix, if there is one.
func known[T interface {
	IsValid() bool
	String() string
}](v T) string {
	if !v.IsValid() {
		return ""
	}
	return v.String()
}

// method returns how a user had to prove who he is.
func method(s *lns.Status) string {
	if s.Method == 0 {
		return ""
	}
	return s.Method.String()
}

func encryption(s *lns.Status) string {
	if s.PPP.Encrypted {
		return "mppe"
	}
	return "none"
}

// openRADIUS opens what RADIUS servers are asked and told, once for all profiles.
func (d *daemon) openRADIUS(name string) (*nas, error) {
	if n := d.nases[name]; n != nil {
		return n, nil
	}
	c := &d.file.RADIUS[slices.IndexFunc(d.file.RADIUS, func(r config.RADIUS) bool { return r.Name == name })]
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
	d.mu.Lock()
	d.nases[name] = n
	d.mu.Unlock()
	return n, nil
}

// obey has RADIUS servers end and change the links of the profiles that ask them.
func (d *daemon) obey(c *config.RADIUS) (err error) {
	n := d.nases[c.Name]
	if n == nil || !c.Dynamic.Listen.IsValid() {
		return nil
	}
	var asking []*profile
	for _, p := range d.allProfiles() {
		if p.cfg.RADIUS == c.Name {
			asking = append(asking, p)
		}
	}
	dynamic := c.Dynamic
	dynamic.Log = d.log.With("radius", c.Name)
	n.dynamic, err = n.client.ListenDynamic(dynamic, func(ctx context.Context, o radius.Order) radius.ErrorCause {
		for _, p := range asking { // the first that has the session says what becomes of it
			server, _ := p.ends()
			if server == nil {
				continue
			}
			if answer := server.Obey(ctx, o); answer != radius.SessionContextNotFound {
				return answer
			}
		}
		return radius.SessionContextNotFound
	})
	return err
}

// closePPP ends all links, while the tunnels are still there to say so.
func (d *daemon) closePPP() {
	ctx, cancel := context.WithTimeout(context.Background(), partingTime)
	defer cancel()
	for _, n := range d.nases {
		if n.dynamic != nil {
			n.dynamic.Close()
		}
	}
	var work sync.WaitGroup
	for _, p := range d.allProfiles() {
		work.Go(func() {
			p.mu.Lock()
			p.parting = true
			p.mu.Unlock()
			p.close(ctx)
		})
	}
	work.Wait()
	d.hangups.Wait()
	toTell, cancel := context.WithTimeout(context.Background(), partingTime)
	defer cancel()
	for name, n := range d.nases {
		if n.accounting == nil {
			continue
		}
		work.Go(func() {
			if err := n.accounting.Close(toTell); err != nil {
				d.log.Warn("RADIUS was not told all", "radius", name, "err", err)
			}
		})
	}
	work.Wait()
}

// errNoLink says that nobody was to be disconnected.
var errNoLink = errors.New("no link of that user, with that address, or of that name")

// disconnect ends the links of a user, the one with an address or a prefix, or the one
// of a name.
func (d *daemon) disconnect(name string) error {
	address, _ := netip.ParseAddr(name)
	chosen := func(s lns.Status) bool {
		if address.IsValid() && (s.Address == address || s.Prefix.Contains(address) || s.Delegated.Contains(address)) {
			return true
		}
		return name != "" && (s.User == name || s.Call.Name == name || s.ID == name)
	}
	n := 0
	for _, p := range d.allProfiles() {
		n += p.disconnect(chosen)
	}
	if n == 0 {
		return errNoLink
	}
	d.log.Info("links disconnected by command", "name", name, "links", n)
	return nil
}

// disconnect begins to end the links that are chosen, and returns how many.
func (p *profile) disconnect(chosen func(lns.Status) bool) (n int) {
	server, client := p.ends()
	if server != nil {
		n = server.Disconnect(chosen, radius.AdminReset)
	}
	if client != nil {
		if l := client.Link(); l != nil && chosen(l.Status()) {
			l.Disconnect()
			n++
		}
	}
	return n
}

// partTime is how long the links of what is closed by command have to say goodbye.
const partTime = time.Second

// part ends the links of a tunnel of L2TPv2, of those that peers have asked for of one,
// or of a call, before they are closed, and reports whether there were any.
func (d *daemon) part(name string) (parted bool) {
	chosen := func(s lns.Status) bool {
		tunnel, _, _ := strings.Cut(s.Call.Name, "/")
		configured, _, _ := strings.Cut(tunnel, "#")
		return name == s.Call.Name || name == tunnel || name == configured
	}
	const moment = 10 * time.Millisecond
	for end := time.Now().Add(partTime); time.Now().Before(end); time.Sleep(moment) {
		n := 0
		for _, p := range d.allProfiles() {
			n += p.disconnect(chosen)
		}
		if n == 0 {
			break
		}
		parted = true
	}
	if parted {
		// The CDN of a link that is gone follows in a moment. Behind the StopCCN nobody
		// would read it.
		time.Sleep(moment)
		d.hangups.Wait()
	}
	return parted
}

// reload reads the file again and takes up who the users are. The rest is said.
func (d *daemon) reload() (done api.Reloaded, err error) {
	d.log.Info("command", "command", "reload")
	d.reloading.Lock()
	defer d.reloading.Unlock()
	f, err := config.Load(d.file.Path)
	if err != nil {
		d.log.Warn("not reloaded", "err", err)
		return done, err
	}
	for _, w := range f.Warnings {
		d.log.Warn(w.String())
	}
	done = api.Reloaded{Users: []string{}, Restart: append([]string{}, config.Diff(d.file, f)...)}
	for i := range f.PPP {
		c := &f.PPP[i]
		if p := d.profile(c.Name); p != nil && c.Server != nil && p.cfg.Server != nil {
			p.setUsers(c.Server.Users)
			done.Users = append(done.Users, c.Name)
			d.log.Info("users read again", "ppp", c.Name, "file", c.UsersFile)
		}
	}
	if len(done.Restart) > 0 {
		d.log.Warn("not changed while running, want a restart", "keys", strings.Join(done.Restart, ", "))
	}
	return done, nil
}
