package main

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

// rfc3931 holds the requirements in the order of the RFC. "# 5.4.1 Message Type"
// begins a section, for section 5.4 with the AVP that the sentences are about. A
// paragraph is a sentence, word by word as the RFC has it; each is there as often
// as the RFC says it. Where no test quotes it the paragraph ends in the reason, on
// a line that begins with "No test:" or, where Spanwire does otherwise,
// "Departure:". A departure may also stand under a row of a state table.
//
//go:embed rfc3931.txt
var rfc3931 string

// A requirement is a sentence of RFC 3931 with MUST or MUST NOT, or a row of a
// state table that Spanwire departs from.
type requirement struct {
	section string // "5.4.1"
	avp     string // "Message Type"; empty outside section 5.4
	text    string
	reason  string // why no test quotes it; empty: one should
	departs bool   // the reason is why Spanwire does otherwise
	quotes  []quote
}

// normal returns a text as it is compared: white space is one space, a word that
// is broken at its hyphen is whole again, and quotation marks are gone.
func normal(text string) string {
	return unquote.Replace(join(text))
}

var (
	unquote = strings.NewReplacer(`"`, "", "“", "", "”", "", "'", "", "`", "")
	hyphen  = regexp.MustCompile(`(\w)- (\w)`)
)

// join returns a text on one line, with a word that was broken at its hyphen whole
// again.
func join(text string) string {
	return hyphen.ReplaceAllString(strings.Join(strings.Fields(text), " "), "$1-$2")
}

// covered reports whether the comment of a test quotes the requirement. A quote
// may lack the last full stop or colon.
func (r requirement) covered(comment string) bool {
	return strings.Contains(normal(comment), strings.TrimRight(normal(r.text), ".:"))
}

// place returns the section, and the AVP if there is one.
func (r requirement) place() string {
	return strings.TrimSpace(r.section + " " + r.avp)
}

// parse reads the form that rfc3931 has.
func parse(text string) (list []requirement, err error) {
	var section, avp string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if heading, ok := strings.CutPrefix(paragraph, "# "); ok {
			section, avp, _ = strings.Cut(heading, " ")
			continue
		}
		r := requirement{section: section, avp: avp}
		var sentence, reason []string
		for line := range strings.Lines(paragraph) {
			departure, departs := strings.CutPrefix(line, "Departure:")
			without, ok := strings.CutPrefix(line, "No test:")
			switch {
			case departs:
				r.departs, reason = true, append(reason, departure)
			case ok:
				reason = append(reason, without)
			case reason != nil:
				reason = append(reason, line)
			default:
				sentence = append(sentence, line)
			}
		}
		r.text, r.reason = join(strings.Join(sentence, " ")), join(strings.Join(reason, " "))
		switch {
		case section == "":
			return nil, fmt.Errorf("%q stands under no section", r.text)
		case r.text == "":
			return nil, fmt.Errorf("section %s: a reason without a sentence: %q", r.place(), r.reason)
		case reason != nil && r.reason == "":
			return nil, fmt.Errorf("section %s: %q: no reason given", r.place(), r.text)
		case !strings.Contains(r.text, "MUST") && !r.departs:
			return nil, fmt.Errorf("section %s: %q: no MUST and no departure", r.place(), r.text)
		}
		list = append(list, r)
	}
	return list, nil
}
