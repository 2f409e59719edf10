package control

import (
	"slices"
	"strings"
	"testing"
	"time"

	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// A row is one of a state table of RFC 3931 section 7, in the RFC's words. Rows of
// several states or messages are written out as several.
type row struct{ state, event, action, next string }

// connTable is RFC 3931 section 7.2.
var connTable = []row{
	{"idle", "Local open request", "Send SCCRQ", "wait-ctl-reply"},
	{"idle", "Receive SCCRQ, acceptable", "Send SCCRP", "wait-ctl-conn"},
	{"idle", "Receive SCCRQ, not acceptable", "Send StopCCN, clean up", "idle"},
	{"idle", "Receive SCCRP", "Send StopCCN, clean up", "idle"},
	{"idle", "Receive SCCCN", "Send StopCCN, clean up", "idle"},
	{"wait-ctl-reply", "Receive SCCRP, acceptable", "Send SCCCN, send control-conn open event to waiting sessions", "established"},
	{"wait-ctl-reply", "Receive SCCRP, not acceptable", "Send StopCCN, clean up", "idle"},
	{"wait-ctl-reply", "Receive SCCRQ, lose tie breaker, SCCRQ acceptable", "Send SCCRP, Clean up losing connection", "wait-ctl-conn"},
	{"wait-ctl-reply", "Receive SCCRQ, lose tie breaker, SCCRQ unacceptable", "Send StopCCN, Clean up losing connection", "idle"},
	{"wait-ctl-reply", "Receive SCCRQ, win tie breaker", "Send StopCCN for losing connection", "wait-ctl-reply"},
	{"wait-ctl-reply", "Receive SCCCN", "Send StopCCN, clean up", "idle"},
	{"wait-ctl-conn", "Receive SCCCN, acceptable", "Send control-conn open event to waiting sessions", "established"},
	{"wait-ctl-conn", "Receive SCCCN, not acceptable", "Send StopCCN, clean up", "idle"},
	{"wait-ctl-conn", "Receive SCCRQ", "Send StopCCN, clean up", "idle"},
	{"wait-ctl-conn", "Receive SCCRP", "Send StopCCN, clean up", "idle"},
	{"established", "Local open request (new call)", "Send control-conn open event to waiting sessions", "established"},
	{"established", "Administrative control-conn close event", "Send StopCCN, clean up", "idle"},
	{"established", "Receive SCCRQ", "Send StopCCN, clean up", "idle"},
	{"established", "Receive SCCRP", "Send StopCCN, clean up", "idle"},
	{"established", "Receive SCCCN", "Send StopCCN, clean up", "idle"},
	{"idle", "Receive StopCCN", "Clean up", "idle"},
	{"wait-ctl-reply", "Receive StopCCN", "Clean up", "idle"},
	{"wait-ctl-conn", "Receive StopCCN", "Clean up", "idle"},
	{"established", "Receive StopCCN", "Clean up", "idle"},
}

// departures are the rows that are not followed, and what is sent instead.
var departures = map[string]string{
	// It names a Control Connection ID that is nobody's: there is nothing to
	// authenticate it by, no ID to answer to, and whoever could have us send
	// without knowing a number could have us send to anybody. In idle after a
	// connection our StopCCN or the peer's is on its way already.
	"idle: Receive SCCRP": "",
	"idle: Receive SCCCN": "",
	// In idle a message belongs to no session, so nobody can tell whether the
	// peer takes us for the sender or the recipient. An ICRP and an OCRP are
	// answered, as sections 7.3.2 and 7.4.2 have it.
	"ICRQ sender, idle: Receive ICRP": "CDN",
	"OCRQ sender, idle: Receive OCRP": "CDN",
}

// asks returns the names of the messages that a row's action has sent.
func asks(action, request string) (names []string) {
	for _, part := range strings.Split(action, ", ") {
		words := strings.Fields(part)
		switch {
		case strings.Contains(part, "control-conn open event"):
			names = append(names, request)
		case strings.Contains(part, "Process as ICRQ Recipient"):
			names = append(names, "ICRP")
		case strings.Contains(part, "Process as OCRQ Recipient"):
			names = append(names, "OCRP")
		case words[0] == "Initiate":
			names = append(names, "SCCRQ")
		case strings.EqualFold(words[0], "send"):
			names = append(names, words[1])
		}
	}
	return names
}

// names takes what the LCCE has sent, but for acknowledgments.
func (s *dialogue) names() (names []string) {
	for _, m := range s.sent {
		if m.Message != nil && m.Parsed.Type != wire.TypeACK {
			names = append(names, m.name())
		}
	}
	s.sent = nil
	return names
}

// settle takes what is sent until now and acknowledges it.
func (s *dialogue) settle() *dialogue {
	for len(s.sent) > 0 {
		for _, m := range s.sent {
			if p, ok := m.Message.(*wire.SCCRP); ok {
				s.id = p.ConnectionID
			}
			if m.Ns == s.nr && m.Message != nil && m.Parsed.Type != wire.TypeACK {
				s.nr++
			}
		}
		s.sent = nil
		s.ack()
	}
	s.told = nil
	return s
}

// current is the state of the one connection that is not idle, idle if there is
// none.
func (s *dialogue) current() State {
	found := Idle
	for _, c := range s.conns {
		if c.state != Idle {
			if found != Idle {
				s.t.Errorf("two connections that are not idle")
			}
			found = c.state
		}
	}
	return found
}

func TestConnectionTable(t *testing.T) {
	reach := map[string]func(t *testing.T, event string) *dialogue{
		"idle": func(t *testing.T, event string) *dialogue {
			if event != "Receive SCCRP" && event != "Receive SCCCN" && event != "Receive StopCCN" {
				cfg := TunnelConfig{Circuits: []CircuitConfig{office(true)}, RedialMin: time.Hour, RedialMax: time.Hour}
				return tell(t, cfg)
			}
			s := tell(t, dials(office(true)))
			s.want("SCCRQ", 0, 0)
			s.nr = 1
			s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopGeneral}})
			return s.settle()
		},
		"wait-ctl-reply": func(t *testing.T, _ string) *dialogue {
			s := tell(t, dials(office(true)))
			s.want("SCCRQ", 0, 0)
			return s
		},
		"wait-ctl-conn": func(t *testing.T, _ string) *dialogue {
			s := tell(t, accepts(office(true)))
			s.send(s.request())
			return s.settle()
		},
		"established": func(t *testing.T, event string) *dialogue {
			if strings.HasPrefix(event, "Local open") {
				k := office(false)
				s := tell(t, accepts(k)).establish()
				s.tunnels["there"].circuits[0].cfg.Initiate = true
				return s.settle()
			}
			return tell(t, accepts(office(true))).establish().settle()
		},
	}
	tied := func(s *dialogue, better int64, extra ...[]byte) {
		q := s.request()
		q.TieBreaker = wire.Some(uint64(int64(s.tunnels["there"].conn.tie.Value) + better))
		s.id, s.ns, s.nr = 0, 0, 0
		s.send(q, extra...)
	}
	bad := avp(mandatory, 0, 999)
	do := map[string]func(s *dialogue){
		"Local open request": func(s *dialogue) {
			s.tunnels["there"].cfg.Dial = true
			s.Bind(s.now, "there", Binding{At: s.at})
			s.after(0)
		},
		"Receive SCCRQ, acceptable":                           func(s *dialogue) { s.send(s.request()) },
		"Receive SCCRQ, not acceptable":                       func(s *dialogue) { s.send(s.request(), bad) },
		"Receive SCCRQ":                                       func(s *dialogue) { s.send(s.request()) },
		"Receive SCCRP":                                       func(s *dialogue) { s.send(&wire.SCCRP{LCCE: s.peer}) },
		"Receive SCCRP, acceptable":                           func(s *dialogue) { s.send(&wire.SCCRP{LCCE: s.peer}) },
		"Receive SCCRP, not acceptable":                       func(s *dialogue) { s.send(&wire.SCCRP{LCCE: s.peer}, bad) },
		"Receive SCCRQ, lose tie breaker, SCCRQ acceptable":   func(s *dialogue) { tied(s, -1) },
		"Receive SCCRQ, lose tie breaker, SCCRQ unacceptable": func(s *dialogue) { tied(s, -1, bad) },
		"Receive SCCRQ, win tie breaker":                      func(s *dialogue) { tied(s, 1) },
		"Receive SCCCN":                                       func(s *dialogue) { s.send(&wire.SCCCN{}) },
		"Receive SCCCN, acceptable":                           func(s *dialogue) { s.send(&wire.SCCCN{}) },
		"Receive SCCCN, not acceptable":                       func(s *dialogue) { s.send(&wire.SCCCN{}, bad) },
		"Receive StopCCN": func(s *dialogue) {
			s.send(&wire.StopCCN{ConnectionID: peerConnection, Result: wire.Result{Code: wire.StopGeneral}})
		},
		"Local open request (new call)": func(s *dialogue) { _ = s.Up(s.now, "there/office"); s.drain() },
		"Administrative control-conn close event": func(s *dialogue) {
			_ = s.Down(s.now, "there")
			s.drain()
		},
	}
	for _, r := range connTable {
		key := r.state + ": " + r.event
		t.Run(key, func(t *testing.T) {
			s := reach[r.state](t, r.event)
			if got := s.current().String(); got != r.state {
				t.Fatalf("begins in %s", got)
			}
			do[r.event](s)
			want := asks(r.action, "ICRQ")
			if instead, ok := departures[key]; ok {
				want = nil
				if instead != "" {
					want = []string{instead}
				}
			}
			if got := s.names(); !slices.Equal(got, want) {
				t.Errorf("sent %q, want %q", got, want)
			}
			if got := s.current().String(); got != r.next {
				t.Errorf("ends in %s, want %s", got, r.next)
			}
			if r.next == "idle" {
				s.id = 1 // no answer any more, and in the end nothing is left
				s.after(2 * time.Minute)
				if len(s.conns)+len(s.sessions)+len(s.requests)+len(s.halfOpen) != 0 {
					t.Error("not cleaned up")
				}
			}
		})
	}
}

