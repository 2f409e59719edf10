package config

import "strings"

// lines returns on which line each key and table of a TOML text stands, by its
// dotted path. The TOML library tells it of what is wrong, not of what is right.
// It is made for texts that the library has read; for others it tells anything.
func lines(text string) map[string]int {
	at := make(map[string]int)
	note := func(path string, line int) {
		for {
			if _, ok := at[path]; ok {
				return
			}
			at[path] = line
			i := strings.LastIndexByte(path, '.')
			if i < 0 {
				return
			}
			path = path[:i] // a table that is nowhere by itself
		}
	}
	s := scanner{text: text, line: 1}
	table := ""
	for s.next() {
		switch {
		case s.peek() == '[':
			line := s.line
			s.skipAny("[ \t")
			table = s.key()
			note(table, line)
			s.restOfLine()
		default:
			line := s.line
			if key := s.key(); key != "" {
				note(strings.TrimPrefix(table+"."+key, "."), line)
			}
			s.value()
		}
	}
	return at
}

type scanner struct {
	text string
	at   int
	line int
}

func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) skipAny(set string) {
	for s.at < len(s.text) && strings.IndexByte(set, s.text[s.at]) >= 0 {
		s.step()
	}
}

func (s *scanner) step() {
	if s.text[s.at] == '\n' {
		s.line++
	}
	s.at++
}

func (s *scanner) restOfLine() {
	for s.at < len(s.text) && s.text[s.at] != '\n' {
		s.at++
	}
}

// next goes to the next key or table header, over white space and comments.
func (s *scanner) next() bool {
	for {
		s.skipAny(" \t\r\n")
		if s.peek() != '#' {
			return s.at < len(s.text)
		}
		s.restOfLine()
	}
}

// key reads a dotted key up to the = or ] after it, without the quotes.
func (s *scanner) key() string {
	var b strings.Builder
	for s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case '=', ']', '\n', '#':
			return b.String()
		case '"', '\'':
			begin := s.at
			s.quoted()
			b.WriteString(strings.Trim(s.text[begin:s.at], `"'`))
			continue
		case ' ', '\t', '\r':
		default:
			b.WriteByte(c)
		}
		s.at++
	}
	return b.String()
}

// value goes past a value, which may span lines.
func (s *scanner) value() {
	for depth := 0; s.at < len(s.text); {
		switch s.text[s.at] {
		case '"', '\'':
			s.quoted()
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '#':
			s.restOfLine()
			continue
		case '\n':
			if depth <= 0 {
				return
			}
		}
		s.step()
	}
}

// quoted goes past a string.
func (s *scanner) quoted() {
	quote := s.text[s.at : s.at+1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.at:], triple) {
		quote = triple
	}
	s.at += len(quote)
	for s.at < len(s.text) && !strings.HasPrefix(s.text[s.at:], quote) {
		if len(quote) == 1 && s.text[s.at] == '\n' {
			return
		}
		if s.text[s.at] == '\\' && quote[0] == '"' && s.at+1 < len(s.text) {
			s.step()
		}
		s.step()
	}
	s.at = min(s.at+len(quote), len(s.text))
}
