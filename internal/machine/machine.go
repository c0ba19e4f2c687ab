// Package machine tells whether two programs run on the same machine, so that they can meet at a unix socket.
package machine

import (
	"crypto/sha256"
	"encoding/base64"
	"os"
	"strings"
	"sync"
)

// ID returns the same 22 characters to every program on this machine until it starts anew, and others to those
// elsewhere. It is no secret: what it was made of can't be had from it. It is empty where the system does not say
// enough, and an empty one is never the same as another: see [Same].
//
// A container has one of its own unless it was given the machine's /etc/machine-id.
var ID = sync.OnceValue(func() string {
	host, _ := os.Hostname()
	return id(read("/etc/machine-id"), host, read("/proc/sys/kernel/random/boot_id"))
})

// Same reports whether a program that has this ID runs on this machine.
func Same(other string) bool { return other != "" && other == ID() }

// id makes one of what the system calls the machine, or else of its host name, and of when it was started: machines
// that were copied have the same name. Without the latter there is none.
func id(machine, host, boot string) string {
	name := "id " + machine
	if machine == "" {
		name = "host " + host
	}
	if boot == "" || machine == "" && host == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("gen-browser machine\n" + name + "\n" + boot))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

func read(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
