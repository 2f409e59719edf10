package control

import "spanwire/l2tpv3/machine"

// sound fails unless what an LCCE holds fits together: what is listed in two
// places is in both, what is counted is as many, and nothing is held for nobody.
func sound(fatalf func(string, ...any), l *LCCE) {
	incoming := make(map[*tunnel]int)
	listed := 0
	for id, c := range l.conns {
		if c.id != id || c.removed {
			fatalf("connection %d is listed as %d, removed %v", c.id, id, c.removed)
		}
		switch {
		case c.state == Established && (c.tunnel.conn != c || l.tunnels[c.tunnel.cfg.Name] != c.tunnel):
			fatalf("established connection %d of %s is not its tunnel's", id, c.tunnel.cfg.Name)
		case c.state == WaitCtlReply && (c.tunnel.conn != c || !c.dialled):
			fatalf("connection %d in %v is not its tunnel's, dialled %v", id, c.state, c.dialled)
		case c.state == WaitCtlConn:
			incoming[c.tunnel]++
		case c.state != Established && c.all.Count > 0:
			fatalf("connection %d in %v with %d sessions", id, c.state, c.all.Count)
		}
		listed += c.all.Count
		count, waiting := 0, 0
		for s := range c.all.Each {
			count++
			if s.state != Established {
				waiting++
			}
			if s.conn != c || l.sessions[s.params.SessionID] != s {
				fatalf("session %d of connection %d is not listed", s.params.SessionID, id)
			}
		}
		for s := range c.waiting.Each {
			waiting--
			if s.state == Established || s.state == Idle {
				fatalf("session %d waits in %v", s.params.SessionID, s.state)
			}
		}
		if count != c.all.Count || waiting != 0 || len(c.sessions) > count {
			fatalf("connection %d has %d sessions and lists %d, %d waiting too many, %d by the peer's ID", id, count, c.all.Count, waiting, len(c.sessions))
		}
		for peerID, s := range c.sessions {
			if s.params.PeerSessionID != peerID || l.sessions[s.params.SessionID] != s {
				fatalf("session %d is listed by %d, gone or of another ID", s.params.SessionID, peerID)
			}
		}
		if c.timer.At.IsZero() && !c.queued {
			fatalf("connection %d in %v waits for nothing", id, c.state)
		}
	}
	if listed != len(l.sessions) {
		fatalf("%d sessions, and connections with %d", len(l.sessions), listed)
	}
	for id, s := range l.sessions {
		k := s.circuit
		switch {
		case s.params.SessionID != id || s.state == Idle || l.conns[s.conn.id] != s.conn:
			fatalf("session %d is listed as %d in %v", s.params.SessionID, id, s.state)
		case k.active != s && k.next != s && k.former != s:
			fatalf("session %d in %v is nothing to its circuit %s", id, s.state, k.name)
		case l.circuits[k.name] != k || k.tunnel != s.conn.tunnel:
			fatalf("session %d is of circuit %s, which is gone or another connection's", id, k.name)
		}
	}
	for name, k := range l.circuits {
		for _, s := range [...]*session{k.active, k.next, k.former} {
			if s != nil && (l.sessions[s.params.SessionID] != s || s.circuit != k) {
				fatalf("circuit %s holds session %d in %v, which is gone", name, s.params.SessionID, s.state)
			}
		}
		switch {
		case k.active == nil && k.next != nil:
			fatalf("circuit %s has a session to take over from none", name)
		case k.active != nil && (k.active == k.next || k.active == k.former), k.next != nil && k.next == k.former:
			fatalf("circuit %s holds one session in two places", name)
		case k.former != nil && k.formerUntil.IsZero():
			fatalf("circuit %s keeps its former session for ever", name)
		case k.name != name || l.tunnels[k.tunnel.cfg.Name] != k.tunnel:
			fatalf("circuit %s of a tunnel that is gone", name)
		case k.instance() && k.active == nil && k.next == nil && k.former == nil:
			fatalf("circuit %s, which a peer asked for, outlives its sessions", name)
		}
	}
	circuits, attempts := 0, 0
	for name, t := range l.tunnels {
		circuits += len(t.circuits)
		if t.incoming != incoming[t] {
			fatalf("tunnel %s counts %d incoming connections, has %d", name, t.incoming, incoming[t])
		}
		attempts += t.incoming
		if c := t.conn; c != nil && (l.conns[c.id] != c || c.tunnel != t || c.state == Idle) {
			fatalf("tunnel %s has connection %d, which is gone or closed", name, c.id)
		}
		for _, i := range t.instances {
			if l.tunnels[i.cfg.Name] != i || i.template != name {
				fatalf("tunnel %s has an instance %s, which is gone", name, i.cfg.Name)
			}
		}
		for _, k := range t.byEnd {
			if l.circuits[k.name] != k {
				fatalf("tunnel %s lists circuit %s, which is gone", name, k.name)
			}
		}
	}
	if circuits != len(l.circuits) {
		fatalf("%d circuits, and tunnels with %d", len(l.circuits), circuits)
	}
	if len(l.halfOpen) > l.cfg.HalfOpen || len(l.halfOpen) != attempts || len(l.lingering) > l.cfg.HalfOpen {
		fatalf("%d half-open connections listed, %d there, %d lingering, the limit is %d", len(l.halfOpen), attempts, len(l.lingering), l.cfg.HalfOpen)
	}
	for i, c := range l.halfOpen {
		if l.conns[c.id] != c || c.state != WaitCtlConn || c.place.List != &l.halfOpen || c.place.Index != i {
			fatalf("half-open connection %d is gone or in %v", c.id, c.state)
		}
	}
	for i, c := range l.lingering {
		if l.conns[c.id] != c || c.state != Idle || c.place.List != &l.lingering || c.place.Index != i {
			fatalf("lingering connection %d is gone or in %v", c.id, c.state)
		}
	}
	for _, c := range l.requests {
		if l.conns[c.id] != c {
			fatalf("the request of connection %d outlives it", c.id)
		}
	}
	for i, t := range l.timers {
		if t.Index != i+1 || t.At.IsZero() || i > 0 && t.At.Before(l.timers[(i-1)/2].At) {
			fatalf("timer %d has index %d and is out of order or void", i, t.Index)
		}
		switch o := t.What.(type) {
		case *conn:
			if l.conns[o.id] != o {
				fatalf("a timer for connection %d, which is gone", o.id)
			}
		case *tunnel:
			if l.tunnels[o.cfg.Name] != o {
				fatalf("a timer for tunnel %s, which is gone", o.cfg.Name)
			}
		case *circuit:
			if l.circuits[o.name] != o {
				fatalf("a timer for circuit %s, which is gone", o.name)
			}
		}
	}
	if l.budgets.Len() > machine.MaxSources+1 {
		fatalf("%d budgets", l.budgets.Len())
	}
}
