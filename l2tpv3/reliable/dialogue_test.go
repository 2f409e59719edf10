package reliable

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A story is a dialogue of one channel with a peer that the test plays, on a clock
// of its own.
type story struct {
	t testing.TB
	*Channel
	now time.Time
}

func tell(t testing.TB, cfg Config) *story {
	return &story{t, New(cfg), time.Unix(1e9, 0)}
}

// send queues messages.
func (s *story) send(bodies ...string) {
	for _, body := range bodies {
		s.Send(s.now, []byte(body))
	}
}

// receive is a message of the peer, of which the channel thinks want and returns
// later ones that it held, in their order.
func (s *story) receive(body string, nr, ns uint16, want Verdict, later ...string) {
	s.t.Helper()
	if got := s.Receive(s.now, ns, nr, false, []byte(body)); got != want {
		s.t.Errorf("%s, Nr %d, Ns %d: %v, want %v", body, nr, ns, got, want)
	}
	s.wantNext(later...)
}

// receiveACK is an ACK message of the peer.
func (s *story) receiveACK(nr, ns uint16) {
	s.t.Helper()
	if got := s.Receive(s.now, ns, nr, true, nil); got != Acknowledgment {
		s.t.Errorf("ACK, Nr %d, Ns %d: %v, want %v", nr, ns, got, Acknowledgment)
	}
	s.wantNext()
}

func (s *story) wantNext(want ...string) {
	s.t.Helper()
	var got []string
	for b, ok := s.Next(); ok; b, ok = s.Next() {
		got = append(got, string(b))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Errorf("in order now: %q, want %q", got, want)
	}
}

// wantSent wants all that is sent now: "SCCRP 1 0; ACK 2 1" for a message of Nr 1
// and Ns 0 and an acknowledgment of Nr 2 and Ns 1.
func (s *story) wantSent(want string) {
	s.t.Helper()
	var got []string
	for ns, nr, body, ok := s.Transmit(); ok; ns, nr, body, ok = s.Transmit() {
		name := string(body)
		if body == nil {
			name = "ACK"
		}
		got = append(got, fmt.Sprint(name, " ", nr, " ", ns))
	}
	if g := strings.Join(got, "; "); g != want {
		s.t.Errorf("sent %q, want %q", g, want)
	}
}

func (s *story) wantSilence() {
	s.t.Helper()
	s.wantSent("")
}

// after lets time pass.
func (s *story) after(d time.Duration) {
	s.now = s.now.Add(d)
	s.Advance(s.now)
}

// wantDeadline wants the next Advance in d; 0: never.
func (s *story) wantDeadline(d time.Duration) {
	s.t.Helper()
	got := s.Deadline()
	if d == 0 && got.IsZero() {
		return
	}
	if got.Sub(s.now) != d {
		s.t.Errorf("deadline in %v, want %v", got.Sub(s.now), d)
	}
}

func (s *story) wantIdle() {
	s.t.Helper()
	s.wantSilence()
	s.wantDeadline(0)
	if !s.Idle() || s.Failed() {
		s.t.Errorf("idle %v, failed %v, want idle", s.Idle(), s.Failed())
	}
}

// TestLockStep is RFC 3931 appendix B.1 from both sides.
func TestLockStep(t *testing.T) {
	a := tell(t, Config{})
	a.send("SCCRQ")
	a.wantSent("SCCRQ 0 0")
	a.receive("SCCRP", 1, 0, Deliver)
	a.send("SCCCN")
	a.wantSent("SCCCN 1 1")
	a.receiveACK(2, 1)
	a.wantIdle()

	b := tell(t, Config{})
	b.receive("SCCRQ", 0, 0, Deliver)
	b.send("SCCRP")
	b.wantSent("SCCRP 1 0")
	b.receive("SCCCN", 1, 1, Deliver)
	b.wantSent("ACK 2 1")
	b.wantIdle()
}

