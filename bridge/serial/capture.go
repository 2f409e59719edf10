package serial

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"spanwire/pseudowire"
)

// A LinkType says what the frames of a capture are.
type LinkType uint8

// The link types, tcpdump's LINKTYPE_ values.
const (
	PPPLink        LinkType = 50 // PPP in HDLC-like framing
	CiscoHDLCLink  LinkType = 104
	FrameRelayLink LinkType = 107
)

// A Capture is a pcap file of what passes a line, for Wireshark.
type Capture struct {
	mu    sync.Mutex
	w     *pcapgo.Writer
	ended bool
	err   error
}

// NewCapture begins a capture. It writes to w as frames pass, each with two Writes.
func NewCapture(w io.Writer, link LinkType) (*Capture, error) {
	c := &Capture{w: pcapgo.NewWriter(w)}
	if err := c.w.WriteFileHeader(maxFrame+1, layers.LinkType(link)); err != nil {
		return nil, fmt.Errorf("capture: %w", err)
	}
	return c, nil
}

// write takes frames. After an error it takes no more.
func (c *Capture) write(frames []pseudowire.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for i := range frames {
		if c.ended || c.err != nil {
			return
		}
		b := frames[i].Bytes()
		c.err = c.w.WritePacket(gopacket.CaptureInfo{Timestamp: now, CaptureLength: len(b), Length: len(b)}, b)
	}
}

// End ends the capture: nothing is written any more. It returns the error that ended
// it before, if there was one.
func (c *Capture) End() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.err != nil {
		return fmt.Errorf("capture: %w", c.err)
	}
	return nil
}
