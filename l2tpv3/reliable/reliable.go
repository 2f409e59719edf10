// Package reliable delivers control messages in order and once, RFC 3931 section
// 4.2 and appendix A: Ns and Nr, the window, slow start and retransmission. RFC
// 2661 section 5.8 asks for the same of L2TPv2.
//
// A Channel is one end of a control connection. It does no I/O and reads no
// clock: it is told what arrived and what time it is, and says what to send and
// when to be asked again. It knows nothing of what a message contains, nor of
// headers beyond their two numbers.
package reliable

import (
	"math"
	"time"
)

// maxWindow is the widest window whose numbers can be told from old ones, as half
// of the numbers are always "less than or equal to the last received number".
const maxWindow = 1<<15 - 1

// A Config says how patient a channel is and how much it takes at once. Its zero
// value is what RFC 3931 recommends, and so is zero or less in each field.
type Config struct {
	Timeout       time.Duration // until the first retransmission; 0: 1 s
	MaxTimeout    time.Duration // most between two retransmissions, never below Timeout; 0: 8 s
	Retries       int           // retransmissions of a message before giving up; 0: 10
	ReceiveWindow int           // messages the peer may have outstanding, at most 32767; 0: 4
	SendWindow    int           // the peer's receive window until SetSendWindow; 0: 4
	FirstRetries  int           // Retries of the first message, for who sends SCCRQ; 0: as Retries
}

// A Channel numbers, sends, repeats and acknowledges the messages of one end of a
// control connection. Whenever it has been told something, Transmit must be
// called until it has nothing more to send, and Advance again at the Deadline.
//
// A channel at rest holds no memory beyond itself. One that is not made by New
// wants Init before its first use.
type Channel struct {
	now  time.Time     // the last time it was told
	left time.Duration // from now until the retransmission, while sent > 0

	// What is sent. RFC 3931 section 4.2: "Each control connection maintains a
	// queue of control messages to be transmitted to its peer."
	queue [][]byte // from the oldest message that is not acknowledged
	ns    uint16   // the number of queue[0]
	sent  uint16   // messages of the queue that were sent at least once
	next  uint16   // index of the message to send next; below sent: once more

	window   uint16 // the peer's receive window
	cwnd     uint16 // CWND, never above window
	ssthresh uint16 // SSTHRESH
	grown    uint16 // acknowledgments counted towards the next message of CWND

	// What is received.
	nr            uint16            // the number expected next
	receiveWindow uint16            // how far beyond nr a message is held
	ackDue        bool              // the peer waits for our Nr
	held          map[uint16][]byte // messages that came before their turn, nil when none

	failed  bool
	greeted bool // the first message was acknowledged

	timeout, maxTimeout   time.Duration
	interval              time.Duration // the one that runs, from timeout to maxTimeout
	retries, firstRetries int32
	retried               int32 // retransmissions since the last progress

	// The round trip of one message at a time, as TCP measures it.
	timing  bool
	timedNs uint16
	timed   time.Duration // since it was sent

	stats Stats
}

// Stats counts what a channel did, and shows its windows.
type Stats struct {
	Sent          uint64 // messages sent, each once however often it was repeated
	Retransmitted uint64 // repetitions
	Received      uint64 // messages delivered in order, each once
	Duplicates    uint64 // messages that had been received before
	OutOfOrder    uint64 // messages held until their turn
	Dropped       uint64 // messages from beyond the receive window
	Invalid       uint64 // messages that acknowledged what was never sent

	RTT              time.Duration // smoothed round trip, 0: not known yet
	Window           int           // the peer's receive window in messages
	CongestionWindow int           // CWND, at most Window
	Outstanding      int           // messages sent and not acknowledged
	Queued           int           // messages never sent yet
}

// A Verdict is what becomes of a received message.
type Verdict uint8

// Only a message of the verdict Deliver is to be processed.
const (
	Deliver        Verdict = iota + 1 // next in order: process it, and what Next returns
	Duplicate                         // received before; it will be acknowledged again
	Held                              // came before its turn; a copy waits for Next
	Dropped                           // beyond the receive window, or too late for a failed channel
	Invalid                           // acknowledges what was never sent; all of it is ignored
	Acknowledgment                    // takes no number and carries no message
)

var verdicts = [...]string{"none", "deliver", "duplicate", "held", "dropped", "invalid", "acknowledgment"}

// String returns a word for a log.
func (v Verdict) String() string {
	if int(v) < len(verdicts) {
		return verdicts[v]
	}
	return "unknown"
}

// New returns a channel that has sent and received nothing.
func New(cfg Config) *Channel {
	c := new(Channel)
	c.Init(cfg)
	return c
}

// Init makes c a channel that has sent and received nothing.
func (c *Channel) Init(cfg Config) {
	*c = Channel{
		timeout:       orDefault(cfg.Timeout, time.Second),
		maxTimeout:    orDefault(cfg.MaxTimeout, 8*time.Second),
		retries:       int32(min(orDefault(cfg.Retries, 10), math.MaxInt32)),
		receiveWindow: uint16(min(orDefault(cfg.ReceiveWindow, 4), maxWindow)),
		cwnd:          1,
	}
	c.maxTimeout = max(c.maxTimeout, c.timeout)
	c.interval = c.timeout
	c.firstRetries = int32(min(orDefault(cfg.FirstRetries, int(c.retries)), math.MaxInt32))
	c.SetSendWindow(orDefault(cfg.SendWindow, 4))
}

