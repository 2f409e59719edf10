package ppp

import (
	"encoding/binary"
	"slices"
	"time"
)

// The options of LCP, RFC 1661 section 6 and RFC 1662 section 7.1. Those that are not
// here are rejected: above all Quality-Protocol, Callback and Multilink.
const (
	optionMRU   = 1
	optionACCM  = 2
	optionAuth  = 3
	optionMagic = 5
	optionPFC   = 7
	optionACFC  = 8
)

// loops is how many Configure-Requests in a row may have our own magic number, if
// Max-Failure is greater: after as many the option would be rejected and the loop not
// be seen.
const loops = 3

// terms are what one end asked for in LCP.
type terms struct {
	mru   int
	auth  Method // the other end has to prove itself by it
	magic uint32 // 0: none
}

var defaultTerms = terms{mru: DefaultMRU}

// An lcp is the Link Control Protocol's part of the automaton, RFC 1661 section 5 and
// 6.
type lcp struct {
	automaton
	ours terms // as we ask for them
	peer terms // as agreed on
	next terms // as judged last

	verify           []Method // that the peer did not refuse
	noMRU            bool     // the peer rejected the option
	noMagic          bool
	looped           int    // Configure-Requests with our own magic number
	initial, current []byte // the options of the peer's first, and of its acknowledged Configure-Request

	// Echo-Request, RFC 1661 section 5.8.
	echoes bool // the peer knows them
	echoAt time.Time
	echoID uint8
	missed int
}

func (l *lcp) reset() {
	cfg := &l.link.cfg
	l.ours = terms{mru: cfg.MRU, magic: l.ours.magic}
	if l.ours.magic == 0 {
		l.ours.magic = l.link.random32()
	}
	l.verify = slices.Clone(cfg.Verify)
	if len(l.verify) > 0 {
		l.ours.auth = l.verify[0]
	}
	l.noMRU, l.noMagic = false, false
}

func (l *lcp) request(b []byte) []byte {
	if l.ours.mru != DefaultMRU && !l.noMRU {
		b = appendOption(b, optionMRU, byte(l.ours.mru>>8), byte(l.ours.mru))
	}
	if l.ours.auth != NoMethod {
		b = appendOption(b, optionAuth, l.ours.auth.append(nil)...)
	}
	if !l.noMagic {
		b = appendOption(b, optionMagic, binary.BigEndian.AppendUint32(nil, l.ours.magic)...)
	}
	return b
}

func (l *lcp) begin() {
	l.next = defaultTerms
	if l.initial == nil {
		l.initial = slices.Clone(l.link.received.data)
	}
}

// judge takes an option of the peer's. RFC 1661 section 6: "If a negotiable
// Configuration Option is received in a Configure-Request, but with an invalid or
// unrecognized Length, a Configure-Nak SHOULD be transmitted which includes the
// desired Configuration Option with an appropriate Length and Data."
func (l *lcp) judge(o option) (answer, []byte) {
	switch o.kind {
	case optionMRU:
		if len(o.data) != 2 {
			return nak, appendOption(nil, o.kind, DefaultMRU>>8, DefaultMRU&0xff)
		}
		mru := int(binary.BigEndian.Uint16(o.data))
		if mru < MinMRU {
			return nak, appendOption(nil, o.kind, MinMRU>>8, MinMRU)
		}
		l.next.mru = mru
		return ack, nil

	case optionACCM: // L2TP has no transparency that it could concern
		if len(o.data) != 4 {
			return nak, appendOption(nil, o.kind, 0xff, 0xff, 0xff, 0xff)
		}
		return ack, nil

	case optionAuth:
		prove := l.link.cfg.Prove
		if len(prove) == 0 {
			return reject, nil
		}
		m := methodOf(o.data)
		if !slices.Contains(prove, m) {
			return nak, appendOption(nil, o.kind, prove[0].append(nil)...)
		}
		l.next.auth = m
		return ack, nil

	case optionMagic:
		if len(o.data) != 4 {
			return nak, appendOption(nil, o.kind, binary.BigEndian.AppendUint32(nil, l.link.random32())...)
		}
		magic := binary.BigEndian.Uint32(o.data)
		if magic == l.ours.magic && !l.noMagic {
			// "If the two Magic-Numbers are equal, then it is possible, but not
			// certain, that the link is looped-back".
			if l.looped++; l.looped > min(loops, l.link.cfg.MaxFailure-1) {
				l.link.close(LoopedBack)
			}
		} else {
			l.looped = 0
		}
		if magic == 0 || l.looped > 0 {
			return nak, appendOption(nil, o.kind, binary.BigEndian.AppendUint32(nil, l.link.random32())...)
		}
		l.next.magic = magic
		return ack, nil

	case optionPFC, optionACFC: // what is received may be compressed in any case
		if len(o.data) != 0 {
			return nak, appendOption(nil, o.kind)
		}
		return ack, nil
	}
	return reject, nil
}

