package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDiff wants each key that a file has otherwise to be named, but for where users
// are from, and never a value.
func TestDiff(t *testing.T) {
	dir := t.TempDir()
	text := strings.Replace(dialIn, `radius    = "hq"`, "radius = \"hq\"\nusers_file = \"a.toml\"", 1)
	for _, name := range []string{"a.toml", "b.toml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("[user.bob]\npassword = \"the builder\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(text string) *File {
		t.Helper()
		f, err := Parse(filepath.Join(dir, "f.toml"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, v := range []struct {
		old, new string
		want     []string
	}{
		{"", "", nil},
		{"# nothing", "", nil},
		{"a.toml", "b.toml", nil},
		{"users_file = \"a.toml\"\n", "", nil},
		{`"battery staple"`, `"staple battery"`, []string{"ppp head: password"}},
		{`hello   = "5s"`, ``, []string{"tunnel head: hello"}},
		{`hostname = "lyon"`, "hostname = \"lyon\"\nlog_level = \"debug\"", []string{"node: log_level"}},
		{`["10.20.0.0/24", "10.21.0.5-10.21.0.9"]`, `["10.20.0.0/24", "10.21.0.5-10.21.0.8"]`, []string{"ppp phones: pool"}},
		{`length = 60`, `length = 61`, []string{"ppp phones: pools silver: length"}},
		{"[tunnel.head]", "[tunnel.heads]", []string{"tunnel head", "tunnel heads"}},
	} {
		var got []string
		if got = Diff(read(text), read(strings.Replace(text, v.old, v.new, 1))); !cmp.Equal(got, v.want) {
			t.Errorf("%s for %s: %q, want %q", v.new, v.old, got, v.want)
		}
	}
}
