package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/decode"
	"spanwire/config"
	"spanwire/l2tpv3/wire"
)

const decodeHelp = `Decode prints the control messages of a capture, pcap or pcapng, over UDP port 1701 and
IP protocol 115: a line for the header, then a line for each AVP, with M where it is
mandatory and H where it was hidden; of L2TPv2 also what PPP says, LCP, authentication,
IPCP and so on, a line each. Cookies and passwords are not shown. A message of which the
capture has not all, or that was sent in fragments, is named and not decoded.

With a secret it verifies the Message Digests, of L2TPv2 the Challenge Responses, and
shows what is hidden. Where the secret was changed give both. A digest is "not checked"
without the secret, or where the capture began when the connection was up already. Exit
code 1 means that a digest is wrong, a message malformed, or the file damaged. FILE - is
standard input.`

const decodeExample = `  tcpdump -w t.pcap udp port 1701
  spanwire decode t.pcap --secret-file /etc/spanwire/paris.secret
  tcpdump -U -w - ip proto 115 | spanwire decode -`

func decodeCommand() *cobra.Command {
	var files, texts []string
	cmd := &cobra.Command{
		Use:     "decode FILE",
		Short:   "Print the control messages of a capture and verify their digests",
		Long:    decodeHelp,
		Example: decodeExample,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var secrets []*wire.Secret
			var secretsV2 []*wire.SecretV2
			for _, name := range files {
				s, v2, err := config.LoadSecret(name)
				if err != nil {
					return exit{exitUsage, err}
				}
				secrets, secretsV2 = append(secrets, s), append(secretsV2, v2)
			}
			for _, text := range texts {
				if text == "" {
					return exit{exitUsage, errors.New("--secret: want 1 octet at least")}
				}
				secrets, secretsV2 = append(secrets, wire.NewSecret([]byte(text))), append(secretsV2, wire.NewSecretV2([]byte(text)))
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return exit{exitUsage, err}
				}
				defer file.Close()
				in = file
			}
			n, err := decode.Print(cmd.OutOrStdout(), in, secrets, secretsV2)
			if err == nil || n.Packets > 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), n)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if n.Wrong > 0 || n.Malformed > 0 {
				return errors.New("the capture has wrong digests or malformed messages")
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&files, "secret-file", nil, "the shared secret is in `FILE`; may be given twice")
	cmd.Flags().StringArrayVar(&texts, "secret", nil, "the shared `SECRET`, which other users of this machine can see in the list of processes")
	return cmd
}
