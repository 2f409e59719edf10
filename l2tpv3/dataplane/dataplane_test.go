package dataplane

import (
	"strings"
	"testing"
	"time"

	"spanwire/cookie"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// TestCheck breaks good parameters in every way there is.
func TestCheck(t *testing.T) {
	const none, all = pseudowire.NoSequencing, pseudowire.AllSequencing
	for _, v := range []struct {
		name string
		edit func(p *Params)
		want string // in the error; empty: there is none
	}{
		{"plain", func(*Params) {}, ""},
		{"both ways alike", func(p *Params) {
			p.Sublayer, p.Sequencing, p.PeerSublayer, p.PeerSequencing = pseudowire.DefaultSublayer, all, pseudowire.DefaultSublayer, all
			p.ReorderTimeout = time.Millisecond
		}, ""},
		{"we require it", func(p *Params) { p.Sublayer, p.Sequencing = pseudowire.DefaultSublayer, all }, ""},
		{"the peer requires it", func(p *Params) { p.PeerSublayer, p.PeerSequencing = pseudowire.DefaultSublayer, all }, ""},
		{"sublayer alone", func(p *Params) { p.Sublayer = pseudowire.DefaultSublayer }, ""},
		{"no Session ID", func(p *Params) { p.SessionID = 0 }, "session_id: 0 is reserved"},
		{"no Session ID of the peer", func(p *Params) { p.PeerSessionID = 0 }, "peer_session_id: 0 is reserved"},
		{"received numbers without a place", func(p *Params) { p.Sequencing, p.PeerSublayer = all, pseudowire.DefaultSublayer },
			`sequencing "all" of what we receive needs the default sublayer there`},
		{"sent numbers without a place", func(p *Params) { p.PeerSequencing, p.Sublayer = pseudowire.NonIPSequencing, pseudowire.DefaultSublayer },
			`sequencing "non-ip" of what we send needs the default sublayer there`},
		{"unknown sublayer", func(p *Params) { p.PeerSublayer = 2 }, "sublayer: none for what we receive, sublayer 2 for what we send"},
		{"unknown level", func(p *Params) { p.Sublayer, p.Sequencing = pseudowire.DefaultSublayer, 3 }, "sequencing: level 3 for what we receive"},
		{"negative wait", func(p *Params) { p.ReorderTimeout = -1 }, "reorder_timeout: -1ns"},
		{"order by what only the peer gets", func(p *Params) {
			p.Sequencing, p.PeerSublayer, p.PeerSequencing, p.ReorderTimeout = none, pseudowire.DefaultSublayer, all, 1
		}, "reorder_timeout: nothing to reorder by"},
	} {
		p := Params{SessionID: 1, PeerSessionID: 2}
		v.edit(&p)
		err := p.Check()
		if (err == nil) != (v.want == "") || err != nil && !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: %v, want %q", v.name, err, v.want)
		}
	}
}

// TestOverhead wants what we send counted, whatever we receive.
func TestOverhead(t *testing.T) {
	long, err := cookie.New(8)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		p    Params
		e    wire.Encap
		v6   bool
		want int
	}{
		{Params{}, wire.UDP, false, 20 + 8 + 8},
		{Params{}, wire.IP, true, 40 + 4},
		{Params{ReceiveCookie: long, Sublayer: pseudowire.DefaultSublayer}, wire.IP, false, 20 + 4},
		{Params{SendCookie: long, PeerSublayer: pseudowire.DefaultSublayer}, wire.UDP, true, 40 + 8 + 8 + 8 + 4},
	} {
		if got := v.p.Overhead(v.e, v.v6); got != v.want {
			t.Errorf("%+v over %s, IPv6 %v: %d octets, want %d", v.p, v.e, v.v6, got, v.want)
		}
	}
}
