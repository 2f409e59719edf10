package ppp

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"
)

// The codes of PAP (RFC 1334 section 2.2), CHAP (RFC 1994 section 4) and EAP (RFC 3748
// section 4).
const (
	papRequest = 1
	papAck     = 2
	papNak     = 3

	chapChallenge = 1
	chapResponse  = 2
	chapSuccess   = 3
	chapFailure   = 4

	eapRequest  = 1
	eapResponse = 2
	eapSuccess  = 3
	eapFailure  = 4

	eapIdentity = 1 // a Type
)

const (
	challengeLen = 16
	md5Len       = md5.Size

	// retryTime is how long a user may take to type a password again: RFC 2759
	// section 9.1 has the "short timeout" disabled.
	retryTime = time.Minute
	// rounds is how many answers of EAP there are at most in one authentication.
	rounds = 64
)

// A Proof is what the peer gives to prove who it is. The owner answers it, at any later
// time, with Authenticated, or of EAP with the next request.
type Proof struct {
	Serial uint32 // to be given back
	Method Method
	Name   string // as the peer says; of EAP its identity. Any octets, 255 at most

	Password  []byte // of PAP
	ID        uint8  // of the packet
	Challenge []byte // of CHAP and MS-CHAPv2: ours
	Response  []byte // of CHAP: 16 octets; of MS-CHAPv2: 49, RFC 2759 section 4
	EAP       []byte // of EAP: a whole packet
}

// A Verdict is what the owner says to a Proof.
type Verdict struct {
	OK bool
	// Message is shown to the peer's user. Of MS-CHAPv2 it is "S=" and our own proof,
	// or of a failure "E=691 R=0 M=..." as a RADIUS server gives it; R=1 lets
	// the peer try again if it has an attempt left.
	Message string
	EAP     []byte // the last packet, a Success or a Failure; nil: one is made

	// SendKey and ReceiveKey are start keys of MPPE as RFC 2548 has them, of 16
	// octets; nil: none.
	SendKey, ReceiveKey []byte

	// IPv4 and IPv6 are what the peer gets, instead of what is in the Config.
	IPv4 *IPv4Config
	IPv6 *IPv6Config
}

// Verify returns the Verdict of who knows the password. It takes the same time whatever
// the peer said. It knows nothing of EAP.
func (p *Proof) Verify(password string) Verdict {
	switch p.Method {
	case ByPAP:
		a, b := sha256.Sum256(p.Password), sha256.Sum256([]byte(password))
		return Verdict{OK: subtle.ConstantTimeCompare(a[:], b[:]) == 1}
	case ByCHAP:
		want := chapMD5(p.ID, password, p.Challenge)
		return Verdict{OK: subtle.ConstantTimeCompare(p.Response, want) == 1}
	case ByMSCHAP2:
		return p.VerifyHash(NTPasswordHash(password))
	}
	return Verdict{}
}

// VerifyHash is Verify, for MS-CHAPv2, of who knows no more than the hash of the
// password. A Proof of another method is none.
func (p *Proof) VerifyHash(hash [16]byte) Verdict {
	if p.Method != ByMSCHAP2 || len(p.Challenge) != mschapChallengeLen || len(p.Response) != mschapResponseLen {
		return Verdict{}
	}
	m := proveMSCHAP2(hash, p.Challenge, p.Response[:mschapChallengeLen], p.Name)
	if !m.matches(p.Response) {
		return Verdict{}
	}
	k := m.keys()
	return Verdict{OK: true, Message: m.success(), SendKey: k.send[:], ReceiveKey: k.receive[:]}
}

// chapMD5 returns the response to a challenge, RFC 1994 section 4.1.
func chapMD5(id uint8, secret string, challenge []byte) []byte {
	h := md5.New()
	h.Write([]byte{id})
	h.Write([]byte(secret))
	h.Write(challenge)
	return h.Sum(nil)
}

// A stage is how far an authentication is.
type stage uint8

const (
	idle    stage = iota
	waiting       // for the other end
	asking        // our owner
	passed
	failed
)

