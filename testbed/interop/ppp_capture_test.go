package interop

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"spanwire/testbed/netlab"
	"spanwire/testbed/tshark"
)

// A pppCapture is all that crosses the wire but the guest's orders.
type pppCapture struct {
	pcap bytes.Buffer // after the end
	end  chan struct{}
	err  chan error
}

// capturePPP captures from a device on.
func capturePPP(host *netlab.Namespace, device string) (*pppCapture, error) {
	ear, err := host.Capture(device)
	if err != nil {
		return nil, err
	}
	c := &pppCapture{end: make(chan struct{}), err: make(chan error, 1)}
	go func() {
		defer ear.Close()
		c.err <- c.write(ear)
	}()
	return c, nil
}

func (c *pppCapture) write(ear *netlab.Capture) error {
	w := pcapgo.NewWriter(&c.pcap)
	err := w.WriteFileHeader(1<<16, layers.LinkTypeEthernet)
	for err == nil {
		var frame []byte
		var at time.Time
		frame, at, err = ear.Next(time.Now().Add(20 * time.Millisecond))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = nil
			select {
			case <-c.end:
				return nil
			default:
			}
		case err == nil && !isTCP4(frame):
			err = w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(frame), Length: len(frame)}, frame)
		}
	}
	return err
}

// stop ends the capture, once nothing comes any more.
func (c *pppCapture) stop() error {
	close(c.end)
	return <-c.err
}

// pppFields are what tshark is asked for. Of an IP field the first is the outer
// header's.
var pppFields = []string{"frame.number", "ip.src", "ip.dst", "l2tp.type", "l2tp.version", "l2tp.tunnel", "l2tp.length_bit", "l2tp.seq_bit", "l2tp.Ns",
	"l2tp.avp.message_type", "l2tp.avp.hidden", "l2tp.result_code", "_ws.expert.severity", "frame.protocols"}

// A dialogue is what two hosts said to each other, by tshark.
type dialogue []tshark.Frame

// judgePPP has tshark read a capture, and returns the dialogues by the addresses of the
// two, the lower one first.
func judgePPP(capture []byte) (map[[2]netip.Addr]dialogue, error) {
	options := []string{"-Y", "l2tp"}
	for _, port := range []int{pppTalkPort, pppLoadPort} {
		// By a number, or by chance, what is said could be anybody's protocol.
		options = append(options, "-d", fmt.Sprintf("tcp.port==%d,data", port), "-d", fmt.Sprintf("udp.port==%d,data", port))
	}
	frames, err := tshark.Read(capture, pppFields, options...)
	if err != nil {
		return nil, err
	}
	all := map[[2]netip.Addr]dialogue{}
	for _, f := range frames {
		if !strings.HasPrefix(f["frame.protocols"], "eth:ethertype:ip:udp:l2tp") {
			continue // as an ICMP error has it
		}
		from, err1 := netip.ParseAddr(first(f["ip.src"]))
		to, err2 := netip.ParseAddr(first(f["ip.dst"]))
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		key := between(from, to)
		all[key] = append(all[key], f)
	}
	return all, nil
}

// between is the key of two hosts' dialogue.
func between(a, b netip.Addr) [2]netip.Addr {
	if b.Less(a) {
		a, b = b, a
	}
	return [2]netip.Addr{a, b}
}

// faults are what tshark holds for malformed or for an error; on the rest it only
// remarks. A dialogue without a packet is at fault too.
func (d dialogue) faults() error {
	const expertError = 0x00800000 // PI_ERROR
	if len(d) == 0 {
		return errors.New("nothing was captured")
	}
	var all []error
	for _, f := range d {
		bad := f["_ws.malformed"] != ""
		for s := range strings.SplitSeq(f["_ws.expert.severity"], ",") {
			n, _ := strconv.Atoi(s)
			bad = bad || n >= expertError
		}
		if bad {
			all = append(all, fmt.Errorf("packet %s: %s", f["frame.number"], f.Complaint()))
		}
	}
	return errors.Join(all...)
}

func first(list string) string {
	word, _, _ := strings.Cut(list, ",")
	return word
}

// Messages of RFC 2661 section 3.2 by their types.
var messages = map[string]string{"1": "SCCRQ", "2": "SCCRP", "3": "SCCCN", "4": "StopCCN", "7": "OCRQ", "8": "OCRP", "9": "OCCN",
	"10": "ICRQ", "11": "ICRP", "12": "ICCN", "14": "CDN", "15": "WEN", "16": "SLI"}

// control returns the control messages, without those that were sent again, and those
// that only ask whether the peer is there: "CDN 1" is one with result code 1.
func (d dialogue) control() (all []string) {
	seen := map[string]bool{}
	for _, f := range d {
		name := messages[f["l2tp.avp.message_type"]]
		if code := f["l2tp.result_code"]; code != "" {
			name += " " + code
		}
		key := f["ip.src"] + "/" + f["l2tp.tunnel"] + "/" + f["l2tp.Ns"]
		if name == "" || seen[key] {
			continue
		}
		seen[key] = true
		all = append(all, name)
	}
	return all
}

// hides returns how many AVPs of the first message of a type are hidden.
func (d dialogue) hides(message string) (n int) {
	for _, f := range d {
		if messages[f["l2tp.avp.message_type"]] == message {
			return strings.Count(f["l2tp.avp.hidden"], "1")
		}
	}
	return 0
}

// numbered says whether the data of an LNS has sequence numbers, as it should or should
// not, and that of its LAC, which has them as soon as it has heard the LNS. RFC 2661
// section 5.4.
func (d dialogue) numbered(lns, lac netip.Addr, want bool) error {
	const crossing = 5 // packets of the LAC that were on their way then
	heard, n, others := false, map[netip.Addr]int{}, map[netip.Addr]int{}
	for _, f := range d {
		if f["l2tp.type"] != "0" {
			continue
		}
		from := lac
		if first(f["ip.src"]) == lns.String() {
			from, heard = lns, true
		}
		n[from]++
		if has := f["l2tp.seq_bit"] == "1"; has != want && (heard || !want) {
			others[from]++
		}
	}
	if n[lac] < 20 || n[lns] < 20 || others[lns] > 0 || others[lac] > crossing || others[lac] > 0 && !want {
		return fmt.Errorf("of %d data packets of the LAC %d are not numbered as they should be, of %d of the LNS %d", n[lac], others[lac], n[lns], others[lns])
	}
	return nil
}
