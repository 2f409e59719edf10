package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"spanwire/cookie"
)

const cookieHelp = `Cookie prints a pair of random cookies as lines to paste: the first two into a
session of this side's file, the last two into the same session of the other's.

A cookie keeps strangers' frames out of a session. It is no encryption: who can
see the traffic can read it. RFC 3931 section 8.2 wants 8 octets.`

const cookieExample = `  spanwire cookie
  spanwire cookie --size 4    # for a peer that takes no more`

func cookieCommand() *cobra.Command {
	var size int
	cmd := &cobra.Command{
		Use:     "cookie",
		Short:   "Print a pair of cookies to paste into both configurations",
		Long:    cookieHelp,
		Example: cookieExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			here, err := cookie.New(size)
			if err != nil {
				return exit{exitUsage, fmt.Errorf("--size: %w", err)}
			}
			there, err := cookie.New(size)
			if err != nil {
				return err
			}
			const pair = "receive_cookie = %q\nsend_cookie    = %q\n"
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "# this side\n"+pair+"\n# the other side\n"+pair,
				here.Hex(), there.Hex(), there.Hex(), here.Hex())
			return err
		},
	}
	cmd.Flags().IntVar(&size, "size", cookie.DefaultSize, "`OCTETS` of each cookie: 0, 4 or 8")
	return cmd
}
