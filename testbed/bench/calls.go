package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/dataplane/user"
	"spanwire/l2tpv3/l2tpv2"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
)

// profile returns what a responder to calls has behind its tunnel: an LNS with one user.
func (l load) profile(at site) (string, error) {
	users := filepath.Join(at.dir, "users.toml")
	text := fmt.Sprintf("[user.%s]\npassword = %q\n", caller, setUpSecret)
	return fmt.Sprintf(`version = 2
ppp = "users"
[ppp.users]
mode = "lns"
tun = "users0"
auth = [%q]
address = "10.0.0.1"
pool = "10.0.0.0/16"
users_file = %q
`, l.Method, users), os.WriteFile(users, []byte(text), 0o600)
}

// caller is who calls.
const caller = "bench"

// respond is the process that answers calls without PPP, until it is ended.
func respond() error {
	e := callEndpoint("responder", nowhere{})
	local := netip.MustParseAddrPort("127.0.0.1:1701")
	err := e.AddVersion2(l2tpv3.Version2Config{
		TunnelConfig: l2tpv3.TunnelConfig{Name: "any", Socket: transport.Config{Local: local}},
		From:         []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		Control:      l2tpv2.TunnelConfig{Incoming: true},
	})
	if err != nil {
		return err
	}
	select {}
}

func callEndpoint(name string, plane dataplane.Plane) *l2tpv3.Endpoint {
	return l2tpv3.New(plane, slog.New(slog.DiscardHandler), control.Config{HostName: name, RouterID: 1, VendorName: "Spanwire", RequestRate: 100000})
}

// call is the process that dials where sessions are calls.
func call(l load) error {
	plane := dataplane.Plane(nowhere{})
	if l.Method != "" {
		plane = user.New()
	}
	d := &callers{
		Endpoint: callEndpoint("dialler", plane), load: l,
		tunnelsUp: make(chan struct{}, l.Tunnels), began: make(map[l2tpv2.CallID]time.Time), next: make(map[string]int), done: make(chan struct{}),
	}
	d.NotifyVersion2(d.take)
	s := setUp{Load: l.Name}
	began := time.Now()
	for i := range l.Tunnels {
		if err := d.AddVersion2(l2tpv3.Version2Config{
			TunnelConfig: l2tpv3.TunnelConfig{
				Name:   tunnelName(i),
				Socket: transport.Config{Local: netip.MustParseAddrPort("127.0.0.2:1701")},
				Peer:   l2tpv3.Host{Addr: netip.MustParseAddr("127.0.0.1"), Port: wire.Port},
			},
			Control: l2tpv2.TunnelConfig{Dial: true, HostName: tunnelName(i)},
		}); err != nil {
			return err
		}
	}
	for range l.Tunnels {
		<-d.tunnelsUp
	}
	s.tunnels(l, began)
	began = time.Now()
	for i := range l.Tunnels {
		for range l.Outstanding {
			d.ask(tunnelName(i))
		}
	}
	for ended := false; !ended; {
		select {
		case <-d.done:
			ended = true
		case <-time.After(500 * time.Millisecond):
			d.advance()
		}
	}
	s.sessions(l, began, d.took)
	return s.tell(d.Endpoint)
}

// callers set up a load of calls.
type callers struct {
	*l2tpv3.Endpoint
	load      load
	tunnelsUp chan struct{}
	done      chan struct{}

	mu    sync.Mutex
	began map[l2tpv2.CallID]time.Time
	next  map[string]int // of each tunnel
	took  []time.Duration
	all   []*callEnd
}

// ask makes the next call of a tunnel, if there is one more.
func (d *callers) ask(tunnel string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.next[tunnel]++; d.next[tunnel] > d.load.Sessions {
		return
	}
	began := time.Now()
	c, err := d.Indicate(tunnel, l2tpv2.IncomingCall{Connected: wire.ICCNV2{ConnectedV2: wire.ConnectedV2{Framing: wire.SyncFraming}}})
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
	d.began[c.ID()] = began
}

func (d *callers) take(e l2tpv3.Version2Event) {
	switch e.Kind {
	case l2tpv2.TunnelUp:
		d.tunnelsUp <- struct{}{}
	case l2tpv2.SessionUp:
		if d.load.Method == "" {
			d.up(e.Call, e.Tunnel)
			return
		}
		d.speak(e)
	}
}

// up counts a call that is up.
func (d *callers) up(id l2tpv2.CallID, tunnel string) {
	d.mu.Lock()
	d.took = append(d.took, time.Since(d.began[id]))
	all := len(d.took) == d.load.Tunnels*d.load.Sessions
	d.mu.Unlock()
	if all {
		close(d.done)
	}
	d.ask(tunnel)
}

// A callEnd is who calls, with PPP.
type callEnd struct {
	port *l2tpv3.Call
	up   func()

	mu   sync.Mutex
	link *ppp.Link
	was  bool // up
}

// speak begins PPP over a call.
func (d *callers) speak(e l2tpv3.Version2Event) {
	link, err := ppp.New(ppp.Config{
		Name: caller, Password: setUpSecret, Prove: []ppp.Method{ppp.ByMSCHAP2, ppp.ByCHAP, ppp.ByPAP}, IPv6: ppp.IPv6Config{Off: true}, EchoInterval: time.Hour,
	})
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
	c := &callEnd{port: e.Port, link: link, up: func() { d.up(e.Call, e.Tunnel) }}
	d.mu.Lock()
	d.all = append(d.all, c)
	d.mu.Unlock()
	c.tell(link.Open)
	c.port.Attach(func(frames []pseudowire.Frame) int {
		c.tell(func(now time.Time) {
			for _, f := range frames {
				link.Receive(now, f.Bytes())
			}
		})
		return len(frames)
	})
}

// tell tells the machine something, and does what it says.
func (c *callEnd) tell(what func(time.Time)) {
	c.mu.Lock()
	what(time.Now())
	var out []pseudowire.Frame
	up := false
	for more := true; more; {
		more = false
		for {
			b, ok := c.link.Transmit(make([]byte, pseudowire.Headroom, pseudowire.Headroom+64))
			if !ok {
				break
			}
			out = append(out, pseudowire.NewFrame(b, pseudowire.Headroom))
		}
		for {
			e, ok := c.link.Event()
			if !ok {
				break
			}
			more = true
			switch e.Kind {
			case ppp.IPv4Up:
				up = !c.was
				c.was = true
			case ppp.LinkClosed:
				fmt.Fprintf(os.Stderr, "bench: PPP: %v\n", e)
				os.Exit(1)
			}
		}
	}
	c.port.Send(out) // in the order in which it was said
	c.mu.Unlock()
	if up {
		c.up()
	}
}

// advance has those who wait ask again.
func (d *callers) advance() {
	d.mu.Lock()
	all := d.all
	d.mu.Unlock()
	for _, c := range all {
		c.tell(c.link.Advance)
	}
}
