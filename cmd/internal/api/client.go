package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// ErrNoDaemon says that nobody answers at a control socket.
var ErrNoDaemon = errors.New("no daemon answers")

// mostText is the octets of the longest error that is taken: all that is wrong with a
// file.
const mostText = 1 << 16

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
	err = c.get(ctx, "status", &s)
	return s, err
}

// Stations asks where the stations of a hub are.
func (c *Client) Stations(ctx context.Context, hub string) (all []Station, err error) {
	err = c.get(ctx, "hubs/"+url.PathEscape(hub)+"/stations", &all)
	return all, err
}

// Reload has the daemon read its configuration again.
func (c *Client) Reload(ctx context.Context) (done Reloaded, err error) {
	err = c.value(ctx, http.MethodPost, "reload", &done)
	return done, err
}

// get asks for what is one value of JSON.
func (c *Client) get(ctx context.Context, what string, to any) error {
	return c.value(ctx, http.MethodGet, what, to)
}

func (c *Client) value(ctx context.Context, method, what string, to any) error {
	return c.ask(ctx, method, what, nil, func(body io.Reader) error {
		if err := json.NewDecoder(body).Decode(to); err != nil {
			return fmt.Errorf("the daemon's answer: %w", err)
		}
		return nil
	})
}

// Do gives a command, one of Commands, for a tunnel, a session or a link.
func (c *Client) Do(ctx context.Context, command, name string) error {
	body, err := json.Marshal(Command{name})
	if err != nil {
		return err
	}
	return c.ask(ctx, http.MethodPost, command, body, func(io.Reader) error { return nil })
}

// Watch has take called with each event until ctx or the daemon ends, or take
// returns an error.
func (c *Client) Watch(ctx context.Context, take func(Event) error) error {
	patient := *c
	patient.http.Timeout = 0
	return patient.ask(ctx, http.MethodGet, "events", nil, func(body io.Reader) error {
		for d := json.NewDecoder(body); ; {
			var e Event
			switch err := d.Decode(&e); {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
				return errors.New("the daemon has ended")
			case err != nil:
				return fmt.Errorf("the daemon's answer: %w", err)
			}
			if err := take(e); err != nil {
				return err
			}
		}
	})
}

// ask makes a request and hands on the body of a good answer.
func (c *Client) ask(ctx context.Context, method, what string, body []byte, take func(io.Reader) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("control socket %s: %w", c.socket, err)
		}
	}()
	// The host is for HTTP's form; the socket says where.
	request, err := http.NewRequestWithContext(ctx, method, "http://spanwire/v1/"+what, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return errors.Unwrap(err) // without the URL, which means nothing to anybody
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK, http.StatusNoContent:
		return take(response.Body)
	case http.StatusConflict:
		text, _ := io.ReadAll(io.LimitReader(response.Body, mostText))
		return errors.New(strings.TrimSpace(string(text)))
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, 512))
	return fmt.Errorf("the daemon answers %s: %s", response.Status, strings.TrimSpace(string(text)))
}
