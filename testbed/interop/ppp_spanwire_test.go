package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"spanwire/testbed/interop/station"
	"spanwire/testbed/netlab"
)

// A pppSpanwire is Spanwire at our end of the wire, an LNS and a client for all rows at
// once, on one port. It is a party.
type pppSpanwire struct {
	*netlab.Namespace
	dir     string
	process *exec.Cmd
}

func (s *pppSpanwire) binary() string { return filepath.Join(s.dir, "spanwire") }
func (s *pppSpanwire) socket() string { return filepath.Join(s.dir, "spanwire.sock") }

// write writes its files.
func (s *pppSpanwire) write(rows []*pppRow) error {
	text := fmt.Sprintf("[node]\nhostname = \"spanwire\"\ncontrol = %q\n", s.socket())
	users := ""
	for _, r := range rows {
		if r.isPeers() {
			continue
		}
		text += fmt.Sprintf("[tunnel.%s]\nversion = 2\nlocal = \"%s:1701\"\n", r.name, pppOurs) + lines(r.tunnel)
		text += fmt.Sprintf("ppp = %q\npeer = %q\nsequence = %v\n", r.name, r.hosts()[0].address, r.sequence && r.lns == nil)
		text += fmt.Sprintf("[ppp.%s]\ntun = %[1]q\n", r.name) + lines(r.profile)
		if r.lns == nil {
			text += fmt.Sprintf("users_file = %q\n", "users.toml")
		}
		if r.mppe {
			text += "mppe = \"required\"\n"
		}
		users += fmt.Sprintf("[user.%s]\npassword = %q\n", r.name, pppPassword)
	}
	return errors.Join(os.WriteFile(filepath.Join(s.dir, "spanwire.toml"), []byte(text), 0o600),
		os.WriteFile(filepath.Join(s.dir, "users.toml"), []byte(users), 0o600))
}

// start starts it.
func (s *pppSpanwire) start() error {
	log, err := os.Create(filepath.Join(s.dir, "spanwire.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.process = exec.Command(s.binary(), "run", "-c", filepath.Join(s.dir, "spanwire.toml"), "--log-level", "debug")
	s.process.Stdout, s.process.Stderr = log, log
	return s.Start(s.process)
}

// exit ends it.
func (s *pppSpanwire) exit() error {
	s.process.Process.Signal(syscall.SIGTERM)
	if err := s.process.Wait(); err != nil {
		return fmt.Errorf("after SIGTERM: %w, want exit status 0", err)
	}
	return nil
}

// order has its command line tell it something.
func (s *pppSpanwire) order(words ...string) error {
	_, err := s.ask(words...)
	return err
}

// ask returns the answer.
func (s *pppSpanwire) ask(words ...string) ([]byte, error) {
	var complaint bytes.Buffer
	cmd := exec.Command(s.binary(), append(words, "--control", s.socket())...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("spanwire %s: %w: %s", strings.Join(words, " "), err, &complaint)
	}
	return out, nil
}

// A pppProfile is what `spanwire status` says of a profile of PPP.
type pppProfile struct {
	Name  string
	Links []struct {
		User, Method, Encryption string
		Address, Prefix          string
		MTU                      int
	}
}

func (s *pppSpanwire) status(profile string) (pppProfile, error) {
	out, err := s.ask("status", "--json")
	if err != nil {
		return pppProfile{}, err
	}
	var all struct{ PPP []pppProfile }
	if err := json.Unmarshal(out, &all); err != nil {
		return pppProfile{}, err
	}
	for _, p := range all.PPP {
		if p.Name == profile {
			return p, nil
		}
	}
	return pppProfile{}, fmt.Errorf("no profile %s in status", profile)
}

// check compares what Spanwire says of the row's link.
func (r *pppRow) check() error {
	p, err := r.spanwire.status(r.name)
	if err != nil {
		return err
	}
	encryption := "none"
	if r.mppe {
		encryption = "mppe"
	}
	if len(p.Links) != 1 || p.Links[0].Method != r.method || p.Links[0].Encryption != encryption {
		return fmt.Errorf("%+v, want a link, %s, %s", p, r.method, encryption)
	}
	return nil
}

// down waits until a profile has no link.
func (s *pppSpanwire) down(profile string) error {
	for end := time.Now().Add(pppPatience); ; time.Sleep(50 * time.Millisecond) {
		p, err := s.status(profile)
		if err != nil || len(p.Links) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("still there: %+v", p)
		}
	}
}

// client returns our end of a link as a client.
func (s *pppSpanwire) client(profile string) (e pppEnd, err error) {
	for end := time.Now().Add(pppPatience); ; time.Sleep(50 * time.Millisecond) {
		p, err := s.status(profile)
		if err != nil {
			return e, err
		}
		if len(p.Links) == 1 {
			e = pppEnd{party: s, device: profile, mtu: p.Links[0].MTU}
			e.v4, _ = netip.ParseAddr(p.Links[0].Address)
			if err := s.Do(func() (err error) {
				e.v6, err = linkLocal(profile)
				return err
			}); err != nil {
				return e, err
			}
			if e.v4.IsValid() && e.v6.IsValid() {
				return e, nil
			}
		}
		if time.Now().After(end) {
			return e, fmt.Errorf("not up: %+v", p)
		}
	}
}

// linkLocal returns the link-local address of a device, if it has one.
func linkLocal(device string) (netip.Addr, error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return netip.Addr{}, err
	}
	all, err := netlink.AddrList(link, netlink.FAMILY_V6)
	for _, a := range all {
		if ours, _ := netip.AddrFromSlice(a.IP); ours.IsLinkLocalUnicast() {
			return ours, err
		}
	}
	return netip.Addr{}, err
}

func (s *pppSpanwire) run(script string) (string, error) { return s.Run("/bin/sh", "-ec", script) }

func (s *pppSpanwire) listen(what station.Talk, at netip.AddrPort, within time.Duration) (came func() error, err error) {
	err = s.Do(func() (err error) {
		came, err = what.Listen(at, within)
		return err
	})
	return came, err
}

func (s *pppSpanwire) dial(what station.Talk, to netip.AddrPort, within time.Duration) error {
	return s.Do(func() error { return what.Dial(to, within) })
}
