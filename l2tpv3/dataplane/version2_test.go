package dataplane

import (
	"strings"
	"testing"
)

// TestCheckV2 breaks good parameters in every way there is.
func TestCheckV2(t *testing.T) {
	for _, v := range []struct {
		name string
		edit func(p *ParamsV2)
		want string // in the error; empty: there is none
	}{
		{"LAC", func(*ParamsV2) {}, ""},
		{"LNS", func(p *ParamsV2) { p.LNS = true }, ""},
		{"numbers required", func(p *ParamsV2) { p.Sequence = true }, ""},
		{"no Tunnel ID", func(p *ParamsV2) { p.TunnelID = 0 }, "tunnel ID 0"},
		{"no Session ID", func(p *ParamsV2) { p.SessionID = 0 }, "session ID 0"},
		{"no Tunnel ID of the peer", func(p *ParamsV2) { p.PeerTunnelID = 0 }, "the peer's tunnel ID 0"},
		{"no Session ID of the peer", func(p *ParamsV2) { p.PeerSessionID = 0 }, "the peer's session ID 0"},
	} {
		p := ParamsV2{TunnelID: 1, SessionID: 2, PeerTunnelID: 3, PeerSessionID: 4}
		v.edit(&p)
		err := p.Check()
		if (err == nil) != (v.want == "") || err != nil && !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %v, want %q", v.name, err, v.want)
		}
	}
}

// TestOverheadV2 counts IP, UDP and a header with numbers: 2 octets of bits, 4 of IDs, 4
// of Ns and Nr.
func TestOverheadV2(t *testing.T) {
	for _, p := range []ParamsV2{{}, {LNS: true}, {Sequence: true}} {
		if v4, v6 := p.Overhead(false), p.Overhead(true); v4 != 20+8+10 || v6 != 40+8+10 {
			t.Errorf("%+v: %d, %d over IPv6", p, v4, v6)
		}
	}
}
