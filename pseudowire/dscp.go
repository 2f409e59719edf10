package pseudowire

// A DSCP is a Differentiated Services codepoint, RFC 2474 section 3, or the zero
// value: none, which is not codepoint 0.
type DSCP uint8

const (
	dscpKnown = 1 << 7
	dscpBits  = 1<<6 - 1
)

// DSCPOf returns the codepoint in the lower 6 bits of v.
func DSCPOf(v uint8) DSCP { return DSCP(v&dscpBits | dscpKnown) }

// Value returns the codepoint, 0 to 63; ok is false if it is none.
func (d DSCP) Value() (v uint8, ok bool) { return uint8(d & dscpBits), d&dscpKnown != 0 }
