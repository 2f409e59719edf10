package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/cmd/internal/api"
)

// sharedSecret is the line of a secret in dialFile and acceptFile.
var sharedSecret = regexp.MustCompile(`(?m)^secret = .*$`)

// again restarts a daemon with other lines for the secret.
func (p *process) again(t *testing.T, s *site, lines string) *process {
	t.Helper()
	p.Process.Kill()
	p.ends(t)
	file := p.Args[3]
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)^next_secret = .*\n`).ReplaceAll(text, nil)
	if err := os.WriteFile(file, sharedSecret.ReplaceAllLiteral(text, []byte(lines)), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.startFile(t, &process{socket: p.socket}, file)
}

// TestSecretChange changes a secret, one side after the other, whoever dials. The
// tunnel is up after each step without a hand on the side that was not touched,
// whose other neighbour notices nothing.
func TestSecretChange(t *testing.T) {
	t.Parallel()
	const (
		old  = `secret = "the old secret"`
		both = "secret = \"the old secret\"\nnext_secret = \"the new secret\""
		next = `secret = "the new secret"`
	)
	with := func(file, secret string) string { return sharedSecret.ReplaceAllLiteralString(file, secret) }
	for _, test := range []struct {
		name        string
		lyon, paris string
	}{
		{"the one with two secrets dials", both, old},
		{"the one with two secrets accepts", old, both},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			lyon, paris := twoSites(t)
			rome := newSite(t)
			// Rome is the neighbour of the side that has both secrets.
			hub, at := lyon, "lyon"
			if test.paris == both {
				hub, at = paris, "paris"
			}
			veth := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "wan", PeerNamespace: netlink.NsFd(rome.ns)}
			veth.Name = "wan2"
			hub.add(t, veth)
			rome.up(t, "wan")
			hub.address(t, "wan2", "203.0.113.1/24")
			rome.address(t, "wan", "203.0.113.2/24")
			files := map[string]string{
				"lyon":  with(strings.Replace(dialFile, "PEER", "192.0.2.2:1701", 1), test.lyon),
				"paris": with(strings.Replace(acceptFile, "PEER", "192.0.2.1", 1), test.paris),
			}
			files[at] += `
[tunnel.rome]
mode   = "accept"
local  = "203.0.113.1:1701"
peer   = "203.0.113.2"
peer_hostname = "rome"
secret_file = "` + write(t, "a secret of rome's\n") + `"
[tunnel.rome.session.branch]
tap = "branch0"
addresses = ["10.8.0.1/24"]
`
			l, p := lyon.start(t, files["lyon"]), paris.start(t, files["paris"])
			r := rome.start(t, `
