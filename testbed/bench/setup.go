package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/dataplane"
	"spanwire/l2tpv3/transport"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/testbed/netlab"
)

// A load is how many tunnels and sessions are set up with a responder, which is a
// process of its own.
type load struct {
	Name        string
	Tunnels     int
	Sessions    int // of each tunnel
	Outstanding int // requests of each tunnel without a reply
	Secret      bool
	TAPs        bool
	Version2    bool   // sessions are calls of L2TPv2
	Method      string // of PPP, by which who calls proves who he is; empty: no PPP is spoken
}

// The loads of which there are goals.
const (
	callsAlone = "L2TPv2: 25 tunnels of 400 calls, without PPP"
	callsCHAP  = "the same with CHAP"
)

var loads = []load{
	{Name: "25 tunnels of 400 sessions", Tunnels: 25, Sessions: 400, Outstanding: 4},
	{Name: "the same with a secret", Tunnels: 25, Sessions: 400, Outstanding: 4, Secret: true},
	{Name: "the same with one request at a time", Tunnels: 25, Sessions: 400, Outstanding: 1, Secret: true},
	{Name: "10,000 tunnels at once, with a secret", Tunnels: 10000, Secret: true},
	{Name: "10 tunnels of 50 sessions with a TAP each", Tunnels: 10, Sessions: 50, Outstanding: 4, TAPs: true},
	{Name: callsAlone, Tunnels: 25, Sessions: 400, Outstanding: 4, Version2: true},
	{Name: "the same with PPP until there is IPv4, PAP", Tunnels: 25, Sessions: 400, Outstanding: 4, Version2: true, Method: "pap"},
	{Name: callsCHAP, Tunnels: 25, Sessions: 400, Outstanding: 4, Version2: true, Method: "chap"},
	{Name: "the same with MS-CHAPv2", Tunnels: 25, Sessions: 400, Outstanding: 4, Version2: true, Method: "mschapv2"},
}

// A setUp is what a load came to.
type setUp struct {
	Load           string
	TunnelSeconds  float64 // until all tunnels were up
	SessionSeconds float64 // until all sessions were
	TunnelRate     float64 // a second
	SessionRate    float64
	P50, P99       float64 // ms from a session's request until it is established
	ResponderCPU   float64 // us for each session, or for each tunnel where there are none
	Memory         float64 // octets of the responder's process for each session, or tunnel
}

const setUpSecret = "bench"

// setUps measures all loads.
func setUps(ctx context.Context, s site, say progress) (all []setUp, _ error) {
	for _, l := range loads {
		say("set-up: %s", l.Name)
		up, err := l.measure(ctx, s)
		if err != nil {
			return all, fmt.Errorf("set-up of %s: %w", l.Name, err)
		}
		all = append(all, up)
	}
	return all, nil
}

// measure runs a responder and, in a process of its own, who dials.
func (l load) measure(ctx context.Context, at site) (s setUp, err error) {
	lab, err := netlab.New()
	if err != nil {
		return s, err
	}
	defer lab.Close()
	n, err := lab.Namespace("set-up")
	if err != nil {
		return s, err
	}
	responder, err := l.responder(ctx, at)
	if err != nil {
		return s, err
	}
	responder.Stderr = os.Stderr
	if err := n.Start(responder); err != nil {
		return s, err
	}
	defer responder.Wait()
	defer responder.Process.Signal(syscall.SIGTERM)
	time.Sleep(500 * time.Millisecond)
	before, memory, err := usage(responder.Process.Pid)
	if err != nil {
		return s, err
	}
	order, err := json.Marshal(l)
	if err != nil {
		return s, err
	}
	dialler := command(ctx, "/proc/self/exe", "dial", string(order))
	dialler.Stderr = os.Stderr
	out := new(strings.Builder)
	dialler.Stdout = out
	hold, err := dialler.StdinPipe() // it keeps all up until this is closed
	if err != nil {
		return s, err
	}
	if err := n.Start(dialler); err != nil {
		return s, err
	}
	for end := time.Now().Add(2 * time.Minute); !strings.HasSuffix(out.String(), "\n"); time.Sleep(10 * time.Millisecond) {
		if ctx.Err() != nil || time.Now().After(end) {
			return s, errors.Join(ctx.Err(), errors.New("no end of it within two minutes"), dialler.Process.Kill(), dialler.Wait())
		}
	}
	said := time.Now()
	if l.TAPs {
		if err := devices(n, l.Tunnels*l.Sessions); err != nil {
			return s, err
		}
	}
	late := time.Since(said)
	after, grown, err := usage(responder.Process.Pid)
	hold.Close()
	if err := errors.Join(err, dialler.Wait()); err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(out.String()), &s); err != nil {
		return s, err
	}
	if l.TAPs { // a session is of use when its device is there
		s.SessionSeconds += late.Seconds()
		s.SessionRate = float64(l.Tunnels*l.Sessions) / s.SessionSeconds
	}
	things := float64(max(l.Tunnels*l.Sessions, l.Tunnels))
	s.ResponderCPU = (after - before).Seconds() * 1e6 / things
	s.Memory = float64(grown-memory) / things
	return s, nil
}

