package daemon

import (
	"log/slog"
	"strings"

	"spanwire/l2tpv3"
	"spanwire/pseudowire"
)

// A dropLog logs what was dropped since it last looked: a line for each reason,
// however many sessions it strikes.
type dropLog struct {
	log      *slog.Logger
	former   [pseudowire.Drops]uint64 // of no session
	sessions map[string][pseudowire.Drops]uint64
}

func (l *dropLog) look(s *l2tpv3.Status) {
	var grown [pseudowire.Drops]uint64
	var where [pseudowire.Drops][]string
	for d, n := range s.Drops {
		grown[d] = n - l.former[d]
	}
	l.former = s.Drops
	for i := range s.Tunnels {
		for j := range s.Tunnels[i].Sessions {
			session := &s.Tunnels[i].Sessions[j]
			former := l.sessions[session.Name]
			if session.Stats.Drops == former {
				continue
			}
			for d, n := range session.Stats.Drops {
				if n != former[d] {
					grown[d] += n - former[d]
					where[d] = append(where[d], session.Name)
				}
			}
			if l.sessions == nil {
				l.sessions = make(map[string][pseudowire.Drops]uint64)
			}
			l.sessions[session.Name] = session.Stats.Drops
		}
	}
	for d, n := range grown {
		switch {
		case n == 0:
		case where[d] == nil:
			l.log.Warn("frames dropped", "reason", pseudowire.Drop(d).String(), "count", n)
		default:
			l.log.Warn("frames dropped", "reason", pseudowire.Drop(d).String(), "count", n, "sessions", strings.Join(where[d], " "))
		}
	}
}
