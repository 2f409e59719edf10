package main

// An underlay is the network beneath a tunnel. Over the plain veth the kernel hands
// super-frames of up to 64 KB from one end to the other as they are; over the
// wire-like one each packet of 1500 octets crosses by itself, as on a cable, and is
// joined again by GRO where it arrives, as a network card's driver has it.
const (
	plain    = "plain veth"
	wireLike = "wire-like"
)

// wireFeatures is what makes a veth like a wire, by the names that ethtool -k has
// for them: nothing is cut later than in the stack of who sends.
var wireFeatures = map[string]bool{
	"tx-tcp-segmentation":          false,
	"tx-tcp-ecn-segmentation":      false,
	"tx-tcp-mangleid-segmentation": false,
	"tx-tcp6-segmentation":         false,
	"tx-udp-segmentation":          false,
	"tx-generic-segmentation":      false,
	"rx-gro":                       true,
	"rx-udp-gro-forwarding":        false,
}
