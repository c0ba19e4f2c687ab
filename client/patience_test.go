package client_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

// slowly reads at most so many bytes a second.
type slowly struct {
	from io.Reader
	rate int
}

func (s slowly) Read(b []byte) (int, error) {
	n, err := s.from.Read(b)
	time.Sleep(time.Duration(n) * time.Second / time.Duration(s.rate))
	return n, err
}

// A letter that takes longer to write than an answer may take is not given up while it is being written.
func TestUplinkOverASlowLink(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		u.lines = bufio.NewScanner(slowly{u.body, 6 << 10})
		u.lines.Buffer(nil, 1<<20)
		for {
			l, ok := u.next()
			if !ok {
				return
			}
			s.note(n, line{ID: l.ID, Body: len(l.Body.(string))})
			u.answer(l.ID, accepted)
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		began := time.Now()
		wantError(t, s.Send(s.ctx, s.to, strings.Repeat("a", 60<<10)), nil)
		if took := time.Since(began); took < 10*time.Second || took > 12*time.Second {
			t.Errorf("60 KiB at 6 KiB a second took %v", took)
		}
		s.wantCame("1 61440")
	})
}

// Where buffers on the way take everything at once, an answer takes longer than a server that works needs. It is given longer
// until all is answered, and not for ever.
func TestUplinkGrowsPatient(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for {
			l, ok := u.next()
			if !ok {
				return
			}
			s.note(n, l)
			time.Sleep(30 * time.Second)
			u.answer(l.ID, accepted)
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		wantError(t, s.Send(s.ctx, s.to, "a"), nil)
		s.wantCame("1 a", "2 a", "3 a") // 8, 16 and 32 s
		wantError(t, s.Send(s.ctx, s.to, "b"), nil)
		s.wantCame("1 a", "2 a", "3 a", "3 b", "4 b", "5 b")
	})
}

// Who gives up is told why there was no connection, until there is one again.
func TestUplinkSaysWhyThereIsNoConnection(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		if n < 10 {
			say(u, refuse(407, "Content-Length: 0\r\n", ""))
			hold(u) // or the client may see no more than that it can't write
			return
		}
		for l, ok := u.next(); ok; l, ok = u.next() {
			if l.Body != "mute" {
				u.answer(l.ID, accepted)
			}
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		hurried := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(s.ctx, d)
			context.AfterFunc(ctx, cancel)
			return ctx
		}
		err := s.Send(hurried(time.Second), s.to, "a")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the last connection: ") || !strings.Contains(err.Error(), "407") {
			t.Errorf("Send: %v", err)
		}
		if err := s.Call(hurried(time.Second), s.to, "a", nil); !errors.Is(err, problem.CallTimeout) || !strings.Contains(err.Error(), "407") {
			t.Errorf("Call: %v", err)
		}
		wantError(t, s.Send(s.ctx, s.to, "b"), nil)
		if err := s.Send(hurried(time.Second), s.to, "mute"); !errors.Is(err, client.ErrUnanswered) || strings.Contains(err.Error(), "last connection") {
			t.Errorf("Send: %v", err)
		}
	})
}

// Patience has an end: each connection to a server that answers nothing is given up.
func TestUplinkPatienceEnds(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for {
			l, ok := u.next()
			if !ok {
				return
			}
			if s.note(n, l); n == 7 {
				u.answer(l.ID, accepted)
			}
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		began := time.Now()
		wantError(t, s.Send(s.ctx, s.to, "a"), nil)
		waited := (8 + 16 + 32 + 64 + 64 + 64) * time.Second
		if took := time.Since(began); took < waited || took > waited+51*time.Second { // 1, 2, 4, 8, 16 and 20 s at most, by PROTOCOL.md
			t.Errorf("it took %v, want %v and pauses of up to 51 s", took, waited)
		}
	})
}

// Letters that are written later give those before them no time.
func TestUplinkNoticesSilenceWhileItWrites(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for {
			l, ok := u.next()
			if !ok {
				return
			}
			if s.note(n, l); n > 1 {
				u.answer(l.ID, accepted)
			}
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		began := time.Now()
		first := s.send(s.ctx, "a")
		for i := range 6 {
			time.Sleep(2 * time.Second)
			s.send(s.ctx, i)
		}
		wantError(t, <-first[0], nil)
		if took := time.Since(began); took > 13*time.Second {
			t.Errorf("it took %v until silence was noticed", took)
		}
	})
}
