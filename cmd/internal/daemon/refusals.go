package daemon

import (
	"context"
	"log/slog"
	"net/netip"

	"spanwire/cmd/internal/api"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
)

// meanings say what a person should look for where control messages are refused.
var meanings = [control.Drops]string{
	control.DropHeader:      "not a control message of L2TPv3",
	control.DropConnection:  "of a control connection that is not there; that passes when one side was restarted",
	control.DropSource:      "not from the peer's address and port; without a secret a peer cannot move there: look for address translation",
	control.DropDigest:      "no secret here makes the digest: the secrets of the two sides differ",
	control.DropUnsigned:    "no digest, and there is a secret here: the peer seems to have none",
	control.DropWantsSecret: "the peer has a secret, and there is none here",
	control.DropIntegrity:   "the integrity check failed: damaged on the way, or the peer has a secret, and there is none here",
	control.DropSequence:    "acknowledges what was never sent",
	control.DropNoTunnel:    "no tunnel is configured for this peer: look at peer, peer_hostname and peer_router_id; or the tunnel is down by command",
	control.DropRate:        "more requests of one source than request_rate lets in",
	control.DropHalfOpen:    "connections begun and never completed, more than half_open",
	control.DropRequest:     "a request that makes no sense",
	control.DropVersion2:    "the peer asks for L2TPv2, and nothing else",
	control.DropLimit:       "more peers than peer_limit",
	control.DropQueue:       "the peer asks, and acknowledges nothing",
}

// refusals tells what control messages were not acted upon.
func refusals(s *l2tpv3.Status) (all []api.Refusal) {
	for why := control.Drop(1); why < control.Drops; why++ {
		if r := &s.Refused[why]; r.Count > 0 {
			all = append(all, api.Refusal{Reason: why.String(), Count: r.Count, Last: r.Last.Time, From: source(r.Last.From), Meaning: meanings[why]})
		}
	}
	return all
}

// source leaves out the port where there is none.
func source(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// A refusalLog logs what control messages were refused since it last told of their
// reason: a line each time it looks, however many come, of each reason in turn, and
// the less often the longer it goes on.
type refusalLog struct {
	log    *slog.Logger
	former [control.Drops]uint64
	paces  [control.Drops]pace
	last   control.Drop // of which it told
}

// look returns whether there is anything to tell, or was a while ago.
func (l *refusalLog) look(all *[control.Drops]l2tpv3.Refusal) (moved bool) {
	told := false
	first := l.last + 1
	for i := range control.Drops {
		why := (first + i) % control.Drops
		r := &all[why]
		n := r.Count - l.former[why]
		moved = moved || n > 0 || l.paces[why].wait > 0
		if told && n > 0 || !l.paces[why].due(n > 0) {
			continue
		}
		told = true
		l.last, l.former[why] = why, r.Count
		level := slog.LevelWarn
		if why == control.DropConnection { // as after each restart
			level = slog.LevelInfo
		}
		l.log.Log(context.Background(), level, "control messages refused", "reason", why.String(), "count", n, "from", source(r.Last.From), "meaning", meanings[why])
	}
	return moved
}
