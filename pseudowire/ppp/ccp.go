package ppp

import "encoding/binary"

// optionMPPE is the one option of CCP that is not rejected, RFC 3078 section 2.
const optionMPPE = 18

// mppeBits are the Supported Bits of stateless mode and keys of 128 bits.
const mppeBits = 1<<24 | 1<<6

// A ccp is the Compression Control Protocol's part of the automaton, RFC 1962. All
// that it agrees on is MPPE, in both directions.
type ccp struct {
	automaton
	able    bool // MPPE is allowed, and there are keys for it
	refused bool // by the peer
	agreed  bool // the peer's Configure-Request has it
	next    bool // as judged last
}

func (c *ccp) mppe() []byte {
	return appendOption(nil, optionMPPE, binary.BigEndian.AppendUint32(nil, mppeBits)...)
}

func (c *ccp) request(b []byte) []byte {
	if c.able && !c.refused {
		b = append(b, c.mppe()...)
	}
	return b
}

func (c *ccp) begin() { c.next = false }

// judge takes an option of the peer's. RFC 3078 section 2.1: "The responder SHOULD NAK
// with a single encryption option".
func (c *ccp) judge(o option) (answer, []byte) {
	switch {
	case o.kind != optionMPPE || !c.able:
		return reject, nil
	case len(o.data) != 4 || binary.BigEndian.Uint32(o.data) != mppeBits:
		return nak, c.mppe()
	}
	c.next = true
	return ack, nil
}

func (c *ccp) missing(b []byte) []byte {
	if c.required() && !c.next && len(b) == 0 {
		b = append(b, c.mppe()...)
	}
	return b
}

func (c *ccp) required() bool { return c.link.cfg.Encryption == MPPERequired }

func (c *ccp) acked() { c.agreed = c.next }

// naked takes what the peer would rather have: there is nothing else.
func (c *ccp) naked(o option) {
	if o.kind == optionMPPE && string(o.raw) != string(c.mppe()) {
		c.refused = true
	}
}

func (c *ccp) rejected(option) { c.refused = true }

// other takes Reset-Request and Reset-Ack, which stateless mode does not need.
func (c *ccp) other(p packet) (event, bool) {
	return events, p.code == resetRequest || p.code == resetAck
}

func (c *ccp) up() {
	switch k := c.link; {
	case c.able && c.agreed && !c.refused:
		k.encrypt()
	case c.required():
		k.close(NoEncryption)
	default:
		k.release()
	}
}

func (c *ccp) down() {
	c.refused = false
	if c.able {
		c.link.hold()
	}
}

func (c *ccp) finished(event) {
	if c.required() {
		c.link.close(NoEncryption)
		return
	}
	c.link.release()
}
