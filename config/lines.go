package config

import (
	"errors"
	"strings"

	"github.com/BurntSushi/toml"
)

// lines knows where in a text each key and table stands. Paths are those of
// toml.Key.String.
type lines struct {
	text   string
	md     toml.MetaData
	values map[string]toml.Primitive // all but what is in arrays
	first  map[string]int            // which of md.Keys is the first at or below a path
}

func newLines(text string, md toml.MetaData, root toml.Primitive) *lines {
	l := &lines{text, md, make(map[string]toml.Primitive), make(map[string]int)}
	l.add(nil, root)
	for i, key := range md.Keys() {
		for n := range key {
			path := key[:n+1].String()
			if _, ok := l.first[path]; !ok {
				l.first[path] = i
			}
		}
	}
	return l
}

// add notes what stands at a path and below.
func (l *lines) add(path toml.Key, v toml.Primitive) {
	l.values[path.String()] = v
	var table map[string]toml.Primitive
	if l.md.PrimitiveDecode(v, &table) != nil {
		return // it is no table
	}
	for key, v := range table {
		l.add(join(path, key), v)
	}
}

// of returns the line of the innermost part of a path that the text has, 0 if it
// has none. A table without a line of its own, as a in [a.b], stands where the
// first key below it does. It reads the text each time: it is for what is wrong.
func (l *lines) of(path toml.Key) int {
	for n := len(path); n > 0; n-- {
		at := path[:n].String()
		v, ok := l.values[at]
		if !ok {
			continue
		}
		if line := l.place(v); line != 0 {
			return line
		}
		return l.place(l.values[l.md.Keys()[l.first[at]].String()])
	}
	return 0
}

// place returns the line on which a value begins, 0 if it has none of its own.
// The library tells it only in its errors, so it is made to give one.
func (l *lines) place(v toml.Primitive) int {
	var at toml.ParseError
	if !errors.As(l.md.PrimitiveDecode(v, new(refuse)), &at) || at.Position.Line == 0 {
		return 0
	}
	// The library's Line is where a value ends.
	return 1 + strings.Count(l.text[:min(at.Position.Start, len(l.text))], "\n")
}

// refuse takes no value.
type refuse struct{}

func (*refuse) UnmarshalTOML(any) error { return errors.New("refused") }

// join returns the path of a key below path; it leaves path alone.
func join(path toml.Key, key string) toml.Key {
	return append(path[:len(path):len(path)], key)
}