// responder returns the process that answers.
func (l load) responder(ctx context.Context, at site) (*exec.Cmd, error) {
	if l.Version2 && l.Method == "" {
		return command(ctx, "/proc/self/exe", "respond"), nil
	}
	keys := "[tunnel.any.session.s]\nany_end_id = true\n"
	if l.Secret {
		keys = fmt.Sprintf("secret = %q\n", setUpSecret) + keys
	}
	if l.TAPs {
		keys += "tap = \"t{n}\"\n"
	}
	if l.Version2 {
		var err error
		if keys, err = l.profile(at); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(at.dir, "responder.toml")
	text := fmt.Sprintf(`[node]
hostname = "responder"
control = %q
request_rate = 100000
[tunnel.any]
mode = "accept"
local = "127.0.0.1:1701"
peer = "any"
peer_limit = 20000
%s`, filepath.Join(at.dir, "responder.sock"), keys)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return command(ctx, at.spanwire, "run", "-c", file, "--log-level", "error"), nil
}

// usage returns what a process has used of processors and holds of memory.
func usage(pid int) (cpu time.Duration, memory int, _ error) {
	cpu, err := processCPU(pid)
	memory, also := resident(pid)
	return cpu, memory, errors.Join(err, also)
}

// devices waits until a namespace has so many devices beside its loopback.
func devices(n *netlab.Namespace, want int) error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		have := 0
		if err := n.Do(func() error {
			links, err := net.Interfaces()
			have = len(links) - 1
			return err
		}); err != nil || have == want {
			return err
		}
	}
	return errors.New("not all devices were made within a minute")
}

// dial is the process that dials: it sets all up, prints what it took, and keeps it
// up until its standard input ends.
func dial(args []string) error {
	var l load
	if err := json.Unmarshal([]byte(args[0]), &l); err != nil {
		return err
	}
	debug.SetGCPercent(800) // who dials shares the processors, and is not what is measured
	if l.Version2 {
		return call(l)
	}
	d := &dialler{load: l, tunnelsUp: make(chan struct{}, l.Tunnels), began: make(map[string]time.Time), next: make(map[string]int), done: make(chan struct{})}
	d.Endpoint = l2tpv3.New(nowhere{}, slog.New(slog.DiscardHandler), control.Config{
		HostName: "dialler", RouterID: 1, VendorName: "Spanwire", Capabilities: []pseudowire.Type{pseudowire.Ethernet}, Active: true,
	})
	d.Notify(d.take)
	s := setUp{Load: l.Name}
	began := time.Now()
	for i := range l.Tunnels {
		if err := d.add(i); err != nil {
			return err
		}
	}
	for range l.Tunnels {
		<-d.tunnelsUp
	}
	s.tunnels(l, began)
	if l.Sessions > 0 {
		began = time.Now()
		for i := range l.Tunnels {
			for range l.Outstanding {
				d.ask(tunnelName(i))
			}
		}
		<-d.done
		s.sessions(l, began, d.took)
	}
	return s.tell(d.Endpoint)
}

// tunnels and sessions take when all were up.
func (s *setUp) tunnels(l load, began time.Time) {
	s.TunnelSeconds = time.Since(began).Seconds()
	s.TunnelRate = float64(l.Tunnels) / s.TunnelSeconds
}

func (s *setUp) sessions(l load, began time.Time, took []time.Duration) {
	s.SessionSeconds = time.Since(began).Seconds()
	s.SessionRate = float64(l.Tunnels*l.Sessions) / s.SessionSeconds
	slices.Sort(took)
	s.P50 = float64(took[len(took)/2].Microseconds()) / 1000
	s.P99 = float64(took[len(took)*99/100].Microseconds()) / 1000
}

// tell tells who measures, and keeps all up for as long as he wants.
func (s *setUp) tell(e *l2tpv3.Endpoint) error {
	if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin)
	e.Close()
	return nil
}

// A dialler sets up a load.
type dialler struct {
	*l2tpv3.Endpoint
	load      load
	tunnelsUp chan struct{}
	done      chan struct{}

	mu    sync.Mutex
	began map[string]time.Time // of each session that is asked for
	next  map[string]int       // of each tunnel
	took  []time.Duration
}

