package control

import (
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
)

// TestOffer dials with an SCCRQ that is one for L2TPv2 too. RFC 3931 section 4.7.3.
func TestOffer(t *testing.T) {
	offers := 0
	v2 := &wire.SCCRQV2{PeerV2: wire.PeerV2{Protocol: wire.ProtocolV2, HostName: "another", Framing: 3}}
	cfg := TunnelConfig{Dial: true, Dialect: Cisco, Secrets: []*wire.Secret{sharedSecret}, Offer: func(time.Time) *wire.SCCRQV2 {
		if offers++; offers > 2 {
			return nil
		}
		v2.TunnelID = uint16(offers)
		return v2
	}}
	var raw [][]byte
	n := here()
	n.Trace = func(m Traced) {
		if typ, _ := wire.TypeOf(m.Message); m.Out && typ == wire.TypeSCCRQ {
			raw = append(raw, append([]byte{}, m.Message...))
		}
	}
	s := tellNode(t, n, cfg).authenticated(sharedSecret, wire.SHA1)
	s.after(time.Second)
	if len(raw) != 2 || raw[0][1] != 2 || string(raw[0]) != string(raw[1]) {
		t.Fatalf("%x, want an SCCRQ of version 2 twice", raw)
	}
	h, m, err := wire.ParseControlV2(raw[0])
	if err != nil || h != (wire.ControlHeaderV2{}) {
		t.Errorf("%+v, %v", h, err)
	}
	p, bad := wire.ParseV2(m, &wire.DecodingV2{})
	got, ok := p.Message.(*wire.SCCRQV2)
	if bad != nil || !ok || got.TunnelID != 1 || got.HostName != "here" || got.VendorName != "test" || !got.TieBreaker.Set {
		t.Errorf("%+v, %v", got, bad)
	}
	if _, ok := wire.Verify(m, []*wire.Secret{sharedSecret}, nil, nil); !ok {
		t.Error("the digest is wrong")
	}
	// The answer is of version 3, and all is as ever.
	q, _ := wire.Parse(m, &wire.Decoding{})
	s.id, s.remote = q.Message.(*wire.SCCRQ).ConnectionID, wire.Nonce(m)
	s.nr = 1
	s.send(&wire.SCCRP{LCCE: s.peer})
	s.event(TunnelUp)

	// An answer of version 2 is not this machine's affair: it falls silent.
	offers, raw = 0, nil
	s = tellNode(t, n, cfg)
	s.sent, s.told = nil, nil
	s.FallBack(s.now, "there")
	s.after(time.Hour)
	if e := s.event(TunnelDown); e.Reason != FellBack || !e.Next.IsZero() || len(raw) != 1 || len(s.conns)+len(s.timers) != 0 {
		t.Errorf("%+v, %d SCCRQs", e, len(raw))
	}
	s.FallBack(s.now, "there")
	s.FallBack(s.now, "nobody")
	// Each attempt asks anew; without an offer it is for version 3 alone.
	for i, version := range []byte{2, 3} {
		raw = nil
		s.Up(s.now, "there")
		s.after(0)
		if len(raw) != 1 || raw[0][1] != version {
			t.Errorf("attempt %d: %x, want version %d", i, raw, version)
		}
		s.FallBack(s.now, "there")
	}
}

// TestResume has a tunnel that fell back go on when the peer is asked again: with the
// wait that was due, or where L2TPv2 had held as after the first attempt.
func TestResume(t *testing.T) {
	s := tellNode(t, here(), TunnelConfig{Dial: true})
	fall := func() {
		t.Helper()
		s.FallBack(s.now, "there")
		s.after(0)
		s.event(TunnelDown)
		s.sent = nil
	}
	asked := func(least, most time.Duration) {
		t.Helper()
		s.Resume(s.now, "there")
		s.after(least - time.Millisecond)
		if len(s.sent) != 0 {
			t.Fatalf("asked before %v", least)
		}
		s.after(most - least + time.Millisecond)
		if len(s.sent) == 0 {
			t.Fatalf("not asked in %v", most)
		}
	}
	fall()
	s.Resume(s.now, "nobody")
	for wait := time.Second; wait <= 4*time.Second; wait *= 2 {
		asked(wait*3/4, wait*5/4)
		fall()
	}
	s.after(time.Hour)
	asked(time.Second*3/4, time.Second*5/4)
	s.Resume(s.now, "there") // which has not fallen back
	// One that waits for its next attempt falls back too, and stays so.
	s.after(time.Minute)
	s.told, s.sent = nil, nil
	tunnel := s.tunnels["there"]
	for tunnel.conn != nil {
		s.after(time.Second)
	}
	s.sent = nil
	s.FallBack(s.now, "there")
	s.after(time.Hour)
	if len(s.sent) != 0 || tunnel.lastError != FellBack {
		t.Errorf("%d messages were sent, %q", len(s.sent), tunnel.lastError)
	}
	s.Down(s.now, "there")
	s.Resume(s.now, "there")
	s.after(time.Hour)
	if len(s.sent) != 0 {
		t.Error("dialled while it is down")
	}
}

// TestTakes tells whose an SCCRQ for both versions is.
func TestTakes(t *testing.T) {
	v2 := &wire.SCCRQV2{PeerV2: wire.PeerV2{Protocol: wire.ProtocolV2, HostName: "there", Framing: 3, TunnelID: 1}}
	v3 := &wire.LCCE{RouterID: 1, ConnectionID: 7}
	e2, e3 := &wire.EncodingV2{}, &wire.Encoding{}
	both := wire.AppendControlV2(nil, wire.ControlHeaderV2{}, wire.AppendOffer(nil, v2, e2, v3, e3))
	alone := wire.AppendControlV2(nil, wire.ControlHeaderV2{}, wire.AppendBodyV2(nil, v2, e2))
	for _, v := range []struct {
		name    string
		cfg     TunnelConfig
		message []byte
		want    bool
	}{
		{"both", TunnelConfig{}, both, true},
		{"L2TPv2 alone", TunnelConfig{}, alone, false},
		{"another host", TunnelConfig{PeerHostName: "another"}, both, false},
		{"without the secret", TunnelConfig{Secrets: []*wire.Secret{sharedSecret}}, both, false},
		{"too short", TunnelConfig{}, both[:20], false},
		{"nothing", TunnelConfig{}, nil, false},
	} {
		s := tellNode(t, here(), v.cfg)
		if got := s.Takes(s.at, v.message); got != v.want {
			t.Errorf("%s: %v", v.name, got)
		}
		if s.DropCounts() != [Drops]uint64{} || len(s.conns) != 0 {
			t.Errorf("%s: it was more than a question", v.name)
		}
	}
}
