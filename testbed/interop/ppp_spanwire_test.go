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
	"sync"
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

	mu    sync.Mutex
	asked time.Time // for all links
	all   []pppLink
	err   error
}

func (s *pppSpanwire) binary() string { return filepath.Join(s.dir, "share", "spanwire") }
func (s *pppSpanwire) socket() string { return filepath.Join(s.dir, "spanwire.sock") }

// write writes its files.
func (s *pppSpanwire) write(rows []*pppRow) error {
	text := fmt.Sprintf("[node]\nhostname = \"spanwire\"\ncontrol = %q\n", s.socket())
	users := ""
	for _, r := range rows {
		if !r.isPeers() {
			text += r.toml()
			users += fmt.Sprintf("[user.%s]\npassword = %q\n", r.name, pppPassword)
		}
	}
	return errors.Join(os.WriteFile(filepath.Join(s.dir, "spanwire.toml"), []byte(text), 0o600),
		os.WriteFile(filepath.Join(s.dir, "users.toml"), []byte(users), 0o600))
}

// toml is a row in Spanwire's file.
func (r *pppRow) toml() string {
	name, peer := r.name, fmt.Sprintf("%q", r.hosts()[0].address)
	if r.crowd != nil {
		if r != r.crowd.rows[0] {
			return ""
		}
		var from []string
		for _, one := range r.crowd.rows {
			from = append(from, fmt.Sprintf("\"%s/32\"", one.lac.address))
		}
		name, peer = pppCrowdName, "["+strings.Join(from, ", ")+"]"
	}
	text := fmt.Sprintf("[tunnel.%s]\nversion = %s\nlocal = \"%s:1701\"\npeer = %s\n", name, r.version, pppOurs, peer) + lines(r.tunnel)
	if r.version != "3" {
		text += fmt.Sprintf("ppp = %q\nsequence = %v\n", name, r.sequence && r.lns == nil)
	}
	if r.session != "" {
		text += fmt.Sprintf("[tunnel.%s.session.other]\n%s", name, r.session)
	}
	if r.version == "3" {
		return text
	}
	text += fmt.Sprintf("[ppp.%s]\ntun = %q\n", name, r.tun()) + lines(r.profile)
	switch {
	case r.lns == nil:
		text += fmt.Sprintf("users_file = %q\n", "users.toml")
	case r.refused == "":
		text += fmt.Sprintf("password = %q\n", pppPassword)
	}
	if r.mppe {
		text += "mppe = \"required\"\n"
	}
	return text
}

// start starts it.
func (s *pppSpanwire) start() error {
	file := filepath.Join(s.dir, "spanwire.toml")
	if _, err := s.Run(s.binary(), "check", "-c", file); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(s.dir, "spanwire.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.process = exec.Command(s.binary(), "run", "-c", file, "--log-level", "debug")
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

// A pppLink is what `spanwire status` says of a link of PPP.
type pppLink struct {
	User, Method, Encryption string
	Address                  string
	MTU                      int
}

// links returns those of a user. Who waits for many asks often, so that an answer may be
// a moment old.
func (s *pppSpanwire) links(user string) (links []pppLink, err error) {
	const moment = 250 * time.Millisecond
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.asked) > moment {
		s.all, s.err = s.allLinks()
		s.asked = time.Now()
	}
	for _, link := range s.all {
		if link.User == user {
			links = append(links, link)
		}
	}
	return links, s.err
}

func (s *pppSpanwire) allLinks() (links []pppLink, err error) {
	out, err := s.ask("status", "--json")
	if err != nil {
		return nil, err
	}
	var all struct{ PPP []struct{ Links []pppLink } }
	if err := json.Unmarshal(out, &all); err != nil {
		return nil, err
	}
	for _, p := range all.PPP {
		links = append(links, p.Links...)
	}
	return links, nil
}

// check compares what Spanwire says of the row's link.
func (r *pppRow) check() error {
	links, err := r.spanwire.links(r.name)
	if err != nil {
		return err
	}
	encryption := "none"
	if r.mppe {
		encryption = "mppe"
	}
	if len(links) != 1 || links[0].Method != r.method || links[0].Encryption != encryption {
		return fmt.Errorf("%+v, want one link, %s, %s", links, r.method, encryption)
	}
	return nil
}

// down waits until a user has no link.
func (s *pppSpanwire) down(user string) error {
	for end := time.Now().Add(pppPatience); ; time.Sleep(50 * time.Millisecond) {
		links, err := s.links(user)
		if err != nil || len(links) == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("still there: %+v", links)
		}
	}
}

// client returns our end of a client's link.
func (s *pppSpanwire) client(user, tun string) (e pppEnd, err error) {
	for end := time.Now().Add(pppPatience); ; time.Sleep(50 * time.Millisecond) {
		links, err := s.links(user)
		if err != nil {
			return e, err
		}
		if len(links) == 1 {
			e = pppEnd{party: s, device: tun, mtu: links[0].MTU}
			e.v4, _ = netip.ParseAddr(links[0].Address)
			if err := s.Do(func() (err error) {
				e.v6, err = linkLocal(tun)
				return err
			}); err != nil {
				return e, err
			}
			if e.v4.IsValid() && e.v6.IsValid() {
				return e, nil
			}
		}
		if time.Now().After(end) {
			return e, fmt.Errorf("not up: %+v", links)
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
