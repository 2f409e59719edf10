// The agent runs beside the kernel that Spanwire is tested against, and does
// there what the test at the other end asks for.
package main

import (
	"fmt"
	"net"
	"os"

	"spanwire/testbed/interop/station"
	"spanwire/testbed/netlab"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 2:
		err = serve(os.Args[1])
	case len(os.Args) == 3 && os.Args[1] == "unsummed":
		err = netlab.Checksums(os.Args[2], false)
	default:
		fmt.Fprintln(os.Stderr, "usage: agent ADDRESS:PORT | unsummed DEVICE")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func serve(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("agent ready")
	return station.Serve(l)
}
