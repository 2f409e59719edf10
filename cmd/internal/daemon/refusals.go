package daemon

import (
	"context"
	"log/slog"
	"net/netip"

	"spanwire/cmd/internal/api"
	"spanwire/l2tpv3"
	"spanwire/l2tpv3/control"
	"spanwire/l2tpv3/l2tpv2"
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

// meaningsV2 are those of L2TPv2.
var meaningsV2 = [l2tpv2.Drops]string{
	l2tpv2.DropHeader:   "not a control message of L2TPv2",
	l2tpv2.DropTunnel:   "of a tunnel of L2TPv2 that is not there; that passes when one side was restarted",
	l2tpv2.DropSource:   "not from the address of the tunnel's peer",
	l2tpv2.DropSequence: "acknowledges what was never sent",
	l2tpv2.DropNoTunnel: "no tunnel of L2TPv2 is configured for this peer: look at version, peer and peer_hostname; or the tunnel is down by command",
	l2tpv2.DropRate:     "more requests of one source than request_rate lets in",
	l2tpv2.DropHalfOpen: "tunnels begun and never completed, more than half_open",
	l2tpv2.DropRequest:  "a request that makes no sense",
	l2tpv2.DropTie:      "both sides asked for a tunnel, and the other one's is kept",
	l2tpv2.DropLimit:    "more peers than peer_limit",
	l2tpv2.DropQueue:    "the peer asks, and acknowledges nothing",
}

// A reason is one for which control messages are not acted upon.
type reason struct {
	name, meaning string
	restart       bool // it comes with every restart
}

// reasons are those of both versions; of L2TPv2 they are named "v2_...".
var reasons = func() (all [control.Drops + control.Drop(l2tpv2.Drops)]reason) {
	for why := range control.Drops {
		all[why] = reason{why.String(), meanings[why], why == control.DropConnection}
	}
	for why := range l2tpv2.Drops {
		all[int(control.Drops)+int(why)] = reason{"v2_" + why.String(), meaningsV2[why], why == l2tpv2.DropTunnel}
	}
	return all
}()

// A refused is what was refused for each of the reasons.
type refused [len(reasons)]l2tpv3.Refusal

func refusedOf(v3 *[control.Drops]l2tpv3.Refusal, v2 *[l2tpv2.Drops]l2tpv3.Refusal) (all refused) {
	copy(all[copy(all[:], v3[:]):], v2[:])
	return all
}

// refusals tells what control messages were not acted upon.
func refusals(s *l2tpv3.Status) (all []api.Refusal) {
	counts := refusedOf(&s.Refused, &s.RefusedV2)
	for why := range counts {
		if r := &counts[why]; r.Count > 0 {
			all = append(all, api.Refusal{Reason: reasons[why].name, Count: r.Count, Last: r.Last.Time, From: source(r.Last.From), Meaning: reasons[why].meaning})
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
	former [len(reasons)]uint64
	paces  [len(reasons)]pace
	last   int // of which it told
}

// look returns whether there is anything to tell, or was a while ago.
func (l *refusalLog) look(all *refused) (moved bool) {
	told := false
	first := l.last + 1
	for i := range reasons {
		why := (first + i) % len(reasons)
		r := &all[why]
		n := r.Count - l.former[why]
		moved = moved || n > 0 || l.paces[why].wait > 0
		if told && n > 0 || !l.paces[why].due(n > 0) {
			continue
		}
		told = true
		l.last, l.former[why] = why, r.Count
		level := slog.LevelWarn
		if reasons[why].restart {
			level = slog.LevelInfo
		}
		l.log.Log(context.Background(), level, "control messages refused", "reason", reasons[why].name, "count", n, "from", source(r.Last.From), "meaning", reasons[why].meaning)
	}
	return moved
}
