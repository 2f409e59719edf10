// Package testbed holds what the whole project is held to: its floor plan and its
// form.
package testbed

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A plan says which package may import which.
type plan struct {
	floors map[string]int      // a package imports only from floors below its own
	owners map[string][]string // all that may import a package or those beneath it
	shut   map[string][]string // what a package may not import although it is below
	pure   []string            // packages that do no I/O, read no clock, start no goroutine
}

var house = plan{
	floors: map[string]int{
		"spanwire/cookie":                  0,
		"spanwire/pseudowire":              0,
		"spanwire/l2tpv3/reliable":         0,
		"spanwire/l2tpv3/machine":          0,
		"spanwire/bridge/link":             0,
		"spanwire/testbed/netlab":          0,
		"spanwire/testbed/kernelvm/guest":  0,
		"spanwire/testbed/relay":           0,
		"spanwire/testbed/tshark":          0,
		"spanwire/testbed/kernelvm":        1,
		"spanwire/pseudowire/ethernet":     1,
		"spanwire/pseudowire/framerelay":   1,
		"spanwire/pseudowire/ppp":          1,
		"spanwire/pseudowire/hdlc":         2,
		"spanwire/pseudowire/gso":          1,
		"spanwire/pseudowire/pool":         0,
		"spanwire/pseudowire/ppp/radius":   2,
		"spanwire/l2tpv3/wire":             1,
		"spanwire/l2tpv3/control":          2,
		"spanwire/l2tpv3/l2tpv2":           2,
		"spanwire/bridge":                  2,
		"spanwire/bridge/vnet":             2,
		"spanwire/l2tpv3/transport":        2,
		"spanwire/bridge/tap":              3,
		"spanwire/bridge/packet":           3,
		"spanwire/bridge/serial":           3,
		"spanwire/l2tpv3/dataplane":        3,
		"spanwire/testbed/interop/station": 3,
		"spanwire/l2tpv3/dataplane/user":   4,
		"spanwire/testbed/interop/agent":   4,
		"spanwire/l2tpv3":                  5,
		"spanwire/config":                  6,
		"spanwire/cmd/internal/api":        7,
		"spanwire/cmd/internal/decode":     7,
		"spanwire/cmd/internal/metrics":    8,
		"spanwire/cmd/internal/daemon":     9,
		"spanwire/cmd/internal/demo":       8,
		"spanwire/cmd/spanwire":            10,
		"spanwire/testbed":                 9,
		"spanwire/testbed/bench":           9,
		"spanwire/testbed/conformance":     9,
		"spanwire/testbed/interop":         9,
		"spanwire/testbed/soak":            9,

		"spanwire/pseudowire/ppp/lns":               4,
		"spanwire/pseudowire/ppp/lns/address":       1,
		"spanwire/pseudowire/ppp/lns/users":         2,
		"spanwire/pseudowire/ppp/radius/freeradius": 0,
	},
	owners: map[string][]string{
		"github.com/songgao/water":       {"spanwire/bridge/tap"},
		"github.com/BurntSushi/toml":     {"spanwire/config"},
		"github.com/spf13/cobra":         {"spanwire/cmd"},
		"layeh.com/radius":               {"spanwire/pseudowire/ppp/radius"},
		"github.com/prometheus":          {"spanwire/cmd/internal/metrics"},
		"spanwire/l2tpv3/dataplane/user": {"spanwire/cmd/internal/daemon", "spanwire/testbed/bench"},
		"spanwire/testbed":               {"spanwire/testbed", "spanwire/cmd/internal/demo"},
	},
	shut: map[string][]string{
		// A session is a port by its methods, planes are handed in.
		"spanwire/l2tpv3":            {"spanwire/bridge", "spanwire/pseudowire/ppp", "spanwire/l2tpv3/dataplane/user", "spanwire/l2tpv3/dataplane/ebpf", "spanwire/l2tpv3/dataplane/kernel"},
		"spanwire/cmd/internal/demo": {"spanwire/testbed/relay", "spanwire/testbed/kernelvm", "spanwire/testbed/interop"},
	},
	pure: []string{"spanwire/cookie", "spanwire/pseudowire", "spanwire/pseudowire/ethernet", "spanwire/pseudowire/framerelay", "spanwire/pseudowire/hdlc", "spanwire/pseudowire/ppp", "spanwire/pseudowire/gso", "spanwire/pseudowire/pool", "spanwire/l2tpv3/wire", "spanwire/l2tpv3/reliable", "spanwire/l2tpv3/machine", "spanwire/l2tpv3/control", "spanwire/l2tpv3/l2tpv2", "spanwire/bridge", "spanwire/pseudowire/ppp/lns/address", "spanwire/pseudowire/ppp/lns/users"},
}

// impure is what a pure package does not import, nor anything beneath it.
var impure = []string{"net", "os", "syscall", "unsafe", "golang.org/x/sys", "golang.org/x/net"}

// clock is what a pure package does not use of package time.
var clock = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

