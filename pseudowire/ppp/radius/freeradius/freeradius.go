// Package freeradius runs a FreeRADIUS server for a test, and tells what it wrote down.
package freeradius

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Secret is what a Server shares with its clients.
const Secret = "xyzzy5461"

// A Server is a server of that make, with its files in a folder of its own.
type Server struct {
	Authentication, Accounting netip.AddrPort

	dir   string
	cmd   *exec.Cmd
	ended chan struct{}
}

// FreePort returns a port of UDP that was free just now.
func FreePort(t testing.TB) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return netip.MustParseAddrPort(conn.LocalAddr().String())
}

const config = `
prefix = /usr
libdir = /usr/lib/freeradius
logdir = DIR
raddbdir = DIR
radacctdir = DIR
run_dir = DIR
pidfile = DIR/pid
max_request_time = 10
cleanup_delay = 2
max_requests = 4096
hostname_lookups = no
proxy_requests = no
log {
	destination = files
	file = DIR/log
	auth = yes
}
security {
	max_attributes = 200
	reject_delay = 0
	status_server = no
	allow_vulnerable_openssl = yes
}
thread pool {
	start_servers = 2
	max_servers = 4
	min_spare_servers = 1
	max_spare_servers = 2
	max_requests_per_server = 0
}
client nas {
	ipaddr = 127.0.0.1
	secret = "SECRET"
	require_message_authenticator = yes
}
modules {
	pap {
	}
	chap {
	}
	mschap {
		use_mppe = yes
	}
	eap {
		default_eap_type = md5
		timer_expire = 60
		max_sessions = 4096
		md5 {
		}
		mschapv2 {
		}
	}
	files {
		usersfile = DIR/users
	}
	detail {
		filename = DIR/detail
	}
}
server default {
	listen {
		type = auth
		ipaddr = 127.0.0.1
		port = AUTH
	}
	listen {
		type = acct
		ipaddr = 127.0.0.1
		port = ACCT
	}
	authorize {
		chap
		mschap
		eap {
			ok = return
		}
		files
		pap
	}
	authenticate {
		Auth-Type PAP {
			pap
		}
		Auth-Type CHAP {
			chap
		}
		Auth-Type MS-CHAP {
			mschap
		}
		eap
	}
	post-auth {
		update reply {
			Message-Authenticator = 0x00
		}
		Post-Auth-Type REJECT {
			update reply {
				Message-Authenticator = 0x00
			}
		}
	}
	preacct {
	}
	accounting {
		detail
	}
}
`

// Start starts a server that knows these users, in the words of its file of users, and
// is stopped when the test ends.
func Start(t testing.TB, users string) *Server {
	t.Helper()
	program, err := exec.LookPath("freeradius")
	if err != nil {
		t.Fatalf("freeradius is missing (make test-packages installs it): %v", err)
	}
	s := &Server{dir: t.TempDir()}
	s.write(t, "users", users)
	s.write(t, "dictionary", "$INCLUDE /usr/share/freeradius/dictionary\n")
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("the server's log:\n%s", s.read("log"))
		}
	})
	// A port that was free may be another's when the server opens it.
	const tries = 5
	for range tries {
		if s.start(t, program) {
			return s
		}
	}
	t.Fatalf("freeradius ended %d times when it was started", tries)
	return nil
}

// start starts the server on other ports, and reports whether it serves.
func (s *Server) start(t testing.TB, program string) bool {
	s.Authentication, s.Accounting = FreePort(t), FreePort(t)
	s.write(t, "radiusd.conf", strings.NewReplacer("DIR", s.dir, "SECRET", Secret,
		"AUTH", fmt.Sprint(s.Authentication.Port()), "ACCT", fmt.Sprint(s.Accounting.Port())).Replace(config))
	s.write(t, "log", "")
	s.cmd = exec.Command(program, "-f", "-d", s.dir, "-D", s.dir)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	s.ended = ended
	go func() { s.cmd.Wait(); close(ended) }()
	for !strings.Contains(s.read("log"), "Ready to process requests") {
		select {
		case <-ended:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return true
}

// Stop kills the server.
func (s *Server) Stop() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.ended
	}
}

func (s *Server) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(s.dir, name))
	return string(text)
}

// Log returns what the server said.
func (s *Server) Log() string { return s.read("log") }

// A Record is one of accounting, as the server writes it down: attributes by name.
type Record map[string][]string

// Records returns all that were written.
func (s *Server) Records() (all []Record) {
	var r Record
	for text := range strings.Lines(s.read("detail")) {
		name, value, ok := strings.Cut(strings.TrimSpace(text), " = ")
		switch {
		case ok && r != nil:
			r[name] = append(r[name], strings.Trim(value, `"`))
		case strings.TrimSpace(text) == "":
			r = nil
		case r == nil:
			r = make(Record)
			all = append(all, r)
		}
	}
	return all
}

// Get returns the values of an attribute, with a comma between them; empty: there is
// none.
func (r Record) Get(name string) string { return strings.Join(r[name], ",") }

// Want wants attributes to have these values.
func (r Record) Want(t testing.TB, want map[string]string) {
	t.Helper()
	for name, v := range want {
		if got := r.Get(name); got != v {
			t.Errorf("%s of %s: %q, want %q", name, r.Get("Acct-Status-Type"), got, v)
		}
	}
}

// Radclient sends a request as FreeRADIUS's own client does, and returns what that
// printed.
func Radclient(t testing.TB, to netip.AddrPort, kind, secret, attributes string) string {
	t.Helper()
	cmd := exec.Command("radclient", "-x", "-r", "2", "-t", "1", to.String(), kind, secret)
	cmd.Stdin = strings.NewReader(attributes)
	out, err := cmd.CombinedOutput()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatalf("radclient (make test-packages installs it): %v", err)
	}
	return string(out)
}
