package l2tpv2

// The state tables of RFC 2661 section 7, row by row. What a message is, and
// whether it is acceptable, is decided before it becomes an event; an action
// queues messages and events for the owner, and is never an event itself.

// A State is a state of a tunnel or of a session, named as RFC 2661 section 7
// names it.
type State uint8

// The states.
const (
	Idle State = iota
	// Of a tunnel.
	WaitCtlReply
	WaitCtlConn
	// Of a session.
	WaitTunnel
	WaitReply
	WaitConnect
	WaitCSAnswer
	// Of both.
	Established

	states
)

var stateNames = [states]string{
	Idle:         "idle",
	WaitCtlReply: "wait-ctl-reply",
	WaitCtlConn:  "wait-ctl-conn",
	WaitTunnel:   "wait-tunnel",
	WaitReply:    "wait-reply",
	WaitConnect:  "wait-connect",
	WaitCSAnswer: "wait-cs-answer",
	Established:  "established",
}

// String returns the name that RFC 2661 gives the state.
func (s State) String() string {
	if s < states {
		return stateNames[s]
	}
	return "unknown"
}

// An event is what moves a machine.
type event uint8

const (
	// Of a tunnel.
	localOpen event = iota
	localClose
	rcvSCCRQ     // acceptable
	rcvSCCRQBad  // not acceptable
	rcvSCCRQLost // it won the tie
	rcvSCCRP
	rcvSCCRPBad
	rcvSCCCN
	rcvSCCCNBad
	rcvStopCCN
	// Of a session. Its request is an ICRQ or OCRQ, the reply an ICRP or OCRP,
	// and connected an ICCN or OCCN.
	tunnelOpen
	rcvRequest
	rcvRequestBad
	rcvReply
	rcvReplyBad
	rcvConnected
	rcvConnectedBad
	rcvCDN
	bearerAnswer
	bearerFailure

	events
)

// An action is what a machine does when it moves.
type action uint8

const (
	impossible action = iota // the table has no such row: the event cannot be
	none
	cleanUp // nothing is sent
	sendSCCRQ
	sendSCCRP
	sendSCCCN // and tell the sessions that wait
	openWaiting
	sendStopCCN // and clean up
	sendRequest
	sendReply
	sendConnected
	prepareData
	sendCDN // and clean up
)

// A step is what an event does in a state.
type step struct {
	action action
	next   State
}

type table [states][events]step

func (t *table) step(s State, e event) step {
	if row := t[s][e]; row.action != impossible {
		return row
	}
	return step{impossible, s}
}

// tunnelSteps is RFC 2661 section 7.2.1. In idle after a tunnel there is a StopCCN
// on its way already, or the peer has sent one; what names a Tunnel ID that is
// nobody's is dropped by Node.Receive.
var tunnelSteps = table{
	Idle: {
		localOpen:   {sendSCCRQ, WaitCtlReply},
		rcvSCCRQ:    {sendSCCRP, WaitCtlConn},
		rcvSCCRQBad: {sendStopCCN, Idle},
		rcvSCCRP:    {none, Idle},
		rcvSCCRPBad: {none, Idle},
		rcvSCCCN:    {cleanUp, Idle},
		rcvSCCCNBad: {cleanUp, Idle},
		rcvStopCCN:  {cleanUp, Idle},
		localClose:  {none, Idle},
	},
	WaitCtlReply: {
		rcvSCCRP:     {sendSCCCN, Established},
		rcvSCCRPBad:  {sendStopCCN, Idle},
		rcvSCCRQLost: {cleanUp, Idle}, // and the peer's is a tunnel of its own
		rcvSCCCN:     {sendStopCCN, Idle},
		rcvSCCCNBad:  {sendStopCCN, Idle},
		rcvStopCCN:   {cleanUp, Idle},
		// The RFC has no rows for these: they are an SCCRQ in the wrong state,
		// and a local close.
		rcvSCCRQ:    {sendStopCCN, Idle},
		rcvSCCRQBad: {sendStopCCN, Idle},
		localClose:  {sendStopCCN, Idle},
	},
	WaitCtlConn: {
		rcvSCCCN:    {openWaiting, Established},
		rcvSCCCNBad: {sendStopCCN, Idle},
		rcvSCCRP:    {sendStopCCN, Idle},
		rcvSCCRPBad: {sendStopCCN, Idle},
		rcvSCCRQ:    {sendStopCCN, Idle},
		rcvSCCRQBad: {sendStopCCN, Idle},
		rcvStopCCN:  {cleanUp, Idle},
		localClose:  {sendStopCCN, Idle}, // no row of the RFC's
	},
	Established: {
		localOpen:   {openWaiting, Established},
		localClose:  {sendStopCCN, Idle},
		rcvSCCRQ:    {sendStopCCN, Idle},
		rcvSCCRQBad: {sendStopCCN, Idle},
		rcvSCCRP:    {sendStopCCN, Idle},
		rcvSCCRPBad: {sendStopCCN, Idle},
		rcvSCCCN:    {sendStopCCN, Idle},
		rcvSCCCNBad: {sendStopCCN, Idle},
		rcvStopCCN:  {cleanUp, Idle},
	},
}