// A verifier has the peer prove who it is.
type verifier struct {
	link   *Link
	method Method
	state  stage
	at     time.Time // when to ask again, or to give up
	period time.Duration
	tries  int

	id        uint8
	challenge []byte
	request   []byte // the last of EAP
	rounds    int

	serial   uint32
	name     string
	response []byte
	ipv4     *IPv4Config // of the Verdict, until the Network phase begins
	ipv6     *IPv6Config
	reply    packet // that the peer was given
	failures int    // in the life of the Link
	proxy    *Proxy // that the LAC gave, while the Authentication phase begins
}

func (v *verifier) start(m Method) {
	v.stop()
	v.method, v.name = m, ""
	v.period = v.link.cfg.FirstRestart
	if m == NoMethod {
		v.state = passed
		return
	}
	v.state = waiting
	if v.proxied() {
		return
	}
	switch m {
	case ByPAP: // the peer speaks first
		v.at = v.link.now.Add(time.Duration(v.link.cfg.MaxConfigure) * v.link.cfg.Restart)
	case ByEAP:
		v.newID()
		v.request = packet{code: eapRequest, id: v.id, data: []byte{eapIdentity}}.append(nil)
		v.ask()
	default:
		v.ask()
	}
}

// stop forgets what goes on, but how often the peer failed. An answer of the owner that
// is on its way will come too late.
func (v *verifier) stop() {
	*v = verifier{link: v.link, method: v.method, id: v.id, serial: v.serial + 1, name: v.name, failures: v.failures, proxy: v.proxy}
}

func (v *verifier) newID() {
	if v.id == 0 {
		var b [1]byte
		v.link.cfg.Random(b[:])
		v.id = b[0]
	}
	v.id++
}

// proxied takes the proof that the peer gave to an LAC, if it is one.
func (v *verifier) proxied() bool {
	p := v.proxy
	switch {
	case p == nil || len(p.Name) > MaxName || len(p.Challenge) > 255 || len(p.Response) > 255:
		return false
	case p.Type == ProxyPAP && v.method == ByPAP:
	case p.Type == ProxyCHAP && v.method == ByCHAP && len(p.Challenge) > 0 && len(p.Response) == md5Len:
	case p.Type == ProxyCHAP && v.method == ByMSCHAP2 && len(p.Challenge) == mschapChallengeLen && len(p.Response) == mschapResponseLen:
	default:
		return false
	}
	v.id, v.challenge = p.ID, bytes.Clone(p.Challenge)
	v.prove(p.ID, p.Name, p.Response)
	return true
}

// ask sends a challenge, or the request of EAP again. RFC 1994 section 4.1: "Additional
// Challenge packets MUST be sent until a valid Response packet is received, or an
// optional retry counter expires."
func (v *verifier) ask() {
	l := v.link
	v.tries++
	v.at = l.now.Add(v.period)
	v.period = min(2*v.period, l.cfg.Restart)
	if v.method == ByEAP {
		if p, ok := parsePacket(v.request); ok {
			l.send(EAP, p)
		}
		return
	}
	// "The Identifier field MUST be changed each time a Challenge is sent." "The
	// Challenge Value MUST be changed each time a Challenge is sent." Section 4.1.
	v.newID()
	v.challenge = make([]byte, challengeLen)
	l.cfg.Random(v.challenge)
	data := append([]byte{challengeLen}, v.challenge...)
	l.send(CHAP, packet{code: chapChallenge, id: v.id, data: append(data, l.cfg.Name...)})
}

func (v *verifier) advance() {
	if v.at.IsZero() || v.link.now.Before(v.at) {
		return
	}
	v.at = time.Time{}
	if v.state != waiting || v.method == ByPAP || v.tries >= v.link.cfg.MaxConfigure {
		v.link.close(AuthTimeout)
		return
	}
	v.ask()
}

// receive takes a packet, and reports whether it was for this end of an authentication
// that is under way or over.
func (v *verifier) receive(p Protocol, c packet) bool {
	switch {
	case p == PAP && c.code == papRequest && v.method == ByPAP:
		return v.pap(c)
	case p == CHAP && c.code == chapResponse && (v.method == ByCHAP || v.method == ByMSCHAP2):
		return v.chap(c)
	case p == EAP && c.code == eapResponse && v.method == ByEAP:
		return v.eap(c)
	}
	return false
}

