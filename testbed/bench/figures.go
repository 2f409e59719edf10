package main

import (
	"fmt"
	"slices"
	"time"
)

// What is measured of a row. Each load has beside its figure how many processors
// were busy, and each ping the time that 99 of 100 stay below.
const (
	tcpOne      = "TCP x1"       // Gbit/s at the receiver
	tcpFour     = "TCP x4"       // Gbit/s at the receiver, four streams together
	smallFrames = "small frames" // kpps at the receiver
	idlePing    = "ping idle"    // us, half of them stay below
	loadedPing  = "ping loaded"  // us, beside one TCP stream

	cpu    = " CPU"     // processors busy, both ends and what makes the traffic included
	ownCPU = " own CPU" // processors busy with the row's processes at both ends
	p99    = " p99"     // us
)

// figures are what rounds found of a row.
type figures struct {
	Row      string               `json:"row"`
	Underlay string               `json:"underlay"`
	Values   map[string][]float64 `json:"values"` // one a round
	Problems []string             `json:"problems,omitempty"`
}

func (f *figures) put(what string, v float64) {
	if f.Values == nil {
		f.Values = make(map[string][]float64)
	}
	f.Values[what] = append(f.Values[what], v)
}

func (f *figures) add(what string, v float64, c cores) {
	f.put(what, v)
	f.put(what+cpu, c.all)
	f.put(what+ownCPU, c.own)
}

func (f *figures) addPing(what string, d delay, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	f.put(what, microseconds(d.p50))
	f.put(what+p99, microseconds(d.p99))
	return nil
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// median returns the median of a row's rounds, and false where there were none.
func (f *figures) median(what string) (float64, bool) {
	if f == nil || len(f.Values[what]) == 0 {
		return 0, false
	}
	return median(f.Values[what]), true
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
