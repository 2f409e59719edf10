package control

// The state tables of RFC 3931 section 7, row by row. What a message is, and
// whether it is acceptable, is decided before it becomes an event; an action
// queues messages and events for the owner, and is never an event itself.

// A State is a state of a control connection or of a session, named as RFC 3931
// section 7 names it.
type State uint8

// The states.
const (
	Idle State = iota
	// Of a control connection.
	WaitCtlReply
	WaitCtlConn
	// Of a session.
	WaitControlConn
	WaitReply
	WaitConnect
	WaitCSAnswer
	// Of both.
	Established

	states
)

var stateNames = [states]string{
	Idle:            "idle",
	WaitCtlReply:    "wait-ctl-reply",
	WaitCtlConn:     "wait-ctl-conn",
	WaitControlConn: "wait-control-conn",
	WaitReply:       "wait-reply",
	WaitConnect:     "wait-connect",
	WaitCSAnswer:    "wait-cs-answer",
	Established:     "established",
}

// String returns the name that RFC 3931 gives the state.
func (s State) String() string {
	if s < states {
		return stateNames[s]
	}
	return "unknown"
}

// An event is what moves a machine.
type event uint8

const (
	// Of a control connection.
	localOpen event = iota
	localClose
	rcvSCCRQ       // acceptable
	rcvSCCRQBad    // not acceptable
	rcvSCCRQLost   // it won the tie, and is answered by a connection of its own
	rcvSCCRQBeaten // it lost the tie
	rcvSCCRP
	rcvSCCRPBad
	rcvSCCCN
	rcvSCCCNBad
	rcvStopCCN
	// Of a session; a call is an incoming or an outgoing one.
	ctlConnOpen
	rcvRequest       // ICRQ, OCRQ, acceptable
	rcvRequestBad    // not acceptable
	rcvRequestLost   // it won the tie
	rcvRequestBeaten // it lost the tie
	rcvReply         // ICRP, OCRP, acceptable
	rcvReplyBad
	rcvConnected // ICCN, OCCN, acceptable
	rcvConnectedBad
	rcvCDN
	callPlaced
	callFailed

	events
)

// An action is what a machine does when it moves.
type action uint8