// established returns the two ends of appendix B.1, with their timers at rest.
func established(t testing.TB) (a, b *story) {
	a, b = tell(t, Config{}), tell(t, Config{})
	a.send("SCCRQ")
	a.wantSent("SCCRQ 0 0")
	b.receive("SCCRQ", 0, 0, Deliver)
	b.send("SCCRP")
	b.wantSent("SCCRP 1 0")
	a.receive("SCCRP", 1, 0, Deliver)
	a.send("SCCCN")
	a.wantSent("SCCCN 1 1")
	b.receive("SCCCN", 1, 1, Deliver)
	b.wantSent("ACK 2 1")
	a.receiveACK(2, 1)
	return a, b
}

// TestLostPacket is RFC 3931 appendix B.2 from both sides.
func TestLostPacket(t *testing.T) {
	a, b := established(t)
	a.send("ICRQ")
	a.wantSent("ICRQ 1 2")
	b.after(10 * time.Millisecond)
	b.receive("ICRQ", 1, 2, Deliver)
	b.send("ICRP")
	b.wantSent("ICRP 3 1") // packet lost

	a.after(time.Second)
	a.wantSent("ICRQ 1 2")
	b.after(time.Second - 1)
	b.wantSilence()
	b.receive("ICRQ", 1, 2, Duplicate)
	b.wantSent("ACK 3 2")
	a.receiveACK(3, 2)
	a.wantIdle()

	b.after(1)
	b.wantSent("ICRP 3 1")
	a.receive("ICRP", 3, 1, Deliver)
	a.send("ICCN")
	a.wantSent("ICCN 2 3")
	b.receive("ICCN", 2, 3, Deliver)
	b.wantSent("ACK 4 2")
	a.receiveACK(4, 2)
	a.wantIdle()
	b.wantIdle()
}

// RFC 3931 section 4.2: "The message sequence number, Ns, begins at 0. Each
// subsequent message is sent with the next increment of the sequence number. The
// sequence number is thus a free-running counter represented modulo 65536."
func TestNumbersGoRound(t *testing.T) {
	a, b := tell(t, Config{SendWindow: 3}), tell(t, Config{ReceiveWindow: 3})
	const messages = 2*65536 + 7
	for next, sent := 0, 0; next < messages; {
		for ; sent < messages && sent < next+5; sent++ {
			a.send(fmt.Sprint(sent))
		}
		for ns, nr, body, ok := a.Transmit(); ok; ns, nr, body, ok = a.Transmit() {
			want := fmt.Sprint(next)
			if v := b.Receive(b.now, ns, nr, false, body); v != Deliver || string(body) != want || int(ns) != next%65536 {
				t.Fatalf("Ns %d: %v of %s, want %s delivered", ns, v, body, want)
			}
			if v := b.Receive(b.now, ns, nr, false, body); v != Duplicate {
				t.Fatalf("Ns %d again: %v", ns, v)
			}
			next++
		}
		ns, nr, body, ok := b.Transmit()
		if !ok || body != nil || ns != 0 || int(nr) != next%65536 {
			t.Fatalf("after %d messages: ACK %v, Nr %d, Ns %d", next, ok, nr, ns)
		}
		a.receiveACK(nr, ns)
	}
	a.wantIdle()
}

// RFC 3931 section 4.2: "The sequence number in the header of a received message
// is considered less than or equal to the last received number if its value lies
// in the range of the last received number and the preceding 32767 values,
// inclusive. For example, if the last received sequence number was 15, then
// messages with sequence numbers 0 through 15, as well as 32784 through 65535,
// would be considered less than or equal. Such a message would be considered a
// duplicate of a message already received and ignored from processing."
func TestLessThanOrEqual(t *testing.T) {
	s := tell(t, Config{})
	for ns := range uint16(16) {
		s.receive("m", 0, ns, Deliver)
	}
	s.wantSent("ACK 16 0")
	for ns := range 1 << 16 {
		want := Dropped
		switch {
		case ns <= 15 || ns >= 32784:
			want = Duplicate
		case ns == 16:
			continue
		case ns < 16+4:
			want = Held
		}
		s.receive("m", 0, uint16(ns), want)
		s.wantSent("ACK 16 0")
	}
}

