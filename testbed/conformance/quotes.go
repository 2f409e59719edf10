package main

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A quote is a comment of a test.
type quote struct {
	test string // "wire.TestDigest"
	file string // "l2tpv3/wire/digest_test.go"
	text string
}

// A declaration is one at the top of a test file, with its comments.
type declaration struct {
	ast.Decl
	file     string
	names    []string // what it declares
	uses     []string // all identifiers in it
	comments []string
}

// skipped are the folders that hold no tests of the module, and our own tests,
// which show nothing of L2TP.
var skipped = []string{".git", "bin", "out", "testdata", "testbed/conformance"}

// quotes returns the comments of all tests of a module.
func quotes(module fs.FS) (found []quote, err error) {
	folders := map[string][]declaration{}
	err = fs.WalkDir(module, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (slices.Contains(skipped, name) || slices.Contains(skipped, d.Name())):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, "_test.go"):
			return nil
		}
		declared, err := declarations(module, name)
		folders[path.Dir(name)] = append(folders[path.Dir(name)], declared...)
		return err
	})
	for folder, declared := range folders {
		for _, d := range declared {
			test, ok := shownBy(d, declared)
			for _, text := range d.comments {
				if ok {
					found = append(found, quote{path.Base(folder) + "." + test.names[0], test.file, text})
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b quote) int {
		return cmp.Or(strings.Compare(a.file, b.file), strings.Compare(a.test, b.test), strings.Compare(a.text, b.text))
	})
	return found, err
}

// declarations returns those of a file.
func declarations(module fs.FS, name string) (list []declaration, err error) {
	text, err := fs.ReadFile(module, name)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, decl := range file.Decls {
		d := declaration{Decl: decl, file: name}
		begin := decl.Pos()
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			d.names = []string{decl.Name.Name}
			if decl.Doc != nil {
				begin = decl.Doc.Pos()
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					for _, n := range spec.Names {
						d.names = append(d.names, n.Name)
					}
				case *ast.TypeSpec:
					d.names = append(d.names, spec.Name.Name)
				}
			}
			if decl.Doc != nil {
				begin = decl.Doc.Pos()
			}
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			if i, ok := n.(*ast.Ident); ok {
				d.uses = append(d.uses, i.Name)
			}
			return true
		})
		for _, group := range file.Comments {
			if begin <= group.Pos() && group.End() <= decl.End() {
				d.comments = append(d.comments, group.Text())
			}
		}
		list = append(list, d)
	}
	return list, nil
}

// isTest reports whether go test runs a declaration.
func (d declaration) isTest() bool {
	f, ok := d.Decl.(*ast.FuncDecl)
	if !ok || f.Recv != nil || f.Name.Name == "TestMain" {
		return false
	}
	return slices.ContainsFunc([]string{"Test", "Fuzz", "Example"}, func(prefix string) bool {
		return strings.HasPrefix(f.Name.Name, prefix)
	})
}

// shownBy returns the test that a declaration is part of: itself, or the first that
// uses it, as tests use a table or a helper.
func shownBy(part declaration, all []declaration) (_ declaration, ok bool) {
	if part.isTest() {
		return part, true
	}
	for _, test := range all {
		if test.isTest() && reaches(test, part.names, all, map[string]bool{}) {
			return test, true
		}
	}
	return declaration{}, false
}

// reaches reports whether a declaration uses one of some names, or uses what does.
func reaches(d declaration, names []string, all []declaration, been map[string]bool) bool {
	for _, used := range d.uses {
		if slices.Contains(names, used) {
			return true
		}
		if been[used] {
			continue
		}
		been[used] = true
		for _, next := range all {
			if slices.Contains(next.names, used) && reaches(next, names, all, been) {
				return true
			}
		}
	}
	return false
}
