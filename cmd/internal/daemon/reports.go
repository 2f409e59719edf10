package daemon

import (
	"time"

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

func (r *errorReports) look(sessions []counted, now time.Time) {
	for i := range sessions {
		s := &sessions[i]
		refused := s.drops[pseudowire.DropPortWrite]
		if !s.dynamic || refused == 0 {
			continue
		}
		last, known := r.sessions[s.name]
		if last.id != s.id || refused < last.base {
			// "The counters are reset when a new call is established."
			last = reported{id: s.id, base: refused, at: last.at}
			if !known {
				last.base = 0
			}
		}
		if n := refused - last.base; n > last.count && now.Sub(last.at) >= reportEvery {
			last.count, last.at = n, now
			r.report(s.name, wire.CircuitErrors{BufferOverruns: uint32(min(n, 1<<32-1))})
		}
		if r.sessions == nil {
			r.sessions = make(map[string]reported)
		}
		r.sessions[s.name] = last
	}
	prune(r.sessions, sessions)
}
