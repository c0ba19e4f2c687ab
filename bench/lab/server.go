package lab

import (
	"bytes"
	"context"
	"errors"
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
	cmd   *exec.Cmd
	log   bytes.Buffer // what it printed; to be read after it ended
	ended chan struct{}
}

// On is the command of a program that has one core for itself.
func On(ctx context.Context, core string, command ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", core}, command...)...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	return cmd
}

// FreeAddr is an address of this machine where nobody listens.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Start runs a server, and returns once it takes connections at all addresses. It is terminated when its context is done.
func Start(cmd *exec.Cmd, addrs ...string) (*Server, error) {
	s := &Server{cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait()
		close(s.ended)
	}()
	for _, addr := range addrs {
		if err := s.waitFor(addr); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, s.Stop())
		}
	}
	return s, nil
}

func (s *Server) waitFor(addr string) error {
	for tries := 0; ; tries++ {
		select {
		case <-s.ended:
			return errors.New("the server ended")
		case <-time.After(100 * time.Millisecond):
		}
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if tries == 100 {
			return err
		}
	}
}

// ID is the id of the server's process.
func (s *Server) ID() int { return s.cmd.Process.Pid }

// Stop terminates the server, and returns the last lines that it printed.
func (s *Server) Stop() string {
	s.cmd.Cancel()
	<-s.ended
	lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