// orDefault returns v, or d when v is not positive.
func orDefault[T int | time.Duration](v, d T) T {
	if v > 0 {
		return v
	}
	return d
}

// SetSendWindow takes the peer's Receive Window Size AVP. A peer must offer more
// than zero; one that offers zero is sent one message at a time, as with a window
// of one. Messages that were sent already stay outstanding, be they more than n.
func (c *Channel) SetSendWindow(n int) {
	c.window = uint16(min(max(n, 1), maxWindow))
	c.cwnd, c.grown = min(c.cwnd, c.window), 0
	// RFC 3931 appendix A: "SSHTRESH is initialized to the advertised window
	// (obtained from the Receive Window AVP)."
	c.ssthresh = c.window
}

// tick takes the time. It counts what has passed since the last time, so that a
// clock that goes backwards costs no more than the time it went.
func (c *Channel) tick(now time.Time) {
	if passed := now.Sub(c.now); passed > 0 {
		c.left = max(c.left-passed, 0)
		c.timed = max(c.timed, c.timed+passed) // a sum that overflows is negative
	}
	c.now = now
}

// Send queues a message, which takes the next Ns when it is sent. The channel
// keeps body until the peer has acknowledged it. A failed channel takes none.
func (c *Channel) Send(now time.Time, body []byte) {
	c.tick(now)
	if c.failed {
		return
	}
	if body == nil {
		body = []byte{} // no body would be an acknowledgment
	}
	c.queue = append(c.queue, body)
}

// Withdraw takes back what was queued and never sent: what ends a connection is
// to wait for nothing that is void by it.
func (c *Channel) Withdraw() {
	clear(c.queue[c.sent:])
	c.queue = c.queue[:c.sent]
}

// Abandon gives up all that is unacknowledged: the peer has ended the connection,
// and is owed acknowledgments alone.
func (c *Channel) Abandon() {
	c.ns += c.sent
	c.queue, c.sent, c.next, c.timing = nil, 0, 0, false
}

// Transmit returns the numbers and the body of the next message to send; it is to
// be called until !ok. No body (nil) stands for an acknowledgment alone: an ACK
// message, or a ZLB in L2TPv2. The caller must not change the body. Its time is
// that of the last Send, Receive or Advance.
func (c *Channel) Transmit() (ns, nr uint16, body []byte, ok bool) {
	if c.failed {
		return 0, 0, nil, false
	}
	if int(c.next) < len(c.queue) && c.next < c.cwnd {
		ns, body = c.ns+c.next, c.queue[c.next]
		if c.next < c.sent {
			c.stats.Retransmitted++
		} else {
			c.first(ns)
		}
		c.next++
		c.ackDue = false
		// RFC 3931 section 4.2: "The retransmitted message contains the same Ns
		// value, but the Nr value MUST be updated with the sequence number of the
		// next expected message."
		return ns, c.nr, body, true
	}
	if c.ackDue {
		c.ackDue = false
		return c.ns + c.sent, c.nr, nil, true
	}
	return 0, 0, nil, false
}

// first accounts for a message that is sent for the first time. Karn: only such a
// message tells the round trip, as nobody knows which of two copies was answered.
func (c *Channel) first(ns uint16) {
	if c.sent == 0 {
		c.left = c.interval
	}
	c.sent++
	c.stats.Sent++
	if !c.timing {
		c.timing, c.timedNs, c.timed = true, ns, 0
	}
}

// Receive takes the numbers of a message that has been authenticated. ack says
// that it takes no Ns: an explicit acknowledgment. body is copied if it is held,
// and otherwise not kept.
func (c *Channel) Receive(now time.Time, ns, nr uint16, ack bool, body []byte) Verdict {
	c.tick(now)
	if c.failed {
		return Dropped
	}
	if !c.acknowledge(nr) {
		c.stats.Invalid++
		return Invalid
	}
	if ack {
		return Acknowledgment
	}
	// A peer waits for an answer to whatever it sends, or it sends it again.
	c.ackDue = true
	switch ahead := ns - c.nr; {
	case ahead == 0:
		c.deliver()
		return Deliver
	case ahead > maxWindow:
		c.stats.Duplicates++
		return Duplicate
	case ahead >= c.receiveWindow:
		c.stats.Dropped++
		return Dropped
	}
	if _, ok := c.held[ns]; ok {
		c.stats.Duplicates++
		return Duplicate
	}
	if c.held == nil {
		c.held = make(map[uint16][]byte)
	}
	c.held[ns] = append([]byte{}, body...)
	c.stats.OutOfOrder++
	return Held
}

// Next returns the next message in order that was held; it is to be called after
// each Deliver until !ok. The body is the caller's.
func (c *Channel) Next() (body []byte, ok bool) {
	if body, ok = c.held[c.nr]; ok {
		c.deliver()
	}
	return body, ok
}