type goPackage struct {
	ImportPath, Dir  string
	Imports, GoFiles []string
}

// within reports whether a package is root or beneath it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

func withinAny(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool { return within(path, root) })
}

// check returns what a package imports against the plan.
func (h plan) check(p goPackage) (problems []string) {
	say := func(format string, args ...any) {
		problems = append(problems, p.ImportPath+": "+fmt.Sprintf(format, args...))
	}
	floor, ok := h.floors[p.ImportPath]
	if !ok {
		say("has no floor: give it one")
		return problems
	}
	for _, i := range p.Imports {
		if below, ours := h.floors[i]; ours && below >= floor {
			say("stands on floor %d and imports %s from floor %d", floor, i, below)
		}
		for owned, may := range h.owners {
			if within(i, owned) && !withinAny(p.ImportPath, may) {
				say("imports %s, which only %v may", i, may)
			}
		}
		if withinAny(i, h.shut[p.ImportPath]) {
			say("imports %s, which it must not", i)
		}
		if slices.Contains(h.pure, p.ImportPath) && withinAny(i, impure) && i != "net/netip" {
			say("is pure and imports %s", i)
		}
	}
	return problems
}

// impurities returns the goroutines and the clocks of a file.
func impurities(set *token.FileSet, file *ast.File) (problems []string) {
	say := func(n ast.Node, what string) {
		problems = append(problems, fmt.Sprintf("%s: %s in a pure package", set.Position(n.Pos()), what))
	}
	name := "time"
	for _, i := range file.Imports {
		if i.Path.Value == `"time"` && i.Name != nil {
			name = i.Name.Name
		}
	}
	if name == "." {
		say(file.Name, "a dot import of time")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n, "a goroutine")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == name && slices.Contains(clock, n.Sel.Name) {
				say(n, "time."+n.Sel.Name)
			}
		}
		return true
	})
	return problems
}

func TestFloorPlan(t *testing.T) {
	list := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", "spanwire/...")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	empty := maps.Clone(house.floors)
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p goPackage
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		delete(empty, p.ImportPath)
		for _, problem := range house.check(p) {
			t.Error(problem)
		}
		if !slices.Contains(house.pure, p.ImportPath) {
			continue
		}
		for _, name := range p.GoFiles {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range impurities(set, file) {
				t.Error(problem)
			}
		}
	}
	for path := range empty {
		t.Errorf("%s: has a floor, and is no package", path)
	}
}

// TestPlanIsHeld breaks a small plan in every way there is.
func TestPlanIsHeld(t *testing.T) {
	small := plan{
		floors: map[string]int{"h/cellar": 0, "h/pure": 0, "h/hall": 1, "h/hall/desk": 1, "h/roof": 2},
		owners: map[string][]string{"ext/paint": {"h/hall"}},
		shut:   map[string][]string{"h/roof": {"h/cellar"}},
		pure:   []string{"h/pure"},
	}
	for _, v := range []struct{ path, imports, want string }{
		{"h/hall", "h/cellar", ""},
		{"h/hall", "ext/other", ""},
		{"h/hall/desk", "ext/paint/red", ""},
		{"h/cellar", "net", ""},
		{"h/pure", "net/netip", ""},
		{"h/pure", "network", ""},
		{"h/attic", "h/cellar", "h/attic: has no floor: give it one"},
		{"h/hall", "h/roof", "h/hall: stands on floor 1 and imports h/roof from floor 2"},
		{"h/hall", "h/hall/desk", "h/hall: stands on floor 1 and imports h/hall/desk from floor 1"},
		{"h/roof", "ext/paint/red", "h/roof: imports ext/paint/red, which only [h/hall] may"},
		{"h/roof", "h/cellar", "h/roof: imports h/cellar, which it must not"},
		{"h/pure", "net", "h/pure: is pure and imports net"},
		{"h/pure", "os/exec", "h/pure: is pure and imports os/exec"},
		{"h/pure", "unsafe", "h/pure: is pure and imports unsafe"},
		{"h/pure", "golang.org/x/sys/unix", "h/pure: is pure and imports golang.org/x/sys/unix"},
	} {
		got := strings.Join(small.check(goPackage{ImportPath: v.path, Imports: []string{v.imports}}), "\n")
		if got != v.want {
			t.Errorf("%s importing %s: %q, want %q", v.path, v.imports, got, v.want)
		}
	}
}

func TestImpurities(t *testing.T) {
	for _, v := range []struct {
		text string
		want int
	}{
		{`import "time"; func f(t time.Time) { g() }`, 0},
		{`func f() { go g() }`, 1},
		{`import "time"; var t = time.Now`, 1},
		{`import "time"; func f() { <-time.After(time.Second) }`, 1},
		{`import clock "time"; func f() { go clock.Sleep(clock.Now()) }`, 3},
		{`import . "time"; var t = Now()`, 1},
	} {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, "", "package p; "+v.text, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := impurities(set, file); len(got) != v.want {
			t.Errorf("%s: %q, want %d", v.text, got, v.want)
		}
	}
}
