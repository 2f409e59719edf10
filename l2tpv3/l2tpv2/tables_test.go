package l2tpv2

import (
	"strings"
	"testing"

	"spanwire/l2tpv3/wire"
)

// A row is one of a state table of RFC 2661 section 7, in the RFC's words. Rows of
// several states or messages are written out as several.
type row struct{ state, event, action, next string }

// tunnelTable is RFC 2661 section 7.2.1.
var tunnelTable = []row{
	{"idle", "Local Open request", "Send SCCRQ", "wait-ctl-reply"},
	{"idle", "Receive SCCRQ, acceptable", "Send SCCRP", "wait-ctl-conn"},
	{"idle", "Receive SCCRQ, not acceptable", "Send StopCCN, Clean up", "idle"},
	{"idle", "Receive SCCRP", "Send StopCCN, Clean up", "idle"},
	{"idle", "Receive SCCCN", "Clean up", "idle"},
	{"wait-ctl-reply", "Receive SCCRP, acceptable", "Send SCCCN, Send tunnel-open event to waiting sessions", "established"},
	{"wait-ctl-reply", "Receive SCCRP, not acceptable", "Send StopCCN, Clean up", "idle"},
	{"wait-ctl-reply", "Receive SCCRQ, lose tie-breaker", "Clean up, Re-queue SCCRQ for idle state", "idle"},
	{"wait-ctl-reply", "Receive SCCCN", "Send StopCCN, Clean up", "idle"},
	{"wait-ctl-conn", "Receive SCCCN, acceptable", "Send tunnel-open event to waiting sessions", "established"},
	{"wait-ctl-conn", "Receive SCCCN, not acceptable", "Send StopCCN, Clean up", "idle"},
	{"wait-ctl-conn", "Receive SCCRP", "Send StopCCN, Clean up", "idle"},
	{"wait-ctl-conn", "Receive SCCRQ", "Send StopCCN, Clean up", "idle"},
	{"established", "Local Open request (new call)", "Send tunnel-open event to waiting sessions", "established"},
	{"established", "Admin Tunnel Close", "Send StopCCN, Clean up", "idle"},
	{"established", "Receive SCCRQ", "Send StopCCN, Clean up", "idle"},
	{"established", "Receive SCCRP", "Send StopCCN, Clean up", "idle"},
	{"established", "Receive SCCCN", "Send StopCCN, Clean up", "idle"},
	{"idle", "Receive StopCCN", "Clean up", "idle"},
	{"wait-ctl-reply", "Receive StopCCN", "Clean up", "idle"},
	{"wait-ctl-conn", "Receive StopCCN", "Clean up", "idle"},
	{"established", "Receive StopCCN", "Clean up", "idle"},
}

