// Package decode tells what control messages a capture holds, AVP by AVP, and
// whether their digests are right.
package decode

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"spanwire/l2tpv3/wire"
)

// A Count says what was found in a capture.
type Count struct {
	Packets   int // of any kind
	Messages  int // L2TPv3 control messages, ZLBs too
	Right     int // with a digest that one of the secrets makes, or the integrity check
	Wrong     int // with a digest that none makes
	Unknown   int // with a digest that cannot be checked: no secret, or no nonces seen
	Malformed int
}

// A source is a file of captured packets.
type source interface {
	gopacket.PacketDataSource
	LinkType() layers.LinkType
}

// open reads a file's first octets, which say whether it is pcap or pcapng.
func open(r io.Reader) (source, error) {
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil {
		return nil, fmt.Errorf("%d octets: no capture", len(magic))
	}
	if string(magic) == "\x0a\x0d\x0d\x0a" {
		return pcapgo.NewNgReader(b, pcapgo.DefaultNgReaderOptions)
	}
	return pcapgo.NewReader(b)
}

// A datagram is an L2TP datagram of a capture.
type datagram struct {
	at       time.Time
	from, to netip.AddrPort
	encap    wire.Encap
	octets   []byte
}

// Print prints the control messages of a capture to w. Secrets verify digests and
// show what is hidden; none: digests are shown as they are, but for integrity
// checks, which need none.
func Print(w io.Writer, r io.Reader, secrets []*wire.Secret) (n Count, _ error) {
	file, err := open(r)
	if err != nil {
		return n, err
	}
	d := dialogues{secrets: secrets, peers: make(map[end]peer)}
	out := bufio.NewWriter(w)
	for {
		b, info, err := file.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return n, out.Flush()
		}
		if err != nil {
			out.Flush()
			return n, fmt.Errorf("after %d packets: %w", n.Packets, err)
		}
		n.Packets++
		g, ok := dissect(b, file.LinkType())
		if !ok {
			continue
		}
		g.at = info.Timestamp
		kind, _, rest := wire.Classify(g.encap, g.octets)
		if kind != wire.Control && !(kind == wire.Version2 && len(rest) > 0 && rest[0]&0x80 != 0) {
			continue
		}
		d.message(out, &g, kind, rest, &n)
	}
}

// dissect finds L2TP in a packet.
func dissect(b []byte, link layers.LinkType) (g datagram, ok bool) {
	p := gopacket.NewPacket(b, link, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	var from, to netip.Addr
	var protocol layers.IPProtocol
	var payload []byte
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			from, _ = netip.AddrFromSlice(l.SrcIP.To4())
			to, _ = netip.AddrFromSlice(l.DstIP.To4())
			protocol, payload = l.Protocol, l.Payload
		case *layers.IPv6:
			from, _ = netip.AddrFromSlice(l.SrcIP)
			to, _ = netip.AddrFromSlice(l.DstIP)
			protocol, payload = l.NextHeader, l.Payload
		case *layers.UDP:
			if l.SrcPort != wire.Port && l.DstPort != wire.Port {
				return g, false
			}
			return datagram{from: netip.AddrPortFrom(from, uint16(l.SrcPort)), to: netip.AddrPortFrom(to, uint16(l.DstPort)), octets: l.Payload}, true
		}
		if protocol == wire.Protocol {
			return datagram{from: netip.AddrPortFrom(from, 0), to: netip.AddrPortFrom(to, 0), encap: wire.IP, octets: payload}, true
		}
	}
	return g, false
}

// dialogues know what digests are made with, as far as the capture has shown it.
type dialogues struct {
	secrets []*wire.Secret
	peers   map[end]peer
}

// An end is a Control Connection ID of the node that assigned it.
type end struct {
	at netip.Addr
	id uint32
}

// A peer is who has assigned an ID, and who sends to it.
type peer struct {
	nonce []byte // of who assigned the ID
	other []byte // of who sends to it
}

// message prints one control message.
func (d *dialogues) message(w io.Writer, g *datagram, kind wire.Kind, b []byte, n *Count) {
	h, message, err := wire.ParseControl(b)
	if err != nil {
		if kind == wire.Control {
			n.Malformed++
			fmt.Fprintf(w, "%s %s > %s %v\n", stamp(g.at), address(g.from), address(g.to), err)
		}
		return
	}
	t, has := wire.TypeOf(message)
	if h.Version != 3 && (!has || t != wire.TypeSCCRQ) {
		return
	}
	n.Messages++
	name := "ZLB"
	if has {
		name = t.String()
	}
	secret, verdict := d.verify(g, h, message, t, n)
	fmt.Fprintf(w, "%s %s > %s %s id %d ns %d nr %d%s\n", stamp(g.at), address(g.from), address(g.to), name, h.ConnectionID, h.Ns, h.Nr, verdict)
	all, err := wire.Describe(message, secret)
	for i, a := range all {
		if i == 0 && has {
			continue
		}
		var marks []string
		if a.Mandatory {
			marks = append(marks, "M")
		}
		if a.Hidden {
			marks = append(marks, "H")
		}
		fmt.Fprintf(w, "    %-2s %s: %s\n", strings.Join(marks, ""), a.Name, a.Value)
	}
	if err != nil {
		n.Malformed++
		fmt.Fprintf(w, "    malformed: %v\n", err)
	}
}

// verify judges the digest of a message, and learns from it what those after it
// are made with. It returns the secret that what is hidden is hidden with.
func (d *dialogues) verify(g *datagram, h wire.ControlHeader, message []byte, t wire.MessageType, n *Count) (*wire.Secret, string) {
	to := end{g.to.Addr(), h.ConnectionID}
	p, known := d.peers[to]
	nonce := wire.Nonce(message)
	sender, receiver := p.other, p.nonce
	parsed, _ := wire.Parse(message, &wire.Decoding{Lenient: true})
	switch m := parsed.Message.(type) {
	case *wire.SCCRQ:
		d.peers[end{g.from.Addr(), m.ConnectionID}] = peer{nonce: append([]byte(nil), nonce...)}
		sender, receiver = nil, nil
	case *wire.SCCRP:
		sender = append([]byte(nil), nonce...)
		d.peers[to] = peer{nonce: p.nonce, other: sender}
		d.peers[end{g.from.Addr(), m.ConnectionID}] = peer{nonce: sender, other: p.nonce}
	}
	var fallback *wire.Secret // for what is hidden in a message that cannot be verified
	if len(d.secrets) > 0 {
		fallback = d.secrets[0]
	}
	if !wire.HasDigest(message) {
		return fallback, ""
	}
	if s, ok := wire.Verify(message, d.secrets, sender, receiver); ok {
		n.Right++
		return s.Secret, fmt.Sprintf(" digest right (%v)", s.Type)
	}
	if s, ok := wire.Verify(message, []*wire.Secret{integrity}, nil, nil); ok {
		n.Right++
		return fallback, fmt.Sprintf(" integrity right (%v)", s.Type)
	}
	if t != wire.TypeSCCRQ && (!known || t != wire.TypeSCCRP && len(sender) == 0) {
		n.Unknown++
		return fallback, " digest not checked: the capture lacks the nonces"
	}
	if len(d.secrets) == 0 {
		n.Unknown++
		return nil, " digest not checked: no secret"
	}
	n.Wrong++
	return fallback, " digest WRONG"
}

// integrity is the secret of the integrity check: none. RFC 3931 section 4.3.
var integrity = wire.NewSecret(nil)

func stamp(at time.Time) string { return at.UTC().Format("15:04:05.000000") }

// address leaves out the port where there is none.
func address(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}
