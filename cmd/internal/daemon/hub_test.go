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