// sessionTables are those of RFC 2661 sections 7.4 and 7.5.
var sessionTables = map[string][]row{
	"LAC incoming": {
		{"idle", "Bearer Ring or Ready to indicate incoming conn.", "Initiate local tunnel open", "wait-tunnel"},
		{"idle", "Receive ICCN", "Clean up", "idle"},
		{"idle", "Receive ICRP", "Clean up", "idle"},
		{"idle", "Receive CDN", "Clean up", "idle"},
		{"wait-tunnel", "Bearer line drop or local close request", "Clean up", "idle"},
		{"wait-tunnel", "tunnel-open", "Send ICRQ", "wait-reply"},
		{"wait-reply", "Receive ICRP, acceptable", "Send ICCN", "established"},
		{"wait-reply", "Receive ICRP, Not acceptable", "Send CDN, Clean up", "idle"},
		{"wait-reply", "Receive ICRQ", "Send CDN, Clean up", "idle"},
		{"wait-reply", "Receive CDN", "Clean up", "idle"},
		{"wait-reply", "Receive ICCN", "Clean up", "idle"},
		{"wait-reply", "Local close request or Bearer line drop", "Send CDN, Clean up", "idle"},
		{"established", "Receive CDN", "Clean up", "idle"},
		{"established", "Receive ICRQ", "Send CDN, Clean up", "idle"},
		{"established", "Receive ICRP", "Send CDN, Clean up", "idle"},
		{"established", "Receive ICCN", "Send CDN, Clean up", "idle"},
		{"established", "Bearer line drop or local close request", "Send CDN, Clean up", "idle"},
	},
	"LNS incoming": {
		{"idle", "Receive ICRQ, acceptable", "Send ICRP", "wait-connect"},
		{"idle", "Receive ICRQ, not acceptable", "Send CDN, Clean up", "idle"},
		{"idle", "Receive ICRP", "Send CDN, Clean up", "idle"},
		{"idle", "Receive ICCN", "Clean up", "idle"},
		{"wait-connect", "Receive ICCN, acceptable", "Prepare for data", "established"},
		{"wait-connect", "Receive ICCN, not acceptable", "Send CDN, Clean up", "idle"},
		{"wait-connect", "Receive ICRQ", "Send CDN, Clean up", "idle"},
		{"wait-connect", "Receive ICRP", "Send CDN, Clean up", "idle"},
		{"idle", "Receive CDN", "Clean up", "idle"},
		{"wait-connect", "Receive CDN", "Clean up", "idle"},
		{"established", "Receive CDN", "Clean up", "idle"},
		{"wait-connect", "Local close request", "Send CDN, Clean up", "idle"},
		{"established", "Local close request", "Send CDN, Clean up", "idle"},
		{"established", "Receive ICRQ", "Send CDN, Clean up", "idle"},
		{"established", "Receive ICRP", "Send CDN, Clean up", "idle"},
		{"established", "Receive ICCN", "Send CDN, Clean up", "idle"},
	},
	"LAC outgoing": {
		{"idle", "Receive OCRQ, acceptable", "Send OCRP, Open bearer", "wait-cs-answer"},
		{"idle", "Receive OCRQ, not acceptable", "Send CDN, Clean up", "idle"},
		{"idle", "Receive OCRP", "Send CDN, Clean up", "idle"},
		{"idle", "Receive OCCN", "Clean up", "idle"},
		{"idle", "Receive CDN", "Clean up", "idle"},
		{"wait-cs-answer", "Bearer answer, framing detected", "Send OCCN", "established"},
		{"wait-cs-answer", "Bearer failure", "Send CDN, Clean up", "idle"},
		{"wait-cs-answer", "Receive OCRQ", "Send CDN, Clean up", "idle"},
		{"wait-cs-answer", "Receive OCRP", "Send CDN, Clean up", "idle"},
		{"wait-cs-answer", "Receive OCCN", "Send CDN, Clean up", "idle"},
		{"established", "Receive OCRQ", "Send CDN, Clean up", "idle"},
		{"established", "Receive OCRP", "Send CDN, Clean up", "idle"},
		{"established", "Receive OCCN", "Send CDN, Clean up", "idle"},
		{"wait-cs-answer", "Receive CDN", "Clean up", "idle"},
		{"established", "Receive CDN", "Clean up", "idle"},
		{"established", "Bearer line drop, Local close request", "Send CDN, Clean up", "idle"},
	},
	"LNS outgoing": {
		{"idle", "Local open request", "Initiate local tunnel-open", "wait-tunnel"},
		{"idle", "Receive OCCN", "Clean up", "idle"},
		{"idle", "Receive OCRP", "Clean up", "idle"},
		{"idle", "Receive CDN", "Clean up", "idle"},
		{"wait-tunnel", "tunnel-open", "Send OCRQ", "wait-reply"},
		{"wait-reply", "Receive OCRP, acceptable", "none", "wait-connect"},
		{"wait-reply", "Receive OCRP, not acceptable", "Send CDN, Clean up", "idle"},
		{"wait-reply", "Receive OCCN", "Send CDN, Clean up", "idle"},
		{"wait-reply", "Receive OCRQ", "Send CDN, Clean up", "idle"},
		{"wait-connect", "Receive OCCN", "none", "established"},
		{"wait-connect", "Receive OCRQ", "Send CDN, Clean up", "idle"},
		{"wait-connect", "Receive OCRP", "Send CDN, Clean up", "idle"},
		{"wait-reply", "Receive CDN", "Clean up", "idle"},
		{"wait-connect", "Receive CDN", "Clean up", "idle"},
		{"established", "Receive CDN", "Clean up", "idle"},
		{"established", "Receive OCRQ", "Send CDN, Clean up", "idle"},
		{"established", "Receive OCRP", "Send CDN, Clean up", "idle"},
		{"established", "Receive OCCN", "Send CDN, Clean up", "idle"},
		{"wait-reply", "Local Close request", "Send CDN, Clean up", "idle"},
		{"wait-connect", "Local Close request", "Send CDN, Clean up", "idle"},
		{"established", "Local Close request", "Send CDN, Clean up", "idle"},
		{"wait-tunnel", "Local Close request", "Clean up", "idle"},
	},
}

