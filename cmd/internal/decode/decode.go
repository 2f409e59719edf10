// Package decode tells what control messages a capture holds, AVP by AVP, whether their
// digests are right, and what PPP says over L2TPv2.
package decode

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"spanwire/l2tpv3/wire"
)

// A Count says what was found in a capture.
type Count struct {
	Packets   int // of any kind
	Foreign   int // of them, those of a link type that is not known here
	Messages  int // control messages, ZLBs too
	PPP       int // data messages of L2TPv2 with which PPP speaks for itself
	Right     int // with a digest that one of the secrets makes, or the integrity check
	Wrong     int // with a digest that none makes
	Unknown   int // with a digest that cannot be checked: no secret, or no nonces seen
	Partial   int // of which the capture has not all, so that they are not decoded
	Malformed int
}

// String puts the count into a line.
func (n Count) String() string {
	s := fmt.Sprintf("packets %d, control messages %d; digests right %d, wrong %d, not checked %d; malformed %d",
		n.Packets, n.Messages, n.Right, n.Wrong, n.Unknown, n.Malformed)
	if n.PPP > 0 {
		s += fmt.Sprintf("; of PPP %d", n.PPP)
	}
	if n.Partial > 0 {
		s += fmt.Sprintf("; not whole in the capture %d", n.Partial)
	}
	if n.Foreign > 0 {
		s += fmt.Sprintf("; of links that are not known here %d", n.Foreign)
	}
	return s
}

// A source is a file of captured packets.
type source struct {
	gopacket.PacketDataSource
	link func(*gopacket.CaptureInfo) layers.LinkType
}

// open reads a file's first octets, which say whether it is pcap or pcapng, and
// whether gzip has had it.
func open(r io.Reader) (source, error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if bytes.HasPrefix(magic, []byte{0x1f, 0x8b}) {
		z, bad := gzip.NewReader(b)
		if bad != nil {
			return source{}, bad
		}
		b = bufio.NewReader(z)
		magic, err = b.Peek(4)
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return source{}, err
	case err != nil:
		return source{}, fmt.Errorf("it has %d octets", len(magic))
	}
	if string(magic) == "\x0a\x0d\x0d\x0a" {
		// Each packet says of which interface it is, and these may be of
		// different kinds.
		ng, err := pcapgo.NewNgReader(b, pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			return source{}, err
		}
		return source{ng, func(info *gopacket.CaptureInfo) layers.LinkType {
			if len(info.AncillaryData) == 0 {
				return layers.LinkTypeMax
			}
			return info.AncillaryData[0].(layers.LinkType)
		}}, nil
	}
	classic, err := pcapgo.NewReader(b)
	if err != nil {
		return source{}, err
	}
	return source{classic, func(*gopacket.CaptureInfo) layers.LinkType { return classic.LinkType() }}, nil
}

// Print prints the control messages of a capture to w, each as soon as it is
// read. Secrets verify digests and show what is hidden; none: digests are shown as
// they are, but for integrity checks, which need none. The same secrets in the other
// form verify the Challenge Responses of L2TPv2 and show what is hidden there.
func Print(w io.Writer, r io.Reader, secrets []*wire.Secret, secretsV2 []*wire.SecretV2) (n Count, _ error) {
	file, err := open(r)
	if err != nil {
		return n, fmt.Errorf("no capture: %w", err)
	}
	p := printer{w: bufio.NewWriter(w), dialogues: dialogues{secrets: secrets, ends: make(map[end][]pair)},
		challenges: challenges{secrets: secretsV2, asked: make(map[tunnelEnd][]byte)}}
	for {
		b, info, err := file.ReadPacketData()
		switch {
		case errors.Is(err, io.EOF) && info.CaptureLength == 0:
			return p.n, nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return p.n, fmt.Errorf("it ends within a packet, after %d", p.n.Packets)
		case err != nil:
			return p.n, fmt.Errorf("after %d packets: %w", p.n.Packets, err)
		}
		p.n.Packets++
		g, found, known := dissect(file.link(&info), b)
		if !known {
			p.n.Foreign++
		}
		if !found {
			continue
		}
		g.at = info.Timestamp
		for more := true; more; {
			more = p.datagram(&g)
		}
		if err := p.w.Flush(); err != nil {
			return p.n, err
		}
	}
}

// A printer prints control messages, and remembers of them what it needs for
// those that follow.
type printer struct {
	w          *bufio.Writer
	dialogues  dialogues
	challenges challenges
	n          Count
}

