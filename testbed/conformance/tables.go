package main

import (
	"fmt"
	"slices"
	"strings"
)

// What stands around the generated part of the README.
const (
	begin = "<!-- conformance: begin -->\n"
	end   = "<!-- conformance: end -->\n"
)

// titles of the RFC's sections.
var titles = []struct{ section, title string }{
	{"3", "Protocol Overview"},
	{"4", "Protocol Operation"},
	{"5", "Control Message Attribute Value Pairs"},
	{"7", "Control Connection State Machines"},
	{"8", "Security Considerations"},
}

// width is how long a requirement may be in a table, in characters.
const width = 140

// shorten returns a sentence in at most width characters, with its first MUST.
func shorten(s string) string {
	if len([]rune(s)) <= width {
		return s
	}
	const front, before = 60, 30 // of the sentence, and of what MUST is said of
	must := strings.Index(s, "MUST")
	if must < width-before {
		return cut(s, width)
	}
	back := must - before
	back += strings.Index(s[back:], " ") + 1
	return cut(s, front) + " " + cut(s[back:], width-front-1)
}

// cut returns whole words of a sentence, at most n characters with the ellipsis.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	short := s[:n-1]
	return short[:strings.LastIndex(short, " ")] + " …"
}

// cell returns a text as a table's cell takes it.
func cell(s string) string {
	return strings.ReplaceAll(s, "|", `\|`)
}

// shown returns the tests that quote a requirement, as links.
func (r requirement) shown() string {
	var links []string
	for _, q := range r.quotes {
		if link := fmt.Sprintf("[`%s`](%s)", q.test, q.file); !slices.Contains(links, link) {
			links = append(links, link)
		}
	}
	const most = 3
	if len(links) > most {
		links = append(links[:most], fmt.Sprintf("and %d more", len(links)-most))
	}
	return strings.Join(links, ", ")
}

// because returns the reason with its kind.
func (r requirement) because() string {
	if r.departs {
		return "**Departure.** " + r.reason
	}
	return r.reason
}

// everything returns CONFORMANCE.md.
func everything(list []requirement) string {
	var b strings.Builder
	b.WriteString(`# Conformance with RFC 3931

Every sentence of RFC 3931 sections 3 to 5 and 7 with MUST or MUST NOT, and those of section 8.2 about the Cookie, with the tests that quote it or the reason why
none does. ` + "`make conformance`" + ` writes this file from ` + "`testbed/conformance/rfc3931.txt`" + ` and the comments of the tests.

| Section | Requirement | Shown by, or reason |
|---|---|---|
`)
	for _, r := range list {
		var shown []string
		if len(r.quotes) > 0 {
			shown = append(shown, r.shown())
		}
		if r.reason != "" {
			shown = append(shown, r.because())
		}
		if shown == nil {
			shown = []string{"*open*"}
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.place(), cell(shorten(r.text)), cell(strings.Join(shown, ". ")))
	}
	return b.String()
}

// summary returns the README's part: numbers by section, and what no test quotes.
func summary(list []requirement) string {
	var b strings.Builder
	b.WriteString("| RFC 3931 | requirements | quoted in a test | no test, for a reason | departures | open |\n|---|---|---|---|---|---|\n")
	row := func(name, section string) {
		var all, quoted, reasons, departures, open int
		for _, r := range list {
			if top, _, _ := strings.Cut(r.section, "."); section != "" && top != section {
				continue
			}
			all++
			switch {
			case r.departs:
				departures++
			case r.reason != "":
				reasons++
			case len(r.quotes) > 0:
				quoted++
			default:
				open++
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d |\n", name, all, quoted, reasons, departures, open)
	}
	for _, t := range titles {
		row(t.section+" "+t.title, t.section)
	}
	row("all", "")
	b.WriteString("\nWhat no test quotes:\n\n| Section | Requirement | Reason |\n|---|---|---|\n")
	for _, r := range list {
		if r.reason != "" {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", r.place(), cell(shorten(r.text)), cell(r.because()))
		}
	}
	return b.String()
}

// insert returns a README with its generated part replaced.
func insert(readme, part string) (string, error) {
	front, rest, ok := strings.Cut(readme, begin)
	_, back, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("README.md: want the lines %q and %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return front + begin + "\n" + part + "\n" + end + back, nil
}

// difference returns the lines that are to go and those that are to come.
func difference(name, got, want string) string {
	var b strings.Builder
	old, new := strings.Split(got, "\n"), strings.Split(want, "\n")
	only := func(sign string, some, others []string) {
		for _, line := range some {
			if !slices.Contains(others, line) {
				fmt.Fprintf(&b, "%s: %s %s\n", name, sign, line)
			}
		}
	}
	only("-", old, new)
	only("+", new, old)
	if got != want && b.Len() == 0 {
		fmt.Fprintf(&b, "%s: its lines stand in another order\n", name)
	}
	return b.String()
}
