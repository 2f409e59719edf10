package main

import (
	"encoding/json"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

const stationsHelp = `Stations tells behind which port of a hub each station was last heard, and how
many seconds ago.`

func stationsCommand() *cobra.Command {
	var at target
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "stations HUB [--control SOCKET | -c FILE]",
		Short:   "Tell where the stations of a hub are",
		Long:    stationsHelp,
		Example: "  spanwire stations lab",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := at.dial()
			if err != nil {
				return err
			}
			all, err := client.Stations(cmd.Context(), args[0])
			if err != nil {
				return unanswered(err)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return json.NewEncoder(out).Encode(all)
			}
			table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			row(table, "STATION", "VLAN", "PORT", "SILENT")
			for _, s := range all {
				silent := any(s.Silent)
				if s.Static {
					silent = "static"
				}
				row(table, s.MAC, number(uint32(s.VLAN)), s.Port, silent)
			}
			return table.Flush()
		},
	}
	at.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what the daemon answers, in JSON")
	return cmd
}