// pap takes an Authenticate-Request, RFC 1334 section 2.2.1. "Because the
// Authenticate-Ack might be lost, the authenticator MUST allow repeated
// Authenticate-Request packets after completing the Authentication phase. Protocol
// phase MUST return the same reply Code".
func (v *verifier) pap(c packet) bool {
	name, rest, ok1 := counted(c.data)
	password, _, ok2 := counted(rest)
	switch {
	case !ok1 || !ok2:
		return false
	case v.state == passed:
		v.reply.id = c.id
		v.link.send(PAP, v.reply)
		return true
	case v.state != waiting:
		return v.state == asking
	}
	v.prove(c.id, string(name), password)
	return true
}

// counted splits off a field that has its length in front of it.
func counted(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return nil, nil, false
	}
	n := 1 + int(b[0])
	return b[1:n], b[n:], true
}

// chap takes a Response, RFC 1994 section 4.1. "Because the Success might be lost, the
// authenticator MUST allow repeated Response packets during the Network-Layer Protocol
// phase after completing the Authentication phase. To prevent discovery of alternative
// Names and Secrets, any Response packets received having the current Challenge
// Identifier MUST return the same reply Code previously returned for that specific
// Challenge".
func (v *verifier) chap(c packet) bool {
	value, name, ok := counted(c.data)
	size := md5Len
	if v.method == ByMSCHAP2 {
		size = mschapResponseLen
	}
	switch {
	case !ok || c.id != v.id || len(value) != size || len(name) > MaxName:
		return false
	case v.state == passed:
		v.link.send(CHAP, v.reply)
		return true
	case v.state != waiting:
		return v.state == asking
	}
	v.prove(c.id, string(name), value)
	return true
}

// eap takes a Response, RFC 3748 section 4.1.
func (v *verifier) eap(c packet) bool {
	switch {
	case len(c.data) < 1 || c.id != v.id:
		return false
	case v.state == passed:
		v.link.send(EAP, v.reply)
		return true
	case v.state != waiting:
		return v.state == asking
	}
	if c.data[0] == eapIdentity && v.name == "" {
		if len(c.data)-1 > MaxName {
			return false
		}
		v.name = string(c.data[1:])
	}
	if v.rounds++; v.rounds > rounds {
		v.link.close(AuthTimeout)
		return true
	}
	v.prove(c.id, v.name, c.append(nil))
	return true
}

// prove asks the owner.
func (v *verifier) prove(id uint8, name string, response []byte) {
	v.state, v.at, v.tries = asking, time.Time{}, 0
	v.serial++
	v.name, v.response = name, bytes.Clone(response)
	v.reply.id = id
	e := Event{Kind: PeerProof, Proof: &Proof{Serial: v.serial, Method: v.method, Name: name, ID: id}}
	switch v.method {
	case ByPAP:
		e.Proof.Password = bytes.Clone(response)
		v.id = id
	case ByEAP:
		e.Kind, e.Proof.EAP, v.response = PeerEAP, v.response, nil
	default:
		e.Proof.Challenge, e.Proof.Response = bytes.Clone(v.challenge), bytes.Clone(response)
	}
	v.link.push(e)
}

// EAP sends the next request to a peer that is authenticated by EAP: the answer to the
// Proof of this serial number. It reports whether it is one that can be sent.
func (l *Link) EAP(now time.Time, serial uint32, request []byte) bool {
	l.now = now
	v := &l.verifier
	p, ok := parsePacket(request)
	if !ok || p.code != eapRequest || len(p.data) < 1 || len(request) > l.lcp.peer.mru {
		return false
	}
	if v.state != asking || v.method != ByEAP || v.serial != serial {
		return false
	}
	v.id, v.request = p.id, p.append(nil)
	v.state, v.tries, v.period = waiting, 0, l.cfg.FirstRestart
	v.ask()
	return true
}

