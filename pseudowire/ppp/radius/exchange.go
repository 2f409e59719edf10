package radius

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	layeh "layeh.com/radius"
)

// A reply is an authentic answer, with what is needed to decrypt it.
type reply struct {
	*layeh.Packet
	from          *server
	authenticator [16]byte // of the request
}

// exchange asks the servers one after the other until one answers: those that are
// alive first. build returns the request for a server, whose secret it may need.
func (c *Client) exchange(ctx context.Context, servers []*server, build func(*server) (*layeh.Packet, error)) (*reply, error) {
	if len(servers) == 0 {
		return nil, errors.New("radius: no server")
	}
	var silent []string
	asked := make([]bool, len(servers))
	left := len(servers)
	for _, alive := range []bool{true, false} {
		for i, s := range servers {
			if asked[i] || alive && !s.claim(time.Now()) {
				continue
			}
			asked[i] = true
			left--
			p, err := build(s)
			if err != nil {
				s.unclaim()
				return nil, err
			}
			began := time.Now()
			r, why, err := c.ask(ctx, s, p, left > 0)
			switch {
			case r != nil:
				s.answers(time.Now())
				return r, nil
			case err != nil:
				s.unclaim()
				return nil, fmt.Errorf("radius: %v: %w", s.Address, err)
			}
			s.silent(began, time.Now(), c.cfg.DeadTime)
			silent = append(silent, fmt.Sprintf("%v: %s", s.Address, why))
		}
	}
	return nil, fmt.Errorf("radius: no answer: %s", strings.Join(silent, "; "))
}

// ask sends a request to a server until it answers. Without r and err there was no
// answer, for the reason why; err is why none is waited for any more.
//
// Each request has a socket of its own: so a port that who is not on the path has
// to guess, and Identifiers that no other request uses.
func (c *Client) ask(ctx context.Context, s *server, p *layeh.Packet, others bool) (r *reply, why string, err error) {
	request, err := seal(p)
	if err != nil {
		return nil, "", err
	}
	dialer := net.Dialer{}
	if c.cfg.From.IsValid() {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.cfg.From, 0))
	}
	conn, err := dialer.DialContext(ctx, "udp", s.Address.String())
	if err != nil {
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		return nil, bare(err), nil // another may be reached by another route
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()

	dropped := make(map[string]int)
	refused := ""
	for range s.Tries {
		s.count(func(n *Counts) { n.Sent++ })
		deadline := time.Now().Add(s.Timeout)
		_, err := conn.Write(request)
		for err == nil {
			conn.SetReadDeadline(deadline)
			if ctx.Err() != nil { // it may have ended before the deadline was set
				break
			}
			var b [layeh.MaxPacketLength]byte
			var n int
			if n, err = conn.Read(b[:]); err != nil {
				break
			}
			answer, complaint := open(b[:n], request, s.Secret.bytes())
			if complaint == nil {
				return &reply{answer, s, p.Authenticator}, "", nil
			}
			dropped[complaint.text]++
			s.count(func(n *Counts) {
				if complaint.forged {
					n.Forged++
				} else {
					n.Malformed++
				}
			})
		}
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		s.count(func(n *Counts) { n.Lost++ })
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			// Nobody is there now, or no way to him. Others are asked at
			// once; else he may come back.
			if refused = ", " + bare(err); others {
				break
			}
			if !sleep(ctx, time.Until(deadline)) {
				return nil, "", ctx.Err()
			}
		}
	}
	why = fmt.Sprintf("silent for %d × %v%s", s.Tries, s.Timeout, refused)
	var complaints []string
	for text, n := range dropped {
		complaints = append(complaints, fmt.Sprintf(", %d dropped: %s", n, text))
	}
	slices.Sort(complaints)
	return nil, why + strings.Join(complaints, ""), nil
}

// bare returns what an error of the network is, without the addresses, which are
// told already.
func bare(err error) string {
	if number := syscall.Errno(0); errors.As(err, &number) {
		return number.Error()
	}
	return err.Error()
}

// sleep waits, and reports whether it could to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// seal encodes a request or an answer. If it has a Message-Authenticator, of
// whatever content, that is computed. RFC 3579 section 3.2, RFC 5176 section 3.4.
func seal(p *layeh.Packet) ([]byte, error) {
	if a, ok := p.Lookup(attrMessageAuthenticator); ok {
		clear(a)
		q := *p
		if p.Code == layeh.CodeDisconnectRequest || p.Code == layeh.CodeCoARequest {
			q.Authenticator = [16]byte{}
		}
		b, err := q.MarshalBinary()
		if err != nil {
			return nil, err
		}
		mac := hmac.New(md5.New, p.Secret)
		mac.Write(b)
		mac.Sum(a[:0])
	}
	return p.Encode()
}

// A complaint is why a packet is dropped.
type complaint struct {
	text   string
	forged bool
}

// open decodes an answer to a request if it is authentic.
func open(b, request, secret []byte) (*layeh.Packet, *complaint) {
	malformed := func(text string) (*layeh.Packet, *complaint) { return nil, &complaint{text, false} }
	forged := func(text string) (*layeh.Packet, *complaint) { return nil, &complaint{text, true} }
	b, ok := whole(b)
	if !ok {
		return malformed("not of the length that it says")
	}
	if b[1] != request[1] || !answers(layeh.Code(b[0]), layeh.Code(request[0])) {
		return malformed("not to this request")
	}
	// RFC 2865 section 3: MD5(Code+ID+Length+RequestAuth+Attributes+Secret).
	hash := md5.New()
	hash.Write(b[:4])
	hash.Write(request[4:20])
	hash.Write(b[20:])
	hash.Write(secret)
	if !hmac.Equal(hash.Sum(nil), b[4:20]) {
		return forged("not authentic, is it the right secret?")
	}
	p, err := layeh.Parse(b, secret)
	if err != nil {
		return malformed("malformed")
	}
	switch present, ok := authentic(b, request[4:20], secret); {
	case present && !ok:
		return forged("wrong Message-Authenticator")
	case !present && layeh.Code(request[0]) == layeh.CodeAccessRequest:
		return forged("without Message-Authenticator")
	}
	return p, nil
}

// whole returns a packet without the padding behind it, which RFC 2865 section 3
// has us ignore.
func whole(b []byte) ([]byte, bool) {
	if len(b) < 20 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n < 20 || n > len(b) || n > layeh.MaxPacketLength {
		return nil, false
	}
	return b[:n], true
}

// answers reports whether a code answers another.
func answers(code, to layeh.Code) bool {
	switch to {
	case layeh.CodeAccessRequest:
		return code == layeh.CodeAccessAccept || code == layeh.CodeAccessReject || code == layeh.CodeAccessChallenge
	case layeh.CodeAccountingRequest:
		return code == layeh.CodeAccountingResponse
	}
	return false
}

// authentic reports whether a packet, whole and well-formed, has a
// Message-Authenticator, and whether that is right: there is one, of 16 octets, and
// they are the HMAC of the packet with a given Authenticator.
func authentic(b, authenticator, secret []byte) (present, ok bool) {
	b = slices.Clone(b)
	copy(b[4:20], authenticator)
	var got []byte
	for rest := b[20:]; len(rest) >= 2; rest = rest[rest[1]:] {
		if rest[0] != byte(attrMessageAuthenticator) {
			continue
		}
		if present || rest[1] != 18 {
			return true, false
		}
		present = true
		got = slices.Clone(rest[2:18])
		clear(rest[2:18])
	}
	mac := hmac.New(md5.New, secret)
	mac.Write(b)
	return present, present && hmac.Equal(mac.Sum(nil), got)
}
