package interop

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"spanwire/testbed/tshark"
)

func (b *bench) pcap(r row) string { return filepath.Join(b.dir, r.String()+".pcap") }

// capture writes what crosses the wire to the row's file until stop is called.
func (b *bench) capture(r row) (stop func() error, err error) {
	ear, err := b.host.Capture("wire0")
	if err != nil {
		return nil, err
	}
	file, err := os.Create(b.pcap(r))
	if err != nil {
		ear.Close()
		return nil, err
	}
	stopping, done := make(chan struct{}), make(chan error)
	go func() {
		defer ear.Close()
		w := pcapgo.NewWriter(file)
		err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet)
		for err == nil {
			var frame []byte
			var at time.Time
			frame, at, err = ear.Next(time.Now().Add(20 * time.Millisecond))
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				err = nil
				select {
				case <-stopping:
					done <- file.Close()
					return
				default:
				}
			case err == nil && !isTCP4(frame):
				err = w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame)}, frame)
			}
		}
		file.Close()
		<-stopping
		done <- err
	}()
	return func() error {
		close(stopping)
		return <-done
	}, nil
}

// isTCP4 tells the agent's conversation.
func isTCP4(frame []byte) bool {
	const typeOffset, protocolOffset, tcp = 12, 14 + 9, 6
	return len(frame) > protocolOffset && binary.BigEndian.Uint16(frame[typeOffset:]) == 0x0800 && frame[protocolOffset] == tcp
}

// fields are what tshark is asked for. Of an Ethernet field the first is the outer header's, the last that of the frame inside.
var fields = []string{"eth.src", "l2tp.sid", "l2tp.cookie", "l2tp.l2_spec_s", "l2tp.l2_spec_sequence",
	"eth.dst", "eth.type", "data.data", "udp.checksum.status"}

// judge has tshark read the row's capture, and compares what it found of the row's
// session there with what was to be sent. Other sessions are not quite silent.
func (b *bench) judge(r row) error {
	cookie, sublayer := "None", "None"
	if r.cookie > 0 {
		cookie = strconv.Itoa(r.cookie) + " Byte Cookie"
	}
	if r.sublayer {
		sublayer = "Default L2-Specific"
	}
	ourID, theirID := r.sessions()
	capture, err := os.ReadFile(b.pcap(r))
	if err != nil {
		return err
	}
	packets, err := tshark.Read(capture, fields, "-o", "l2tp.cookie_size:"+cookie, "-o", "l2tp.l2_specific:"+sublayer,
		"-o", "udp.check_checksum:TRUE", "-d", "l2tp.pw_type==0,eth", "-Y", fmt.Sprintf("l2tp.sid==0x%08x or l2tp.sid==0x%08x", ourID, theirID))
	if err != nil {
		return err
	}
	seen := map[direction]*witness{fromKernel: newWitness(r, fromKernel), fromSpanwire: newWitness(r, fromSpanwire)}
	for i, p := range packets {
		d := fromKernel
		if strings.HasPrefix(p["eth.src"], b.mac.String()) {
			d = fromSpanwire
		}
		if err := seen[d].packet(p); err != nil {
			return fmt.Errorf("L2TP packet %d: %w: %q", i+1, err, p)
		}
	}
	for _, w := range seen {
		if err := w.end(); err != nil {
			return err
		}
	}
	return nil
}

// A witness follows one direction of a row.
type witness struct {
	row
	id       uint32
	cookie   []byte
	frames   [][]byte // those still to come
	sequence int      // of the next packet; -1: any
}

func newWitness(r row, d direction) *witness {
	w := &witness{row: r, sequence: -1}
	ourID, theirID := r.sessions()
	ourCookie, theirCookie := r.cookies()
	w.id, w.cookie = ourID, ourCookie
	if d == fromSpanwire {
		w.id, w.cookie = theirID, theirCookie
	}
	for n := range chunks {
		w.frames = append(w.frames, r.chunk(n, perChunk, d).Frames()...)
	}
	return w
}

// packet takes what tshark says of one packet.
func (w *witness) packet(f tshark.Frame) error {
	const good = "1"
	switch {
	case f["_ws.malformed"] != "":
		return fmt.Errorf("malformed")
	case f["l2tp.sid"] != fmt.Sprintf("0x%08x", w.id):
		return fmt.Errorf("session %s, want 0x%08x", f["l2tp.sid"], w.id)
	case f["l2tp.cookie"] != hex.EncodeToString(w.cookie):
		return fmt.Errorf("cookie %s, want %x", f["l2tp.cookie"], w.cookie)
	case w.udp && !strings.HasPrefix(f["udp.checksum.status"], good):
		return fmt.Errorf("UDP checksum status %q, want %q", f["udp.checksum.status"], good)
	case w.row.sublayer && (f["l2tp.l2_spec_s"] == "1") != w.row.sequence:
		return fmt.Errorf("S bit %q of a row with sequencing %v", f["l2tp.l2_spec_s"], w.row.sequence)
	}
	if w.row.sequence {
		n, err := strconv.Atoi(f["l2tp.l2_spec_sequence"])
		if err != nil || w.sequence >= 0 && n != w.sequence {
			return fmt.Errorf("sequence number %s, want %d", f["l2tp.l2_spec_sequence"], w.sequence)
		}
		w.sequence = (n + 1) & (1<<24 - 1)
	}
	if last(f["eth.type"]) != "0x88b5" {
		return nil // the kernels' own: ARP, ICMP
	}
	text := strings.ReplaceAll(last(f["eth.dst"])+last(f["eth.src"]), ":", "") + "88b5" + last(f["data.data"])
	got, err := hex.DecodeString(text)
	switch {
	case err != nil:
		return err
	case len(w.frames) == 0:
		return fmt.Errorf("one more frame than was sent")
	case !bytes.Equal(got, w.frames[0]):
		return fmt.Errorf("frame %x, want %x", got, w.frames[0])
	}
	w.frames = w.frames[1:]
	return nil
}

// end says what did not come.
func (w *witness) end() error {
	if len(w.frames) > 0 {
		return fmt.Errorf("session 0x%08x: %d frames are not in the capture", w.id, len(w.frames))
	}
	return nil
}

func last(list string) string { return list[strings.LastIndexByte(list, ',')+1:] }
