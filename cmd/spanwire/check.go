package main

import (
	"fmt"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/daemon"
	"spanwire/config"
)

const checkHelp = `Check reads a configuration and says all that is wrong with it, one problem a
line as FILE:LINE: where, what was found, and what was wanted. It opens nothing but
it and the files of secrets and of users that it names. What works but should not stay so is a
warning.

For a good one it prints, by session, the octets that stand in front of each frame
and, of Ethernet, the MTU of a TAP: with mtu = "auto" the one for a path
of 1500 octets. Where the peer has a say, its cookie is taken to be as long as ours. Of a
profile of PPP it prints the MTU of links and how much is in the pools.`

func checkCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:     "check -c FILE",
		Short:   "Say what is wrong with a configuration",
		Long:    checkHelp,
		Example: "  spanwire check -c /etc/spanwire/lyon.toml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := load(file)
			if err != nil {
				return err
			}
			for _, w := range f.Warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s (a warning)\n", w)
			}
			sessions := 0
			for _, t := range f.Tunnels {
				sessions += len(t.Sessions)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s: ok, %s, %s\n", file, count(len(f.Tunnels), "tunnel"), count(sessions, "session"))
			table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			for _, t := range f.Tunnels {
				for _, s := range t.Sessions {
					v6, known := t.V6()
					ip := "IPv4"
					if v6 || !known {
						v6, ip = true, "IPv6"
					}
					s.Params = s.Assumed()
					assumed := ""
					if s.Circuit != nil {
						assumed = fmt.Sprintf("\tpeer's cookie of %v assumed", s.SendCookie)
					}
					mtu := ""
					if s.Kind != config.Serial {
						mtu = fmt.Sprintf("\tmtu %d", daemon.FirstMTU(&t, &s))
					}
					fmt.Fprintf(table, "%s\t%v\toverhead %d over %s%s%s\n", s.Params.Name, s.Params.Pseudowire,
						s.Overhead(t.Encap(), v6), ip, mtu, assumed)
				}
			}
			for i := range f.PPP {
				q := &f.PPP[i]
				pools := ""
				if q.Server != nil {
					for _, name := range slices.Sorted(maps.Keys(q.Server.Pools)) {
						pools += fmt.Sprintf("\t%s of %d", name, q.Server.Pools[name].Size())
					}
				}
				fmt.Fprintf(table, "ppp %s\t%s\ttun %s\tmtu %d%s\n", q.Name, q.Mode, q.TUN(), f.LinkMTU(q), pools)
			}
			return table.Flush()
		},
	}
	fileFlag(cmd, &file, "the configuration, a TOML `FILE`")
	return cmd
}

// count puts a number before its word.
func count(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
