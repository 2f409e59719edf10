// Package api is the control socket: HTTP and JSON over a unix socket, through
// which a running daemon tells how things stand.
package api

import "time"

// A Status is the answer to GET /v1/status.
type Status struct {
	Node    Node     `json:"node"`
	Drops   Counters `json:"drops"`           // of what belongs to no session
	Refused Counters `json:"control_refused"` // control messages that were not acted upon
	// Refusals tell more of those, for which there were any.
	Refusals []Refusal `json:"control_refusals,omitempty"`
	Tunnels  []Tunnel  `json:"tunnels"`
	Hubs     []Hub     `json:"hubs,omitempty"`
	Serials  []Serial  `json:"serials,omitempty"`
	PPP      []PPP     `json:"ppp,omitempty"`
	RADIUS   []RADIUS  `json:"radius,omitempty"`
}

// A Refusal is a reason for which control messages were not acted upon, and the
// last of them.
type Refusal struct {
	Reason  string    `json:"reason"` // as in Status.Refused
	Count   uint64    `json:"count"`
	Last    time.Time `json:"last"`
	From    string    `json:"from"`    // the last one's source
	Meaning string    `json:"meaning"` // for a person
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

// Add adds those of another to c.
func (c Counters) Add(other Counters) {
	for name, n := range other {
		c[name] += n
	}
}

// A Tunnel is one tunnel. Its addresses have a port over UDP and none over IP,
// and are empty while they are unknown.
type Tunnel struct {
	Name         string    `json:"name"`
	Mode         string    `json:"mode"`
	Version      int       `json:"version"` // of L2TP: 3 or 2
	Encap        string    `json:"encap"`
	State        string    `json:"state"`
	Since        time.Time `json:"since"` // in this state
	Local        string    `json:"local"`
	Peer         string    `json:"peer"`
	PeerName     string    `json:"peer_name,omitempty"` // as configured, or from where it may come
	PathMTU      int       `json:"path_mtu"`            // octets of an IP packet, 0: unknown yet
	LastError    string    `json:"last_error,omitempty"`
	LastReceived time.Time `json:"last_received,omitzero"`
	Socket       *Socket   `json:"socket,omitempty"`  // not there: not open yet
	Control      *Control  `json:"control,omitempty"` // not there: static
	Sessions     []Session `json:"sessions"`          // of L2TPv3
	Calls        []PPPCall `json:"calls,omitempty"`   // of L2TPv2
}

// A PPPCall is a call of L2TPv2, with its session. Its link is among those of a PPP.
type PPPCall struct {
	Name          string    `json:"name"` // "phones#17/4711"
	State         string    `json:"state"`
	Since         time.Time `json:"since"`
	Role          string    `json:"role"` // ours: "lac" or "lns"
	SessionID     uint16    `json:"session_id"`
	PeerSessionID uint16    `json:"peer_session_id"`
	SerialNumber  uint32    `json:"serial_number"`
	CalledNumber  string    `json:"called_number,omitempty"`
	CallingNumber string    `json:"calling_number,omitempty"`
	LastReceived  time.Time `json:"last_received,omitzero"`
	Counters      Counters  `json:"counters"`
}

// A Control is how a tunnel's control connection stands.
type Control struct {
	Template         string    `json:"template,omitempty"` // of which the tunnel is an instance
	ConnectionID     uint32    `json:"connection_id"`      // ours
	PeerConnectionID uint32    `json:"peer_connection_id"`
	PeerHostName     string    `json:"peer_host_name,omitempty"`
	PeerRouterID     string    `json:"peer_router_id,omitempty"`
	PeerVendor       string    `json:"peer_vendor,omitempty"`
	PeerCapabilities []string  `json:"peer_capabilities,omitempty"`
	Authenticated    bool      `json:"authenticated"`    // by a secret
	Digest           string    `json:"digest,omitempty"` // of what we send
	Dialect          string    `json:"dialect"`          // ietf or cisco
	Attempts         int       `json:"attempts"`         // since it was last up
	Ups              int       `json:"ups"`              // how often it was up
	NextAttempt      time.Time `json:"next_attempt,omitzero"`
	Heard            time.Time `json:"heard,omitzero"` // a control message
	Window           int       `json:"window"`         // the peer's Receive Window Size
	Congestion       int       `json:"congestion_window"`
	Outstanding      int       `json:"outstanding"` // messages without acknowledgment
	Queued           int       `json:"queued"`
	Sent             uint64    `json:"sent"`
	Received         uint64    `json:"received"`
	Retransmitted    uint64    `json:"retransmitted"`
	Duplicates       uint64    `json:"duplicates"`
	OutOfOrder       uint64    `json:"out_of_order"`
	RTT              float64   `json:"rtt_ms"`
}

// A Call is how a dynamic session stands.
type Call struct {
	State       string    `json:"state"`
	Since       time.Time `json:"since"`
	RemoteEndID string    `json:"remote_end_id"`
	Circuit     string    `json:"circuit"`                 // of the local segment
	PeerCircuit string    `json:"peer_circuit"`            // empty: not told yet
	TxSpeed     uint64    `json:"peer_tx_speed,omitempty"` // the peer's word, bit/s
	RxSpeed     uint64    `json:"peer_rx_speed,omitempty"`
	Channel     uint32    `json:"peer_physical_channel,omitempty"`
	LastError   string    `json:"last_error,omitempty"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	Rollover    time.Time `json:"rollover,omitzero"` // when another session takes over
}

// A Command is the body of POST /v1/up, /v1/down, /v1/roll and /v1/disconnect.
type Command struct {
	Name string `json:"name"` // "TUNNEL" or "TUNNEL/SESSION"; of disconnect a user, an address or a link
}

// A Reloaded is the answer to POST /v1/reload.
type Reloaded struct {
	Users []string `json:"users"` // the profiles of PPP whose users were read again
	// Restart is what the file says otherwise and only a restart takes up.
	Restart []string `json:"restart"`
}

// An Event is a line of the answer to GET /v1/events.
type Event struct {
	Number  uint64    `json:"number"` // from 1; a gap: some were lost
	Time    time.Time `json:"time"`
	Event   string    `json:"event"` // "tunnel up", "session down", ...
	Tunnel  string    `json:"tunnel,omitempty"`
	Version int       `json:"version,omitempty"` // 2: of L2TPv2
	Session string    `json:"session,omitempty"` // or a call of L2TPv2
	Peer    string    `json:"peer,omitempty"`
	Host    string    `json:"host_name,omitempty"` // of the peer
	ID      uint32    `json:"session_id,omitempty"`
	PeerID  uint32    `json:"peer_session_id,omitempty"`
	Circuit string    `json:"circuit,omitempty"` // the peer's
	Reason  string    `json:"reason,omitempty"`
	Next    time.Time `json:"next_attempt,omitzero"`

	Errors *Errors `json:"errors,omitempty"` // of "session errors"

	// Of a link of PPP, which is named by its call.
	Profile   string `json:"ppp,omitempty"`
	Link      string `json:"link,omitempty"`
	User      string `json:"user,omitempty"`
	Method    string `json:"method,omitempty"`
	Address   string `json:"address,omitempty"`
	Prefix    string `json:"prefix,omitempty"`
	Delegated string `json:"delegated,omitempty"`
}

// Errors are those of a peer's circuit, as the peer counts them since the session is
// up.
type Errors struct {
	HardwareOverruns uint32 `json:"hardware_overruns"`
	BufferOverruns   uint32 `json:"buffer_overruns"`
	TimeoutErrors    uint32 `json:"timeout_errors"`
	AlignmentErrors  uint32 `json:"alignment_errors"`
}

// A Socket is what the kernel gave a tunnel's socket, which tunnels may share.
type Socket struct {
	ReceiveBuffer int  `json:"receive_buffer"` // octets
	SendBuffer    int  `json:"send_buffer"`
	Segment       bool `json:"udp_segment"` // the kernel cuts what is sent
	GRO           bool `json:"udp_gro"`     // the kernel joins what comes
}

// A Session is one pseudowire and its local segment. Of its cookies it tells the
// size alone.
type Session struct {
	Name                string `json:"name"` // "paris/office"
	Pseudowire          string `json:"pseudowire"`
	SessionID           uint32 `json:"session_id"`
	PeerSessionID       uint32 `json:"peer_session_id"`
	ReceiveCookieOctets int    `json:"receive_cookie_octets"`
	SendCookieOctets    int    `json:"send_cookie_octets"`
	Sublayer            string `json:"sublayer"`
	Sequencing          string `json:"sequencing"`
	PeerSublayer        string `json:"peer_sublayer"` // in what the peer receives
	PeerSequencing      string `json:"peer_sequencing"`
	Joined
	LastReceived time.Time `json:"last_received,omitzero"`
	Hint         string    `json:"hint,omitempty"`
	Call         *Call     `json:"call,omitempty"` // not there: static
	Counters     Counters  `json:"counters"`
}

// What a device that is joined may be.
const (
	Up      = "up"
	Down    = "down"    // set so, or without a carrier
	Missing = "missing" // it is not there, or cannot be opened
)

// A Joined is what a session or a port of a Hub joins.
type Joined struct {
	TAP       string   `json:"tap"`
	Bridge    string   `json:"bridge,omitempty"`
	Interface string   `json:"interface,omitempty"`
	State     string   `json:"device_state,omitempty"` // of the TAP or the interface: "up", "down" or "missing"
	VLAN      string   `json:"vlan,omitempty"`         // of the segment: "42" or "42.7"
	PeerVLAN  string   `json:"peer_vlan,omitempty"`    // on the pseudowire, or in the Hub, where it is another
	Serial    string   `json:"serial,omitempty"`
	DLCI      uint32   `json:"dlci,omitempty"`
	PVC       string   `json:"pvc,omitempty"` // its status on this side: active, inactive, deleted
	Hub       string   `json:"hub,omitempty"`
	MTU       int      `json:"mtu"`               // of the TAP or the interface
	Offload   string   `json:"offload,omitempty"` // super-frames of the TAP: "tcp+udp", "tcp" or "none"
	Segment   Counters `json:"segment,omitempty"` // frames in are from the segment
}

// A Hub is a learning bridge of sessions and what else is in it.
type Hub struct {
	Name      string    `json:"name"`
	VLANAware bool      `json:"vlan_aware"`
	Stations  int       `json:"stations"` // that are known
	Ports     []HubPort `json:"ports"`
}

// A HubPort is one port of a Hub.
type HubPort struct {
	Name     string   `json:"name"` // "lan", or that of a session
	Group    int      `json:"group"`
	Spoke    bool     `json:"spoke"`
	Stations int      `json:"stations"`        // that were learned behind it
	Disabled bool     `json:"disabled"`        // by a BPDU
	Joins    *Joined  `json:"joins,omitempty"` // nil: a session
	Counters Counters `json:"counters"`        // since the port is one of the Hub's
}

// A Station is where a Hub sends what is for one.
type Station struct {
	MAC    string `json:"mac"`
	VLAN   uint16 `json:"vlan"` // 0 where the Hub does not know of VLANs
	Port   string `json:"port"`
	Static bool   `json:"static"`
	Silent int    `json:"silent_seconds"`
}

// A Serial is a serial line.
type Serial struct {
	Name     string   `json:"name"`
	Line     string   `json:"line"`
	Carries  string   `json:"carries"`       // the type of its sessions' pseudowires
	LMI      *LMI     `json:"lmi,omitempty"` // of a line that carries Frame Relay
	Counters Counters `json:"counters"`
}

// An LMI is how the Local Management Interface of a line stands.
type LMI struct {
	Up   bool   `json:"up"`
	Form string `json:"form"` // "auto": not known yet
	Role string `json:"role,omitempty"`
}
