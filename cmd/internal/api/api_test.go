package api

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve runs a server until the test ends.
func serve(t *testing.T, socket string, d Daemon) *Server {
	t.Helper()
	s, err := Listen(socket, d)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve after Close: %v, want nil", err)
		}
	})
	return s
}

func TestStatusOverSocket(t *testing.T) {
	want := Status{
		Node:  Node{Hostname: "lyon", RouterID: "192.0.2.1", Version: "v1", PID: 7, Started: time.Unix(1000, 0).UTC()},
		Drops: Counters{"rx_unknown_session": 3, "rx_version": 0},
		Tunnels: []Tunnel{{
			Name: "paris", Mode: "static", Encap: "udp", State: "up", Since: time.Unix(1001, 0).UTC(),
			Local: "192.0.2.1:1701", Peer: "192.0.2.2:1701", PathMTU: 1500,
			Socket: &Socket{ReceiveBuffer: 1 << 20, SendBuffer: 1 << 20},
			Sessions: []Session{{
				Name: "paris/office", SessionID: 1001, PeerSessionID: 2001, ReceiveCookieOctets: 8,
				SendCookieOctets: 4, Joined: Joined{TAP: "office0", MTU: 1438}, Counters: Counters{"tx_packets": 1},
			}},
		}},
	}
	socket := filepath.Join(t.TempDir(), "made", "lyon.sock")
	serve(t, socket, Daemon{Status: func() Status { return want }})

	got, err := Dial(socket).Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("status (-want +got):\n%s", d)
	}
	for path, want := range map[string]os.FileMode{
		socket:               os.ModeSocket | 0o600,
		filepath.Dir(socket): os.ModeDir | 0o755,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s: mode %v, want %v", path, info.Mode(), want)
		}
	}
}

func TestOtherRequestsAreRefused(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, Daemon{Status: func() Status { return Status{} }})
	for _, request := range []struct{ method, path, want string }{
		{"GET", "/v1/other", "404"},
		{"POST", "/v1/status", "405"},
	} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte(request.method + " " + request.path + " HTTP/1.0\r\n\r\n"))
		var b [12]byte
		conn.Read(b[:])
		conn.Close()
		if got := string(b[9:]); got != request.want {
			t.Errorf("%s %s: %s, want %s", request.method, request.path, got, request.want)
		}
	}
}

func TestLiveSocketIsRefused(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	serve(t, socket, Daemon{Status: func() Status { return Status{Node: Node{Hostname: "first"}} }})
	if s, err := Listen(socket, Daemon{}); err == nil {
		s.Close()
		t.Fatal("a second Listen on a live socket: no error")
	} else if !strings.Contains(err.Error(), "another daemon answers") {
		t.Errorf("a second Listen on a live socket: %v", err)
	}
	if got, err := Dial(socket).Status(context.Background()); err != nil || got.Node.Hostname != "first" {
		t.Errorf("the first after that: %q, %v, want \"first\"", got.Node.Hostname, err)
	}
}

func TestDeadSocketIsReplaced(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	serve(t, socket, Daemon{Status: func() Status { return Status{Node: Node{Hostname: "next"}} }})
	if got, err := Dial(socket).Status(context.Background()); err != nil || got.Node.Hostname != "next" {
		t.Errorf("status: %q, %v, want \"next\"", got.Node.Hostname, err)
	}
}

func TestOtherFileStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if s, err := Listen(path, Daemon{}); err == nil {
		s.Close()
		t.Error("Listen in place of a file: no error")
	}
	if b, _ := os.ReadFile(path); string(b) != "mine" {
		t.Errorf("the file has %q, want \"mine\"", b)
	}
}

func TestLongPath(t *testing.T) {
	_, err := Listen("/tmp/"+strings.Repeat("x", 120), Daemon{})
	if err == nil || !strings.Contains(err.Error(), "want 1 to 107") {
		t.Errorf("Listen: %v, want the longest path named", err)
	}
}

func TestCloseRemovesSocket(t *testing.T) {
	for _, serving := range []bool{false, true} {
		socket := filepath.Join(t.TempDir(), "s")
		s, err := Listen(socket, Daemon{Status: func() Status { return Status{} }})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		if serving {
			go func() { served <- s.Serve() }()
			if _, err := Dial(socket).Status(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		s.Close()
		if serving {
			if err := <-served; err != nil {
				t.Errorf("Serve after Close: %v, want nil", err)
			}
		}
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("serving %v: after Close the socket is there: %v", serving, err)
		}
	}
}

func TestNoDaemon(t *testing.T) {
	_, err := Dial(filepath.Join(t.TempDir(), "none")).Status(context.Background())
	if !errors.Is(err, ErrNoDaemon) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Status: %v, want ErrNoDaemon and its cause", err)
	}
}

func TestCommandsAndEvents(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	events := make(chan Event, 2)
	serve(t, socket, Daemon{
		Status: func() Status { return Status{} },
		Do: func(command, name string) error {
			if name == "nobody" {
				return errors.New("nobody: no such tunnel or session")
			}
			events <- Event{Number: 1, Event: command, Tunnel: name, Time: time.Unix(1000, 0).UTC()}
			return nil
		},
		Watch: func(context.Context) <-chan Event { return events },
	})
	c := Dial(socket)
	for _, command := range Commands {
		if err := c.Do(t.Context(), command, "paris"); err != nil {
			t.Fatal(err)
		}
		got := <-events
		if want := (Event{Number: 1, Event: command, Tunnel: "paris", Time: time.Unix(1000, 0).UTC()}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		if err := c.Do(t.Context(), command, "nobody"); err == nil || !strings.HasSuffix(err.Error(), ": nobody: no such tunnel or session") {
			t.Errorf("%s nobody: %v", command, err)
		}
	}
	events <- Event{Number: 7, Event: "tunnel up"}
	close(events)
	var got []Event
	err := c.Watch(t.Context(), func(e Event) error {
		got = append(got, e)
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "the daemon has ended") {
		t.Errorf("Watch: %v, want the daemon's end", err)
	}
	if d := cmp.Diff([]Event{{Number: 7, Event: "tunnel up"}}, got); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

// TestReload asks for it when all is well, and when the file is wrong in many places.
func TestReload(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	want, wrong := Reloaded{Users: []string{"phones"}, Restart: []string{"tunnel paris: hello"}}, error(nil)
	serve(t, socket, Daemon{Reload: func() (Reloaded, error) { return want, wrong }})
	got, err := Dial(socket).Reload(t.Context())
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	wrong = errors.New(strings.Repeat("f.toml:1: wrong\n", 50) + "f.toml:51: the last")
	if _, err := Dial(socket).Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "the last") {
		t.Errorf("%v, want all that is wrong", err)
	}
}