// RFC 3931 section 4.2: "However, in order to ensure that all messages are
// acknowledged properly (particularly in the case of a lost ACK message), receipt
// of duplicate messages MUST be acknowledged by the reliable delivery mechanism.
// This acknowledgment may either piggybacked on a message in queue or sent
// explicitly via an ACK message."
func TestDuplicateIsAcknowledged(t *testing.T) {
	s := tell(t, Config{})
	s.receive("SCCRQ", 0, 0, Deliver)
	s.wantSent("ACK 1 0")
	s.receive("SCCRQ", 0, 0, Duplicate)
	s.receive("SCCRQ", 0, 0, Duplicate)
	s.wantSent("ACK 1 0")
	s.receive("SCCRQ", 0, 0, Duplicate)
	s.send("SCCRP")
	s.wantSent("SCCRP 1 0")
	if got := s.Stats(); got.Received != 1 || got.Duplicates != 3 || got.Sent != 1 {
		t.Errorf("%+v", got)
	}
}

// RFC 3931 section 4.2: "All control messages take up one slot in the control
// message sequence number space, except the ACK message. Thus, Ns is not
// incremented after an ACK message is sent." And: "While the Nr in a received ACK
// message is used to flush messages from the local retransmit queue (see below),
// the Nr of the next message sent is not updated by the Ns of the ACK message."
func TestACKTakesNoNumber(t *testing.T) {
	s := tell(t, Config{})
	for ns := range uint16(3) {
		s.receive("HELLO", 0, ns, Deliver)
		s.wantSent(fmt.Sprintf("ACK %d 0", ns+1))
	}
	s.send("HELLO")
	s.wantSent("HELLO 3 0")
	for _, ns := range []uint16{3, 4, 1000, 65535} {
		s.receiveACK(1, ns)
		s.wantIdle() // an ACK is not acknowledged
	}
	s.Send(s.now, nil) // a message of no octets takes a number
	s.send("HELLO")
	s.wantSent(" 3 1; HELLO 3 2")
}

// RFC 3931 section 4.2: "Nr SHOULD be sanity-checked before flushing the
// retransmit queue. For instance, if the Nr received in a control message is
// greater than the last Ns sent plus 1 modulo 65536, the control message is
// clearly invalid."
func TestInvalidNr(t *testing.T) {
	s := tell(t, Config{})
	s.send("SCCRQ", "HELLO")
	s.wantSent("SCCRQ 0 0")
	for _, nr := range []uint16{2, 3, 32767} { // 2 is that of a message not sent yet
		s.receive("SCCRP", nr, 0, Invalid)
		if v := s.Receive(s.now, 0, nr, true, nil); v != Invalid {
			t.Errorf("ACK of Nr %d: %v", nr, v)
		}
		s.wantSilence()
	}
	s.receiveACK(32768, 0) // less than 0, and so are those above
	if got := s.Stats(); got.Invalid != 6 || got.Outstanding != 1 || got.Queued != 1 {
		t.Errorf("%+v", got)
	}
	s.receive("SCCRP", 1, 0, Deliver)
	s.wantSent("HELLO 1 1")
	s.receive("ICRQ", 0, 1, Deliver) // overtaken on its way: its Nr was true once
	s.wantSent("ACK 2 2")
}

// RFC 3931 section 4.2: "The reliable delivery mechanism at a receiving peer is
// responsible for making sure that control messages are delivered in order and
// without duplication to the upper level."
func TestOutOfOrderIsHeld(t *testing.T) {
	s := tell(t, Config{ReceiveWindow: 4})
	b := []byte("two")
	if v := s.Receive(s.now, 2, 0, false, b); v != Held {
		t.Errorf("two: %v", v)
	}
	copy(b, "xxx") // the caller reads the next message into it
	s.wantSent("ACK 0 0")
	s.receive("two", 0, 2, Duplicate)
	s.receive("three", 0, 3, Held)
	s.receive("one", 0, 1, Held)
	s.wantSent("ACK 0 0")
	s.receive("zero", 0, 0, Deliver, "one", "two", "three")
	s.wantSent("ACK 4 0")
	s.receive("five", 0, 5, Held)
	s.receive("four", 0, 4, Deliver, "five")
	s.wantSent("ACK 6 0")
	if got := s.Stats(); got.Received != 6 || got.OutOfOrder != 4 || got.Duplicates != 1 {
		t.Errorf("%+v", got)
	}
}