// departures are the rows that are not followed, and what is sent instead.
var departures = map[string]string{
	// It names a Tunnel ID that is nobody's: whoever could have us send without
	// knowing a number could have us send to anybody.
	"tunnel, idle: Receive SCCRP": "",
	// In idle a message belongs to no session, so nobody can tell whether the peer
	// takes us for the LAC or the LNS. An ICRP and an OCRP are answered, as the
	// tables of the LNS for the one and of the LAC for the other have it.
	"LAC incoming, idle: Receive ICRP": "CDN",
	"LNS outgoing, idle: Receive OCRP": "CDN",
	// The peer's SCCRQ that won is accepted, as it would be in idle.
	"tunnel, wait-ctl-reply: Receive SCCRQ, lose tie-breaker": "SCCRP",
}

// asks returns the names of the messages that a row's action has sent.
func asks(r row, request string) string {
	var names []string
	for _, part := range strings.Split(r.action, ", ") {
		words := strings.Fields(part)
		switch {
		case strings.Contains(part, "tunnel-open event") && request != "":
			names = append(names, request)
		case strings.Contains(part, "tunnel-open event"):
		case words[0] == "Initiate":
			names = append(names, "SCCRQ")
		case words[0] == "Send":
			names = append(names, words[1])
		}
	}
	return strings.Join(names, " ")
}

// in returns a tunnel in a state.
func in(t *testing.T, state string) *dialogue {
	cfg := both(false)
	if state == "wait-ctl-reply" {
		cfg = both(true)
		cfg.Listen, cfg.TieBreaker, cfg.RedialMin = true, true, 1e15
	}
	s := tell(t, cfg)
	switch state {
	case "wait-ctl-reply":
		s.Indicate(s.now, "there", IncomingCall{}) // it waits
	case "wait-ctl-conn":
		s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
	case "established":
		s.established()
	}
	s.drain()
	s.sent = nil
	return s
}

func TestTunnelTable(t *testing.T) {
	for _, r := range tunnelTable {
		t.Run(r.state+": "+r.event, func(t *testing.T) {
			s := in(t, r.state)
			request := ""
			if r.state == "wait-ctl-reply" {
				request = "ICRQ"
			}
			if r.state == "idle" && !strings.HasPrefix(r.event, "Receive SCCRQ") {
				s.id = 4242
			}
			switch bad := strings.Contains(r.event, "not acceptable"); {
			case r.event == "Local Open request":
				s.tunnel(TunnelConfig{Name: "other", Dial: true})
			case strings.HasPrefix(r.event, "Local Open request (new"):
				request = "ICRQ"
				if _, err := s.Indicate(s.now, s.tunnelName(), IncomingCall{}); err != nil {
					t.Fatal(err)
				}
			case strings.HasPrefix(r.event, "Admin"):
				if err := s.Down(s.now, s.tunnelName()); err != nil {
					t.Fatal(err)
				}
			case strings.HasSuffix(r.event, "lose tie-breaker"):
				s.id, s.nr = 0, 0
				s.send(0, &wire.SCCRQV2{PeerV2: s.peer, TieBreaker: wire.Some(uint64(0))})
			case strings.HasPrefix(r.event, "Receive SCCRQ"):
				if bad {
					s.peer.Protocol = 0x0200
				}
				s.send(0, &wire.SCCRQV2{PeerV2: s.peer})
			case strings.HasPrefix(r.event, "Receive SCCRP"):
				if bad {
					s.peer.Protocol = 0x0200
				}
				s.send(0, &wire.SCCRPV2{PeerV2: s.peer})
			case strings.HasPrefix(r.event, "Receive SCCCN"):
				if bad { // an unknown mandatory AVP makes it so
					s.send(0, &wire.SCCCNV2{}, []byte{0x80, 6, 0, 0, 0, 99})
				} else {
					s.send(0, &wire.SCCCNV2{})
				}
			case strings.HasPrefix(r.event, "Receive StopCCN"):
				s.send(0, &wire.StopCCNV2{TunnelID: peerTunnel, Result: wire.Result{Code: 1}})
			}
			s.drain()
			want := asks(r, request)
			if instead, ok := departures["tunnel, "+r.state+": "+r.event]; ok {
				want = instead
			}
			if got := s.spoken(); got != want {
				t.Errorf("sent %q, want %q", got, want)
			}
			next := s.state(false).String()
			if strings.HasSuffix(r.event, "lose tie-breaker") {
				next = "idle"
				if c := s.own(); len(s.conns) != 1 || c.dialled || c.state != WaitCtlConn {
					t.Error("the peer's SCCRQ was not accepted")
				}
			}
			if next != r.next {
				t.Errorf("went to %s, want %s", next, r.next)
			}
			if r.action == "Prepare for data" {
				s.wantTold(SessionUp)
			}
		})
	}
}

