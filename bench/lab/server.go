package lab

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Server is a server that runs in a process of its own.
type Server struct {
	cmd *exec.Cmd
	log bytes.Buffer // what it printed; to be read after it ended
}

// On is the command of a program that has one core for itself.
func On(ctx context.Context, core string, command ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", core}, command...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	return cmd
}

// Start runs a server, and returns once it takes connections at all addresses. It is terminated when ctx is done.
func Start(cmd *exec.Cmd, addrs ...string) (*Server, error) {
	s := &Server{cmd: cmd}
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for _, addr := range addrs {
		if err := waitFor(addr); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, s.Stop())
		}
	}
	return s, nil
}

func waitFor(addr string) error {
	for tries := 0; ; tries++ {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if tries == 100 {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// ID is the id of the server's process.
func (s *Server) ID() int { return s.cmd.Process.Pid }

// Stop terminates the server, and returns the last lines that it printed.
func (s *Server) Stop() string {
	s.cmd.Cancel()
	s.cmd.Wait()
	lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
