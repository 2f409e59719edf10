package wire

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Result says why a control connection or a session ends, RFC 3931
// section 5.4.2. The zero Result is none.
type Result struct {
	Code    ResultCode
	Error   ErrorCode
	Message string // UTF-8, may be empty
}

// A ResultCode means one thing in a StopCCN and another in a CDN.
type ResultCode uint16

// The result codes of a StopCCN.
const (
	StopGeneral       ResultCode = 1
	StopError         ResultCode = 2 // the Error says which
	StopExists        ResultCode = 3
	StopNotAuthorized ResultCode = 4
	StopVersion       ResultCode = 5
	StopShutdown      ResultCode = 6
	StopStateMachine  ResultCode = 7
	StopDiffServ      ResultCode = 8 // of L2TPv2, RFC 3308
)

// The result codes of a CDN: those of RFC 3931, those of RFC 4591 section 3.2 for
// Frame Relay, and those of RFC 4349 section 3.2 for HDLC.
const (
	CDNCarrier        ResultCode = 1
	CDNError          ResultCode = 2 // the Error says which
	CDNAdministrative ResultCode = 3
	CDNTemporary      ResultCode = 4
	CDNPermanent      ResultCode = 5
	CDNDestination    ResultCode = 6 // those from 6 to 12 are L2TPv2's
	CDNNoCarrier      ResultCode = 7
	CDNBusy           ResultCode = 8
	CDNNoDialTone     ResultCode = 9
	CDNTimeout        ResultCode = 10
	CDNNoFraming      ResultCode = 11
	CDNDiffServ       ResultCode = 12 // RFC 3308
	CDNTieBreaker     ResultCode = 13
	CDNPseudowireType ResultCode = 14
	CDNSequencing     ResultCode = 15
	CDNStateMachine   ResultCode = 16
	CDNPVCDeleted     ResultCode = 17 // no longer provisioned
	CDNPVCInactive    ResultCode = 18 // for an extended period
	CDNHeaderLength   ResultCode = 19
	CDNLinkDeleted    ResultCode = 20
	CDNLinkInactive   ResultCode = 21
)

// An ErrorCode is a general error.
type ErrorCode uint16

// The error codes.
const (
	ErrorNone             ErrorCode = 0
	ErrorNoConnection     ErrorCode = 1
	ErrorLength           ErrorCode = 2
	ErrorRange            ErrorCode = 3
	ErrorResources        ErrorCode = 4
	ErrorSessionID        ErrorCode = 5
	ErrorVendor           ErrorCode = 6
	ErrorTryAnother       ErrorCode = 7
	ErrorUnknownAVP       ErrorCode = 8
	ErrorTryAnotherListed ErrorCode = 9
)

var stopTexts = map[ResultCode]string{
	StopGeneral:       "general request to clear the control connection",
	StopError:         "general error",
	StopExists:        "control connection already exists",
	StopNotAuthorized: "requester is not authorized to establish a control connection",
	StopVersion:       "protocol version of the requester is not supported",
	StopShutdown:      "requester is being shut down",
	StopStateMachine:  "finite state machine error or timeout",
	StopDiffServ:      "unacceptable DiffServ code of the control connection",
}

// Those from 6 to 11 are RFC 2661's, 12 is RFC 3308's, 22 RFC 4454's and 31 RFC
// 6073's.
var cdnTexts = map[ResultCode]string{
	CDNCarrier:        "loss of carrier or circuit disconnect",
	CDNError:          "general error",
	CDNAdministrative: "administrative reasons",
	CDNTemporary:      "lack of facilities, a temporary condition",
	CDNPermanent:      "lack of facilities, a permanent condition",
	CDNDestination:    "invalid destination",
	CDNNoCarrier:      "no carrier detected",
	CDNBusy:           "busy signal",
	CDNNoDialTone:     "no dial tone",
	CDNTimeout:        "call not established in the time allotted",
	CDNNoFraming:      "no appropriate framing",
	CDNDiffServ:       "unacceptable DiffServ code of the session",
	CDNTieBreaker:     "lost the tie breaker",
	CDNPseudowireType: "unsupported pseudowire type",
	CDNSequencing:     "sequencing required without a valid L2-specific sublayer",
	CDNStateMachine:   "finite state machine error or timeout",
	CDNPVCDeleted:     "PVC was deleted permanently",
	CDNPVCInactive:    "PVC has been inactive for an extended period",
	CDNHeaderLength:   "mismatched Frame Relay header length",
	CDNLinkDeleted:    "HDLC link was deleted permanently",
	CDNLinkInactive:   "HDLC link has been inactive for an extended period",
	22:                "OAM cell emulation is not supported",
	31:                "sequencing is not supported",
}

