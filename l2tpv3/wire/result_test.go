package wire

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// TestResultText reads results as people do.
func TestResultText(t *testing.T) {
	for _, v := range []struct {
		result Result
		typ    MessageType
		want   string
	}{
		{Result{}, TypeCDN, "result 0"},
		{Result{Code: 1}, TypeStopCCN, "result 1 (general request to clear the control connection)"},
		{Result{Code: 1}, TypeCDN, "result 1 (loss of carrier or circuit disconnect)"},
		{Result{2, 8, "attribute 99"}, TypeStopCCN, `result 2 (general error), error 8 (unknown mandatory AVP): "attribute 99"`},
		{Result{2, 8, ""}, TypeCDN, "result 2 (general error), error 8 (unknown mandatory AVP)"},
		// "Error Code indicates highest version supported": 2 is no wrong length.
		{Result{5, 2, ""}, TypeStopCCN, "result 5 (protocol version of the requester is not supported), highest version 2"},
		{Result{5, 2, ""}, TypeCDN, "result 5 (lack of facilities, a permanent condition), error 2 (length is wrong)"},
		{Result{13, 0, ""}, TypeCDN, "result 13 (lost the tie breaker)"},
		{Result{14, 0, ""}, TypeCDN, "result 14 (unsupported pseudowire type)"},
		{Result{15, 0, ""}, TypeCDN, "result 15 (sequencing required without a valid L2-specific sublayer)"},
		{Result{16, 0, ""}, TypeCDN, "result 16 (finite state machine error or timeout)"},
		{Result{17, 0, ""}, TypeCDN, "result 17 (PVC was deleted permanently)"},
		{Result{18, 0, ""}, TypeCDN, "result 18 (PVC has been inactive for an extended period)"},
		{Result{19, 0, "4 octets here"}, TypeCDN, `result 19 (mismatched Frame Relay header length): "4 octets here"`},
		{Result{20, 0, ""}, TypeCDN, "result 20 (HDLC link was deleted permanently)"},
		{Result{21, 0, ""}, TypeCDN, "result 21 (HDLC link has been inactive for an extended period)"},
		{Result{17, 0, ""}, TypeStopCCN, "result 17"},
		{Result{13, 0, ""}, TypeStopCCN, "result 13"},
		{Result{0xffff, 0xffff, "…"}, TypeCDN, `result 65535, error 65535: "…"`},
		// Whatever the message is, it stays in its quotation marks.
		{Result{3, 0, "a\"b\n\x1b[31m\u202e"}, TypeCDN, `result 3 (administrative reasons): "a\"b\n\x1b[31m\u202e"`},
	} {
		if got := v.result.Text(v.typ); got != v.want {
			t.Errorf("%s, want %s", got, v.want)
		}
	}
	for code := range ResultCode(8) {
		if text, ok := stopTexts[code]; ok != (code != 0) || text == "" && ok {
			t.Errorf("StopCCN %d: %q", code, text)
		}
	}
	for code := range ErrorCode(10) {
		if errorTexts[code] == "" {
			t.Errorf("error %d: no words", code)
		}
	}
}

// TestResultCode has the lengths that the AVP may have, and those that peers give
// it.
func TestResultCode(t *testing.T) {
	for _, v := range []struct {
		hex  string
		want Result
	}{
		{"0006", Result{Code: 6}},
		{"0006 00", Result{Code: 6}}, // half an Error Code is none
		{"0002 0000", Result{Code: 2}},
		{"0002 0008", Result{Code: 2, Error: 8}},
		{"0002 0008 6e6f", Result{2, 8, "no"}},
		{"0002 0000 6e6f 0000", Result{2, 0, "no"}}, // C has NULs at the ends of its strings
		{"0001 0000 c3a9", Result{1, 0, "é"}},
		{"0001 0000 e9", Result{1, 0, "\ufffd"}},
	} {
		var got Result
		if got.parse(octets(t, v.hex)); got != v.want {
			t.Errorf("%s: %+v, want %+v", v.hex, got, v.want)
		}
	}
}