func tunnelName(i int) string { return fmt.Sprintf("t%d", i) }

// add adds a tunnel with sessions that wait to be asked for.
func (d *dialler) add(i int) error {
	cfg := l2tpv3.DynamicConfig{
		TunnelConfig: l2tpv3.TunnelConfig{
			Name:   tunnelName(i),
			Socket: transport.Config{Local: netip.MustParseAddrPort("127.0.0.2:1701")},
			Peer:   l2tpv3.Host{Addr: netip.MustParseAddr("127.0.0.1"), Port: wire.Port},
		},
		Control: control.TunnelConfig{Dial: true, HostName: tunnelName(i), RouterID: uint32(i + 1)},
	}
	if d.load.Secret {
		cfg.Control.Secrets = []*wire.Secret{wire.NewSecret([]byte(setUpSecret))}
	}
	for j := range d.load.Sessions {
		name := fmt.Sprintf("s%d", j)
		cfg.Circuits = append(cfg.Circuits, l2tpv3.Circuit{CircuitConfig: control.CircuitConfig{
			Name: name, RemoteEndID: []byte(name), Pseudowire: pseudowire.Ethernet, CookieSize: 8, Initiate: true}})
	}
	if _, err := d.AddDynamic(cfg); err != nil {
		return err
	}
	for j := range d.load.Sessions {
		if err := d.Down(fmt.Sprintf("%s/s%d", cfg.Name, j)); err != nil {
			return err
		}
	}
	return nil
}

// ask asks for the next session of a tunnel, if there is one more.
func (d *dialler) ask(tunnel string) {
	d.mu.Lock()
	j := d.next[tunnel]
	d.next[tunnel]++
	name := fmt.Sprintf("%s/s%d", tunnel, j)
	if j < d.load.Sessions {
		d.began[name] = time.Now()
	}
	d.mu.Unlock()
	if j < d.load.Sessions {
		d.Up(name)
	}
}

func (d *dialler) take(e l2tpv3.Event) {
	switch e.Kind {
	case control.TunnelUp:
		d.tunnelsUp <- struct{}{}
	case control.SessionUp:
		d.mu.Lock()
		d.took = append(d.took, time.Since(d.began[e.Session]))
		all := len(d.took) == d.load.Tunnels*d.load.Sessions
		d.mu.Unlock()
		if all {
			close(d.done)
		}
		d.ask(e.Tunnel)
	}
}

// nowhere is a plane that carries nothing: no frame is sent.
type nowhere struct{}

func (nowhere) Open(dataplane.Params) (dataplane.Link, error)       { return nowhere{}, nil }
func (nowhere) OpenV2(dataplane.ParamsV2) (dataplane.LinkV2, error) { return nowhere{}, nil }
func (nowhere) NewReceiver(*transport.Conn) dataplane.Receiver      { return nowhere{} }
func (nowhere) Drop(pseudowire.Drop)                                {}
func (nowhere) Drops() (n [pseudowire.Drops]uint64)                 { return n }
func (nowhere) Send([]pseudowire.Frame) int                         { return 0 }
func (nowhere) Attach(func([]pseudowire.Frame) int)                 {}
func (nowhere) SetPath(*transport.Conn, *transport.Path)            {}
func (nowhere) Stats() (s dataplane.Stats)                          { return s }
func (nowhere) Close()                                              {}
func (nowhere) LastReceived() (at time.Time)                        { return at }
func (nowhere) Receive(*transport.Datagram, uint32)                 {}
func (nowhere) ReceiveV2(*transport.Datagram)                       {}
func (nowhere) Number(bool)                                         {}
func (nowhere) Numbering() bool                                     { return false }
func (nowhere) Flush(time.Time) (next time.Time)                    { return next }

// printSetUps prints what the loads came to.
func printSetUps(w io.Writer, all []setUp) {
	var rows [][]string
	for _, s := range all {
		waited := s.SessionRate > 0 // for the tunnels, by who dials
		rows = append(rows, []string{s.Load, cell("%.0f", s.TunnelRate, !waited), cell("%.0f", s.SessionRate, waited), cell("%.2f", s.P50, waited), cell("%.2f", s.P99, waited),
			fmt.Sprintf("%.1f", s.ResponderCPU), fmt.Sprintf("%.0f", s.Memory)})
	}
	if len(rows) > 0 {
		printTable(w, [][]string{{"set-up, as responder", "tunnels/s", "sessions/s", "p50 ms", "p99 ms", "CPU us each", "octets each"}}, rows)
	}
}