// RFC 3931 section 4.2: "Alternatively, they may be discarded, thus requiring a
// retransmission by the peer. When dropping out-of-order control packets, Nr MAY
// be updated before the packet is discarded." Here that is done with what a
// message beyond the window acknowledges.
func TestBeyondTheWindowIsDropped(t *testing.T) {
	s := tell(t, Config{ReceiveWindow: 2})
	s.send("SCCRP")
	s.wantSent("SCCRP 0 0")
	s.receive("two", 1, 2, Dropped)
	s.wantSent("ACK 0 1")
	s.receive("one", 1, 1, Held)
	s.receive("zero", 1, 0, Deliver, "one")
	s.receive("two", 1, 2, Deliver)
	s.wantSent("ACK 3 1")
	s.wantIdle()
}

// RFC 3931 section 4.2: "The retransmitted message contains the same Ns value, but
// the Nr value MUST be updated with the sequence number of the next expected
// message."
func TestRetransmissionHasTheNewNr(t *testing.T) {
	s := tell(t, Config{})
	s.send("ICRQ")
	s.wantSent("ICRQ 0 0")
	s.receive("HELLO", 0, 0, Deliver)
	s.receive("HELLO", 0, 1, Deliver)
	s.after(time.Second)
	s.wantSent("ICRQ 2 0") // and that acknowledges both
}

// RFC 3931 section 4.2: "Each subsequent retransmission of a message MUST employ
// an exponential backoff interval. Thus, if the first retransmission occurred
// after 1 second, the next retransmission should occur after 2 seconds has
// elapsed, then 4 seconds, etc. An implementation MAY place a cap upon the maximum
// interval between retransmissions. This cap SHOULD be no less than 8 seconds per
// retransmission. If no peer response is detected after several retransmissions (a
// recommended default is 10, but MUST be configurable), the control connection and
// all associated sessions MUST be cleared."
func TestBackoff(t *testing.T) {
	for _, v := range []struct {
		name string
		cfg  Config
		want []int // seconds of each interval, the last one before it fails
	}{
		{"defaults", Config{}, []int{1, 2, 4, 8, 8, 8, 8, 8, 8, 8, 8}},
		{"below zero", Config{Timeout: -1, MaxTimeout: -1, Retries: -1, FirstRetries: -1}, []int{1, 2, 4, 8, 8, 8, 8, 8, 8, 8, 8}},
		{"four", Config{Retries: 4, MaxTimeout: time.Hour}, []int{1, 2, 4, 8, 16}},
		{"cap between", Config{Timeout: 2 * time.Second, MaxTimeout: 5 * time.Second, Retries: 3}, []int{2, 4, 5, 5}},
		{"long", Config{Timeout: 20 * time.Second, Retries: 2}, []int{20, 20, 20}},
	} {
		s := tell(t, v.cfg)
		s.send("HELLO")
		s.wantSent("HELLO 0 0")
		cycle := time.Duration(0)
		for i, seconds := range v.want {
			d := time.Duration(seconds) * time.Second
			cycle += d
			s.wantDeadline(d)
			s.after(d - 1)
			s.wantSilence()
			s.after(1)
			if i < len(v.want)-1 {
				s.wantSent("HELLO 0 0")
			}
		}
		if !s.Failed() || s.Idle() {
			t.Errorf("%s: failed %v, idle %v", v.name, s.Failed(), s.Idle())
		}
		if got := s.RetransmissionCycle(); got != cycle {
			t.Errorf("%s: cycle %v, want %v", v.name, got, cycle)
		}
		s.send("SCCRQ")
		s.receive("SCCRP", 1, 0, Dropped)
		s.after(time.Hour)
		s.wantSilence()
		s.wantDeadline(0)
		if got := s.Stats(); got.Outstanding != 0 || got.Queued != 0 || got.Retransmitted != uint64(len(v.want)-1) {
			t.Errorf("%s: %+v", v.name, got)
		}
	}
}