// Authenticated says whether the Proof of this serial number is one. An answer that
// comes too late does nothing. Where the addresses of the Verdict are none that can be
// given, the peer is refused.
func (l *Link) Authenticated(now time.Time, serial uint32, a Verdict) {
	l.now = now
	v := &l.verifier
	if v.state != asking || v.serial != serial {
		return
	}
	if a.IPv4 != nil && a.IPv4.check() != nil {
		a = Verdict{}
	}
	v.response = nil
	if !a.OK {
		v.fail(a)
		return
	}
	v.state, v.ipv4, v.ipv6 = passed, a.IPv4, a.IPv6
	v.answer(a, papAck, chapSuccess, eapSuccess)
	if len(a.SendKey) == keyLen && len(a.ReceiveKey) == keyLen {
		l.keys, l.hasKeys = keys{send: [keyLen]byte(a.SendKey), receive: [keyLen]byte(a.ReceiveKey)}, true
	}
	l.proceed()
}

// answer sends the peer the result.
func (v *verifier) answer(a Verdict, pap, chap, eap uint8) {
	switch message := a.Message[:min(len(a.Message), MaxName)]; v.method {
	case ByPAP:
		v.reply = packet{code: pap, id: v.reply.id, data: append([]byte{byte(len(message))}, message...)}
		v.link.send(PAP, v.reply)
	case ByEAP:
		v.reply = packet{code: eap, id: v.id}
		if p, ok := parsePacket(a.EAP); ok && p.code == eap && len(p.data) == 0 {
			v.reply.id = p.id
		}
		v.link.send(EAP, v.reply)
	default:
		v.reply = packet{code: chap, id: v.reply.id, data: []byte(message)}
		v.link.send(CHAP, v.reply)
	}
}

// fail takes a wrong proof. PAP may be tried again, and MS-CHAPv2 if it has to do with
// the password. RFC 1994 section 4.2 of CHAP, where a user types nothing: "SHOULD take
// action to terminate the link."
func (v *verifier) fail(a Verdict) {
	l := v.link
	v.failures++
	again := v.failures < l.cfg.Attempts
	switch v.method {
	case ByPAP:
	case ByMSCHAP2:
		e, r, m := parseFailure(a.Message)
		again = again && r != "0" && e == "691"
		retry := 0
		next := make([]byte, mschapChallengeLen)
		l.cfg.Random(next)
		if again {
			retry = 1
		}
		a.Message = fmt.Sprintf("E=%s R=%d C=%X V=3 M=%.160s", e, retry, next, m)
		v.challenge = next
	default:
		again = false
	}
	v.answer(a, papNak, chapFailure, eapFailure)
	if !again {
		v.state = failed
		l.close(AuthFailed)
		return
	}
	v.state, v.at = waiting, l.now.Add(retryTime)
	v.tries = l.cfg.MaxConfigure
	v.id++ // of MS-CHAPv2: "Response (++ID) to challenge in failure message"
}

// parseFailure returns what a failure of MS-CHAPv2 says, RFC 2759 section 6. Words that
// are none of it are all message.
func parseFailure(message string) (e, r, m string) {
	e, m = "691", message
	if !strings.HasPrefix(message, "E=") {
		return e, r, m
	}
	rest, m, _ := strings.Cut(message, " M=")
	for word := range strings.FieldsSeq(rest) {
		digits := word[min(2, len(word)):]
		if len(digits) > 10 || strings.Trim(digits, "0123456789") != "" {
			continue
		}
		switch {
		case strings.HasPrefix(word, "E=") && digits != "":
			e = digits
		case strings.HasPrefix(word, "R="):
			r = digits
		}
	}
	return e, r, m
}

// A prover proves who we are.
type prover struct {
	link   *Link
	method Method
	state  stage
	at     time.Time // when to say it again
	period time.Duration
	tries  int
	last   packet // what to say again
	proof  mschapProof
}

