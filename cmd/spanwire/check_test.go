package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckDynamic checks a tunnel that dials and a template, whose cookies are
// not known before there is a peer.
func TestCheckDynamic(t *testing.T) {
	path := write(t, `
[tunnel.rome]
mode = "dial"
peer = "192.0.2.3"
secret_file = "rome.secret"
[tunnel.rome.session.office]
tap = "rome0"
[tunnel.rome.session.lab]
cookie_size = 0
peer_cookie_size = 4
sublayer = "default"
mtu = 1400
tap = "rome1"

[tunnel.branches]
mode = "accept"
peer = "any"
[tunnel.branches.session.lan]
tap = "l2-{peer}"
`)
	secret := filepath.Join(filepath.Dir(path), "rome.secret")
	if err := os.WriteFile(secret, []byte("abracadabra\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := run("check", "-c", path)
	if want := `:5: tunnel rome: secret_file: found "rome.secret", which has mode 0644`; code != 2 || !strings.Contains(stderr, want) {
		t.Errorf("with a secret that others can read: %d, %s, want 2 and %s", code, stderr, want)
	}
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := run("check", "-c", path)
	if code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	wantIn(t, "warnings", stderr, []string{":17: tunnel branches: peer: anybody may join", ":9: tunnel rome: session lab: cookie_size: found 0 octets"})
	if strings.Contains(stdout+stderr, "abra") {
		t.Errorf("the secret is shown: %s%s", stdout, stderr)
	}
	wantIn(t, "output", strings.Join(strings.Fields(stdout), " "), []string{
		"ok, 2 tunnels, 3 sessions",
		"rome/office ethernet overhead 44 over IPv4 mtu 1438 peer's cookie of 8 octets assumed",
		"rome/lab ethernet overhead 44 over IPv4 mtu 1400 peer's cookie of 4 octets assumed",
		"branches/lan ethernet overhead 64 over IPv6 mtu 1418 peer's cookie of 8 octets assumed",
	})
}

// TestCheckPPP checks tunnels of L2TPv2 with their profiles, and a file of users that is
// wrong.
func TestCheckPPP(t *testing.T) {
	good := write(t, strings.NewReplacer("CONTROL", "/tmp/x.sock", "USERS", users(t, usersFile)).Replace(lnsFile))
	code, stdout, stderr := run("check", "-c", good)
	if code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	wantIn(t, "output", strings.Join(strings.Fields(stdout), " "), []string{"ok, 1 tunnel, 0 sessions", "ppp phones lns tun phones0 mtu 1458 ipv4 of 16 ipv6 of 65536"})
	bad := write(t, strings.NewReplacer("CONTROL", "/tmp/x.sock", "USERS", users(t, "[user.bob]\npasswd = \"the builder\"\n")).Replace(lnsFile))
	code, _, stderr = run("check", "-c", bad)
	wantIn(t, "problems", stderr, []string{`ppp phones: users_file: found "`, `users.toml:2: user bob: passwd: unknown key, want "password"?`})
	if code != 2 || strings.Contains(stderr, "builder") {
		t.Errorf("code %d: %s", code, stderr)
	}
}