// RFC 3931 section 4.2: "As it is the first message to establish a control
// connection, the SCCRQ MAY employ a different retransmission maximum than other
// control messages in order to help facilitate failover to alternate LCCEs in a
// timely fashion."
func TestFirstRetries(t *testing.T) {
	cfg := Config{Retries: 3, FirstRetries: 1}
	s := tell(t, cfg)
	s.send("SCCRQ")
	s.wantSent("SCCRQ 0 0")
	s.after(time.Second)
	s.wantSent("SCCRQ 0 0")
	s.after(2 * time.Second)
	if !s.Failed() {
		t.Error("the first message is sent a third time")
	}
	s = tell(t, cfg)
	s.send("SCCRQ", "HELLO")
	s.wantSent("SCCRQ 0 0")
	s.receiveACK(1, 0)
	s.wantSent("HELLO 0 1")
	for _, d := range []time.Duration{1, 2, 4} {
		s.after(d * time.Second)
		s.wantSent("HELLO 0 1")
	}
	s.after(8 * time.Second)
	if !s.Failed() {
		t.Error("the second message is sent a fifth time")
	}
}

// RFC 3931 section 4.2: "When a control connection is being shut down for reasons
// other than loss of connectivity, the state and reliable delivery mechanisms MUST
// be maintained and operated for the full retransmission interval after the final
// message StopCCN message has been sent (e.g., 1 + 2 + 4 + 8 + 8... seconds), or
// until the StopCCN message itself has been acknowledged."
func TestRetransmissionCycle(t *testing.T) {
	if got := New(Config{}).RetransmissionCycle(); got != 71*time.Second {
		t.Errorf("%v, want 71s", got)
	}
	const forever = time.Duration(1<<63 - 1)
	for _, cfg := range []Config{
		{Timeout: forever},
		{MaxTimeout: forever, Retries: 1 << 40, FirstRetries: 1 << 40},
		{Timeout: forever/2 + 1, MaxTimeout: forever},
	} {
		if got := New(cfg).RetransmissionCycle(); got != forever {
			t.Errorf("%+v: %v, want %v", cfg, got, forever)
		}
	}
}

// TestProgressStartsAfresh wants an acknowledgment of something new to be the
// peer's answer, and one of nothing new to be none.
func TestProgressStartsAfresh(t *testing.T) {
	s := tell(t, Config{Retries: 2})
	s.send("one", "two")
	s.wantSent("one 0 0")
	s.after(time.Second)
	s.after(2 * time.Second)
	s.wantSent("one 0 0")
	s.receiveACK(0, 0)
	s.wantDeadline(4 * time.Second)
	s.receiveACK(1, 0)
	s.wantSent("two 0 1")
	s.wantDeadline(time.Second)
	for _, d := range []time.Duration{1, 2} {
		s.after(d * time.Second)
		s.wantSent("two 0 1")
	}
	s.after(4 * time.Second)
	if !s.Failed() {
		t.Error("not failed")
	}
}

// RFC 3931 section 4.2: "Each peer MUST limit the number of unacknowledged
// messages it will send before receiving an acknowledgement by this Receive Window
// Size."
func TestReceiveWindowSize(t *testing.T) {
	for _, v := range []struct{ offered, want int }{{0, 1}, {-1, 1}, {1, 1}, {7, 7}, {65535, 32767}} {
		s := tell(t, Config{})
		if got := s.Stats().Window; got != 4 {
			t.Errorf("window %d without the AVP, want 4", got)
		}
		s.SetSendWindow(v.offered)
		if got := s.Stats().Window; got != v.want {
			t.Errorf("offered %d: window %d, want %d", v.offered, got, v.want)
		}
		for range 50 {
			s.send("m", "m", "m", "m", "m", "m", "m", "m", "m", "m")
			var last uint16
			for ns, _, _, ok := s.Transmit(); ok; ns, _, _, ok = s.Transmit() {
				last = ns
			}
			if got := s.Stats().Outstanding; got > v.want {
				t.Fatalf("offered %d: %d outstanding", v.offered, got)
			}
			s.receiveACK(last+1, 0)
		}
	}
}

