// Command conformance says which test shows that Spanwire does what RFC 3931 says
// it MUST, and why none does where none does. From the module's top it writes the
// tables of README.md and CONFORMANCE.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	check := flag.Bool("check", false, "write nothing, say what differs")
	missing := flag.Bool("missing", false, "write nothing, list what no test quotes and has no reason")
	flag.Parse()
	act := write
	switch {
	case *missing:
		act = list
	case *check:
		act = compare
	}
	if err := act("."); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// list prints what is uncovered.
func list(module string) error {
	all, err := collect(os.DirFS(module))
	for _, problem := range uncovered(all) {
		fmt.Println(problem)
	}
	return err
}

// compare prints what write would change, and returns an error if there is any.
func compare(module string) error {
	files, err := generate(os.DirFS(module))
	stale := false
	for _, f := range files {
		if f.got != f.want {
			stale = true
			fmt.Print(difference(f.name, f.got, f.want))
		}
	}
	if stale {
		return errors.New("out of date: make conformance")
	}
	return err
}

// write brings the files up to date.
func write(module string) error {
	files, err := generate(os.DirFS(module))
	for _, f := range files {
		if f.got != f.want {
			err = errors.Join(err, os.WriteFile(filepath.Join(module, f.name), []byte(f.want), 0o644))
		}
	}
	return err
}

// collect returns the requirements with the tests of a module that quote them.
func collect(module fs.FS) ([]requirement, error) {
	list, err := parse(rfc3931)
	if err != nil {
		return nil, err
	}
	found, err := quotes(module)
	if err != nil {
		return nil, err
	}
	for i, r := range list {
		for _, q := range found {
			if r.covered(q.text) {
				list[i].quotes = append(list[i].quotes, q)
			}
		}
	}
	return list, nil
}

// uncovered returns the requirements that neither a test quotes nor has a reason,
// and those with both.
func uncovered(list []requirement) (problems []string) {
	for _, r := range list {
		switch {
		case len(r.quotes) == 0 && r.reason == "":
			problems = append(problems, fmt.Sprintf("%s: no test quotes it: %s", r.place(), r.text))
		case len(r.quotes) > 0 && r.reason != "":
			problems = append(problems, fmt.Sprintf("%s: quoted in %s, and has a reason for not being quoted: %s", r.place(), r.quotes[0].test, r.text))
		}
	}
	return slices.Compact(problems)
}

// A generated file, as it is and as it should be.
type generated struct{ name, got, want string }

// generate returns the files with the tables.
func generate(module fs.FS) ([]generated, error) {
	list, err := collect(module)
	if err != nil {
		return nil, err
	}
	readme, err := fs.ReadFile(module, "README.md")
	if err != nil {
		return nil, fmt.Errorf("start it at the module's top: %w", err)
	}
	want, err := insert(string(readme), summary(list))
	if err != nil {
		return nil, err
	}
	full, err := fs.ReadFile(module, "CONFORMANCE.md")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return []generated{
		{"README.md", string(readme), want},
		{"CONFORMANCE.md", string(full), everything(list)},
	}, nil
}