// icrqSenderTable is RFC 3931 section 7.3.1.
var icrqSenderTable = []row{
	{"idle", "Call signal or ready to receive incoming conn", "Initiate local control-conn open", "wait-control-conn"},
	{"idle", "Receive ICCN", "Clean up", "idle"},
	{"idle", "Receive ICRP", "Clean up", "idle"},
	{"idle", "Receive CDN", "Clean up", "idle"},
	{"wait-control-conn", "Bearer line drop or local close request", "Clean up", "idle"},
	{"wait-control-conn", "control-conn-open", "Send ICRQ", "wait-reply"},
	{"wait-reply", "Receive ICRP, acceptable", "Send ICCN", "established"},
	{"wait-reply", "Receive ICRP, Not acceptable", "Send CDN, clean up", "idle"},
	{"wait-reply", "Receive ICRQ, lose tie breaker", "Process as ICRQ Recipient (Section 7.3.2)", "idle"},
	{"wait-reply", "Receive ICRQ, win tie breaker", "Send CDN for losing session", "wait-reply"},
	{"wait-reply", "Receive CDN", "Clean up", "idle"},
	{"wait-reply", "Receive ICCN", "Clean up", "idle"},
	{"wait-reply", "Local close request", "Send CDN, clean up", "idle"},
	{"established", "Receive CDN", "Clean up", "idle"},
	{"established", "Receive ICRQ", "Send CDN, clean up", "idle"},
	{"established", "Receive ICRP", "Send CDN, clean up", "idle"},
	{"established", "Receive ICCN", "Send CDN, clean up", "idle"},
	{"established", "Local close request", "Send CDN, clean up", "idle"},
}