func (v *prover) start(m Method) {
	v.stop()
	v.method, v.period = m, v.link.cfg.FirstRestart
	switch m {
	case NoMethod:
		v.state = passed
	case ByPAP:
		cfg := &v.link.cfg
		data := append([]byte{byte(len(cfg.Name))}, cfg.Name...)
		data = append(append(data, byte(len(cfg.Password))), cfg.Password...)
		v.last = packet{code: papRequest, id: v.last.id + 1, data: data}
		v.state = waiting
		v.say()
	default: // the peer speaks first
		v.state = waiting
		v.at = v.link.now.Add(time.Duration(v.link.cfg.MaxConfigure) * v.link.cfg.Restart)
	}
}

func (v *prover) stop() { *v = prover{link: v.link, method: v.method, last: packet{id: v.last.id}} }

// say sends our proof, again and again until there is an answer.
func (v *prover) say() {
	p := PAP
	if v.method != ByPAP {
		p = CHAP
	}
	v.link.send(p, v.last)
	if v.state == waiting {
		v.tries++
		v.at = v.link.now.Add(v.period)
		v.period = min(2*v.period, v.link.cfg.Restart)
	}
}

func (v *prover) advance() {
	if v.at.IsZero() || v.link.now.Before(v.at) {
		return
	}
	v.at = time.Time{}
	if v.last.code == 0 || v.tries >= v.link.cfg.MaxConfigure {
		v.link.close(ProofRefused)
		return
	}
	v.say()
}

// receive takes a packet, and reports whether it was for this end.
func (v *prover) receive(p Protocol, c packet) bool {
	l := v.link
	switch {
	case p == PAP && v.method == ByPAP && v.state == waiting && c.id == v.last.id:
		message, _, _ := counted(c.data) // some send none
		switch c.code {
		case papAck:
			v.pass()
			return true
		case papNak:
			l.say(message)
			l.close(ProofRefused)
			return true
		}
	case p == CHAP && (v.method == ByCHAP || v.method == ByMSCHAP2):
		switch {
		case c.code == chapChallenge:
			return v.challenged(c)
		case v.state != waiting || v.last.code == 0 || c.id != v.last.id:
		case c.code == chapSuccess:
			if v.method == ByMSCHAP2 && !v.mutual(c.data) {
				l.close(ProofWrong)
				return true
			}
			v.pass()
			return true
		case c.code == chapFailure:
			l.say(c.data)
			l.close(ProofRefused)
			return true
		}
	}
	return false
}

// challenged answers a Challenge. It may come again at any time, RFC 1994 section 2:
// "At random intervals, the authenticator sends a new challenge".
func (v *prover) challenged(c packet) bool {
	value, _, ok := counted(c.data)
	cfg := &v.link.cfg
	switch {
	case !ok || len(value) == 0 || v.state == failed:
		return false
	case v.method == ByMSCHAP2 && len(value) != mschapChallengeLen:
		return false
	case bytes.Equal(value, v.link.verifier.challenge):
		return false // the peer asks us to answer for it what we asked it
	}
	var response []byte
	if v.method == ByCHAP {
		response = chapMD5(c.id, cfg.Password, value)
	} else {
		own := make([]byte, mschapChallengeLen)
		cfg.Random(own)
		v.proof = proveMSCHAP2(NTPasswordHash(cfg.Password), bytes.Clone(value), own, cfg.Name)
		response = v.proof.value()
	}
	data := append([]byte{byte(len(response))}, response...)
	v.last = packet{code: chapResponse, id: c.id, data: append(data, cfg.Name...)}
	v.tries, v.period = 0, cfg.FirstRestart
	v.say()
	return true
}

// mutual reports whether a Success of MS-CHAPv2 is from one who knows the password, RFC
// 2759 section 5.
func (v *prover) mutual(message []byte) bool {
	want := v.proof.success()
	return len(message) >= len(want) && subtle.ConstantTimeCompare(bytes.ToUpper(message[:len(want)]), []byte(want)) == 1
}

// pass takes the peer's word that our proof is right.
func (v *prover) pass() {
	l := v.link
	v.state, v.at = passed, time.Time{}
	if v.method == ByMSCHAP2 && !l.hasKeys {
		k := v.proof.keys()
		l.keys, l.hasKeys = keys{send: k.receive, receive: k.send}, true
	}
	v.proof = mschapProof{}
	v.last.data = nil
	l.proceed()
}