func (l *lcp) missing(b []byte) []byte { return b }

func (l *lcp) acked() {
	l.peer = l.next
	l.current = append(l.current[:0], l.link.received.data...)
}

func (l *lcp) naked(o option) {
	switch o.kind {
	case optionMRU: // a smaller one, but none larger than we have room for
		if len(o.data) == 2 {
			if mru := int(binary.BigEndian.Uint16(o.data)); mru >= MinMRU && mru <= l.link.cfg.MRU {
				l.ours.mru = mru
			}
		}
	case optionAuth:
		l.verifyNext(methodOf(o.data))
	case optionMagic:
		l.ours.magic = l.link.random32()
	}
}

// verifyNext takes another of the methods by which the peer may prove itself than the
// one that it refused: the one it likes, if it may, or the next. It never gets below
// them.
func (l *lcp) verifyNext(liked Method) {
	if l.ours.auth == NoMethod || liked == l.ours.auth {
		return // it was not asked; or, absurdly, likes what it refuses
	}
	l.verify = slices.DeleteFunc(l.verify, func(m Method) bool { return m == l.ours.auth })
	switch {
	case slices.Contains(l.verify, liked):
		l.ours.auth = liked
	case len(l.verify) > 0:
		l.ours.auth = l.verify[0]
	default:
		l.link.close(AuthRefused)
	}
}

func (l *lcp) rejected(o option) {
	switch o.kind {
	case optionMRU:
		l.noMRU = true
	case optionAuth:
		l.link.close(AuthRefused)
	case optionMagic:
		l.noMagic = true
	}
}

// other takes the codes that only LCP has, RFC 1661 sections 5.7 to 5.9, and of RFC
// 1570 Identification and Time-Remaining, which mean nothing here.
func (l *lcp) other(p packet) (event, bool) {
	switch p.code {
	case protocolReject:
		if l.state == Opened && len(p.data) >= 2 {
			return l.link.rejectedProtocol(Protocol(binary.BigEndian.Uint16(p.data))), true
		}
		return events, true // "Upon reception ... in any other state, silently discarded"
	case echoRequest, echoReply, discardRequest:
		if len(p.data) < 4 {
			l.link.stats.Malformed++
			return events, true
		}
		magic := binary.BigEndian.Uint32(p.data)
		if magic != 0 && magic == l.magic() && p.code != echoRequest {
			return events, true // our own, come back: no sign of life
		}
		if l.state == Opened {
			l.link.heard.Store(true)
			if p.code == echoReply {
				l.link.stats.EchoReplies++
			}
		}
		return rxr, true
	case identification, timeRemaining:
		return events, true
	}
	return 0, false
}

// magic is what stands in our packets: "Until the Magic-Number Configuration Option
// has been successfully negotiated, the Magic-Number MUST be transmitted as zero."
func (l *lcp) magic() uint32 {
	if l.noMagic || l.state != Opened {
		return 0
	}
	return l.ours.magic
}

// echo sends an Echo-Reply.
func (l *lcp) echo(p packet) {
	data := slices.Clone(p.data[:min(len(p.data), l.peer.mru-packetHeaderLen)])
	binary.BigEndian.PutUint32(data, l.magic())
	l.link.send(LCP, packet{code: echoReply, id: p.id, data: data})
}

// advanceEchoes asks a peer that is silent whether it is there.
func (l *lcp) advanceEchoes() {
	k := l.link
	if l.echoAt.IsZero() || k.now.Before(l.echoAt) {
		return
	}
	l.echoAt = k.now.Add(k.cfg.EchoInterval)
	switch {
	case k.heard.Swap(false):
		l.missed = 0
	case !l.echoes:
	case l.missed >= k.cfg.EchoFailures:
		k.close(PeerSilent)
	default:
		l.missed++
		l.echoID++
		k.send(LCP, packet{code: echoRequest, id: l.echoID, data: binary.BigEndian.AppendUint32(nil, l.magic())})
		k.stats.EchoRequests++
	}
}

// up is This-Layer-Up: the Link goes on to the Authentication phase.
func (l *lcp) up() {
	k := l.link
	l.missed, l.looped, l.echoes = 0, 0, true
	k.heard.Store(false)
	if k.cfg.EchoInterval > 0 {
		l.echoAt = k.now.Add(k.cfg.EchoInterval)
	}
	k.established()
}

// down is This-Layer-Down. What is negotiated next begins anew: it does not get below
// what the peer refused this time.
func (l *lcp) down() {
	l.echoAt = time.Time{}
	l.reset()
	l.link.unestablished()
}

func (l *lcp) finished(e event) { l.link.finished(e) }