// icrqRecipientTable is RFC 3931 section 7.3.2.
var icrqRecipientTable = []row{
	{"idle", "Receive ICRQ, acceptable", "Send ICRP", "wait-connect"},
	{"idle", "Receive ICRQ, not acceptable", "Send CDN, clean up", "idle"},
	{"idle", "Receive ICRP", "Send CDN clean up", "idle"},
	{"idle", "Receive ICCN", "Clean up", "idle"},
	{"wait-connect", "Receive ICCN, acceptable", "Prepare for data", "established"},
	{"wait-connect", "Receive ICCN, not acceptable", "Send CDN, clean up", "idle"},
	{"wait-connect", "Receive ICRQ", "Send CDN, clean up", "idle"},
	{"wait-connect", "Receive ICRP", "Send CDN, clean up", "idle"},
	{"idle", "Receive CDN", "Clean up", "idle"},
	{"wait-connect", "Receive CDN", "Clean up", "idle"},
	{"established", "Receive CDN", "Clean up", "idle"},
	{"wait-connect", "Local close request", "Send CDN, clean up", "idle"},
	{"established", "Local close request", "Send CDN, clean up", "idle"},
	{"established", "Receive ICRQ", "Send CDN, clean up", "idle"},
	{"established", "Receive ICRP", "Send CDN, clean up", "idle"},
	{"established", "Receive ICCN", "Send CDN, clean up", "idle"},
}

