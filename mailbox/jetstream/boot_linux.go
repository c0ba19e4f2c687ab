package jetstream

import (
	"os"
	"strings"
)

// bootID is another one each time that the system starts: as long as it is the same, the system has what a process wrote.
// It is empty if the system does not tell.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
