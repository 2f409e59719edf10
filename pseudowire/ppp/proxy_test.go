package ppp

import (
	"bytes"
	"testing"
)

// fromLAC is what an LAC told after a client proved itself to it, and the client.
func fromLAC(t *testing.T, m Method) (Proxy, *wire) {
	t.Helper()
	lac, client := pair(m, CCPRejected)
	lac.Name = "lac"
	w := join(t, 5, lac, client, noTrouble)
	w.secret = ""
	for range 100 {
		w.run(10e6)
		if s := w.ends[0]; m == NoMethod && s.phase == Network || s.verifier.state == asking {
			break
		}
	}
	p, ok := w.ends[0].Proxy()
	if !ok {
		t.Fatalf("%v: nothing to be told, phase %v", m, w.ends[0].phase)
	}
	w.onWay, w.secret = nil, simPassword
	return p, w
}

// takeOver puts an LNS in the LAC's place.
func (w *wire) takeOver(p Proxy, lns Config) (suits bool) {
	w.cfg[0] = lns
	w.lives[0]++
	w.ends[0], w.events[0] = newLink(w.t, lns, 7), nil
	suits = w.ends[0].OpenProxy(w.now, p)
	w.drain(0)
	return suits
}

// TestProxy has an LNS go on where the LAC was: the client notices nothing.
func TestProxy(t *testing.T) {
	for _, m := range simMethods {
		p, w := fromLAC(t, m)
		lns, _ := pair(m, CCPRejected)
		lns.MRU = 1500
		if !w.takeOver(p, lns) {
			t.Fatalf("%v: %+v does not suit", m, p)
		}
		if s := w.ends[0].Status(); s.MRU != 1400 || s.LCP != Opened || m != NoMethod && s.User != `DOMAIN\user` {
			t.Errorf("%v: %+v", m, s)
		}
		w.run(20e9)
		w.wantOpen()
		for _, e := range w.events[1] {
			if e.Kind == LCPDown {
				t.Errorf("%v: the client had to begin again\n%s", m, lines(w.events[1]))
			}
		}
	}
}

// TestProxyRestart has an LNS that wants something else than the LAC agreed on: the
// client begins again.
func TestProxyRestart(t *testing.T) {
	for name, f := range map[string]func(p *Proxy, lns *Config){
		"another method":      func(_ *Proxy, lns *Config) { lns.Verify = []Method{ByMSCHAP2} },
		"no method":           func(_ *Proxy, lns *Config) { lns.Verify = nil },
		"a smaller MRU":       func(_ *Proxy, lns *Config) { lns.MRU = 1300 },
		"no LCP":              func(p *Proxy, _ *Config) { *p = Proxy{} },
		"multilink":           func(p *Proxy, _ *Config) { p.LastReceived = append(p.LastReceived, 17, 4, 5, 0xdc) },
		"not options":         func(p *Proxy, _ *Config) { p.LastSent = append(p.LastSent, 1) },
		"a tiny MRU":          func(p *Proxy, _ *Config) { p.LastReceived = []byte{1, 4, 0, 1} },
		"we are to prove":     func(p *Proxy, _ *Config) { p.LastReceived = []byte{3, 4, 0xc0, 0x23} },
		"looped back":         func(p *Proxy, _ *Config) { p.LastReceived = bytes.Clone(p.LastSent[len(p.LastSent)-6:]) },
		"an unknown method":   func(p *Proxy, _ *Config) { p.LastSent = []byte{3, 5, 0xc2, 0x23, 0x80} },
		"a wrong length":      func(p *Proxy, _ *Config) { p.LastSent = []byte{1, 3, 5} },
		"a wrong proof first": func(p *Proxy, _ *Config) { p.Type, p.LastSent = ProxyCHAP, nil },
	} {
		t.Run(name, func(t *testing.T) {
			p, w := fromLAC(t, ByCHAP)
			lns, _ := pair(ByCHAP, CCPRejected)
			f(&p, &lns)
			if w.takeOver(p, lns) {
				t.Fatal("it suits")
			}
			w.run(40e9)
			w.wantOpen()
		})
	}
}

// TestProxyProofs has LACs that tell of LCP and of no proof, or one that is none: the
// client is asked anew.
func TestProxyProofs(t *testing.T) {
	for name, f := range map[string]func(p *Proxy){
		"none":        func(p *Proxy) { p.Type = 0 },
		"other type":  func(p *Proxy) { p.Type = ProxyPAP },
		"no answer":   func(p *Proxy) { p.Response = nil },
		"no question": func(p *Proxy) { p.Challenge = nil },
		"long name":   func(p *Proxy) { p.Name = string(make([]byte, 256)) },
	} {
		t.Run(name, func(t *testing.T) {
			p, w := fromLAC(t, ByMSCHAP2)
			lns, _ := pair(ByMSCHAP2, CCPRejected)
			f(&p)
			if !w.takeOver(p, lns) {
				t.Fatal("it does not suit")
			}
			w.run(20e9)
			w.wantOpen()
		})
	}
	// And a wrong one is wrong.
	p, w := fromLAC(t, ByMSCHAP2)
	lns, _ := pair(ByMSCHAP2, CCPRejected)
	p.Response[30] ^= 1
	if !w.takeOver(p, lns) {
		t.Fatal("it does not suit")
	}
	w.run(20e9)
	if s := w.ends[0].Status(); s.Reason != AuthFailed {
		t.Errorf("reason %q, want %q", s.Reason, AuthFailed)
	}
}

// TestNoProxy wants nothing told of a Link that is not so far, or too far.
func TestNoProxy(t *testing.T) {
	d := talk(t, Config{})
	if _, ok := d.link.Proxy(); ok {
		t.Error("told before LCP is opened")
	}
	d = askedBy(t, ByPAP, 0)
	if _, ok := d.link.Proxy(); ok {
		t.Error("told before the peer proved itself")
	}
	d.hearPacket(PAP, papOf(9, "user", "secret"))
	if p, ok := d.link.Proxy(); !ok || p.Type != ProxyPAP || p.ID != 9 || p.Name != "user" || string(p.Response) != "secret" {
		t.Errorf("%+v, %v", p, ok)
	}
}

// TestAgreement wants what an LAC is told of LCP: the ACCM that the peer asks for, and
// the default where it asks for none.
func TestAgreement(t *testing.T) {
	for _, v := range []struct {
		options string
		want    uint32
	}{{"", 0xffffffff}, {"02 06 00 0a 00 00", 0x000a0000}, {"01 04 05 78 02 06 00 00 00 00", 0}} {
		d := talk(t, Config{})
		sent := d.wantSaid(LCP, configureRequest)
		d.hearPacket(LCP, packet{code: configureRequest, id: 7, data: unhex(t, v.options)})
		d.wantSaid(LCP, configureAck)
		d.hearPacket(LCP, packet{code: configureAck, id: sent.id, data: sent.data})
		a := d.link.Agreement()
		if a.ACCM != v.want || !bytes.Equal(a.Received, unhex(t, v.options)) || !bytes.Equal(a.Sent, sent.data) {
			t.Errorf("%q: %+v, sent % x", v.options, a, sent.data)
		}
	}
}