// datagram prints a datagram, if it is a control message or PPP's own, and reports
// whether there is another behind it: a capture taken where it was sent has what one call
// sends by UDP_SEGMENT as one.
func (p *printer) datagram(g *datagram) (more bool) {
	kind, _, b := wire.Classify(g.encap, g.octets)
	switch {
	case kind == wire.Control:
		p.version3(g, kind, b)
	case kind == wire.Version2 && !offersVersion3(b):
		p.version2(g, b)
	case kind == wire.Version2: // an SCCRQ that offers both versions
		p.version3(g, kind, b)
	}
	if kind != wire.Control && kind != wire.Version2 || g.encap != wire.UDP || g.partial != "" || len(b) < wire.ControlHeaderLen {
		return false
	}
	length := int(binary.BigEndian.Uint16(b[2:]))
	if !control(b) || length < wire.ControlHeaderLen || length >= len(b) || !control(b[length:]) {
		return false
	}
	g.octets = b[length:]
	return true
}

// control reports whether what begins so has the bits of a control message, RFC 3931
// section 3.2.1 and RFC 2661 section 3.1.
func control(b []byte) bool {
	const bits, version = 0xc8, 0x0f
	return len(b) >= wire.ControlHeaderLen && b[0] == bits && (b[1]&version == 2 || b[1]&version == 3)
}

// version3 prints a control message of L2TPv3.
func (p *printer) version3(g *datagram, kind wire.Kind, b []byte) {
	h, message, err := wire.ParseControl(b)
	if err != nil && g.partial != "" {
		p.partial(g, kind, b)
		return
	}
	if err != nil {
		if kind == wire.Control {
			p.n.Malformed++
			p.line(g, err.Error())
		}
		return
	}
	p.message(g, h, message)
}

// line prints a line for a datagram.
func (p *printer) line(g *datagram, words ...string) {
	fmt.Fprintf(p.w, "%s %s > %s %s\n", g.at.UTC().Format("15:04:05.000000"), address(g.from), address(g.to), strings.Join(words, ", "))
}

// partial prints what there is of a message of which the capture has not all.
func (p *printer) partial(g *datagram, kind wire.Kind, b []byte) {
	if kind != wire.Control {
		return
	}
	p.n.Partial++
	if len(b) < wire.ControlHeaderLen {
		p.line(g, "a control message", g.partial+": not decoded")
		return
	}
	whole := binary.BigEndian.Uint16(b[2:])
	b = bytes.Clone(b)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	h, message, err := wire.ParseControl(b)
	if err != nil {
		p.n.Partial--
		p.n.Malformed++
		p.line(g, err.Error())
		return
	}
	p.n.Messages++
	p.line(g, title(h, message), fmt.Sprintf("%s, %d octets of %d: not decoded", g.partial, len(b), whole))
}

// title tells what a message is, by its header and its type.
func title(h wire.ControlHeader, message []byte) string {
	name := "ZLB"
	if t, has := wire.TypeOf(message); has {
		name = t.String()
	} else if len(message) > wire.ControlHeaderLen {
		name = "message without type"
	}
	if h.Version != 3 {
		name += fmt.Sprintf(" with a header of version %d", h.Version)
	}
	return fmt.Sprintf("%s id %d ns %d nr %d", name, h.ConnectionID, h.Ns, h.Nr)
}

// message prints a control message.
func (p *printer) message(g *datagram, h wire.ControlHeader, message []byte) {
	t, has := wire.TypeOf(message)
	p.n.Messages++
	v, words, secret := p.dialogues.judge(g, h, message, t)
	p.dialogues.follow(g, h, message, secret)
	what := []string{title(h, message)}
	switch v {
	case right:
		p.n.Right++
	case wrong:
		p.n.Wrong++
	case unknown:
		p.n.Unknown++
	}
	if v != none {
		what = append(what, words)
	}
	p.line(g, what...)
	all, err := wire.Describe(message, secret)
	p.avps(all, has, err)
}

// avps prints a line for each AVP but the first where that is the Message Type, and
// where they end to make sense.
func (p *printer) avps(all []wire.Described, typed bool, err error) {
	for i, a := range all {
		if i == 0 && typed {
			continue
		}
		marks := ""
		if a.Mandatory {
			marks = "M"
		}
		if a.Hidden {
			marks += "H"
		}
		fmt.Fprintf(p.w, "    %-2s %s: %s\n", marks, a.Name, a.Value)
	}
	if err != nil {
		p.n.Malformed++
		fmt.Fprintf(p.w, "    malformed: %v\n", err)
	}
}

// offersVersion3 tells an SCCRQ with a header of version 2 that offers both versions from
// what is of L2TPv2 alone. RFC 3931 section 4.7.3.
func offersVersion3(b []byte) bool {
	h, message, err := wire.ParseControl(b)
	if err != nil || h.Version != 2 {
		return false
	}
	if t, has := wire.TypeOf(message); !has || t != wire.TypeSCCRQ {
		return false
	}
	all, _ := wire.Describe(message, nil)
	for _, a := range all {
		if strings.HasSuffix(a.Name, wire.AttrAssignedConnectionID.String()) { // Cisco's too
			return true
		}
	}
	return false
}

// address leaves out the port where there is none.
func address(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}
