package wire

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode"

	"spanwire/pseudowire"
)

// A form is how a value is shown to a person.
type form uint8

const (
	octetsForm form = iota
	numberForm
	textForm
	messageTypeForm
	resultForm
	digestForm
	addressForm
	pseudowiresForm
	cookieForm
	endForm
	sublayerForm
	sequencingForm
	statusForm
	errorsForm
	// Of L2TPv2.
	secretForm
	framingForm
	bearerForm
	causeForm
	disconnectForm
)

// A Described is an AVP put into words.
type Described struct {
	Name      string // "Host Name", "vendor 9 attribute 4"
	Value     string // of a cookie its size alone
	Mandatory bool   // the M bit
	Hidden    bool   // the H bit; Value is what was hidden, if the secret was there
}

// Describe puts the AVPs of a control message into words, for logs and captures.
// What is secret is not shown. An error tells where the AVPs end to make sense.
func Describe(message []byte, secret *Secret) (all []Described, _ error) {
	return describe(message, secret.key(), false)
}

// DescribeV2 is Describe for a message of L2TPv2, or an SCCRQ for both versions.
func DescribeV2(message []byte, secret *SecretV2) (all []Described, _ error) {
	return describe(message, secret.key(), true)
}

func describe(message []byte, key hidingKey, version2 bool) (all []Described, _ error) {
	if len(message) < ControlHeaderLen {
		return nil, ErrShort
	}
	var vector []byte
	var t MessageType
	for rest := message[ControlHeaderLen:]; len(rest) > 0; {
		a, next, err := nextAVP(rest)
		if err != nil {
			return all, err
		}
		rest = next
		d := Described{Mandatory: a.mandatory, Hidden: a.hidden}
		var problem error
		if a.hidden && key != nil && vector != nil {
			var value []byte
			if value, problem = key.unhide(a.attr, vector, a.value); problem == nil {
				a.value, a.hidden = value, false
			}
		}
		a.extended()
		d.Name = a.name()
		if attr, ok := ciscoAttributes[uint16(a.attr)]; ok && a.vendor == vendorCisco {
			d.Name = "Cisco " + attr.String()
			a.vendor, a.attr = 0, attr
		}
		known, ok := attributes[a.attr]
		if v2, has := attributesV2[a.attr]; version2 && has && a.vendor == 0 {
			known, ok = v2, true
			d.Name = v2.name
		}
		switch {
		case problem != nil:
			d.Value = problem.Error()
		case a.hidden, a.vendor == 0 && a.attr.version2() && !(version2 && ok):
			// L2TPv2's may be passwords.
			d.Value = fmt.Sprintf("%d octets", len(a.value))
		case a.vendor != 0 || !ok:
			d.Value = shorten(a.value)
		default:
			d.Value = known.show(a.value, t)
		}
		switch {
		case d.Hidden || a.vendor != 0:
		case a.attr == AttrRandomVector:
			vector = a.value
		case a.attr == AttrMessageType && len(a.value) == 2:
			t = MessageType(binary.BigEndian.Uint16(a.value))
		}
		all = append(all, d)
	}
	return all, nil
}

// show puts a value into words. One whose length is wrong is shown in octets.
func (k attribute) show(b []byte, t MessageType) string {
	if k.form == cookieForm || k.form == secretForm {
		return fmt.Sprintf("%d octets", len(b))
	}
	if !k.fits(b) {
		return shorten(b)
	}
	number := func() (n uint64) {
		for _, octet := range b {
			n = n<<8 | uint64(octet)
		}
		return n
	}
	switch k.form {
	case numberForm:
		return strconv.FormatUint(number(), 10)
	case textForm:
		return strconv.Quote(printable(b, maxText))
	case messageTypeForm:
		return MessageType(number()).String()
	case resultForm:
		var r Result
		r.parse(b)
		return r.Text(t)
	case digestForm:
		return DigestType(b[0]).String() + " " + hex.EncodeToString(b[1:])
	case addressForm:
		return netip.AddrFrom4([4]byte(b)).String()
	case pseudowiresForm:
		var names []string
		for ; len(b) >= 2; b = b[2:] {
			names = append(names, pseudowire.Type(binary.BigEndian.Uint16(b)).String())
		}
		return strings.Join(names, " ")
	case endForm:
		return EndID(b)
	case sublayerForm:
		return pseudowire.Sublayer(number()).String()
	case sequencingForm:
		return pseudowire.Sequencing(number()).String()
	case statusForm:
		return CircuitStatus(number()).String()
	case errorsForm:
		var e CircuitErrors
		e.parse(b)
		return fmt.Sprintf("hardware overruns %d, buffer overruns %d, timeouts %d, alignment errors %d",
			e.HardwareOverruns, e.BufferOverruns, e.TimeoutErrors, e.AlignmentErrors)
	case framingForm:
		return FramingType(number()).String()
	case bearerForm:
		return BearerType(number()).String()
	case causeForm:
		var c Cause
		c.parse(b)
		return fmt.Sprintf("%d, message %#x: %q", c.Code, c.Message, c.Advisory)
	case disconnectForm:
		return parseDisconnect(b).String()
	}
	return shorten(b)
}

func shorten(b []byte) string {
	const most = 32
	if len(b) > most {
		return fmt.Sprintf("%x... (%d octets)", b[:most], len(b))
	}
	return hex.EncodeToString(b)
}

// EndID shows a Remote End ID: text in quotes, four octets that are no text as a
// number, anything else in hexadecimal.
func EndID(b []byte) string {
	text := string(b)
	switch {
	case len(b) > 0 && !strings.ContainsFunc(text, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }):
		return strconv.Quote(printable(b, maxText))
	case len(b) == 4:
		return strconv.FormatUint(uint64(binary.BigEndian.Uint32(b)), 10)
	}
	return shorten(b)
}

var statusNames = []struct {
	bit  CircuitStatus
	name string
}{
	{CircuitNew, "new"},
	{CircuitReceiveFault, "receive fault"},
	{CircuitTransmitFault, "transmit fault"},
	{CircuitIngressFault, "PSN receive fault"},
	{CircuitEgressFault, "PSN transmit fault"},
	{CircuitStandby, "standby"},
}

// String names what the status says: "active", "inactive, receive fault".
func (s CircuitStatus) String() string {
	words := []string{"inactive"}
	if s&CircuitActive != 0 {
		words[0] = "active"
	}
	for _, v := range statusNames {
		if s&v.bit != 0 {
			words = append(words, v.name)
		}
	}
	return strings.Join(words, ", ")
}
