package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// ErrNoDaemon says that nobody answers at a control socket.
var ErrNoDaemon = errors.New("no daemon answers")

// A Client asks a daemon through its control socket.
type Client struct {
	socket string
	http   http.Client
}

// Dial returns a client of the daemon with this control socket. It connects when
// it is asked something.
func Dial(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoDaemon, err)
		}
		return conn, nil
	}
	return &Client{
		socket: socket,
		http:   http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

// Status asks how things stand. Its error is ErrNoDaemon if nobody answers.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("control socket %s: %w", c.socket, err)
		}
	}()
	// The host is for HTTP's form; the socket says where.
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://spanwire/v1/status", nil)
	if err != nil {
		return s, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return s, errors.Unwrap(err) // without the URL, which means nothing to anybody
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 512))
		return s, fmt.Errorf("the daemon answers %s: %s", response.Status, strings.TrimSpace(string(body)))
	}
	if err := json.NewDecoder(response.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("the daemon's answer: %w", err)
	}
	return s, nil
}