[node]
hostname  = "rome"
router_id = "203.0.113.2"
control   = "CONTROL"
[tunnel.hub]
mode   = "dial"
local  = "203.0.113.2:1701"
peer   = "203.0.113.1:1701"
secret = "a secret of rome's"
redial_min = "200ms"
redial_max = "1s"
[tunnel.hub.session.branch]
tap = "branch0"
addresses = ["10.8.0.2/24"]
`)
			r.sessions(t, 1)
			k := newTalk(t, lyon, "10.9.0.1", paris, "10.9.0.2")
			eventually(t, "an echo while one side has both secrets", func() error { return k.once(100) })
			neighbour := newTalk(t, hub, "10.8.0.1", rome, "10.8.0.2")
			eventually(t, "an echo of the neighbour", func() error { return neighbour.once(100) })

			// The other side has the new one alone. Meanwhile the neighbour talks.
			stop, talked := make(chan struct{}), make(chan error, 1)
			go func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						if n == 0 {
							talked <- errors.New("never asked")
						} else {
							talked <- nil
						}
						return
					default:
					}
					var err error
					for range 5 { // a busy machine may be late
						if err = neighbour.once(200); err == nil {
							break
						}
					}
					if err != nil {
						talked <- fmt.Errorf("after %d echoes: %w", n, err)
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
			}()
			if hub == lyon {
				p = p.again(t, paris, next)
			} else {
				l = l.again(t, lyon, next)
			}
			eventually(t, "an echo when the other side has the new secret", func() error { return k.once(101) })
			close(stop)
			if err := <-talked; err != nil {
				t.Errorf("the neighbour, while the other peer changed its secret: %v", err)
			}
			if c := r.sessions(t, 1).Tunnels[0].Control; c.Ups != 1 {
				t.Errorf("the neighbour's connection was up %d times, want once", c.Ups)
			}

			if hub == lyon {
				l = l.again(t, lyon, next)
			} else {
				p = p.again(t, paris, next)
			}
			eventually(t, "an echo when both have the new secret", func() error { return k.once(102) })

			// With the old one nobody comes in any more.
			l = l.again(t, lyon, old)
			eventually(t, "the old secret refused", func() error { return refused(p, "wrong_digest") })
			if s, err := api.Dial(l.socket).Status(context.Background()); err != nil || s.Tunnels[0].State == "established" {
				t.Errorf("with the old secret: %v, %+v", err, s.Tunnels)
			}
		})
	}
}

// refused reports whether a daemon has refused control messages for a reason, and
// has told so in its log.
func refused(p *process, reason string) error {
	s, err := api.Dial(p.socket).Status(context.Background())
	if err != nil {
		return err
	}
	for _, r := range s.Refusals {
		if r.Reason == reason && r.Count > 0 && r.From == "192.0.2.1:1701" && r.Meaning != "" && !r.Last.IsZero() {
			if !strings.Contains(p.logged(), fmt.Sprintf("level=WARN msg=\"control messages refused\" reason=%s count=", reason)) {
				return errors.New("not logged")
			}
			return nil
		}
	}
	return fmt.Errorf("refused: %+v", s.Refusals)
}

// TestWrongSecret has two sides that do not trust each other: nothing comes up,
// nothing is answered, and who looks is told why.
func TestWrongSecret(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, lyon, paris, reason, told string }{
		{"another secret", `secret = "one secret of two"`, `secret = "another secret of two"`, "wrong_digest", "the secrets of the two sides differ"},
		{"a secret on who accepts alone", "", `secret = "another secret of two"`, "no_digest", "there is a secret here: the peer seems to have none"},
		{"a secret on who dials alone", `secret = "one secret of two"`, "", "peer_wants_secret", "the peer has a secret, and there is none here"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			lyon, paris := twoSites(t)
			r, stop := record(t, lyon, "wan")
			p := paris.start(t, sharedSecret.ReplaceAllLiteralString(strings.Replace(acceptFile, "PEER", "192.0.2.1", 1), test.paris))
			l := lyon.start(t, sharedSecret.ReplaceAllLiteralString(strings.Replace(dialFile, "PEER", "192.0.2.2:1701", 1), test.lyon))
			eventually(t, "the refusal in status and log", func() error { return refused(p, test.reason) })
			eventually(t, "the failure of the attempt", func() error {
				s, err := api.Dial(l.socket).Status(context.Background())
				if err == nil && s.Tunnels[0].LastError != unanswering {
					err = fmt.Errorf("last error %q", s.Tunnels[0].LastError)
				}
				return err
			})
			for _, side := range []struct {
				p    *process
				want string
			}{{p, test.told}, {l, "hint: paris: the peer is down, cannot be reached, or refuses in silence"}} {
				code, out, problems := run("status", "--control", side.p.socket)
				if code != 0 || strings.Contains(out, "established") || !strings.Contains(out, side.want) {
					t.Errorf("status: exit code %d, %s, %q wanted, in\n%s", code, problems, side.want, out)
				}
			}
			if !strings.Contains(p.logged(), test.told) || !strings.Contains(p.logged(), "from=192.0.2.1:1701") {
				t.Errorf("the log does not tell %q", test.told)
			}
			stop()
			answers := r.pcap(t, func(f []byte) bool {
				const protocol, source, udp = 14 + 9, 14 + 12, 17
				return len(f) > source+4 && f[12] == 8 && f[13] == 0 && f[protocol] == udp && bytes.Equal(f[source:source+4], []byte{192, 0, 2, 2})
			})
			if text, n := decoded(t, answers, ""); n.Packets != 0 {
				t.Errorf("%d answers:\n%s", n.Packets, text)
			}
		})
	}
}
