package daemon

import (
	"time"

	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/wire"
	"spanwire/pseudowire"
)

// reportEvery is how often a peer is told of errors at most. RFC 3931 section 6.13:
// "not more than once every 60 seconds".
const reportEvery = 60 * time.Second

// errorReports tell peers of the frames that local segments refused: WAN-Error-
// Notify, with buffer overruns since the session was established.
type errorReports struct {
	report   func(session string, errors wire.CircuitErrors)
	sessions map[string]reported
}

// A reported is what a peer was told.
type reported struct {
	id    uint32 // of the session, whose counters these are
	base  uint64 // refused before it was established
	count uint64
	at    time.Time // zero: never
}

func (r *errorReports) look(s *l2tpv3.Status, now time.Time) {
	for i := range s.Tunnels {
		for j := range s.Tunnels[i].Sessions {
			session := &s.Tunnels[i].Sessions[j]
			refused := session.Stats.Drops[pseudowire.DropPortWrite]
			if session.Control == nil || session.Control.State != control.Established || refused == 0 {
				continue
			}
			last, known := r.sessions[session.Name]
			if id := session.Control.Params.SessionID; !known || last.id != id {
				// "The counters are reset when a new call is established."
				last = reported{id: id, base: refused, at: last.at}
				if !known {
					last.base = 0
				}
			}
			if n := refused - last.base; n > last.count && now.Sub(last.at) >= reportEvery {
				last.count, last.at = n, now
				r.report(session.Name, wire.CircuitErrors{BufferOverruns: uint32(min(n, 1<<32-1))})
			}
			if r.sessions == nil {
				r.sessions = make(map[string]reported)
			}
			r.sessions[session.Name] = last
		}
	}
}
