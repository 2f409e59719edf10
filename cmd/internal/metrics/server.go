package metrics

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"spanwire/cmd/internal/api"
)

// patience is how long one request may take.
const patience = 10 * time.Second

// A Server answers GET /metrics.
type Server struct {
	listener net.Listener
	http     http.Server
}

// Listen takes an address. status may be called for several requests at once.
func Listen(at netip.AddrPort, status func() api.Status) (*Server, error) {
	listener, err := net.Listen("tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector(status), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return &Server{listener, http.Server{
		Handler:           mux,
		ReadHeaderTimeout: patience,
		ReadTimeout:       patience,
		WriteTimeout:      patience,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    4096,
	}}, nil
}

// Addr returns the address.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until Close.
func (s *Server) Serve() error { return s.http.Serve(s.listener) }

// Close ends all.
func (s *Server) Close() error { return s.http.Close() }
