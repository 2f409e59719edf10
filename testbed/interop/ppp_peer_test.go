package interop

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The users' password, and the secret of tunnels that have one.
const (
	pppPassword = "wonderland"
	pppSecret   = "s3kr1t of a tunnel"
)

// An xl2tpd is a host of the guest with xl2tpd and, for each link, pppd.
type xl2tpd struct {
	pppHost
	address  netip.Addr // on the wire
	terminal bool       // data goes through a pseudo-terminal and xl2tpd, not through the kernel
	lac      string     // whom it dials; "": it is an LNS
	lines    []string   // of the section of the LAC or the LNS
	pppd     []string   // of pppd's file
	secret   string     // of all tunnels
	debug    bool       // it tells of AVPs
	instead  string     // a script in place of both daemons
	dir      string     // here; there it is at /share/NAME
}

// there is a file of the host's as the guest has it.
func (x *xl2tpd) there(file string) string { return "/share/" + x.name + "/" + file }

// run files: xl2tpd's PID, its pipe for orders, and the PID of its pppd if it is one.
func (x *xl2tpd) pid() string     { return "/run/" + x.name + ".pid" }
func (x *xl2tpd) pipe() string    { return "/run/" + x.name + ".pipe" }
func (x *xl2tpd) pppdPID() string { return "/run/ppp-" + x.name + ".pid" }

// write writes the files of both daemons.
func (x *xl2tpd) write() error {
	text := "[global]\nlisten-addr = " + x.address.String() + "\nauth file = " + x.there("secrets") + "\n"
	if x.debug {
		text += "debug avp = yes\n"
	}
	if x.terminal {
		text += "force userspace = yes\n"
	}
	if x.lac == "" {
		text += "[lns default]\n"
	} else {
		text += "[lac peer]\nlns = " + x.lac + "\n"
	}
	text += "pppoptfile = " + x.there("options") + "\nhostname = " + x.name + "\n" + lines(x.lines)
	options := append([]string{"logfile " + x.there("pppd.log"), "linkname " + x.name, "+ipv6", "nodeflate", "nobsdcomp", "novj"}, x.pppd...)
	for file, text := range map[string]string{
		"xl2tpd.conf": text,
		"options":     lines(options),
		"secrets":     "* * " + x.secret + "\n",
	} {
		if err := os.WriteFile(filepath.Join(x.dir, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func lines(all []string) (text string) {
	for _, l := range all {
		text += l + "\n"
	}
	return text
}

// start starts xl2tpd.
func (x *xl2tpd) start() error {
	script := fmt.Sprintf("exec xl2tpd -D -c %s -p %s -C %s >%s 2>&1", x.there("xl2tpd.conf"), x.pid(), x.pipe(), x.there("xl2tpd.log"))
	if x.instead != "" {
		script = x.instead
	}
	return x.guest.call("Start", GuestCall{Host: x.name, Script: script})
}

// up waits for a link. To read what pppd says costs the guest nothing.
func (x *xl2tpd) up(global bool) (PPPLink, error) {
	for _, sign := range []string{"remote LL address", "remote IP address"} {
		if err := x.says(sign); err != nil {
			return PPPLink{}, err
		}
	}
	links, err := x.links(1, global)
	if err != nil {
		return PPPLink{}, err
	}
	return links[0], nil
}

// down waits until no link is left.
func (x *xl2tpd) down() error {
	_, err := x.links(0, false)
	return err
}

// order tells xl2tpd what to do, as xl2tpd-control does: "c peer" dials, "d peer" hangs up.
func (x *xl2tpd) order(what string) error {
	_, err := x.run("echo " + what + " >" + x.pipe())
	return err
}

// hangUp has pppd end its link.
func (x *xl2tpd) hangUp() error {
	_, err := x.run("kill $(head -n 1 " + x.pppdPID() + ")")
	return err
}

// stop ends xl2tpd, if it has not ended.
func (x *xl2tpd) stop() error {
	_, err := x.run(fmt.Sprintf("[ ! -e %[1]s ] || kill $(cat %[1]s)", x.pid()))
	return err
}

// says waits until one of the daemons has said something.
func (x *xl2tpd) says(what string) error {
	for end := time.Now().Add(pppPatience); ; time.Sleep(50 * time.Millisecond) {
		for _, file := range []string{"xl2tpd.log", "pppd.log"} {
			if b, _ := os.ReadFile(filepath.Join(x.dir, file)); strings.Contains(string(b), what) {
				return nil
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s does not say %q after %v", x.name, what, pppPatience)
		}
	}
}
