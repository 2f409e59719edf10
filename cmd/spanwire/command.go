package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"spanwire/cmd/internal/api"
)

// verbs are the commands that a daemon carries out.
var verbs = []struct{ verb, short, long, example string }{
	{"up", "Open a tunnel or a session that is down",
		`Up opens a tunnel or a session that "spanwire down" has closed. One that waits for
its next attempt tries at once.`,
		`  spanwire up paris
  spanwire up paris/office`},
	{"down", "Close a tunnel or a session until up",
		`Down closes a tunnel by StopCCN, or a session of it by CDN, and keeps it closed
until "spanwire up" or until the daemon starts anew. A peer that asks is refused.`,
		`  spanwire down paris
  spanwire down paris/office`},
	{"roll", "Exchange a session's cookies and IDs without losing a frame",
		`Roll has another session, with new cookies and session IDs, take over from an
established one. The former goes on to receive until what is on its way has come.`,
		`  spanwire roll paris/office`},
	{"disconnect", "End a link of PPP",
		`Disconnect ends the links of a user, the one that has an address or is behind it, or
the one that "spanwire status" shows by that name. The other side is told. It may come
again: a user who shall not is to be taken out of the file of users first.`,
		`  spanwire disconnect alice
  spanwire disconnect 10.20.0.7
  spanwire disconnect phones#17/4`},
}

// daemonCommands returns the commands that a daemon carries out.
func daemonCommands() (all []*cobra.Command) {
	for _, v := range verbs {
		var at target
		name := "TUNNEL[/SESSION]"
		switch v.verb {
		case "roll":
			name = "TUNNEL/SESSION"
		case "disconnect":
			name = "USER|ADDRESS|LINK"
		}
		cmd := &cobra.Command{
			Use:     v.verb + " " + name + " [--control SOCKET | -c FILE]",
			Short:   v.short,
			Long:    v.long,
			Example: v.example,
			Args:    cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				client, err := at.dial()
				if err != nil {
					return err
				}
				return unanswered(client.Do(cmd.Context(), v.verb, args[0]))
			},
		}
		at.flags(cmd)
		all = append(all, cmd)
	}
	return all
}

const watchHelp = `Watch follows what happens to a daemon's tunnels, sessions and links, a line each, until it
is interrupted or the daemon ends. --json prints each as a line of JSON.`

const watchExample = `  spanwire watch
  spanwire watch --json | jq 'select(.event == "session down")'`

func watchCommand() *cobra.Command {
	var at target
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "watch [--control SOCKET | -c FILE]",
		Short:   "Follow what happens to tunnels and sessions",
		Long:    watchHelp,
		Example: watchExample,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := at.dial()
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			out := cmd.OutOrStdout()
			var last uint64
			return unanswered(client.Watch(ctx, func(e api.Event) error {
				defer func() { last = e.Number }()
				if asJSON {
					return json.NewEncoder(out).Encode(e)
				}
				if last != 0 && e.Number > last+1 {
					fmt.Fprintf(out, "%d events were missed\n", e.Number-last-1)
				}
				return tell(out, &e)
			}))
		},
	}
	at.flags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each event as a line of JSON")
	return cmd
}

// tell prints an event as a line for a person.
func tell(w io.Writer, e *api.Event) error {
	words := []string{e.Time.Local().Format("15:04:05.000"), e.Event}
	if e.Link != "" {
		words = append(words, tellLink(e)...)
	} else if e.Session != "" {
		words = append(words, e.Session)
	} else if e.Tunnel != "" {
		words = append(words, e.Tunnel)
	}
	if e.Link == "" && e.Session == "" && e.Peer != "" {
		words = append(words, "peer "+strings.TrimSpace(e.Host+" "+e.Peer))
	}
	if e.ID != 0 {
		words = append(words, fmt.Sprintf("id %d/%d", e.ID, e.PeerID))
	}
	if e.Circuit != "" {
		words = append(words, "peer's circuit "+e.Circuit)
	}
	if n := e.Errors; n != nil {
		words = append(words, fmt.Sprintf("hardware overruns %d, buffer overruns %d, timeout errors %d, alignment errors %d",
			n.HardwareOverruns, n.BufferOverruns, n.TimeoutErrors, n.AlignmentErrors))
	}
	if e.Reason != "" {
		words = append(words, "- "+e.Reason)
	}
	if !e.Next.IsZero() {
		words = append(words, "- again in "+e.Next.Sub(e.Time).Round(100*time.Millisecond).String())
	}
	_, err := fmt.Fprintln(w, strings.Join(words, "  "))
	return err
}