const (
	impossible action = iota // the table has no such row: the event cannot be
	none
	cleanUp       // nothing is sent
	sendSCCRQ     // and wait
	sendSCCRP     //
	sendSCCCN     // and open for the sessions that wait
	openConn      // open for the sessions that wait
	sendStopCCN   // and clean up
	rejectSCCRQ   // StopCCN for the losing connection
	sendRequest   // ICRQ or OCRQ
	sendReply     // ICRP or OCRP
	sendConnected // ICCN or OCCN, and the session is open
	openSession   // prepare for data
	sendCDN       // and clean up
	rejectRequest // CDN for the losing session
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

// connSteps is RFC 3931 section 7.2. That a message arrives in idle for which no
// connection was ever asked cannot be here: it names a Control Connection ID that
// is nobody's, and is dropped by LCCE.Receive.
var connSteps = table{
	Idle: {
		localOpen:   {sendSCCRQ, WaitCtlReply},
		rcvSCCRQ:    {sendSCCRP, WaitCtlConn},
		rcvSCCRQBad: {sendStopCCN, Idle},
		rcvSCCRP:    {none, Idle}, // in idle there is a StopCCN on its way already,
		rcvSCCRPBad: {none, Idle}, // or the peer has sent one
		rcvSCCCN:    {none, Idle},
		rcvSCCCNBad: {none, Idle},
		rcvStopCCN:  {cleanUp, Idle},
		localClose:  {none, Idle},
	},
	WaitCtlReply: {
		rcvSCCRP:       {sendSCCCN, Established},
		rcvSCCRPBad:    {sendStopCCN, Idle},
		rcvSCCRQLost:   {cleanUp, Idle}, // whose SCCRP is sent by the connection that it opens
		rcvSCCRQBeaten: {rejectSCCRQ, WaitCtlReply},
		rcvSCCRQ:       {sendStopCCN, Idle},
		rcvSCCRQBad:    {sendStopCCN, Idle},
		rcvSCCCN:       {sendStopCCN, Idle},
		rcvSCCCNBad:    {sendStopCCN, Idle},
		rcvStopCCN:     {cleanUp, Idle},
		localClose:     {sendStopCCN, Idle},
	},
	WaitCtlConn: {
		rcvSCCCN:    {openConn, Established},
		rcvSCCCNBad: {sendStopCCN, Idle},
		rcvSCCRQ:    {sendStopCCN, Idle},
		rcvSCCRQBad: {sendStopCCN, Idle},
		rcvSCCRP:    {sendStopCCN, Idle},
		rcvSCCRPBad: {sendStopCCN, Idle},
		rcvStopCCN:  {cleanUp, Idle},
		localClose:  {sendStopCCN, Idle},
	},
	Established: {
		localOpen:   {openConn, Established},
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

// A role is a session's side of the exchange that sets it up.
type role uint8

const (
	icrqSender role = iota
	icrqRecipient
	ocrqSender
	ocrqRecipient
)

var sessionSteps = [...]table{
	// RFC 3931 section 7.3.1.
	icrqSender: {
		Idle: {
			localOpen:       {none, WaitControlConn},
			rcvConnected:    {cleanUp, Idle},
			rcvConnectedBad: {cleanUp, Idle},
			rcvReply:        {cleanUp, Idle},
			rcvReplyBad:     {cleanUp, Idle},
			rcvCDN:          {cleanUp, Idle},
		},
		WaitControlConn: {
			localClose:  {cleanUp, Idle},
			ctlConnOpen: {sendRequest, WaitReply},
		},
		WaitReply: {
			rcvReply:         {sendConnected, Established},
			rcvReplyBad:      {sendCDN, Idle},
			rcvRequestLost:   {cleanUp, Idle}, // and a session of its own is the recipient's
			rcvRequestBeaten: {rejectRequest, WaitReply},
			rcvCDN:           {cleanUp, Idle},
			rcvConnected:     {cleanUp, Idle},
			rcvConnectedBad:  {cleanUp, Idle},
			localClose:       {sendCDN, Idle},
			// The RFC has no row for a request that is addressed to us
			// here, as it has for the other states: it is one received in
			// the wrong state, section 7.1.
			rcvRequest:    {sendCDN, Idle},
			rcvRequestBad: {sendCDN, Idle},
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
	// RFC 3931 section 7.3.2.
	icrqRecipient: {
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
			rcvConnected:    {openSession, Established},
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
	// RFC 3931 section 7.4.1.
	ocrqSender: {
		Idle: {
			localOpen:       {none, WaitControlConn},
			rcvConnected:    {cleanUp, Idle},
			rcvConnectedBad: {cleanUp, Idle},
			rcvReply:        {cleanUp, Idle},
			rcvReplyBad:     {cleanUp, Idle},
			rcvCDN:          {cleanUp, Idle},
		},
		WaitControlConn: {
			ctlConnOpen: {sendRequest, WaitReply},
			localClose:  {cleanUp, Idle},
		},
		WaitReply: {
			rcvReply:         {none, WaitConnect},
			rcvReplyBad:      {sendCDN, Idle},
			rcvConnected:     {sendCDN, Idle},
			rcvConnectedBad:  {sendCDN, Idle},
			rcvRequestLost:   {cleanUp, Idle},
			rcvRequestBeaten: {rejectRequest, WaitReply},
			rcvCDN:           {cleanUp, Idle},
			localClose:       {sendCDN, Idle},
			rcvRequest:       {sendCDN, Idle}, // as for an ICRQ sender
			rcvRequestBad:    {sendCDN, Idle},
		},
		WaitConnect: {
			rcvConnected:    {openSession, Established},
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
	// RFC 3931 section 7.4.2.
	ocrqRecipient: {
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
			callPlaced:      {sendConnected, Established},
			callFailed:      {sendCDN, Idle},
			rcvRequest:      {sendCDN, Idle},
			rcvRequestBad:   {sendCDN, Idle},
			rcvReply:        {sendCDN, Idle},
			rcvReplyBad:     {sendCDN, Idle},
			rcvConnected:    {sendCDN, Idle},
			rcvConnectedBad: {sendCDN, Idle},
			rcvCDN:          {cleanUp, Idle},
			localClose:      {sendCDN, Idle},
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
		},
	},
}
