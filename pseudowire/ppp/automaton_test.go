package ppp

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
)

// stateTransitionTable is RFC 1661 section 4.1, as it stands there.
const stateTransitionTable = `
      | State
      |    0         1         2         3         4         5
Events| Initial   Starting  Closed    Stopped   Closing   Stopping
------+-----------------------------------------------------------
 Up   |    2     irc,scr/6     -         -         -         -
 Down |    -         -         0       tls/1       0         1
 Open |  tls/1       1     irc,scr/6     3r        5r        5r
 Close|    0       tlf/0       2         2         4         4
      |
  TO+ |    -         -         -         -       str/4     str/5
  TO- |    -         -         -         -       tlf/2     tlf/3
      |
 RCR+ |    -         -       sta/2 irc,scr,sca/8   4         5
 RCR- |    -         -       sta/2 irc,scr,scn/6   4         5
 RCA  |    -         -       sta/2     sta/3       4         5
 RCN  |    -         -       sta/2     sta/3       4         5
      |
 RTR  |    -         -       sta/2     sta/3     sta/4     sta/5
 RTA  |    -         -         2         3       tlf/2     tlf/3
      |
 RUC  |    -         -       scj/2     scj/3     scj/4     scj/5
 RXJ+ |    -         -         2         3         4         5
 RXJ- |    -         -       tlf/2     tlf/3     tlf/2     tlf/3
      |
 RXR  |    -         -         2         3         4         5
      | State
      |    6         7         8           9
Events| Req-Sent  Ack-Rcvd  Ack-Sent    Opened
------+-----------------------------------------
 Up   |    -         -         -           -
 Down |    1         1         1         tld/1
 Open |    6         7         8           9r
 Close|irc,str/4 irc,str/4 irc,str/4 tld,irc,str/4
      |
  TO+ |  scr/6     scr/6     scr/8         -
  TO- |  tlf/3p    tlf/3p    tlf/3p        -
      |
 RCR+ |  sca/8   sca,tlu/9   sca/8   tld,scr,sca/8
 RCR- |  scn/6     scn/7     scn/6   tld,scr,scn/6
 RCA  |  irc/7     scr/6x  irc,tlu/9   tld,scr/6x
 RCN  |irc,scr/6   scr/6x  irc,scr/8   tld,scr/6x
      |
 RTR  |  sta/6     sta/6     sta/6   tld,zrc,sta/5
 RTA  |    6         6         8       tld,scr/6
      |
 RUC  |  scj/6     scj/7     scj/8       scj/9
 RXJ+ |    6         6         8           9
 RXJ- |  tlf/3     tlf/3     tlf/3   tld,irc,str/5
      |
 RXR  |    6         7         8         ser/9
`

// TestStateTransitionTable compares the steps with the RFC's own text. Its footnotes
// [p], [r] and [x] are explained there, and change nothing but for who takes the
// options.
func TestStateTransitionTable(t *testing.T) {
	rows := map[string]event{
		"Up": up, "Down": down, "Open": open, "Close": closing, "TO+": toPlus, "TO-": toMinus,
		"RCR+": rcrPlus, "RCR-": rcrMinus, "RCA": rca, "RCN": rcn, "RTR": rtr, "RTA": rta,
		"RUC": ruc, "RXJ+": rxjPlus, "RXJ-": rxjMinus, "RXR": rxr,
	}
	actions := map[string]step{
		"tlu": tlu, "tld": tld, "tls": tls, "tlf": tlf, "irc": irc, "zrc": zrc, "scr": scr,
		"sca": sca, "scn": scn, "str": str, "sta": sta, "scj": scj, "ser": ser,
	}
	var seen [events][states]bool
	first := State(0) // of the half that is being read
	for lines := bufio.NewScanner(strings.NewReader(stateTransitionTable)); lines.Scan(); {
		name, cells, ok := strings.Cut(lines.Text(), "|")
		if name = strings.TrimSpace(name); !ok {
			continue
		}
		if strings.Contains(cells, "Req-Sent") {
			first = ReqSent
		}
		e, ok := rows[name]
		if !ok {
			continue
		}
		for i, cell := range strings.Fields(cells) {
			s := first + State(i)
			want := dash
			if cell != "-" {
				before, after, found := strings.Cut(cell, "/")
				if !found {
					before, after = "", cell
				}
				var next State
				if _, err := fmt.Sscanf(after, "%d", &next); err != nil {
					t.Fatalf("%s: %q: %v", name, cell, err)
				}
				want = legal | step(next)
				for a := range strings.SplitSeq(before, ",") {
					if a != "" && actions[a] == 0 {
						t.Fatalf("%s: action %q", name, a)
					}
					want |= actions[a]
				}
			}
			if got := steps[e][s]; got != want {
				t.Errorf("%s in %v: %#x, want %#x, %q", name, s, got, want, cell)
			}
			seen[e][s] = true
		}
	}
	for e, row := range seen {
		for s, ok := range row {
			if !ok {
				t.Errorf("event %d in %v: not found in the RFC's text", e, State(s))
			}
		}
	}
}

// TestTimedStates: "The states in which the Restart timer is running are identifiable
// by the presence of TO events."
func TestTimedStates(t *testing.T) {
	for s := Initial; s < states; s++ {
		if got, want := s.timed(), steps[toPlus][s] != dash; got != want {
			t.Errorf("%v: timed %v, want %v", s, got, want)
		}
	}
	if states.String() != "unknown" || AckRcvd.String() != "Ack-Rcvd" {
		t.Errorf("%v, %v", states, AckRcvd)
	}
}
