package lns

import (
	"sync"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
	"spanwire/pseudowire/ppp"
)

// A lac is the LAC's end of a call: it speaks LCP with a client and asks it who it is,
// and says nothing more when it knows what the client answers.
type lac struct {
	port *cableEnd

	mu   sync.Mutex
	link *ppp.Link
	done bool
}

// answer has the LAC talk to a client over its end of a cable.
func answer(t *testing.T, port *cableEnd, m ppp.Method) *lac {
	t.Helper()
	l := &lac{port: port}
	cfg := ppp.Config{Name: "lac", MRU: 1400}
	if m != ppp.NoMethod {
		cfg.Verify = []ppp.Method{m}
	}
	var err error
	if l.link, err = ppp.New(cfg); err != nil {
		t.Fatal(err)
	}
	port.Attach(l.deliver)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.link.Open(time.Now())
	l.drain()
	return l
}

func (l *lac) deliver(frames []pseudowire.Frame) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range frames {
		if !l.done {
			l.link.Receive(time.Now(), frames[i].Bytes())
			l.drain()
		}
	}
	return len(frames)
}

func (l *lac) drain() {
	for {
		b, ok := l.link.Transmit(make([]byte, pseudowire.Headroom))
		if !ok {
			break
		}
		l.port.Send([]pseudowire.Frame{pseudowire.NewFrame(b, pseudowire.Headroom)})
	}
	for {
		e, ok := l.link.Event()
		if !ok {
			return
		}
		l.done = l.done || e.Kind == ppp.PeerProof || e.Kind == ppp.AllAuthenticated
	}
}

// told returns what the LAC tells of the call, as it comes out of an ICCN.
func (l *lac) told(t *testing.T) wire.Proxy {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.link.Proxy()
	if !ok || !l.done {
		t.Fatal("the LAC knows nothing of the client")
	}
	said := &wire.ICCNV2{ConnectedV2: wire.ConnectedV2{TxSpeed: 1e6}, Proxy: wire.Proxy{
		InitialReceived: p.InitialReceived, LastSent: p.LastSent, LastReceived: p.LastReceived,
		AuthenType: wire.AuthenType(p.Type), Name: p.Name, Challenge: p.Challenge, ID: p.ID, Response: p.Response,
	}}
	b := wire.AppendControlV2(nil, wire.ControlHeaderV2{TunnelID: 1, SessionID: 2}, wire.AppendBodyV2(nil, said, &wire.EncodingV2{}))
	_, body, err := wire.ParseControlV2(b)
	if err != nil {
		t.Fatal(err)
	}
	heard, problem := wire.ParseV2(body, &wire.DecodingV2{})
	if problem != nil {
		t.Fatal(problem)
	}
	return heard.Message.(*wire.ICCNV2).Proxy
}

// TestProxy has an LNS go on with what an LAC began, where it may.
func TestProxy(t *testing.T) {
	for name, v := range map[string]struct {
		m        ppp.Method // by which the LAC asked; none: it did not
		password string
		change   func(*wire.Proxy)
		verify   []ppp.Method
		anew     bool // the client has to begin again
		refused  bool
	}{
		"PAP":                {m: ppp.ByPAP},
		"CHAP":               {m: ppp.ByCHAP},
		"MS-CHAPv2":          {m: ppp.ByMSCHAP2},
		"nobody asks":        {m: ppp.NoMethod, verify: []ppp.Method{}},
		"LNS wants to know":  {m: ppp.NoMethod, anew: true},
		"LNS wants another":  {m: ppp.ByPAP, verify: []ppp.Method{ppp.ByMSCHAP2}, anew: true},
		"nothing is told":    {m: ppp.ByCHAP, change: func(p *wire.Proxy) { *p = wire.Proxy{} }, anew: true},
		"no proof is told":   {m: ppp.ByCHAP, change: func(p *wire.Proxy) { p.AuthenType = 0 }},
		"type is not known":  {m: ppp.ByCHAP, change: func(p *wire.Proxy) { p.AuthenType = wire.AuthenText }},
		"LCP is not options": {m: ppp.ByCHAP, change: func(p *wire.Proxy) { p.LastSent = []byte{1, 9, 0} }, anew: true},
		"wrong, PAP":         {m: ppp.ByPAP, password: "x", refused: true},
		"wrong, CHAP":        {m: ppp.ByCHAP, password: "x", refused: true},
		"wrong, MS-CHAPv2":   {m: ppp.ByMSCHAP2, password: "x", refused: true},
		"forged":             {m: ppp.ByMSCHAP2, change: func(p *wire.Proxy) { p.Name = "bob" }, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				cfg := usual(t)
				if v.verify != nil {
					cfg.Methods = v.verify
				}
				w := begin(t, cfg)
				a, b := cable()
				// The client counts how often LCP is asked for: it begins again if
				// there is another Configure-Request.
				asked := 0
				a.lose = func(frame []byte) bool {
					if frame[2] == 0xc0 && frame[3] == 0x21 && frame[4] == 1 {
						asked++
					}
					return false
				}
				password := v.password
				if password == "" {
					password = "wonderland"
				}
				lac := answer(t, a, v.m)
				c := w.client(b, ClientConfig{User: "alice", Password: password})
				settle(100 * time.Millisecond)
				p := lac.told(t)
				if v.change != nil {
					v.change(&p)
				}
				asked = 0
				var err error
				if c.far, err = w.server.Open(a, Call{Name: "test", Proxy: Proxy(p)}, nil); err != nil {
					t.Fatal(err)
				}
				settle(30 * time.Second)
				want(t, "asked again", asked > 0, v.anew)
				if v.refused {
					want(t, "reason", w.lastDown().Reason, ppp.AuthFailed)
					want(t, "the client", c.closed.Load().Reason, ppp.ProofRefused)
				} else {
					near := c.link.Status()
					if near.Address != c.far.Status().Address || !near.Address.IsValid() || !near.Prefix.IsValid() {
						t.Errorf("%v, %v, closed %v", near.Address, near.Prefix, c.closed.Load())
					}
					if len(cfg.Methods) > 0 {
						want(t, "address", near.Address, "203.0.113.7")
					}
				}
				c.end(t)
				settle(time.Minute)
				w.end()
			})
		})
	}
}
