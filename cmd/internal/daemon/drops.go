package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"spanwire/pseudowire"
)

// A dropLog logs what was dropped since it last told of it: a line for each reason,
// however many sessions it strikes, and the less often the longer it goes on.
type dropLog struct {
	log      *slog.Logger
	former   [pseudowire.Drops]uint64 // of no session
	sessions map[string][pseudowire.Drops]uint64
	pending  [pseudowire.Drops]pendingDrops
}

// A pendingDrops is what is to be told of one reason.
type pendingDrops struct {
	count uint64
	where []string
	more  int // sessions, beyond maxNames
	pace  pace
}

// maxNames bounds the sessions that a line names.
const maxNames = 16

// look returns whether there is anything to tell, or was a while ago.
func (l *dropLog) look(drops *[pseudowire.Drops]uint64, sessions []counted) (moved bool) {
	for d, n := range drops {
		l.pending[d].count += n - l.former[d]
	}
	l.former = *drops
	for i := range sessions {
		s := &sessions[i]
		former := l.sessions[s.name]
		if s.drops == former {
			continue
		}
		for d, n := range s.drops {
			if n < former[d] { // another session of this name
				former[d] = 0
			}
			if n != former[d] {
				l.pending[d].add(s.name, n-former[d])
			}
		}
		if l.sessions == nil {
			l.sessions = make(map[string][pseudowire.Drops]uint64)
		}
		l.sessions[s.name] = s.drops
	}
	prune(l.sessions, sessions)
	for d := range l.pending {
		p := &l.pending[d]
		moved = moved || p.count > 0 || p.pace.wait > 0
		if !p.pace.due(p.count > 0) {
			continue
		}
		args := []any{"reason", pseudowire.Drop(d).String(), "count", p.count}
		if p.where != nil {
			names := strings.Join(p.where, " ")
			if p.more > 0 {
				names += fmt.Sprintf(" and %d more", p.more)
			}
			args = append(args, "sessions", names)
		}
		level := slog.LevelWarn
		if d := pseudowire.Drop(d); d == pseudowire.DropNoPeer || d == pseudowire.DropInactive {
			level = slog.LevelInfo // as long as a tunnel or a circuit is down, of which there is a warning
		}
		l.log.Log(context.Background(), level, "frames dropped", args...)
		p.count, p.where, p.more = 0, nil, 0
	}
	return moved
}

func (p *pendingDrops) add(session string, n uint64) {
	p.count += n
	for _, name := range p.where {
		if name == session {
			return
		}
	}
	if len(p.where) < maxNames {
		p.where = append(p.where, session)
	} else {
		p.more++
	}
}