// deliver moves on to the next number, and keeps nothing of this one.
func (c *Channel) deliver() {
	delete(c.held, c.nr)
	if len(c.held) == 0 {
		c.held = nil
	}
	c.nr++
	c.stats.Received++
}

// acknowledge flushes all messages below nr from the queue, and reports whether
// nr can be true. RFC 3931 section 4.2: "if the Nr received in a control message
// is greater than the last Ns sent plus 1 modulo 65536, the control message is
// clearly invalid."
func (c *Channel) acknowledge(nr uint16) bool {
	n := nr - c.ns
	if n == 0 || n > maxWindow {
		return true // nothing new, or older than what is known
	}
	if n > c.sent {
		return false
	}
	if c.timing && c.timedNs-c.ns < n {
		c.timing = false
		c.measure(c.timed)
	}
	clear(c.queue[:n])
	c.queue = c.queue[n:]
	if len(c.queue) == 0 {
		c.queue = nil
	}
	c.ns += n
	c.sent -= n
	c.next -= min(c.next, n)
	c.greeted = true
	c.retried = 0
	c.interval = c.timeout
	c.left = c.interval // the oldest message is now another one
	c.widen()
	return true
}

// measure smooths round trips as RFC 6298 does.
func (c *Channel) measure(rtt time.Duration) {
	if c.stats.RTT == 0 {
		c.stats.RTT = rtt
		return
	}
	c.stats.RTT += (rtt - c.stats.RTT) / 8
}

// widen opens CWND after an acknowledgment of something new, RFC 3931 appendix A.
func (c *Channel) widen() {
	if c.cwnd >= c.window {
		return
	}
	if c.cwnd < c.ssthresh { // slow start
		c.cwnd++
		return
	}
	// "That is, CWND is increased by one packet after CWND new ACKs have been
	// received."
	if c.grown++; c.grown >= c.cwnd {
		c.grown = 0
		c.cwnd++
	}
}

// Advance lets time pass. At the Deadline it has the oldest message sent again,
// or gives up. What was sent behind that message follows as CWND opens, unless it
// is acknowledged by then: the peer may have dropped what came before its turn.
func (c *Channel) Advance(now time.Time) {
	c.tick(now)
	if c.failed || c.sent == 0 || c.left > 0 {
		return
	}
	limit := c.retries
	if !c.greeted {
		limit = c.firstRetries
	}
	if c.retried >= limit {
		c.failed = true
		c.queue, c.held = nil, nil
		c.sent, c.next = 0, 0
		return
	}
	c.retried++
	c.interval = c.backoff(c.interval)
	c.left = c.interval
	c.next = 0
	c.timing = false
	// RFC 3931 appendix A: "When congestion occurs (indicated by the triggering
	// of a retransmission) one-half of the CWND is saved in SSTHRESH, and CWND is
	// set to one."
	c.ssthresh = max(c.cwnd/2, 1)
	c.cwnd, c.grown = 1, 0
}

// backoff returns the interval after d. RFC 3931 section 4.2: "An implementation
// MAY place a cap upon the maximum interval between retransmissions."
func (c *Channel) backoff(d time.Duration) time.Duration {
	if d > c.maxTimeout/2 {
		return c.maxTimeout
	}
	return 2 * d
}

// Deadline returns when to call Advance; zero: never, as nothing is outstanding.
// After Advance(now) it is later than now.
func (c *Channel) Deadline() time.Time {
	if c.sent == 0 {
		return time.Time{}
	}
	return c.now.Add(c.left)
}

// Failed reports whether the peer did not answer the last retransmission either.
// The control connection and all its sessions must then be cleared; the channel
// has forgotten its messages, sends none and takes none.
func (c *Channel) Failed() bool { return c.failed }

// Idle reports whether the peer has acknowledged every message there was.
func (c *Channel) Idle() bool { return !c.failed && len(c.queue) == 0 }

// Stats returns the counts and windows of this moment.
func (c *Channel) Stats() Stats {
	s := c.stats
	s.Window = int(c.window)
	s.CongestionWindow = int(c.cwnd)
	s.Outstanding = int(c.sent)
	s.Queued = len(c.queue) - int(c.sent)
	return s
}

// RetransmissionCycle returns how long a message is repeated until the channel
// fails: 1+2+4+8+8... seconds, 71 by default. For so long an end that has received
// StopCCN is to answer its repetitions, if the peer is as patient; RFC 3931
// section 3.3.2 recommends 31 seconds or more.
func (c *Channel) RetransmissionCycle() time.Duration {
	sum, interval, left := time.Duration(0), c.timeout, int64(c.retries)+1
	for ; interval < c.maxTimeout && left > 0; left-- {
		if sum += interval; sum < 0 {
			return math.MaxInt64
		}
		interval = c.backoff(interval)
	}
	if left > 0 && int64(interval) > (math.MaxInt64-int64(sum))/left {
		return math.MaxInt64
	}
	return sum + interval*time.Duration(left)
}