// TestWindowShrinks wants no more to be sent while more than a smaller window is
// outstanding.
func TestWindowShrinks(t *testing.T) {
	s := tell(t, Config{})
	s.send("0", "1", "2", "3", "4", "5")
	s.wantSent("0 0 0")
	s.receiveACK(1, 0)
	s.wantSent("1 0 1; 2 0 2")
	s.receiveACK(2, 0)
	s.wantSent("3 0 3; 4 0 4")
	s.SetSendWindow(1)
	s.receiveACK(3, 0)
	s.receiveACK(4, 0)
	s.wantSilence()
	s.receiveACK(5, 0)
	s.wantSent("5 0 5")
}

// RFC 3931 appendix A: "The sender then transmits one packet and waits for its
// acknowledgment (either explicit or piggybacked). When the acknowledgment is
// received, the congestion window is incremented from one to two. During slow
// start, CWND is increased by one packet each time an ACK (explicit ACK message or
// piggybacked) is received." And: "Note, however, that CWND is never allowed to
// exceed the size of the advertised window obtained from the Receive Window AVP."
func TestSlowStart(t *testing.T) {
	s := tell(t, Config{SendWindow: 5})
	for range 30 {
		s.send("m")
	}
	s.wantSent("m 0 0")
	s.receiveACK(1, 0)
	s.wantSent("m 0 1; m 0 2")
	s.receive("HELLO", 2, 0, Deliver)
	s.wantSent("m 1 3; m 1 4")
	s.receiveACK(5, 1) // three at once are one ACK
	s.wantSent("m 1 5; m 1 6; m 1 7; m 1 8")
	s.receiveACK(6, 1)
	s.wantSent("m 1 9; m 1 10")
	s.receiveACK(11, 1)
	s.wantSent("m 1 11; m 1 12; m 1 13; m 1 14; m 1 15")
}

// RFC 3931 appendix A: "When congestion occurs (indicated by the triggering of a
// retransmission) one-half of the CWND is saved in SSTHRESH, and CWND is set to
// one. The sender then reenters the slow start phase." And of congestion
// avoidance: "That is, CWND is increased by one packet after CWND new ACKs have
// been received."
func TestCongestion(t *testing.T) {
	s := tell(t, Config{SendWindow: 6})
	for range 100 {
		s.send("m")
	}
	next := uint16(0)
	drain := func() {
		for ns, _, _, ok := s.Transmit(); ok; ns, _, _, ok = s.Transmit() {
			next = ns + 1
		}
	}
	for drain(); s.Stats().CongestionWindow < 6; drain() {
		s.receiveACK(next, 0)
	}
	for _, cwnd := range [][]int{
		{1, 2, 3, 3, 3, 4, 4, 4, 4, 5}, // SSTHRESH is 3, half of 6
		{1, 2, 2, 3, 3, 3, 4},          // SSTHRESH is 2, half of 5
	} {
		s.after(time.Second)
		for i, want := range cwnd {
			if got := s.Stats().CongestionWindow; got != want {
				t.Errorf("after %d acknowledgments: CWND %d, want %d", i, got, want)
			}
			drain()
			s.receiveACK(next, 0)
		}
		drain()
	}
}

