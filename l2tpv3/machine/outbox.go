package machine

// An Outbox is what is still to be sent: replies to those who have no connection, and
// the connections that may have something. A is where a message goes.
type Outbox[A any, C Sender[A]] struct {
	Replies []Reply[A]
	Ready   []C
}

// A Reply is a message that is not delivered reliably.
type Reply[A any] struct {
	At      A
	Message []byte
}

// A Sender is a connection that sends.
type Sender[A any] interface {
	// Transmit appends the next packet to b; false: there is none.
	Transmit(b []byte) (_ []byte, at A, ok bool)
	// Rest takes note that it left Ready.
	Rest()
}

// Reply has a message be sent.
func (o *Outbox[A, C]) Reply(at A, message []byte) {
	o.Replies = append(o.Replies, Reply[A]{at, message})
}

// Wake has a connection be asked for what it has to send. It must not be in Ready.
func (o *Outbox[A, C]) Wake(c C) { o.Ready = append(o.Ready, c) }

// Transmit appends the next message to b and says where it goes; false: there is none.
func (o *Outbox[A, C]) Transmit(b []byte) (_ []byte, at A, ok bool) {
	if len(o.Replies) > 0 {
		r := o.Replies[0]
		o.Replies = o.Replies[1:]
		return append(b, r.Message...), r.At, true
	}
	o.Replies = nil
	for len(o.Ready) > 0 {
		c := o.Ready[0]
		if b, at, ok := c.Transmit(b); ok {
			return b, at, true
		}
		var none C
		o.Ready[0] = none
		o.Ready = o.Ready[1:]
		c.Rest()
	}
	o.Ready = nil
	return b, at, false
}
