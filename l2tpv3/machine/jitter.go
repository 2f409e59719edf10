package machine

import (
	"math/rand/v2"
	"time"
)

// A Jitter keeps apart what would come together.
type Jitter struct{ *rand.Rand }

// NewJitter returns a Jitter. It jitters no secrets, so a seed from them is enough.
func NewJitter(random func([]byte)) Jitter {
	var seed [32]byte
	random(seed[:])
	return Jitter{rand.New(rand.NewChaCha8(seed))}
}

// Around returns a time of three quarters to five quarters of d.
func (j Jitter) Around(d time.Duration) time.Duration {
	return d*3/4 + time.Duration(j.Float64()*float64(d)/2)
}

// Before returns a time of nine tenths to all of d.
func (j Jitter) Before(d time.Duration) time.Duration {
	return d - time.Duration(float64(d)/10*j.Float64())
}