// ocrqSenderTable is RFC 3931 section 7.4.1.
var ocrqSenderTable = []row{
	{"idle", "Local open request", "Initiate local control-conn-open", "wait-control-conn"},
	{"idle", "Receive OCCN", "Clean up", "idle"},
	{"idle", "Receive OCRP", "Clean up", "idle"},
	{"wait-control-conn", "control-conn-open", "Send OCRQ", "wait-reply"},
	{"wait-reply", "Receive OCRP, acceptable", "none", "wait-connect"},
	{"wait-reply", "Receive OCRP, not acceptable", "Send CDN, clean up", "idle"},
	{"wait-reply", "Receive OCCN", "Send CDN, clean up", "idle"},
	{"wait-reply", "Receive OCRQ, lose tie breaker", "Process as OCRQ Recipient (Section 7.4.2)", "idle"},
	{"wait-reply", "Receive OCRQ, win tie breaker", "Send CDN for losing session", "wait-reply"},
	{"wait-connect", "Receive OCCN", "none", "established"},
	{"wait-connect", "Receive OCRQ", "Send CDN, clean up", "idle"},
	{"wait-connect", "Receive OCRP", "Send CDN, clean up", "idle"},
	{"idle", "Receive CDN", "Clean up", "idle"},
	{"wait-reply", "Receive CDN", "Clean up", "idle"},
	{"wait-connect", "Receive CDN", "Clean up", "idle"},
	{"established", "Receive CDN", "Clean up", "idle"},
	{"established", "Receive OCRQ", "Send CDN, clean up", "idle"},
	{"established", "Receive OCRP", "Send CDN, clean up", "idle"},
	{"established", "Receive OCCN", "Send CDN, clean up", "idle"},
	{"wait-reply", "Local close request", "Send CDN, clean up", "idle"},
	{"wait-connect", "Local close request", "Send CDN, clean up", "idle"},
	{"established", "Local close request", "Send CDN, clean up", "idle"},
	{"wait-control-conn", "Local close request", "Clean up", "idle"},
}

