package lns

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"spanwire/pseudowire/ppp"
	"spanwire/pseudowire/ppp/radius"
)

// A judgement is what becomes of a proof.
type judgement struct {
	verdict ppp.Verdict
	grant   *grant // if the verdict is OK
	text    string // why not; for us, not for the peer

	request []byte       // of EAP: there is no verdict yet
	state   radius.State // with which the next proof goes on
}

// judge finds out whether a proof is one, and tells the link later. Those that wait for
// RADIUS and those that cost us time do not wait for each other. The link's mu is held.
func (s *Server) judge(l *Link, p *ppp.Proof, state radius.State) {
	crew, how := s.checks, s.check
	if s.remote(p) {
		crew, how = s.asking, func(l *Link, p *ppp.Proof) judgement { return s.ask(l, p, state) }
	}
	if !crew.do(func() {
		if l.judging(p.Serial) { // else the link is gone, or the peer began again
			l.judged(p, how(l, p))
		}
	}) {
		l.after = append(l.after, func() { l.judged(p, judgement{text: "too many proofs wait"}) })
	}
}

// remote reports whether a RADIUS server is to be asked.
func (s *Server) remote(p *ppp.Proof) bool {
	set := s.users.Load()
	return s.cfg.RADIUS != nil && (set == nil || p.Method == ppp.ByEAP || set.Lookup(p.Name) == nil)
}

func (l *Link) judging(serial uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.over && l.serial == serial
}

// check judges by what we know of our own users. It takes as long for those whom we do
// not know.
func (s *Server) check(_ *Link, p *ppp.Proof) judgement {
	set := s.users.Load()
	if set == nil {
		return judgement{text: "unknown user"}
	}
	j := judgement{text: "wrong name or password"}
	switch p.Method {
	case ppp.ByPAP:
		if u := set.CheckPAP(p.Name, p.Password); u != nil {
			j.grant = ofUser(u)
		}
	case ppp.ByCHAP:
		if len(p.Response) != 16 {
			return j
		}
		if u := set.CheckCHAP(p.Name, p.ID, p.Challenge, [16]byte(p.Response)); u != nil {
			j.grant = ofUser(u)
		}
	case ppp.ByMSCHAP2:
		if u, verdict := set.CheckMSCHAPv2(p); u != nil {
			j.grant, j.verdict = ofUser(u), verdict
		}
	}
	j.verdict.OK = j.grant != nil
	return j
}

// ask asks RADIUS.
func (s *Server) ask(l *Link, p *ppp.Proof, state radius.State) judgement {
	r := radius.Request{User: p.Name, SessionID: l.id, Port: l.call.Port, State: state}
	if r.Port.MTU == 0 {
		r.Port.MTU = uint16(min(s.cfg.MTU, 65535))
	}
	switch {
	case len(p.Name) == 0 || len(p.Name) > 253:
		return judgement{text: fmt.Sprintf("a name of %d octets, want 1 to 253", len(p.Name))}
	case p.Method == ppp.ByPAP:
		r.Credentials = radius.PAP{Password: p.Password}
	case p.Method == ppp.ByCHAP && len(p.Response) == 16:
		r.Credentials = radius.CHAP{ID: p.ID, Challenge: p.Challenge, Response: [16]byte(p.Response)}
	case p.Method == ppp.ByMSCHAP2 && len(p.Challenge) == 16 && len(p.Response) == 49:
		r.Credentials = radius.MSCHAPv2{ID: p.ID, Challenge: [16]byte(p.Challenge), Response: [49]byte(p.Response)}
	case p.Method == ppp.ByEAP:
		r.Credentials = radius.EAP{Packet: p.EAP}
	default:
		return judgement{text: "malformed proof"}
	}
	a, err := s.cfg.RADIUS.Authenticate(s.ctx, r)
	if err != nil {
		text := "no RADIUS server answers"
		if errors.Is(err, radius.ErrBusy) {
			text = "too many ask RADIUS"
		}
		s.log.Warn("authentication", "link", l, "user", p.Name, "error", err)
		return judgement{text: text}
	}
	j := judgement{text: "rejected by RADIUS"}
	j.verdict.EAP = a.EAP
	j.verdict.Message = strings.Join(a.Message, " ")
	switch a.Result {
	case radius.Accept:
		if p.Method == ppp.ByMSCHAP2 {
			if a.MSCHAP2Success == "" { // then the peer would not believe it
				return judgement{text: "RADIUS accepted without an answer to MS-CHAPv2"}
			}
			j.verdict.Message = a.MSCHAP2Success
		}
		j.verdict.OK, j.verdict.SendKey, j.verdict.ReceiveKey = true, a.MPPE.SendKey.Octets(), a.MPPE.RecvKey.Octets()
		j.grant = ofService(p.Name, &a.Service)
	case radius.Challenge:
		if p.Method == ppp.ByEAP && a.EAP != nil {
			return judgement{request: a.EAP, state: a.State}
		}
		j.text = "RADIUS asks for what there is no way to ask"
	default:
		if p.Method == ppp.ByMSCHAP2 && a.MSCHAPError != "" {
			j.verdict.Message = a.MSCHAPError
		}
		if a.Problem != "" {
			j.text = a.Problem
		}
	}
	return j
}

// judged tells the link what became of a proof.
func (l *Link) judged(p *ppp.Proof, j judgement) {
	s := l.server
	l.tell(func(now time.Time) {
		if l.serial != p.Serial {
			return
		}
		l.serial = 0
		if j.request != nil {
			if l.ppp.EAP(now, p.Serial, j.request) {
				l.state = j.state
				return
			}
			j = judgement{text: "an EAP request that cannot be sent"}
		}
		if j.verdict.OK {
			l.forget()
			s.mu.Lock()
			l.name = j.grant.user
			s.mu.Unlock()
			if problem := s.admit(l, j.grant); problem != "" {
				s.release(l, j.grant)
				j.verdict = ppp.Verdict{Message: "no admittance: " + problem}
				if p.Method == ppp.ByMSCHAP2 { // ERROR_NO_DIALIN_PERMISSION, RFC 2759 section 6
					j.verdict.Message = "E=649 R=0 M=" + problem
				}
				j.text = problem
			} else {
				l.grant = j.grant
				v4, v6 := s.addresses(j.grant)
				j.verdict.IPv4, j.verdict.IPv6 = &v4, &v6
			}
		}
		if !j.verdict.OK {
			s.count(func(c *Counts) { c.Refused++ })
			l.event(Event{Kind: Refused, Text: j.text})
		}
		l.ppp.Authenticated(now, p.Serial, j.verdict)
	})
}

// forget takes back what the user had before he proved again who he is: the peer has
// begun again.
func (l *Link) forget() {
	if l.grant == nil {
		return
	}
	l.close(Closed{Cause: radius.UserRequest, Text: "the peer began again"})
	l.since = time.Time{}
	l.id = newSessionID()
	if r := l.server.cfg.RADIUS; r != nil {
		l.id = r.NewSessionID()
	}
}
