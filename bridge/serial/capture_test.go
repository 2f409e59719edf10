package serial

import (
	"bytes"
	"errors"
	"testing"

	"spanwire/pseudowire"
	"spanwire/testbed/tshark"
)

// judge has tshark read the capture of a Frame Relay line, and find management and
// IP in it and nothing malformed.
func judge(t *testing.T, capture []byte) {
	t.Helper()
	all, err := tshark.Read(capture, []string{"frame.protocols"}, "-o", "ip.check_checksum:TRUE")
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, f := range all {
		count[f["frame.protocols"]+f.Complaint()]++
	}
	if len(count) != 2 || count["fr:q933"] < 8 || count["fr:ip"] != 32 {
		t.Errorf("tshark: %v, want 8 frames of fr:q933 at least, 32 of fr:ip and no other", count)
	}
}

// TestCaptures has tshark name what the frames of a line are.
func TestCaptures(t *testing.T) {
	for _, v := range []struct {
		link  LinkType
		frame string
		want  string
	}{
		{CiscoHDLCLink, "Cisco HDLC, SLARP", "chdlc:slarp"},
		{PPPLink, "PPP, LCP", "ppp:lcp"},
		{FrameRelayLink, "Frame Relay, LMI", "fr:lmi"},
	} {
		l, s := open(t, networks[0].address)
		var file bytes.Buffer
		c, err := NewCapture(&file, v.link)
		if err != nil {
			t.Fatal(err)
		}
		l.Capture(c)
		l.Attach(l.Send)
		run(t, l)
		s.send(frames[v.frame])
		if got := s.receive(); !bytes.Equal(got, frames[v.frame]) {
			t.Errorf("%s: %x", v.frame, got)
		}
		await(t, func() bool { return l.Stats().OutFrames == 1 }, func() string { return "the frame is not counted" })
		if err := c.End(); err != nil {
			t.Error(err)
		}
		all, err := tshark.Read(file.Bytes(), []string{"frame.protocols"})
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != 2 {
			t.Errorf("%s: tshark: %d frames, want 2", v.frame, len(all))
		}
		for _, f := range all {
			if f["frame.protocols"] != v.want || f["_ws.malformed"] != "" {
				t.Errorf("%s: tshark: %q, want %s", v.frame, f, v.want)
			}
		}
	}
}

// A full disk takes some octets and no more.
type fullDisk struct{ left int }

var errFull = errors.New("full")

func (d *fullDisk) Write(b []byte) (int, error) {
	if d.left -= len(b); d.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// TestCaptureEnds has a capture fail, which the line does not mind.
func TestCaptureEnds(t *testing.T) {
	if _, err := NewCapture(&fullDisk{}, FrameRelayLink); !errors.Is(err, errFull) {
		t.Errorf("%v, want %v", err, errFull)
	}
	l, s := open(t, networks[0].address)
	disk := &fullDisk{60}
	c, err := NewCapture(disk, FrameRelayLink)
	if err != nil {
		t.Fatal(err)
	}
	l.Capture(c)
	for range 5 {
		l.Send([]pseudowire.Frame{frame([]byte("abc")), frame([]byte("def"))})
		s.receive()
		s.receive()
	}
	if err := c.End(); !errors.Is(err, errFull) {
		t.Errorf("%v, want %v", err, errFull)
	}
}
