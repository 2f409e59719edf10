package ppp

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// A dialogue is a Link and what is said to it, with its own clock.
type dialogue struct {
	t    *testing.T
	link *Link
	now  time.Time
}

// talk opens a Link. Its random octets are of a fixed seed.
func talk(t *testing.T, cfg Config) *dialogue {
	t.Helper()
	d := &dialogue{t: t, now: time.Unix(1e9, 0), link: newLink(t, cfg, 1)}
	d.link.Open(d.now)
	return d
}

func newLink(t testing.TB, cfg Config, seed uint64) *Link {
	t.Helper()
	if cfg.Random == nil {
		r := rand.New(rand.NewPCG(seed, 0))
		cfg.Random = func(b []byte) {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
		}
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// unhex reads hexadecimal digits, with anything that is none between them.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hear gives a frame to the Link.
func (d *dialogue) hear(frame string) {
	d.t.Helper()
	d.link.Receive(d.now, unhex(d.t, frame))
}

// hearPacket gives a packet to the Link.
func (d *dialogue) hearPacket(p Protocol, c packet) {
	d.link.Receive(d.now, c.append([]byte{byte(p >> 8), byte(p)}))
}

// said returns the next packet that the Link sends.
func (d *dialogue) said() (Protocol, packet) {
	d.t.Helper()
	b, ok := d.link.Transmit(nil)
	if !ok {
		d.t.Fatal("nothing is sent")
	}
	p, n := header(b)
	if n != HeaderLen {
		d.t.Fatalf("a header of %d octets in % x, want %d", n, b, HeaderLen)
	}
	c, ok := parsePacket(b[n:])
	if !ok || len(b) != n+packetHeaderLen+len(c.data) {
		d.t.Fatalf("a packet of wrong length in % x", b)
	}
	return p, c
}

// wantSaid takes the next packet, and wants it to be of this protocol and code.
func (d *dialogue) wantSaid(p Protocol, code uint8) packet {
	d.t.Helper()
	q, c := d.said()
	if q != p || c.code != code {
		d.t.Fatalf("sent %v code %d (% x), want %v code %d", q, c.code, c.data, p, code)
	}
	return c
}

// wantFrame takes the next frame, and wants these octets.
func (d *dialogue) wantFrame(want string) {
	d.t.Helper()
	b, ok := d.link.Transmit(nil)
	if !ok {
		d.t.Fatalf("nothing is sent, want %s", want)
	}
	if w := unhex(d.t, want); !bytes.Equal(b, w) {
		d.t.Fatalf("sent % x, want % x", b, w)
	}
}

func (d *dialogue) wantSilence() {
	d.t.Helper()
	if b, ok := d.link.Transmit(nil); ok {
		d.t.Fatalf("sent % x, want nothing", b)
	}
}

// after lets time pass.
func (d *dialogue) after(pass time.Duration) {
	d.t.Helper()
	for end := d.now.Add(pass); ; {
		at := d.link.Deadline()
		if at.IsZero() || at.After(end) {
			d.now = end
			return
		}
		if at.After(d.now) {
			d.now = at
		}
		d.link.Advance(d.now)
		if at := d.link.Deadline(); !at.IsZero() && !at.After(d.now) {
			d.t.Fatalf("deadline %v after Advance at %v", at, d.now)
		}
	}
}

// wantEvent takes the next event.
func (d *dialogue) wantEvent(k EventKind) Event {
	d.t.Helper()
	e, ok := d.link.Event()
	if !ok || e.Kind != k {
		d.t.Fatalf("event %q (%v), want kind %d", e, ok, k)
	}
	return e
}

func (d *dialogue) wantNoEvent() {
	d.t.Helper()
	if e, ok := d.link.Event(); ok {
		d.t.Fatalf("event %q, want none", e)
	}
}

func (d *dialogue) wantState(p Protocol, want State) {
	d.t.Helper()
	for _, a := range d.link.automata() {
		if a.protocol == p && a.state != want {
			d.t.Fatalf("%v is %v, want %v", p, a.state, want)
		}
	}
}

func (d *dialogue) wantClosed(r Reason) Event {
	d.t.Helper()
	for {
		e, ok := d.link.Event()
		if !ok {
			d.t.Fatalf("not closed, want %q", r)
		}
		if e.Kind != LinkClosed {
			continue
		}
		if e.Reason != r {
			d.t.Fatalf("%v, want %q", e, r)
		}
		if d.link.phase != Dead || !d.link.Deadline().IsZero() {
			d.t.Fatalf("phase %v, deadline %v after the end", d.link.phase, d.link.Deadline())
		}
		return e
	}
}

// agree acknowledges the Link's Configure-Request and sends one of these options, which
// it wants acknowledged.
func (d *dialogue) agree(p Protocol, options string) packet {
	d.t.Helper()
	r := d.wantSaid(p, configureRequest)
	d.hearPacket(p, packet{code: configureAck, id: r.id, data: r.data})
	d.hearPacket(p, packet{code: configureRequest, id: 0x77, data: unhex(d.t, options)})
	if a := d.wantSaid(p, configureAck); a.id != 0x77 || !bytes.Equal(a.data, unhex(d.t, options)) {
		d.t.Fatalf("acknowledged % x with identifier %d", a.data, a.id)
	}
	d.wantState(p, Opened)
	return r
}

// ours returns an option of a request.
func optionOf(t testing.TB, b []byte, kind uint8) []byte {
	t.Helper()
	if !wellFormed(b) {
		t.Fatalf("options % x are not well formed", b)
	}
	for o := range options(b) {
		if o.kind == kind {
			return o.data
		}
	}
	return nil
}

func drain(l *Link) (frames [][]byte, events []Event) {
	for b, ok := l.Transmit(nil); ok; b, ok = l.Transmit(nil) {
		frames = append(frames, b)
	}
	for e, ok := l.Event(); ok; e, ok = l.Event() {
		events = append(events, e)
	}
	return frames, events
}

func lines(events []Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}
