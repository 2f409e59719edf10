package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long one request may take: whoever asks is on this machine.
const patience = 5 * time.Second

// maxPath is the longest path of a unix socket, unix(7): sun_path less its zero.
const maxPath = 107

// A Server answers on a control socket.
type Server struct {
	listener net.Listener
	http     http.Server
}

// A Daemon is what a control socket gives access to.
type Daemon struct {
	Status func() Status
	// Do carries out a command: up, down or roll, of a tunnel or a session, or
	// disconnect, of a link. Its error is for whoever commanded.
	Do func(command, name string) error
	// Reload reads the configuration again, and takes up what it can.
	Reload func() (Reloaded, error)
	// Watch returns the events from now on, until ctx ends. One who is too slow
	// to take them loses some, which shows in their numbers.
	Watch func(ctx context.Context) <-chan Event
	// Stations tells where the stations of a hub are. Its error is for whoever asked.
	Stations func(hub string) ([]Station, error)
}

// Listen takes a control socket, mode 0600, for a daemon. It makes the directory if that is missing, takes the place of a socket that a dead
// daemon left, and refuses one at which somebody answers. Until Serve runs,
// whoever connects waits.
func Listen(socket string, d Daemon) (*Server, error) {
	listener, err := listen(socket)
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", socket, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { answer(w, d.Status(), nil) })
	mux.HandleFunc("GET /v1/hubs/{hub}/stations", func(w http.ResponseWriter, r *http.Request) {
		all, err := d.Stations(r.PathValue("hub"))
		answer(w, all, err)
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, _ *http.Request) {
		done, err := d.Reload()
		answer(w, done, err)
	})
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) { watch(w, r, d) })
	for _, verb := range Commands {
		mux.HandleFunc("POST /v1/"+verb, func(w http.ResponseWriter, r *http.Request) { command(w, r, verb, d) })
	}
	return &Server{listener: listener, http: http.Server{
		Handler:           mux,
		ReadHeaderTimeout: patience,
		ReadTimeout:       patience,
		WriteTimeout:      patience,
		IdleTimeout:       patience,
		MaxHeaderBytes:    4096,
	}}, nil
}

// answer sends a value, or the error that there is instead.
func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // its error: who asked is gone
}

// Commands are what Daemon.Do knows.
var Commands = []string{"up", "down", "roll", "disconnect"}

// command carries out what a Command asks for.
func command(w http.ResponseWriter, r *http.Request, verb string, d Daemon) {
	var c Command
	body := http.MaxBytesReader(w, r.Body, 4096)
	if err := json.NewDecoder(body).Decode(&c); err != nil {
		http.Error(w, "want {\"name\": \"TUNNEL\"} or {\"name\": \"TUNNEL/SESSION\"}, or of disconnect a user, an address or a link", http.StatusBadRequest)
		return
	}
	if err := d.Do(verb, c.Name); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// watch sends events, a line of JSON each, until whoever watches goes away.
func watch(w http.ResponseWriter, r *http.Request, d Daemon) {
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(w)
	events := d.Watch(r.Context())
	control.SetReadDeadline(time.Time{})
	control.SetWriteDeadline(time.Now().Add(patience))
	control.Flush()
	for e := range events {
		control.SetWriteDeadline(time.Now().Add(patience))
		if encoder.Encode(e) != nil || control.Flush() != nil {
			return
		}
	}
}

func listen(socket string) (net.Listener, error) {
	if n := len(socket); n == 0 || n > maxPath {
		return nil, fmt.Errorf("a path of %d octets, want 1 to %d", n, maxPath)
	}
	// An absolute path cannot be taken for an abstract name, which has no mode.
	socket, err := filepath.Abs(socket)
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(socket)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	// Of two daemons that start at once only one may look at and clear the place:
	// the other would remove a socket that is new and not dead.
	lock, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := clear(socket); err != nil {
		return nil, err
	}
	// Linux gives the socket's file the mode that the socket itself has when it is
	// bound, so there is no moment at which others could connect.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var mode error
		err := c.Control(func(fd uintptr) { mode = unix.Fchmod(int(fd), 0o600) })
		return errors.Join(err, mode)
	}}
	return config.Listen(context.Background(), "unix", socket)
}

// clear removes the socket that a dead daemon left, and nothing else.
func clear(socket string) error {
	info, err := os.Lstat(socket)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != os.ModeSocket:
		return errors.New("something else than a socket is there, it stays")
	}
	conn, err := net.DialTimeout("unix", socket, patience)
	switch {
	case err == nil:
		conn.Close()
		return errors.New("another daemon answers there: stop it, or give this one another node.control")
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(socket)
	}
	return err
}

// Serve answers until Close.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// Close ends the server, whether it serves or not, and removes the socket.
func (s *Server) Close() error {
	err := s.http.Close()
	s.listener.Close() // of which the line above does not know if Serve never ran
	return err
}
