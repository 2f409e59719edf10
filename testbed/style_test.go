package testbed

import (
	"bytes"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// untidy returns what is wrong with the form of a text.
func untidy(name string, text []byte) (problems []string) {
	for i, line := range strings.Split(string(text), "\n") {
		if strings.TrimRight(line, " \t\r") != line {
			problems = append(problems, fmt.Sprintf("%s:%d: white space at the end", name, i+1))
		}
	}
	if filepath.Ext(name) != ".go" {
		return problems
	}
	switch formatted, err := format.Source(text); {
	case err != nil:
		problems = append(problems, fmt.Sprintf("%s: %v", name, err))
	case !bytes.Equal(formatted, text):
		problems = append(problems, name+": not as gofmt writes it")
	}
	return problems
}

// TestForm wants every Go file as gofmt writes it, every package with a comment,
// and no white space at the ends of the lines of any text.
func TestForm(t *testing.T) {
	commented := map[string]bool{} // by folder and package
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bin", "out", "testdata"}, d.Name()):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.IndexByte(text, 0) >= 0 { // a capture, not a text
			return nil
		}
		for _, problem := range untidy(path, text) {
			t.Error(problem)
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		// External tests belong to the package that they test.
		key := filepath.Dir(path) + ": package " + strings.TrimSuffix(file.Name.Name, "_test")
		commented[key] = commented[key] || strings.HasPrefix(file.Doc.Text(), "Package "+file.Name.Name+" ") || file.Name.Name == "main" && file.Doc != nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, ok := range commented {
		if !ok {
			t.Errorf("%s: no comment that says what it is", key)
		}
	}
}

func TestUntidy(t *testing.T) {
	for _, v := range []struct{ name, text, want string }{
		{"a.md", "two\n\nlines\n", ""},
		{"a.go", "package a\n", ""},
		{"Makefile", "all:\n\tgo \n", "Makefile:2: white space at the end"},
		{"a.md", "DOS\r\n", "a.md:1: white space at the end"},
		{"a.go", "package  a\n", "a.go: not as gofmt writes it"},
		{"a.go", "package\n", "a.go: 1:9: expected 'IDENT', found 'EOF'"},
	} {
		if got := strings.Join(untidy(v.name, []byte(v.text)), "\n"); got != v.want {
			t.Errorf("%s %q: %q, want %q", v.name, v.text, got, v.want)
		}
	}
}
