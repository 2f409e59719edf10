package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"spanwire/bridge"
	"spanwire/bridge/serial"
	"spanwire/cmd/internal/api"
	"spanwire/config"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ethernet"
)

// TestStatusWhileOpening asks how things stand, and for stations, while hubs and serial
// lines are opened: the control socket is there before them.
func TestStatusWhileOpening(t *testing.T) {
	var file config.File
	dir := t.TempDir()
	for i := range 100 {
		name := fmt.Sprint("n", i)
		file.Hubs = append(file.Hubs, config.Hub{Name: name})
		file.Serials = append(file.Serials, config.SerialPort{Name: name, Carries: pseudowire.HDLC,
			Line: serial.Config{Network: serial.Unix, Local: filepath.Join(dir, name), Peer: filepath.Join(dir, "peer")}})
	}
	d := newDaemon(context.Background(), &file, slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer d.close()
	asked, opened := make(chan bool), make(chan bool)
	go func() {
		defer close(asked)
		for {
			d.status()
			d.stations("n0")
			select {
			case <-opened:
				return
			default:
			}
		}
	}()
	if err := d.open(); err != nil {
		t.Error(err)
	}
	close(opened)
	<-asked
	if s := d.status(); len(s.Hubs) != 100 || len(s.Serials) != 100 {
		t.Errorf("%d hubs, %d serial lines, want 100 of both", len(s.Hubs), len(s.Serials))
	}
}

// TestHubFits has the paths of several sessions say what fits: a hub's TAP becomes as
// large as the least of them carries, and of its interface is warned once, where frames
// would be dropped.
func TestHubFits(t *testing.T) {
	var logged lines
	d := newDaemon(context.Background(), &config.File{}, slog.New(slog.NewTextHandler(&logged, nil)))
	d.stop() // nothing is to be done to devices
	h := newHub(d, &config.Hub{Name: "lab"})
	device := func(a config.Attachment, mtu int) *device {
		p, err := h.newPort(&config.HubPort{Name: "lan", Attachment: a})
		if err != nil {
			t.Fatal(err)
		}
		p.cfg.MTU = mtu
		h.ports = append(h.ports, p)
		return p.device
	}
	tap := device(config.Attachment{Kind: config.TAP, TAP: "t0"}, 1500)
	device(config.Attachment{Kind: config.Interface, Interface: "eth1"}, 1500)
	device(config.Attachment{Kind: config.Interface, Interface: "eth2"}, 0) // not there
	a, b, pieces := new(member), new(member), &member{fragment: true}

	for _, step := range []struct {
		m              *member
		mtu, tap, warn int
	}{
		{pieces, 1400, 1400, 0}, // what does not fit goes in pieces
		{a, 1500, 1400, 0},
		{b, 1438, 1400, 1},
		{pieces, 0, 1438, 0},
		{a, 0, 1438, 0},
		{a, 1450, 1438, 0},
		{b, 0, 1450, 1},
	} {
		logged.n = 0
		h.fit(step.m, step.mtu)
		if got := tap.config().MTU; got != step.tap {
			t.Errorf("the TAP's MTU is %d, want %d", got, step.tap)
		}
		if logged.n != step.warn {
			t.Errorf("%d warnings, want %d", logged.n, step.warn)
		}
	}
}

// lines counts warnings.
type lines struct{ n int }

func (l *lines) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "level=WARN") {
		l.n++
	}
	return len(b), nil
}

// TestHubShowsWhatIsMissing has a hub tell of a port whose device is not there, and of
// what its devices dropped.
func TestHubShowsWhatIsMissing(t *testing.T) {
	d := newDaemon(context.Background(), &config.File{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer d.close()
	h := newHub(d, &config.Hub{Name: "lab", HubConfig: bridge.HubConfig{}, Ports: []config.HubPort{
		{Name: "lan", Attachment: config.Attachment{Kind: config.Interface, Interface: "spanwire-none"}},
	}})
	if err := h.openPort(&h.cfg.Ports[0]); err != nil {
		t.Fatal(err)
	}
	got := h.show().Ports
	if len(got) != 1 || got[0].Name != "lan" || got[0].Joins == nil || got[0].Joins.Interface != "spanwire-none" || got[0].Joins.State != api.Missing {
		t.Errorf("ports: %+v, want lan, which is missing", got)
	}
}

// TestMemberDrops has a session in VLAN 10 of a hub drop in both directions: the names
// are those of the session's, and what the hub floods is not for the log.
func TestMemberDrops(t *testing.T) {
	d := newDaemon(context.Background(), &config.File{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	defer d.close()
	h := newHub(d, &config.Hub{Name: "lab", HubConfig: bridge.HubConfig{VLANAware: true}})
	hubs := config.Attachment{Kind: config.InHub, Hub: "lab"}
	hubs.Ethernet.Segment, hubs.Ethernet.Wire = []ethernet.Tag{{VID: 10}}, []ethernet.Tag{{VID: 20}}
	m := &member{hub: h, cfg: &hubs, name: "paris/office", log: d.log}
	circuit, err := ethernet.New(hubs.NSP())
	if err != nil {
		t.Fatal(err)
	}
	session := new(sink)
	m.nsp = bridge.NewNSP(session, circuit)
	m.nsp.Attach(session.Send)
	tagged := func(vid byte) []pseudowire.Frame {
		b := append(make([]byte, 64), 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, vid, 8, 0)
		return []pseudowire.Frame{pseudowire.NewFrame(append(b, make([]byte, 46)...), 64)}
	}
	m.nsp.Send(tagged(10)) // from the hub
	m.nsp.Send(tagged(11))
	m.nsp.Send(tagged(12))
	session.deliver(tagged(20)) // from the peer
	session.deliver(tagged(10))
	got, logged := m.show().Segment, m.drops()
	if got["tx_other_vlan"] != 2 || got["rx_other_vlan"] != 1 {
		t.Errorf("shown: %d to the peer, %d from it, want 2 and 1", got["tx_other_vlan"], got["rx_other_vlan"])
	}
	if tx, rx := logged[pseudowire.DropIngressVLAN], logged[pseudowire.DropEgressVLAN]; tx != 0 || rx != 1 {
		t.Errorf("for the log: %d to the peer, %d from it, want 0 and 1", tx, rx)
	}
	if session.sent != 2 {
		t.Errorf("%d frames passed, want 2", session.sent)
	}
}

// A sink is a port that takes everything.
type sink struct {
	sent    int
	deliver func([]pseudowire.Frame) int
}

func (s *sink) Send(frames []pseudowire.Frame) int          { s.sent += len(frames); return len(frames) }
func (s *sink) Attach(deliver func([]pseudowire.Frame) int) { s.deliver = deliver }
