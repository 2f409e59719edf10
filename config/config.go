// Package config reads a TOML file into the values that the engine takes. It is
// strict: whatever it does not know or cannot use is a problem with file, line,
// name, what was found and what was wanted, and all problems come at once.
package config

import (
	_ "embed" // the reference
	"fmt"
	"io"
	"io/fs"
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
	Serials  []SerialPort
	Hubs     []Hub
	PPP      []PPP
	RADIUS   []RADIUS
	Tunnels  []Tunnel
	Warnings []Problem // what works but should not stay so

	text   *contents
	inline bool // it holds a secret of control connections, not only their files' names
}

// contents are the values of a file as they were read. There are secrets among them,
// and a File may be printed: they are behind two pointers, of which package fmt follows
// one.
type contents struct{ root *map[string]any }

// A Node is this machine.
type Node struct {
	Hostname  string
	RouterID  netip.Addr // IPv4; not valid: none
	Control   string     // path of the control socket
	LogFormat string     // text or json
	LogLevel  string     // debug, info, warn or error

	HalfOpen    int // as control.Config has them
	RequestRate int

	Metrics netip.AddrPort // where they are told; not valid: nowhere
}

// A Tunnel is a tunnel with its sessions.
type Tunnel struct {
	Mode                string // static, dial or accept
	l2tpv3.TunnelConfig        // that of Dynamic and Version2, if they are there
	// Dynamic is how a control connection of L2TPv3 is set up; nil: there is none. Its
	// Circuits are those of the Sessions, in their order.
	Dynamic  *l2tpv3.DynamicConfig
	Sessions []Session
	// Version2 is how L2TPv2 is spoken; nil: it is not.
	Version2 *Version2
}

// A Session is a session with its local segment.
type Session struct {
	// Params are, with a Circuit, those that we ask for: without IDs and
	// cookies, and the peer's as ours.
	l2tpv3.SessionConfig
	Circuit *l2tpv3.Circuit // of a tunnel's Dynamic; nil: the session is static

	Attachment // of Kind Nothing with a Circuit alone

	Carrier string // of the TAP: "follow", as long as the session is up, or "always"
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
	text, mode, err := read(path)
	if err != nil {
		return nil, err
	}
	f, err := Parse(path, text)
	if err != nil {
		return nil, err
	}
	if secret := f.secret(); secret != "" {
		f.Warnings = append(exposed(path, mode, "read the "+secret), f.Warnings...)
	}
	return f, nil
}

// mostFile is the octets of the longest file that is read.
const mostFile = 64 << 20

// read returns the text of a file, and who may do what with it.
func read(path string) (text []byte, mode fs.FileMode, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	text, err = io.ReadAll(io.LimitReader(file, mostFile+1))
	if err == nil && len(text) > mostFile {
		err = Errors{{File: path, Text: fmt.Sprintf("more than %d octets", mostFile)}}
	}
	return text, info.Mode().Perm(), err
}

// exposed warns of a file with secrets to which others than its owner have access.
func exposed(path string, mode fs.FileMode, can string) []Problem {
	if mode&0o077 == 0 {
		return nil
	}
	return []Problem{{File: path, Text: fmt.Sprintf("found mode %04o, by which others can %s in it, want 0600", mode, can)}}
}

// secret tells what is in the file that others shall not read; "": nothing.
func (f *File) secret() string {
	var found []string
	if f.inline {
		found = append(found, "secrets")
	}
	if slices.ContainsFunc(f.Tunnels, func(t Tunnel) bool {
		return slices.ContainsFunc(t.Sessions, func(s Session) bool {
			return s.Params.ReceiveCookie.Len()+s.Params.SendCookie.Len() > 0
		})
	}) {
		found = append(found, "cookies")
	}
	return strings.Join(found, " and ")
}

// Parse reads a file's text; name stands in the problems, and the files of secrets
// that the text names are looked for from where it is.
func Parse(name string, text []byte) (*File, error) {
	p := newParser(name)
	if !p.decode(string(text)) {
		return nil, Errors(p.problems)
	}
	f := p.file()
	if len(p.problems) > 0 {
		return nil, Errors(sorted(p.problems))
	}
	f.Warnings = sorted(f.Warnings)
	return f, nil
}
