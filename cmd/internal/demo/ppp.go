package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"spanwire/cmd/internal/api"
	"spanwire/testbed/netlab"
)

const pppHelp = `Ppp makes two sites in network namespaces of its own and runs Spanwire in each: paris is
an LNS of L2TPv2 (RFC 2661) with one user, behind which there is a host, and lyon dials
in as that user. MS-CHAPv2 proves who each is, and lyon gets an address and a prefix out
of paris's pools; the whole dialogue is shown as it crossed the network between. Ping
reaches the host over IPv4 and IPv6, then the LNS ends the link, and lyon dials again.`

// Where the host is to lyon, and where lyon's addresses come from.
var (
	officeNets = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/64")}
	poolNets   = []netip.Prefix{netip.MustParsePrefix("10.20.0.0/24"), netip.MustParsePrefix("2001:db8:20::/48")}
	officeEnds = []netip.Prefix{netip.MustParsePrefix("198.51.100.1/24"), netip.MustParsePrefix("2001:db8::1/64")}
)

// dialUser is who dials in.
const dialUser = "alice"

// dialIn shows that a client dials in to an LNS.
func dialIn(ctx context.Context, d *demo) error {
	client, server := d.sites[0], d.sites[1]
	d.tell("Two sites: client with Spanwire == network == LNS with Spanwire -- host\n")
	if err := d.office(server); err != nil {
		return err
	}
	password := rand.Text()
	users := filepath.Join(d.dir, "users.toml")
	text := fmt.Sprintf("[user.%s]\npassword = %q\n", dialUser, password)
	if err := os.WriteFile(users, []byte(text), 0o600); err != nil {
		return err
	}
	d.tell("\n--- users.toml of %s\n%s", server.name, text)
	if err := d.configure(func(_ int, s *site) string {
		if s == client {
			return fmt.Sprintf(`version = 2
ppp     = "head"

[ppp.head]
mode     = "client"
tun      = "head0"
user     = %q
password = %q
routes   = ["%v", "%v"]
`, dialUser, password, officeNets[0], officeNets[1])
		}
		return fmt.Sprintf(`version = 2
ppp     = "branches"

[ppp.branches]
mode       = "lns"
tun        = "branches0"
address    = "10.20.0.1"
pool       = "%v"
ipv6_pool  = "%v"
dns        = ["%v"]
users_file = %q
`, poolNets[0], poolNets[1], netip.MustParsePrefix(server.host4).Addr(), users)
	}); err != nil {
		return err
	}
	wan, err := client.router.Capture("wan")
	if err != nil {
		return err
	}
	defer wan.Close()
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.dialled(ctx, ""); err != nil {
		return err
	}
	if err := d.visit(); err != nil {
		return err
	}
	d.tell("\n--- on the network between: L2TPv2, and PPP in it\n")
	for _, want := range []string{"SCCRQ", "ICCN", "LCP Configure-Ack", "CHAP Response", "IPCP Configure-Ack", "IPV6CP Configure-Ack", "IPv4", "IPv6"} {
		if err := d.crossed(wan, want); err != nil {
			return err
		}
	}
	d.list(d.seen[:min(len(d.seen), 40)])
	if err := d.status(ctx); err != nil {
		return err
	}

	d.tell("\n--- %s ends the link: spanwire disconnect %s\n", server.name, dialUser)
	former, err := server.link(ctx)
	if err != nil {
		return err
	}
	d.seen = nil
	if out, err := exec.CommandContext(ctx, "/proc/self/exe", "disconnect", "--control", server.socket, dialUser).CombinedOutput(); err != nil {
		return fmt.Errorf("disconnect: %w: %s", err, out)
	}
	if err := d.dialled(ctx, former.Name); err != nil {
		return err
	}
	if err := d.crossed(wan, "CDN"); err != nil {
		return err
	}
	i := slices.IndexFunc(d.seen, func(s sight) bool { return strings.Contains(s.line, "Terminate-Request") })
	if i < 0 {
		return errors.New("no Terminate-Request was seen")
	}
	d.list(d.seen[i:min(len(d.seen), i+8)])
	return d.visit()
}

// office makes the LAN behind the LNS, which forwards between it and its links.
func (d *demo) office(s *site) error {
	if err := d.lab.Veth(s.host, "eth0", s.router, "lan", 1500); err != nil {
		return err
	}
	if err := errors.Join(s.router.Addr("lan", officeEnds...), s.addresses("eth0")); err != nil {
		return err
	}
	for i, to := range poolNets {
		if err := s.host.Route(to, officeEnds[i].Addr()); err != nil {
			return err
		}
	}
	return s.router.Do(func() error {
		return errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0), os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
	})
}

// link returns the one link of a site that carries packets, by its status.
func (s *site) link(ctx context.Context) (api.Link, error) {
	status, err := api.Dial(s.socket).Status(ctx)
	if err != nil {
		return api.Link{}, err
	}
	for _, p := range status.PPP {
		for _, l := range p.Links {
			if !l.Since.IsZero() && l.IPCP == "Opened" && l.IPV6CP == "Opened" {
				return l, nil
			}
		}
	}
	return api.Link{}, errors.New("there is no link")
}

// dialled waits until both ends have a link of both families that is another than the
// former one, and lyon its address of IPv6.
func (d *demo) dialled(ctx context.Context, former string) error {
	began := time.Now()
	for _, s := range d.sites {
		if err := s.await(ctx, "a link", func(*api.Status) bool {
			l, err := s.link(ctx)
			return err == nil && (s != d.sites[1] || l.Name != former)
		}); err != nil {
			return err
		}
	}
	l, err := d.sites[1].link(ctx)
	if err != nil {
		return err
	}
	d.tell("\n--- %s is in after %v: %s and %s, by %s\n", l.User, time.Since(began).Round(time.Millisecond), l.Address, l.Prefix, l.Method)
	if l.User != dialUser || l.Method != "mschapv2" || !strings.HasPrefix(l.Address, "10.20.0.") || !strings.HasPrefix(l.Prefix, "2001:db8:20:") {
		return fmt.Errorf("that is not who was to come: %+v", l)
	}
	return nil
}

// visit pings the host behind the LNS from the client.
func (d *demo) visit() error {
	d.tell("\n--- from lyon to the host in paris\n")
	for _, prefix := range []string{d.sites[1].host4, d.sites[1].host6} {
		to := netip.MustParsePrefix(prefix).Addr()
		var rtt time.Duration
		var from net.IP
		err := d.sites[0].router.Do(func() (err error) {
			if rtt, err = ping(to, 8*time.Second); err != nil {
				return err
			}
			c, err := net.Dial("udp", netip.AddrPortFrom(to, 9).String())
			if err != nil {
				return err
			}
			from = c.LocalAddr().(*net.UDPAddr).IP
			return c.Close()
		})
		if err != nil {
			return err
		}
		d.tell("ping %-16s answered in %v, from %s\n", to, rtt.Round(10*time.Microsecond), from)
	}
	return nil
}

// crossed waits until something was seen on the network between.
func (d *demo) crossed(wan *netlab.Capture, want string) error {
	for end := time.Now().Add(5 * time.Second); ; {
		if slices.ContainsFunc(d.seen, func(s sight) bool { return strings.Contains(s.line, want) }) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("nothing was seen of %q", want)
		}
		d.seen = append(d.seen, drain(wan, "", func(frame []byte) (string, bool) { return decode(frame, decodeEthernet) })...)
	}
}