// TestErrorMessageSent appends messages that are no UTF-8, or too long.
func TestErrorMessageSent(t *testing.T) {
	for _, v := range []struct{ message, want string }{
		{"", "0003"},
		{"é", "0003 0000 c3a9"},
		// RFC 3931 section 5.4.2: "Human-readable text in all error messages MUST be
		// provided in the UTF-8 charset [RFC3629] using the Default Language
		// [RFC2277]." That is English, as the texts of this package are.
		{"a\xffb", "0003 0000 61 efbfbd 62"},
		{"a\nb", "0003 0000 61 efbfbd 62"},
		{strings.Repeat("x", 5000), "0003 0000" + strings.Repeat("78", maxErrorMessage)},
		// Not cut within a character.
		{"x" + strings.Repeat("é", 5000), "0003 0000 78" + strings.Repeat("c3a9", (maxErrorMessage-1)/2)},
	} {
		r := Result{Code: CDNAdministrative, Message: v.message}
		if got, want := string(r.append(nil)), string(octets(t, v.want)); got != want {
			t.Errorf("%.20q: %x, want %x", v.message, got, want)
		}
	}
	for _, texts := range []map[ResultCode]string{stopTexts, cdnTexts} {
		for code, text := range texts {
			if strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 }) {
				t.Errorf("%d: %s", code, text)
			}
		}
	}
}

// hostile are texts that peers might send to do harm to a terminal or a log.
var hostile = []string{
	"\x1b[2J\x1b]0;owned\x07", "a\r\nb", "tab\there", "\x00\x00", "nul\x00inside", "\x7f\x80\x9b31m", "\xff\xfe\xfd",
	"\u202eevil", "\u2028line", "\ufeffbom", "\u200bzero", "\xed\xa0\x80", "\xf4\x90\x80\x80", "e\u0301", "`$(reboot)`", "%s%n",
	strings.Repeat("\xff", 1013), strings.Repeat("✓", 337), strings.Repeat("a", 254) + "é", strings.Repeat("\x00", 1013),
}

// harmless reports whether a text is fit for a terminal.
func harmless(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// TestHostileText reads texts that peers might send to do harm.
func TestHostileText(t *testing.T) {
	for _, text := range hostile {
		value := []byte(text)
		sccrp := vectors[4].lines(t)
		host := appendAVP(nil, mandatoryBit, 0, uint16(AttrHostName), value)
		vendor := appendAVP(nil, 0, 0, uint16(AttrVendorName), value)
		language := appendAVP(nil, 0, 0, uint16(AttrPreferredLanguage), value)
		p, err := Parse(message(append(with(sccrp, 1, host), vendor, language)...), &Decoding{})
		if empty := strings.Trim(text, "\x00") == ""; (err != nil) != empty || empty && err.Text != "Host Name: empty" {
			t.Errorf("%q: %v", text, err)
		}
		m := p.Message.(*SCCRP)
		cdn := good(t, message(octets(t, "8008 0000 0000 000e 800a 0000 003f 00000001 800a 0000 0040 00000002"),
			appendAVP(nil, mandatoryBit, 0, uint16(AttrResultCode), append([]byte{0, 2, 0, 6}, value...)))).Message.(*CDN)
		for _, got := range []string{m.HostName, m.VendorName, m.Language, cdn.Result.Message, cdn.Result.Text(TypeCDN), EndID(value)} {
			if !harmless(got) || len(got) > 1200 {
				t.Errorf("%q: %q", text, got)
			}
		}
		for _, most := range []int{maxText, maxErrorMessage, 4, 1, 0} {
			once := printable(value, most)
			if !harmless(once) || len(once) > most {
				t.Errorf("%q: %q, want %d octets at most", text, once, most)
			}
			if twice := printable([]byte(once), most); twice != once {
				t.Errorf("%q: %q, and then %q", text, once, twice)
			}
		}
	}
	for text, want := range map[string]string{
		"Grüße ✓": "Grüße ✓",
		"a\x1b[m": "a\ufffd[m",
		"a\xffb":  "a\ufffdb",
		"a\x00":   "a",
	} {
		if got := printable([]byte(text), maxText); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