// called returns a dialogue with a call in a state.
func called(t *testing.T, role, state string) *dialogue {
	s := tell(t, both(state == "wait-tunnel"))
	if state != "wait-tunnel" {
		s.established()
	}
	if state == "idle" {
		return s
	}
	name := "there"
	if state != "wait-tunnel" {
		name = s.tunnelName()
	}
	upTo := func(steps ...func()) {
		for _, step := range steps {
			step()
			s.drain()
			if s.state(true).String() == state {
				return
			}
		}
		t.Fatalf("%s is in %v, want %s", role, s.state(true), state)
	}
	switch role {
	case "LAC incoming":
		upTo(func() { s.Indicate(s.now, name, IncomingCall{}) }, func() { s.send(s.sid, &wire.ICRPV2{SessionID: peerSession}) })
	case "LNS incoming":
		upTo(func() { s.send(0, &wire.ICRQV2{SessionID: peerSession}) }, func() { s.send(s.sid, &wire.ICCNV2{}) })
	case "LAC outgoing":
		upTo(func() { s.send(0, &wire.OCRQV2{SessionID: peerSession}) }, func() { s.Answer(s.now, s.lastCall, wire.OCCNV2{}) })
	case "LNS outgoing":
		upTo(func() { s.Request(s.now, name, wire.OCRQV2{}) }, func() { s.send(s.sid, &wire.OCRPV2{SessionID: peerSession}) }, func() { s.send(s.sid, &wire.OCCNV2{}) })
	}
	s.ack()
	s.sent, s.told = nil, nil
	return s
}

func TestSessionTables(t *testing.T) {
	unacceptable := []byte{0x80, 6, 0, 0, 0, 99}
	for role, rows := range sessionTables {
		for _, r := range rows {
			t.Run(role+", "+r.state+": "+r.event, func(t *testing.T) {
				s := called(t, role, r.state)
				var extra [][]byte
				if strings.Contains(strings.ToLower(r.event), "not acceptable") {
					extra = append(extra, unacceptable)
				}
				to := s.sid
				if r.state == "idle" {
					to = 4242
				}
				words := strings.Fields(strings.ReplaceAll(r.event, ",", ""))
				switch lower := strings.ToLower(r.event); {
				case words[0] == "Receive":
					var m wire.Message
					switch words[1] {
					case "ICRQ":
						m = &wire.ICRQV2{SessionID: peerSession}
					case "OCRQ":
						m = &wire.OCRQV2{SessionID: peerSession}
					case "ICRP":
						m = &wire.ICRPV2{SessionID: peerSession}
					case "OCRP":
						m = &wire.OCRPV2{SessionID: peerSession}
					case "ICCN":
						m = &wire.ICCNV2{}
					case "OCCN":
						m = &wire.OCCNV2{}
					case "CDN":
						m = &wire.CDNV2{SessionID: peerSession, Result: wire.Result{Code: wire.CDNCarrier}}
					}
					s.send(to, m, extra...)
				case strings.HasPrefix(lower, "bearer ring"), lower == "local open request":
					s = tell(t, TunnelConfig{Dial: true, OnDemand: true})
					if role == "LNS outgoing" {
						s.Request(s.now, "there", wire.OCRQV2{})
					} else {
						s.Indicate(s.now, "there", IncomingCall{})
					}
					s.after(0)
				case lower == "tunnel-open":
					s.send(0, &wire.SCCRPV2{PeerV2: s.peer})
					if len(s.sent) > 0 && s.sent[0].Type == wire.TypeSCCCN {
						s.sent = s.sent[1:]
					}
				case strings.HasPrefix(lower, "bearer answer"):
					if err := s.Answer(s.now, s.lastCall, wire.OCCNV2{}); err != nil {
						t.Fatal(err)
					}
				default: // it fails, drops, or is closed
					if err := s.Hangup(s.now, s.lastCall, wire.CDNV2{Result: wire.Result{Code: wire.CDNCarrier}}); err != nil {
						t.Fatal(err)
					}
				}
				s.drain()
				want := asks(r, "")
				if instead, ok := departures[role+", "+r.state+": "+r.event]; ok {
					want = instead
				}
				if got := s.spoken(); got != want {
					t.Errorf("sent %q, want %q", got, want)
				}
				if next := s.state(true).String(); next != r.next {
					t.Errorf("went to %s, want %s", next, r.next)
				}
				switch {
				case r.next == "established":
					s.wantTold(SessionUp)
				case strings.HasSuffix(r.action, "Open bearer"):
					s.wantTold(SessionPlace)
				case r.state != "idle" && r.next == "idle":
					s.wantTold(SessionDown)
				}
				if c := s.own(); c == nil || c.state == Idle {
					t.Error("the tunnel is closed")
				}
			})
		}
	}
}
