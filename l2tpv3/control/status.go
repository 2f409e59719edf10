package control

import (
	"cmp"
	"slices"
	"time"

	"spanwire/l2tpv3/reliable"
	"spanwire/l2tpv3/wire"
)

// A TunnelStatus is how a tunnel stands.
type TunnelStatus struct {
	Name         string
	Template     string // of which it is an instance
	Many         bool   // it is a template
	Dial         bool
	Down         bool  // by command
	State        State // of its connection
	Since        time.Time
	Next         time.Time // the next attempt; zero: none is planned
	Attempts     int       // since it was last up
	Ups          int       // how often it was up
	LastError    string
	Address      Address
	ConnectionID uint32
	Peer         Peer
	Heard        time.Time // zero: not on this connection
	Digest       string    // of the messages that we send; empty: none
	Secret       bool      // Control Message Authentication is on
	Cisco        bool      // it speaks Cisco's drafts
	Reliable     reliable.Stats
	Sessions     []SessionStatus
}

// A SessionStatus is how a session of a tunnel stands.
type SessionStatus struct {
	Name       string // "TUNNEL/SESSION"
	State      State
	Since      time.Time
	Down       bool      // by command
	Absent     Absence   // of its circuit; the zero value: it is there
	Next       time.Time // the next attempt; zero: none is planned
	Params     Params    // as far as they are known
	EndID      []byte
	Status     wire.CircuitStatus // of the local segment
	PeerStatus wire.CircuitStatus
	LastError  string
	Rollover   time.Time // when another session is to take over; zero: never
	TakingOver bool
	Pseudowire string
}

// Status tells how all tunnels stand, in the order in which they were added.
func (l *LCCE) Status() []TunnelStatus {
	all := make([]TunnelStatus, 0, len(l.tunnels))
	order := make(map[string]int, len(l.tunnels))
	for _, t := range l.tunnels {
		all = append(all, t.status())
		order[t.cfg.Name] = t.order
	}
	slices.SortFunc(all, func(a, b TunnelStatus) int { return cmp.Compare(order[a.Name], order[b.Name]) })
	return all
}

func (t *tunnel) status() TunnelStatus {
	s := TunnelStatus{
		Name:      t.cfg.Name,
		Template:  t.template,
		Many:      t.cfg.Many,
		Dial:      t.cfg.Dial,
		Down:      t.down,
		Since:     t.since,
		Next:      t.redialAt,
		Attempts:  t.attempts,
		Ups:       t.ups,
		LastError: t.lastError,
		Address:   t.binding.At,
		Secret:    len(t.cfg.Secrets) > 0,
	}
	if c := t.conn; c != nil {
		s.State, s.Address, s.ConnectionID, s.Peer = c.state, c.at, c.id, c.peer
		s.Cisco, s.Reliable = c.dialect.cisco, c.reliable.Stats()
		if s.Reliable.Received > 0 {
			s.Heard = c.heard
		}
		for i, g := range c.auth.signatures {
			if i > 0 {
				s.Digest += "+"
			}
			s.Digest += g.Type.String()
		}
	}
	for _, k := range t.circuits {
		s.Sessions = append(s.Sessions, k.show())
	}
	return s
}

func (k *circuit) show() SessionStatus {
	s := SessionStatus{
		Name:       k.name,
		Since:      k.since,
		Down:       k.down,
		Absent:     k.absent,
		Next:       k.retryAt,
		EndID:      k.endID,
		Status:     k.status,
		PeerStatus: k.peerStatus,
		LastError:  k.lastError,
		Rollover:   k.rollAt,
		TakingOver: k.next != nil,
		Pseudowire: k.cfg.Pseudowire.String(),
	}
	if k.active != nil {
		s.State, s.Params = k.active.state, k.active.params
	}
	return s
}
