package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"spanwire/bridge/serial"
	"spanwire/pseudowire"
	"spanwire/pseudowire/framerelay"
)

// A SerialPort is a serial line, and how Frame Relay is spoken on it.
type SerialPort struct {
	Name       string // of its section, or the line where it has none
	Line       serial.Config
	FrameRelay framerelay.Config
	NoLMI      bool            // all PVCs are there, and nobody says so
	Carries    pseudowire.Type // what its sessions are; 0: it has none
	Capture    string          // the file that all frames go to; empty: none

	// InactiveLimit is how long a circuit of the port may be inactive until its
	// dynamic session is closed; 0: for ever.
	InactiveLimit time.Duration
}

// serials reads the serial ports that have sections.
func (p *parser) serials() {
	if p.root["serial"] == nil {
		return
	}
	for _, in := range p.named(toml.Key{"serial"}, p.root) {
		s := SerialPort{Name: in.name}
		wrong := p.section(in.path, in.table, every, serialFields(&s))
		if !wrong["line"] {
			p.claim(join(in.path, "line"), &p.lineEnds, s.Line.Network+":"+s.Line.Local, "", s.Line.String())
		}
		if _, err := framerelay.NewLMI(s.FrameRelay); err != nil {
			p.problem(in.path, "%v", err)
		}
		p.read.Serials = append(p.read.Serials, s)
	}
}

// serialFields are the keys of [serial.NAME].
func serialFields(s *SerialPort) []keys {
	q := &s.FrameRelay
	forms := []framerelay.Form{framerelay.Auto, framerelay.AnnexA, framerelay.AnnexD, framerelay.Cisco, framerelay.NoLMI}
	roles := []framerelay.Role{framerelay.DCE, framerelay.DTE, framerelay.NNI}
	return []keys{{every, []field{
		{"line", textType, line(&s.Line), wantLine},
		{"header_octets", integerType, oneOf(&q.HeaderLen, framerelay.ShortHeader, framerelay.LongHeader), ""},
		{"lmi", textType, choice(&q.Form, framerelay.Form.String, forms), ""},
		{"lmi_role", textType, choice(&q.Role, framerelay.Role.String, roles), ""},
		{"t391", textType, duration(&q.T391, time.Second, 30*time.Second), ""},
		{"t392", textType, duration(&q.T392, time.Second, 60*time.Second), ""},
		{"n391", integerType, number(&q.N391, 1, 255), ""},
		{"n392", integerType, number(&q.N392, 1, 10), ""},
		{"n393", integerType, number(&q.N393, 1, 10), ""},
		{"asynchronous", booleanType, flag(&q.Asynchronous), ""},
		{"inactive_limit", textType, duration(&s.InactiveLimit, 0, 365*24*time.Hour), ""},
		{"capture", textType, text(&s.Capture, fileName), ""},
	}}}
}

// serialPort has a session of a serial port be of a kind that the port is of.
func (p *parser) serialPort(in named, s *Session, wrong map[string]bool) {
	at := func(key string) toml.Key { return join(in.path, key) }
	port := p.port(s.Serial, at("serial"))
	if port == nil {
		return
	}
	relayed := s.Params.Pseudowire == pseudowire.FrameRelay
	if s.Circuit != nil && relayed {
		s.Circuit.FrameRelayHeaderLen = port.headerLen()
	}
	switch {
	case wrong["pseudowire"] || wrong["dlci"]:
	case relayed && s.DLCI == 0:
		p.problem(at("dlci"), "missing, want the DLCI of the session's PVC")
	case relayed && port.Carries != 0 && port.Carries != pseudowire.FrameRelay:
		p.split(at("serial"), s.Serial, "the whole line")
	case relayed:
		if err := framerelay.CheckDLCI(s.DLCI, port.headerLen()); err != nil {
			p.problem(at("dlci"), "%v", err)
			return
		}
		port.Carries = pseudowire.FrameRelay
		p.claim(at("dlci"), &p.circuits, s.Serial, fmt.Sprint(s.DLCI), int64(s.DLCI))
	case s.DLCI != 0:
		p.problem(at("dlci"), `found %d, want pseudowire = "frame-relay" with it`, s.DLCI)
	case port.Carries == pseudowire.FrameRelay:
		p.split(at("serial"), s.Serial, "PVCs")
	default:
		port.Carries = s.Params.Pseudowire
		p.claim(at("serial"), &p.circuits, s.Serial, "", s.Serial)
	}
}

// split notes that one session joins a whole line and others its PVCs.
func (p *parser) split(at toml.Key, name, what string) {
	first := p.circuits[name][0].path
	owner, key := first[:len(first)-1], first[len(first)-1]
	p.problem(at, "found %q, of which %s has %s, want another line", name, p.other(owner, key), what)
}

func (s *SerialPort) headerLen() int {
	if s.FrameRelay.HeaderLen == 0 {
		return framerelay.ShortHeader
	}
	return s.FrameRelay.HeaderLen
}

// port returns the serial port of a name; a line stands for a port of its own.
func (p *parser) port(name string, at toml.Key) *SerialPort {
	f := p.read
	for i := range f.Serials {
		if f.Serials[i].Name == name {
			return &f.Serials[i]
		}
	}
	if !strings.Contains(name, ":") {
		p.problem(at, "found %q, want [serial.%s] with it, or a line: %s", name, name, wantLine)
		return nil
	}
	var cfg serial.Config
	if complaint := line(&cfg)(name); complaint != "" {
		p.problem(at, "found %q, %s", name, complaint)
		return nil
	}
	p.claim(at, &p.lineEnds, cfg.Network+":"+cfg.Local, "", name)
	f.Serials = append(f.Serials, SerialPort{Name: name, Line: cfg})
	return &f.Serials[len(f.Serials)-1]
}

const wantLine = `"udp:LOCAL,PEER" with addresses and ports, or "unix:/LOCAL,/PEER" with paths`

func line(to *serial.Config) setter {
	return func(v any) string {
		cfg, err := serial.ParseConfig(v.(string))
		if err != nil {
			return "want " + wantLine
		}
		*to = cfg
		return ""
	}
}

// serialName takes the name of a section or a line, see port.
func serialName(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("/:", r) && !plain(string(r)) }) {
		return "want the name of a section [serial.NAME], or a line: " + wantLine
	}
	return ""
}

func fileName(s string) string {
	if s == "" || strings.ContainsRune(s, 0) {
		return "want the name of a file"
	}
	return ""
}
