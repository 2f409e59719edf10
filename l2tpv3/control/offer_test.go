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
