package daemon

import (
	"time"

	"spanwire/l2tpv3"
	"spanwire/pseudowire"
)

// A look is what is looked at again and again while all is open, and what is told
// of it.
type look struct {
	segment  func(session string) segment
	drops    dropLog
	refused  refusalLog
	reports  errorReports
	sessions []counted
	rest     int // looks to leave out, as nothing happened lately
}

// restful is how many looks are left out while nothing is dropped or refused: to look
// at a thousand sessions each second is most of what an idle daemon does.
const restful = 4

// due reports whether to look this time.
func (l *look) due() bool {
	if l.rest > 0 {
		l.rest--
		return false
	}
	return true
}

// A counted is a session's part of what is looked at.
type counted struct {
	name    string
	dynamic bool
	id      uint32 // another one each time that it is established
	drops   [pseudowire.Drops]uint64
}

func newLook(d *daemon) *look {
	return &look{
		segment: d.segment,
		drops:   dropLog{log: d.log},
		refused: refusalLog{log: d.log},
		reports: errorReports{report: d.endpoint.Report},
	}
}

func (l *look) look(g *l2tpv3.Glance, now time.Time) {
	l.sessions = l.sessions[:0]
	for _, s := range g.Sessions {
		drops, id := s.Drops()
		if joined := l.segment(s.Name()); joined != nil {
			for why, n := range joined.drops() {
				drops[why] += n
			}
		}
		l.sessions = append(l.sessions, counted{s.Name(), s.Circuit() != nil, id, drops})
	}
	moved := l.drops.look(&g.Drops, l.sessions)
	counts := refusedOf(&g.Refused, &g.RefusedV2)
	moved = l.refused.look(&counts) || moved
	l.reports.look(l.sessions, now)
	if !moved {
		l.rest = restful
	}
}

// prune forgets what is known of sessions that are gone, when that is worth while.
func prune[T any](known map[string]T, sessions []counted) {
	const spare = 256
	if len(known) <= len(sessions)+spare {
		return
	}
	there := make(map[string]bool, len(sessions))
	for i := range sessions {
		there[sessions[i].name] = true
	}
	for name := range known {
		if !there[name] {
			delete(known, name)
		}
	}
}

// A pace has what goes on and on told less and less often: after one look, two,
// four and so on, up to 64.
type pace struct{ wait, left int }

// due reports, once for each look, whether it is time to tell of what is pending.
func (p *pace) due(pending bool) bool {
	if p.left > 0 {
		p.left--
	}
	switch {
	case p.left > 0:
	case !pending:
		p.wait = 0
	default:
		p.left = p.wait
		p.wait = min(max(2*p.wait, 1), 64)
		return true
	}
	return false
}