// A role is our side of a call.
type role uint8

const (
	lacIncoming role = iota
	lnsIncoming
	lacOutgoing
	lnsOutgoing
)

var sessionSteps = [...]table{
	// RFC 2661 section 7.4.1.
	lacIncoming: {
		Idle: {
			localOpen:       {none, WaitTunnel},
			rcvConnected:    {cleanUp, Idle},
			rcvConnectedBad: {cleanUp, Idle},
			rcvReply:        {cleanUp, Idle},
			rcvReplyBad:     {cleanUp, Idle},
			rcvCDN:          {cleanUp, Idle},
		},
		WaitTunnel: {
			localClose: {cleanUp, Idle},
			tunnelOpen: {sendRequest, WaitReply},
		},
		WaitReply: {
			rcvReply:        {sendConnected, Established},
			rcvReplyBad:     {sendCDN, Idle},
			rcvRequest:      {sendCDN, Idle},
			rcvRequestBad:   {sendCDN, Idle},
			rcvCDN:          {cleanUp, Idle},
			rcvConnected:    {cleanUp, Idle},
			rcvConnectedBad: {cleanUp, Idle},
			localClose:      {sendCDN, Idle},
		},
		Established: {
			rcvCDN:          {cleanUp, Idle},
			rcvRequest:      {sendCDN, Idle},
			rcvRequestBad:   {sendCDN, Idle},
			rcvReply:        {sendCDN, Idle},
			rcvReplyBad:     {sendCDN, Idle},
			rcvConnected:    {sendCDN, Idle},
			rcvConnectedBad: {sendCDN, Idle},
			localClose:      {sendCDN, Idle},
		},
	},
	// RFC 2661 section 7.4.2.
	lnsIncoming: {
		Idle: {
			rcvRequest:      {sendReply, WaitConnect},
			rcvRequestBad:   {sendCDN, Idle},
			rcvReply:        {sendCDN, Idle},
			rcvReplyBad:     {sendCDN, Idle},
			rcvConnected:    {cleanUp, Idle},
			rcvConnectedBad: {cleanUp, Idle},
			rcvCDN:          {cleanUp, Idle},
		},
		WaitConnect: {
			rcvConnected:    {prepareData, Established},
			rcvConnectedBad: {sendCDN, Idle},
			rcvRequest:      {sendCDN, Idle},
			rcvRequestBad:   {sendCDN, Idle},
			rcvReply:        {sendCDN, Idle},
			rcvReplyBad:     {sendCDN, Idle},
			rcvCDN:          {cleanUp, Idle},
			localClose:      {sendCDN, Idle},
		},
		Established: {
			rcvCDN:          {cleanUp, Idle},
			localClose:      {sendCDN, Idle},
			rcvRequest:      {sendCDN, Idle},
			rcvRequestBad:   {sendCDN, Idle},
			rcvReply:        {sendCDN, Idle},
			rcvReplyBad:     {sendCDN, Idle},
			rcvConnected:    {sendCDN, Idle},
			rcvConnectedBad: {sendCDN, Idle},
		},
	},
	// RFC 2661 section 7.5.1.
	lacOutgoing: {
		Idle: {
			rcvRequest:      {sendReply, WaitCSAnswer},
			rcvRequestBad:   {sendCDN, Idle},
			rcvReply:        {sendCDN, Idle},
			rcvReplyBad:     {sendCDN, Idle},
			rcvConnected:    {cleanUp, Idle},
			rcvConnectedBad: {cleanUp, Idle},
			rcvCDN:          {cleanUp, Idle},
		},
		WaitCSAnswer: {
			bearerAnswer:    {sendConnected, Established},
			bearerFailure:   {sendCDN, Idle},
			rcvRequest:      {sendCDN, Idle},
			rcvRequestBad:   {sendCDN, Idle},
			rcvReply:        {sendCDN, Idle},
			rcvReplyBad:     {sendCDN, Idle},
			rcvConnected:    {sendCDN, Idle},
			rcvConnectedBad: {sendCDN, Idle},
			rcvCDN:          {cleanUp, Idle},
			localClose:      {sendCDN, Idle}, // no row of the RFC's: the bearer fails
		},
		Established: {
			rcvRequest:      {sendCDN, Idle},
			rcvRequestBad:   {sendCDN, Idle},
			rcvReply:        {sendCDN, Idle},
			rcvReplyBad:     {sendCDN, Idle},
			rcvConnected:    {sendCDN, Idle},
			rcvConnectedBad: {sendCDN, Idle},
			rcvCDN:          {cleanUp, Idle},
			localClose:      {sendCDN, Idle},
			bearerFailure:   {sendCDN, Idle}, // the line drops
		},
	},
	// RFC 2661 section 7.5.2.
	lnsOutgoing: {
		Idle: {
			localOpen:       {none, WaitTunnel},
			rcvConnected:    {cleanUp, Idle},
			rcvConnectedBad: {cleanUp, Idle},
			rcvReply:        {cleanUp, Idle},
			rcvReplyBad:     {cleanUp, Idle},
			rcvCDN:          {cleanUp, Idle},
		},
		WaitTunnel: {
			tunnelOpen: {sendRequest, WaitReply},
			localClose: {cleanUp, Idle},
		},
		WaitReply: {
			rcvReply:        {none, WaitConnect},
			rcvReplyBad:     {sendCDN, Idle},
			rcvConnected:    {sendCDN, Idle},
			rcvConnectedBad: {sendCDN, Idle},
			rcvRequest:      {sendCDN, Idle},
			rcvRequestBad:   {sendCDN, Idle},
			rcvCDN:          {cleanUp, Idle},
			localClose:      {sendCDN, Idle},
		},
		WaitConnect: {
			rcvConnected: {prepareData, Established},
			// The RFC has no row for an OCCN that is not acceptable.
			rcvConnectedBad: {sendCDN, Idle},
			rcvRequest:      {sendCDN, Idle},
			rcvRequestBad:   {sendCDN, Idle},
			rcvReply:        {sendCDN, Idle},
			rcvReplyBad:     {sendCDN, Idle},
			rcvCDN:          {cleanUp, Idle},
			localClose:      {sendCDN, Idle},
		},
		Established: {
			rcvCDN:          {cleanUp, Idle},
			rcvRequest:      {sendCDN, Idle},
			rcvRequestBad:   {sendCDN, Idle},
			rcvReply:        {sendCDN, Idle},
			rcvReplyBad:     {sendCDN, Idle},
			rcvConnected:    {sendCDN, Idle},
			rcvConnectedBad: {sendCDN, Idle},
			localClose:      {sendCDN, Idle},
		},
	},
}
