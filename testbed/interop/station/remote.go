package station

import (
	"encoding/gob"
	"fmt"
	"net"
	"net/netip"
	"net/rpc"
	"os/exec"
	"time"
)

// Serve lets one peer, who comes by the listener, use stations here until it
// hangs up.
func Serve(l net.Listener) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	register()
	s := rpc.NewServer()
	if err := s.Register(&Host{stations: make(map[string]*Station)}); err != nil {
		return err
	}
	s.ServeConn(conn)
	return nil
}

// register tells both sides what a Talk may be.
func register() {
	gob.Register(Flow{})
	gob.Register(Burst{})
}

// A Host is what Serve serves, by net/rpc.
type Host struct {
	stations map[string]*Station
	came     func() error // what was listened for last
}

// A Call has the arguments of all of a Host's methods.
type Call struct {
	Device   string
	Stream   Stream
	Within   time.Duration
	Address  netip.Addr
	Datagram Datagram
	Script   string
	Talk     Talk
	At       netip.AddrPort
}

// Open opens the device's station, in place of one that it may have.
func (h *Host) Open(c Call, _ *struct{}) (err error) {
	h.Close(c, nil)
	h.stations[c.Device], err = Open(c.Device)
	return err
}

// Close closes it.
func (h *Host) Close(c Call, _ *struct{}) error {
	if s := h.stations[c.Device]; s != nil {
		s.Close()
		delete(h.stations, c.Device)
	}
	return nil
}

// Send is Station.Send.
func (h *Host) Send(c Call, _ *struct{}) error { return h.stations[c.Device].Send(c.Stream) }

// Expect is Station.Expect.
func (h *Host) Expect(c Call, _ *struct{}) error {
	return h.stations[c.Device].Expect(c.Stream, c.Within)
}

// Listen is Talk.Listen; how it came is asked by Came.
func (h *Host) Listen(c Call, _ *struct{}) (err error) {
	h.came, err = c.Talk.Listen(c.At, c.Within)
	return err
}

// Came is what Talk.Listen returned.
func (h *Host) Came(Call, *struct{}) error { return h.came() }

// Dial is Talk.Dial.
func (h *Host) Dial(c Call, _ *struct{}) error { return c.Talk.Dial(c.At, c.Within) }

// Ping is Ping.
func (h *Host) Ping(c Call, _ *struct{}) error { return Ping(c.Address) }

// Inject is Datagram.Inject.
func (h *Host) Inject(c Call, _ *struct{}) error { return c.Datagram.Inject() }

// Run runs a shell script and returns what it printed.
func (h *Host) Run(c Call, out *string) error {
	b, err := exec.Command("/bin/sh", "-ec", c.Script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, b)
	}
	*out = string(b)
	return nil
}

// CookieDiscards is CookieDiscards.
func (h *Host) CookieDiscards(c Call, n *uint64) (err error) {
	*n, err = CookieDiscards(c.Device)
	return err
}

// A Remote is a Host elsewhere.
type Remote struct{ client *rpc.Client }

// NewRemote takes over a connection to a Host.
func NewRemote(conn net.Conn) *Remote {
	register()
	return &Remote{rpc.NewClient(conn)}
}

// Close hangs up.
func (r *Remote) Close() error { return r.client.Close() }

func (r *Remote) call(method string, c Call) error {
	return r.client.Call("Host."+method, c, new(struct{}))
}

// Ping asks from there.
func (r *Remote) Ping(a netip.Addr) error { return r.call("Ping", Call{Address: a}) }

// Inject sends from there.
func (r *Remote) Inject(d Datagram) error { return r.call("Inject", Call{Datagram: d}) }

// Run runs a shell script there and returns what it printed.
func (r *Remote) Run(script string) (out string, err error) {
	err = r.client.Call("Host.Run", Call{Script: script}, &out)
	return out, err
}

// Listen is Talk.Listen there.
func (r *Remote) Listen(t Talk, at netip.AddrPort, within time.Duration) (came func() error, err error) {
	return func() error { return r.call("Came", Call{}) }, r.call("Listen", Call{Talk: t, At: at, Within: within})
}

// Dial is Talk.Dial there.
func (r *Remote) Dial(t Talk, to netip.AddrPort, within time.Duration) error {
	return r.call("Dial", Call{Talk: t, At: to, Within: within})
}

// CookieDiscards asks the kernel there.
func (r *Remote) CookieDiscards(device string) (n uint64, err error) {
	err = r.client.Call("Host.CookieDiscards", Call{Device: device}, &n)
	return n, err
}

// Open opens a station there.
func (r *Remote) Open(device string) (*RemoteStation, error) {
	return &RemoteStation{r, device}, r.call("Open", Call{Device: device})
}

// A RemoteStation is a Station elsewhere.
type RemoteStation struct {
	remote *Remote
	device string
}

// Send is Station.Send.
func (s *RemoteStation) Send(stream Stream) error {
	return s.remote.call("Send", Call{Device: s.device, Stream: stream})
}

// Expect is Station.Expect.
func (s *RemoteStation) Expect(stream Stream, within time.Duration) error {
	return s.remote.call("Expect", Call{Device: s.device, Stream: stream, Within: within})
}

// Close is Station.Close.
func (s *RemoteStation) Close() { s.remote.call("Close", Call{Device: s.device}) }