// ocrqRecipientTable is RFC 3931 section 7.4.2.
var ocrqRecipientTable = []row{
	{"idle", "Receive OCRQ, acceptable", "Send OCRP, Place call", "wait-cs-answer"},
	{"idle", "Receive OCRQ, not acceptable", "Send CDN, clean up", "idle"},
	{"idle", "Receive OCRP", "Send CDN, clean up", "idle"},
	{"idle", "Receive OCCN", "Clean up", "idle"},
	{"idle", "Receive CDN", "Clean up", "idle"},
	{"wait-cs-answer", "Call placement successful", "Send OCCN", "established"},
	{"wait-cs-answer", "Call placement failed", "Send CDN, clean up", "idle"},
	{"wait-cs-answer", "Receive OCRQ", "Send CDN, clean up", "idle"},
	{"wait-cs-answer", "Receive OCRP", "Send CDN, clean up", "idle"},
	{"wait-cs-answer", "Receive OCCN", "Send CDN, clean up", "idle"},
	{"established", "Receive OCRQ", "Send CDN, clean up", "idle"},
	{"established", "Receive OCRP", "Send CDN, clean up", "idle"},
	{"established", "Receive OCCN", "Send CDN, clean up", "idle"},
	{"wait-cs-answer", "Receive CDN", "Clean up", "idle"},
	{"established", "Receive CDN", "Clean up", "idle"},
	{"wait-cs-answer", "Local close request", "Send CDN, clean up", "idle"},
	{"established", "Local close request", "Send CDN, clean up", "idle"},
}

// standing is the state of the circuit's session, as the RFC sees it: before there
// is a connection a session of ours waits for it, and is none yet to us.
func (s *dialogue) standing() string {
	k := s.tunnels["there"].circuits[0]
	if k.active == nil && k.cfg.Initiate && !k.down && s.current() == WaitCtlReply {
		return WaitControlConn.String()
	}
	return s.session().State.String()
}

func TestSessionTables(t *testing.T) {
	for _, v := range []struct {
		name      string
		rows      []row
		recipient bool
		outgoing  bool
	}{
		{"ICRQ sender", icrqSenderTable, false, false},
		{"ICRQ recipient", icrqRecipientTable, true, false},
		{"OCRQ sender", ocrqSenderTable, false, true},
		{"OCRQ recipient", ocrqRecipientTable, true, true},
	} {
		for _, r := range v.rows {
			key := v.name + ", " + r.state + ": " + r.event
			t.Run(key, func(t *testing.T) {
				k := office(!v.recipient)
				k.Outgoing = v.outgoing
				s, ours := stand(t, k, r.state)
				if got := s.standing(); got != r.state {
					t.Fatalf("begins in %s", got)
				}
				happen(s, r.event, ours)
				want := asks(r.action, "")
				if instead, ok := departures[key]; ok {
					want = []string{instead}
				}
				got := s.names()
				if strings.HasPrefix(r.action, "Process as OCRQ") {
					got = slices.DeleteFunc(got, func(name string) bool { return name == "OCCN" }) // the circuit is active
				}
				if !slices.Equal(got, want) {
					t.Errorf("sent %q, want %q", got, want)
				}
				if strings.HasPrefix(r.action, "Process as") {
					if s.sessions[ours] != nil {
						t.Error("the session that lost is not idle")
					}
					return
				}
				if got := s.standing(); got != r.next {
					t.Errorf("ends in %s, want %s", got, r.next)
				}
				if r.next == "idle" && len(s.sessions) != 0 {
					t.Error("not cleaned up")
				}
			})
		}
	}
}

