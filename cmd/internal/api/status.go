// Package api is the control socket: HTTP and JSON over a unix socket, through
// which a running daemon tells how things stand.
package api

import "time"

// A Status is the answer to GET /v1/status.
type Status struct {
	Node    Node     `json:"node"`
	Drops   Counters `json:"drops"` // of what belongs to no session
	Tunnels []Tunnel `json:"tunnels"`
}

// A Node is the daemon itself.
type Node struct {
	Hostname string    `json:"hostname"`
	RouterID string    `json:"router_id,omitempty"`
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
}

// Counters are numbers by name. Those for drops are named by pseudowire.Drop;
// every counter is there, whatever its value.
type Counters map[string]uint64

// A Tunnel is one tunnel. Its addresses have a port over UDP and none over IP,
// and are empty while they are unknown.
type Tunnel struct {
	Name         string    `json:"name"`
	Mode         string    `json:"mode"`
	Encap        string    `json:"encap"`
	State        string    `json:"state"`
	Since        time.Time `json:"since"` // in this state
	Local        string    `json:"local"`
	Peer         string    `json:"peer"`
	PeerName     string    `json:"peer_name,omitempty"`
	PathMTU      int       `json:"path_mtu"` // octets of an IP packet, 0: unknown yet
	LastError    string    `json:"last_error,omitempty"`
	LastReceived time.Time `json:"last_received,omitzero"`
	Socket       *Socket   `json:"socket,omitempty"` // not there: not open yet
	Sessions     []Session `json:"sessions"`
}

// A Socket is what the kernel gave a tunnel's socket, which tunnels may share.
type Socket struct {
	ReceiveBuffer int `json:"receive_buffer"` // octets
	SendBuffer    int `json:"send_buffer"`
}

// A Session is one pseudowire and its local segment. Of its cookies it tells the
// size alone.
type Session struct {
	Name                string    `json:"name"` // "paris/office"
	Pseudowire          string    `json:"pseudowire"`
	SessionID           uint32    `json:"session_id"`
	PeerSessionID       uint32    `json:"peer_session_id"`
	ReceiveCookieOctets int       `json:"receive_cookie_octets"`
	SendCookieOctets    int       `json:"send_cookie_octets"`
	Sublayer            string    `json:"sublayer"`
	Sequencing          string    `json:"sequencing"`
	TAP                 string    `json:"tap"`
	Bridge              string    `json:"bridge,omitempty"`
	MTU                 int       `json:"mtu"` // of the TAP
	LastReceived        time.Time `json:"last_received,omitzero"`
	Hint                string    `json:"hint,omitempty"`
	Counters            Counters  `json:"counters"`
}
