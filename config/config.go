// Package config reads a TOML file into the values that the engine takes. It is
// strict: whatever it does not know or cannot use is a problem with file, line,
// name, what was found and what was wanted, and all problems come at once.
package config

import (
	_ "embed" // the reference
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"spanwire/l2tpv3"
)

// Reference is a file that has every key, with its meaning.
//
//go:embed reference.toml
var Reference string

// A File is what a configuration file says.
type File struct {
	Path     string
	Node     Node
	Tunnels  []Tunnel
	Warnings []Problem // what works but should not stay so
}

// A Node is this machine.
type Node struct {
	Hostname  string
	RouterID  netip.Addr // IPv4; not valid: none
	Control   string     // path of the control socket
	LogFormat string     // text or json
	LogLevel  string     // debug, info, warn or error
}

// A Tunnel is a tunnel with its sessions.
type Tunnel struct {
	Mode string // static
	l2tpv3.TunnelConfig
	Sessions []Session
}

// A Session is a session with its local segment.
type Session struct {
	l2tpv3.SessionConfig
	TAP       string
	Bridge    string           // empty: none
	MTU       int              // 0: as the path allows
	MAC       net.HardwareAddr // nil: derived from the names
	Addresses []netip.Prefix
}

// A Problem is one thing that is wrong with a file.
type Problem struct {
	File string
	Line int // 0: the file as a whole
	Text string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Errors are all the problems of a file, by line.
type Errors []Problem

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads the file at path. Its error is one of the system's, or Errors.
func Load(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	f, err := Parse(path, text)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.Mode()&0o077 != 0 {
		f.Warnings = append(f.Warnings, Problem{File: path, Text: fmt.Sprintf(
			"mode %04o: others can read the cookies in it, want 0600", info.Mode().Perm())})
	}
	return f, nil
}

// Parse reads a file's text; name stands in the problems.
func Parse(name string, text []byte) (*File, error) {
	p := newParser(name, text)
	f := p.file()
	if len(p.problems) > 0 {
		slices.SortStableFunc(p.problems, func(a, b Problem) int { return a.Line - b.Line })
		return nil, Errors(p.problems)
	}
	return f, nil
}