// TestAllIsSentAgain is a burst whose first message is lost, to a peer that drops
// what comes before its turn.
func TestAllIsSentAgain(t *testing.T) {
	burst := func() *story {
		s := tell(t, Config{})
		s.send("0", "1", "2", "3", "4", "5")
		s.wantSent("0 0 0")
		s.receiveACK(1, 0)
		s.wantSent("1 0 1; 2 0 2")
		s.receiveACK(3, 0)
		s.wantSent("3 0 3; 4 0 4; 5 0 5")
		s.after(time.Second)
		s.wantSent("3 0 3")
		s.wantDeadline(2 * time.Second)
		return s
	}
	s := burst()
	s.receiveACK(4, 0)
	s.wantSent("4 0 4; 5 0 5")
	s.wantDeadline(time.Second)
	s.receiveACK(6, 0)
	s.wantIdle()
	if got := s.Stats(); got.Sent != 6 || got.Retransmitted != 3 {
		t.Errorf("%+v", got)
	}
	// A peer that held them acknowledges all at once.
	s = burst()
	s.receiveACK(6, 0)
	s.wantIdle()
	// What had been late only is not sent once more.
	s = burst()
	s.receiveACK(4, 0)
	s.receiveACK(5, 0)
	s.wantSent("5 0 5")
}

// RFC 3931 section 4.2: "A peer MAY drop messages, but MUST NOT actively delay
// acknowledgment of messages as a technique for flow control of control messages."
func TestNoAcknowledgmentIsDelayed(t *testing.T) {
	s := tell(t, Config{ReceiveWindow: 2})
	s.send("mine")
	s.wantSent("mine 0 0") // CWND is full
	s.send("mine too")
	for _, v := range []struct {
		ns      uint16
		verdict Verdict
		want    string
	}{
		{0, Deliver, "ACK 1 1"}, {0, Duplicate, "ACK 1 1"}, {2, Held, "ACK 1 1"}, {3, Dropped, "ACK 1 1"},
	} {
		s.receive("m", 0, v.ns, v.verdict)
		s.wantSent(v.want)
	}
	s.receive("m", 1, 1, Deliver, "m")
	s.wantSent("mine too 3 1") // the acknowledgment rides on it
}

// TestRoundTrip wants the time of a message that was sent twice not to count.
func TestRoundTrip(t *testing.T) {
	s := tell(t, Config{})
	trip := func(d time.Duration, want time.Duration) {
		t.Helper()
		s.send("HELLO")
		var ns uint16
		for n, _, _, ok := s.Transmit(); ok; n, _, _, ok = s.Transmit() {
			ns = n
		}
		s.after(d)
		s.receiveACK(ns+1, 0)
		if got := s.Stats().RTT; got != want {
			t.Errorf("round trip %v, want %v", got, want)
		}
	}
	trip(80*time.Millisecond, 80*time.Millisecond)
	trip(160*time.Millisecond, 90*time.Millisecond)
	trip(3*time.Second, 90*time.Millisecond)
	trip(90*time.Millisecond, 90*time.Millisecond)
}

// TestFailingClock wants a clock that jumps to cost at most the interval.
func TestFailingClock(t *testing.T) {
	s := tell(t, Config{})
	s.send("HELLO")
	s.wantSent("HELLO 0 0")
	s.after(400 * time.Millisecond)
	s.after(-time.Hour)
	s.wantSilence()
	s.wantDeadline(600 * time.Millisecond)
	s.after(600 * time.Millisecond)
	s.wantSent("HELLO 0 0")
	s.after(1000 * time.Hour)
	s.wantSent("HELLO 0 0")
	s.wantDeadline(4 * time.Second)
	s.now = time.Time{}
	s.after(0)
	s.wantDeadline(4 * time.Second)
	s.receiveACK(1, 0)
	s.wantIdle()
	// Three centuries at a time, more than a duration can count.
	s.send("HELLO")
	s.wantSent("HELLO 0 1")
	for range 2 {
		s.now = s.now.AddDate(300, 0, 0)
		s.receiveACK(1, 0)
	}
	s.after(0)
	s.wantSent("HELLO 0 1")
	s.receiveACK(2, 0)
	s.send("HELLO")
	s.wantSent("HELLO 0 2")
	for range 2 {
		s.now = s.now.AddDate(300, 0, 0)
		s.receiveACK(2, 0)
	}
	s.receiveACK(3, 0)
	if got := s.Stats().RTT; got <= 0 {
		t.Errorf("round trip %v", got)
	}
}