// stand brings a circuit's session into a state; ours is its Session ID.
func stand(t *testing.T, k CircuitConfig, state string) (s *dialogue, ours uint32) {
	n := here()
	n.Active = state != "wait-cs-answer" && (state != "idle" || !k.Outgoing)
	if !k.Initiate {
		s = tellNode(t, n, accepts(k)).establish().settle()
		if state == "idle" {
			return s, 0
		}
		if k.Outgoing {
			s.send(&wire.OCRQ{CallRequest: call(9)})
			ours = s.session().Params.SessionID
		} else {
			s.send(icrq(9))
			ours = s.session().Params.SessionID
			if state == "established" {
				s.settle()
				s.send(iccn(9, ours))
			}
		}
		return s.settle(), ours
	}
	cfg := dials(k)
	if state == "idle" {
		cfg.Dial = false
	}
	s = tell(t, cfg)
	if state == "idle" {
		// One that is down, so that nothing is asked for yet.
		if err := s.Down(s.now, "there/office"); err != nil {
			t.Fatal(err)
		}
		return s, 0
	}
	s.want("SCCRQ", 0, 0)
	if state == "wait-control-conn" {
		return s, 0
	}
	s.send(&wire.SCCRP{LCCE: s.peer})
	s.settle()
	ours = s.session().Params.SessionID
	if state == "wait-reply" {
		return s, ours
	}
	reply := wire.CallReply{LocalSessionID: 9, RemoteSessionID: ours}
	if !k.Outgoing {
		s.send(&wire.ICRP{CallReply: reply})
		return s.settle(), ours
	}
	s.send(&wire.OCRP{CallReply: reply})
	if state == "established" {
		s.send(&wire.OCCN{CallConnected: wire.CallConnected{LocalSessionID: 9, RemoteSessionID: ours}})
	}
	return s.settle(), ours
}

// happen has an event of the session tables happen.
func happen(s *dialogue, event string, ours uint32) {
	unknown := ours
	if ours == 0 {
		unknown = 4242
		if strings.HasPrefix(event, "Receive") && s.current() == Idle {
			s.establish().settle() // of a sender in idle
		}
	}
	request := call(9)
	reply := wire.CallReply{LocalSessionID: 9, RemoteSessionID: unknown}
	connected := wire.CallConnected{LocalSessionID: 9, RemoteSessionID: unknown}
	name, condition, _ := strings.Cut(strings.TrimPrefix(event, "Receive "), ", ")
	switch strings.ToLower(condition) {
	case "not acceptable":
		request.Sublayer, reply.Sublayer, connected.Sublayer = 7, 7, wire.Some(pseudowire.Sublayer(7))
	case "lose tie breaker":
		request.TieBreaker = wire.Some(s.tunnels["there"].circuits[0].active.tie.Value - 1)
	case "win tie breaker":
		request.TieBreaker = wire.Some(s.tunnels["there"].circuits[0].active.tie.Value + 1)
	}
	switch name {
	case "ICRQ":
		s.send(&wire.ICRQ{CallRequest: request})
	case "OCRQ":
		s.send(&wire.OCRQ{CallRequest: request})
	case "ICRP":
		s.send(&wire.ICRP{CallReply: reply})
	case "OCRP":
		s.send(&wire.OCRP{CallReply: reply})
	case "ICCN":
		s.send(&wire.ICCN{CallConnected: connected})
	case "OCCN":
		s.send(&wire.OCCN{CallConnected: connected})
	case "CDN":
		s.send(&wire.CDN{LocalSessionID: 9, RemoteSessionID: unknown, Result: wire.Result{Code: wire.CDNAdministrative}})
	case "control-conn-open":
		s.send(&wire.SCCRP{LCCE: s.peer})
		s.sent = s.sent[1:] // the SCCCN
	case "Call placement successful":
		s.SetCircuit(s.now, "there/office", wire.CircuitActive)
		s.drain()
	case "Call placement failed":
		s.after(30 * time.Second)
	case "Local close request", "Bearer line drop or local close request":
		_ = s.Down(s.now, "there/office")
		s.drain()
		if ours == 0 {
			s.send(&wire.SCCRP{LCCE: s.peer})
			s.sent = s.sent[1:]
		}
	case "Call signal or ready to receive incoming conn", "Local open request":
		_ = s.Up(s.now, "there/office")
		s.tunnels["there"].cfg.Dial = true
		s.Bind(s.now, "there", Binding{At: s.at})
		s.after(0)
	default:
		s.t.Fatalf("no such event: %s", event)
	}
}
