package lab

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Processes are the ids of a server's processes. What their children take counts as well.
type Processes []int

// ParseProcesses reads ids that are separated by commas.
func ParseProcesses(text string) (Processes, error) {
	var p Processes
	for id := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf("a process id: %w", err)
		}
		p = append(p, n)
	}
	return p, nil
}

// CPU is the time that the processes have computed.
func (p Processes) CPU() time.Duration {
	var ticks uint64
	for _, id := range p.family() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id))
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
		for _, text := range f[11:13] { // user and system
			n, _ := strconv.ParseUint(text, 10, 64)
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / 100
}

// Memory is the bytes that are resident; what processes share counts once.
func (p Processes) Memory() int64 {
	var total int64
	for _, id := range p.family() {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", id))
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); f[0] == "Pss:" {
				kib, _ := strconv.ParseInt(f[1], 10, 64)
				total += kib << 10
			}
		}
	}
	return total
}

// family is the processes with their children.
func (p Processes) family() (all Processes) {
	for _, id := range p {
		all = append(all, id)
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", id, id))
		var children Processes
		for _, f := range strings.Fields(string(b)) {
			child, _ := strconv.Atoi(f)
			children = append(children, child)
		}
		all = append(all, children.family()...)
	}
	return all
}
