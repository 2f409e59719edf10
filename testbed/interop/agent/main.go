// The agent runs beside the kernel that Spanwire is tested against, and does
// there what the test at the other end asks for.
package main

import (
	"fmt"
	"net"
	"os"

	"spanwire/testbed/interop/station"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: agent ADDRESS:PORT")
		os.Exit(2)
	}
	l, err := net.Listen("tcp", os.Args[1])
	if err == nil {
		fmt.Println("agent ready")
		err = station.Serve(l)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}
