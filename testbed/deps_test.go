// Package testbed holds what the whole project is held to: its floor plan and its
// form.
package testbed

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// floors is the plan: a package imports only from floors below its own.
var floors = map[string]int{
	"spanwire/cookie":                  0,
	"spanwire/pseudowire":              0,
	"spanwire/bridge/link":             0,
	"spanwire/testbed/netlab":          0,
	"spanwire/testbed/kernelvm/guest":  0,
	"spanwire/testbed/kernelvm":        1,
	"spanwire/testbed/interop/station": 3,
	"spanwire/testbed/interop/agent":   4,
	"spanwire/testbed/relay":           0,
	"spanwire/pseudowire/ethernet":     1,
	"spanwire/l2tpv3/wire":             1,
	"spanwire/bridge":                  1,
	"spanwire/l2tpv3/transport":        2,
	"spanwire/bridge/tap":              2,
	"spanwire/l2tpv3/dataplane":        3,
	"spanwire/l2tpv3/dataplane/user":   4,
	"spanwire/l2tpv3":                  5,
	"spanwire/config":                  6,
	"spanwire/cmd/internal/api":        7,
	"spanwire/cmd/internal/daemon":     8,
	"spanwire/cmd/internal/demo":       8,
	"spanwire/cmd/spanwire":            9,
	"spanwire/testbed":                 9,
	"spanwire/testbed/bench":           9,
	"spanwire/testbed/interop":         9,
}

// pure packages do no I/O, read no clock, start no goroutine.
var pure = []string{"spanwire/cookie", "spanwire/pseudowire", "spanwire/pseudowire/ethernet", "spanwire/l2tpv3/wire", "spanwire/bridge"}

// owners are the only packages that may import some others.
var owners = map[string][]string{
	"github.com/songgao/water":       {"spanwire/bridge/tap"},
	"github.com/BurntSushi/toml":     {"spanwire/config"},
	"github.com/spf13/cobra":         {"spanwire/cmd/spanwire", "spanwire/cmd/internal/demo"},
	"spanwire/testbed/netlab":        {"spanwire/cmd/internal/demo", "spanwire/testbed/bench", "spanwire/testbed/interop", "spanwire/testbed/interop/station"},
	"spanwire/testbed/kernelvm":      {"spanwire/testbed/interop"},
	"spanwire/l2tpv3/dataplane/user": {"spanwire/cmd/internal/daemon"},
}

type goPackage struct {
	ImportPath, Dir  string
	Imports, GoFiles []string
}

// check returns what a package does against the plan.
func check(p goPackage) (problems []string) {
	say := func(format string, args ...any) {
		problems = append(problems, p.ImportPath+": "+fmt.Sprintf(format, args...))
	}
	floor, ok := floorOf(p.ImportPath)
	if !ok {
		say("has no floor: give it one")
	}
	for _, i := range p.Imports {
		below, ours := floorOf(i)
		if ours && below >= floor {
			say("stands on floor %d and imports %s from floor %d", floor, i, below)
		}
		if may, owned := owners[i]; owned && !slices.Contains(may, p.ImportPath) {
			say("imports %s, which only %v may", i, may)
		}
		if p.ImportPath == "spanwire/l2tpv3" && strings.HasPrefix(i, "spanwire/bridge") {
			say("imports %s: a session is a port by its methods", i)
		}
		if slices.Contains(pure, p.ImportPath) && (slices.Contains([]string{"net", "os", "syscall", "unsafe"}, i) || strings.HasPrefix(i, "golang.org/x/sys")) {
			say("is pure and imports %s", i)
		}
	}
	return problems
}

// floorOf returns the floor of a package of ours.
func floorOf(path string) (int, bool) {
	floor, ok := floors[path]
	return floor, ok
}

func TestFloorPlan(t *testing.T) {
	list := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", "spanwire/...")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); seen++ {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		for _, problem := range check(p) {
			t.Error(problem)
		}
		if slices.Contains(pure, p.ImportPath) {
			checkPure(t, p)
		}
	}
	if seen < 15 {
		t.Errorf("%d packages seen, want all", seen)
	}
}

// checkPure looks for goroutines and clocks.
func checkPure(t *testing.T, p goPackage) {
	for _, name := range p.GoFiles {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine in a pure package", set.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && n.Sel.Name == "Now" {
					t.Errorf("%s: time.Now in a pure package", set.Position(n.Pos()))
				}
			}
			return true
		})
	}
}

// TestTheCheckerChecks breaks the plan on purpose.
func TestTheCheckerChecks(t *testing.T) {
	for _, p := range []goPackage{
		{ImportPath: "spanwire/cookie", Imports: []string{"spanwire/l2tpv3"}},
		{ImportPath: "spanwire/cookie", Imports: []string{"net"}},
		{ImportPath: "spanwire/l2tpv3", Imports: []string{"spanwire/bridge"}},
		{ImportPath: "spanwire/l2tpv3", Imports: []string{"github.com/spf13/cobra"}},
		{ImportPath: "spanwire/attic"},
	} {
		if check(p) == nil {
			t.Errorf("%s importing %v: no problem found", p.ImportPath, p.Imports)
		}
	}
}

// TestForm wants every Go file as gofmt writes it, every package with a comment,
// and no white space at the ends of lines.
func TestForm(t *testing.T) {
	commented := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !slices.Contains([]string{".go", ".md", ".toml", ".service"}, filepath.Ext(path)):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if strings.TrimRight(line, " \t\r") != line {
				t.Errorf("%s:%d: white space at the end", path, i+1)
			}
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		if formatted, err := format.Source(text); err != nil || string(formatted) != string(text) {
			t.Errorf("%s: not as gofmt writes it: %v", path, err)
		}
		if !strings.HasSuffix(path, "_test.go") {
			file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
			if err != nil {
				return err
			}
			dir := filepath.Dir(path)
			commented[dir] = commented[dir] || file.Doc != nil
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, ok := range commented {
		if !ok {
			t.Errorf("%s: no package comment", dir)
		}
	}
}