var errorTexts = map[ErrorCode]string{
	ErrorNone:             "no general error",
	ErrorNoConnection:     "no control connection exists yet",
	ErrorLength:           "length is wrong",
	ErrorRange:            "field value out of range",
	ErrorResources:        "insufficient resources",
	ErrorSessionID:        "invalid session ID",
	ErrorVendor:           "vendor-specific error",
	ErrorTryAnother:       "try another",
	ErrorUnknownAVP:       "unknown mandatory AVP",
	ErrorTryAnotherListed: "try another directed",
}

// Text puts the result of a StopCCN or CDN into words with its numbers:
// `result 2 (general error), error 8 (unknown mandatory AVP): "attribute 99"`.
func (r Result) Text(t MessageType) string {
	var texts map[ResultCode]string
	switch t {
	case TypeStopCCN:
		texts = stopTexts
	case TypeCDN:
		texts = cdnTexts
	}
	var s strings.Builder
	fmt.Fprintf(&s, "result %d", uint16(r.Code))
	if text, ok := texts[r.Code]; ok {
		fmt.Fprintf(&s, " (%s)", text)
	}
	switch {
	case t == TypeStopCCN && r.Code == StopVersion:
		// "Error Code indicates highest version supported."
		fmt.Fprintf(&s, ", highest version %d", uint16(r.Error))
	case r.Error != ErrorNone:
		fmt.Fprintf(&s, ", error %d", uint16(r.Error))
		if text, ok := errorTexts[r.Error]; ok {
			fmt.Fprintf(&s, " (%s)", text)
		}
	}
	if r.Message != "" {
		s.WriteString(": " + strconv.Quote(r.Message))
	}
	return s.String()
}

// maxErrorMessage bounds what a peer can have us remember and log, and what we
// send.
const maxErrorMessage = 256

func (r *Result) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(r.Code))
	if r.Error == ErrorNone && r.Message == "" {
		return b
	}
	b = binary.BigEndian.AppendUint16(b, uint16(r.Error))
	return append(b, printable([]byte(r.Message), maxErrorMessage)...)
}

// parse reads a value of 2 octets at least. One octet after the Result Code is
// no Error Code.
func (r *Result) parse(b []byte) {
	*r = Result{Code: ResultCode(binary.BigEndian.Uint16(b))}
	if len(b) >= 4 {
		r.Error = ErrorCode(binary.BigEndian.Uint16(b[2:]))
		r.Message = printable(b[4:], maxErrorMessage)
	}
}

// printable returns what a peer sent as text, fit for a log: at most so many
// octets of UTF-8, and nothing in it that a terminal would obey.
func printable(b []byte, most int) string {
	text := strings.TrimRight(string(b), "\x00")
	var s strings.Builder
	for _, r := range text {
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		if s.Len()+utf8.RuneLen(r) > most {
			break
		}
		s.WriteRune(r)
	}
	return s.String()
}

// ascii returns a text with a question mark for each character that is not of
// US-ASCII.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return '?'
		}
		return r
	}, s)
}

// An Error is what is wrong with a control message, in the terms in which a
// StopCCN or a CDN tells it to the peer.
type Error struct {
	Code   ErrorCode
	Vendor uint32
	Attr   Attr
	Text   string
}

func (e *Error) Error() string { return "wire: " + e.Text }
