package client_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/client"
)

func (s *script) wantAcks(cursors ...string) {
	s.t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var want []string
	for _, c := range cursors {
		want = append(want, `{"cursor":"`+c+`"}`)
	}
	if !slices.Equal(s.acks, want) {
		s.t.Errorf("acknowledged %q, want %q", s.acks, want)
	}
}

// A mailbox of these scripts holds 8 messages, 1,000 bytes, and bodies of 100.
func TestAckAfterAQuarterOfTheMessages(t *testing.T) {
	serve := func(_ int, c net.Conn) { say(c, hi+messages(1, 5)); hold(c) }
	play(t, client.Options{}, "", serve, func(s *script) {
		inbox := s.read()
		inbox.want("1", "2")
		s.wantAcks() // 2 is not handled yet
		inbox.want("3")
		s.wantAcks("0000000e.2")
		inbox.want("4")
		s.wantAcks("0000000e.2")
		inbox.want("5")
		s.wantAcks("0000000e.2", "0000000e.4")
	})
}

func TestAckAfterAQuarterOfTheBytes(t *testing.T) {
	body := `"` + string(slices.Repeat([]byte("x"), 250)) + `"`
	serve := func(_ int, c net.Conn) {
		say(c, hi+"id: 0000000e.1\ndata: "+body+"\n\n"+message(2))
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.read().want(body, "2")
		s.wantAcks("0000000e.1")
	})
}

// Before a quarter was handled, a sender may not find room for the longest body.
func TestAckWhileTheLongestBodyHasRoom(t *testing.T) {
	serve := func(_ int, c net.Conn) {
		say(c, strings.Replace(hi, `"body":100`, `"body":999`, 1)+"id: 0000000e.1\ndata: 10\n\n"+message(2))
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.read().want("10", "2")
		s.wantAcks("0000000e.1")
	})
}

func TestAckWhenTheLoopIsLeft(t *testing.T) {
	serve := func(_ int, c net.Conn) { say(c, hi+messages(1, 3)); hold(c) }
	play(t, client.Options{}, "", serve, func(s *script) {
		s.answer = func(int) string { return refuse(503, "", "") }
		for m := range s.box.Messages(s.ctx) {
			if string(m.Body) == "3" {
				synctest.Wait()
				s.wantAcks("0000000e.2")
				break
			}
		}
		s.wantAcks("0000000e.2", "0000000e.3")
	})
}

// Once the mailbox is full, no message comes to try again with.
func TestAckThatFailedIsRepeated(t *testing.T) {
	serve := func(_ int, c net.Conn) { say(c, hi+messages(1, 3)); hold(c) }
	play(t, client.Options{}, "", serve, func(s *script) {
		done := make(chan struct{})
		s.answer = func(n int) string {
			if n < 4 {
				return refuse(503, "", "")
			}
			close(done)
			return "HTTP/1.1 204 No Content\r\n\r\n"
		}
		s.read().want("1", "2", "3")
		began := time.Now()
		<-done
		s.wantAcks("0000000e.2", "0000000e.2", "0000000e.2", "0000000e.2")
		if took := time.Since(began); took > 7*time.Second {
			t.Errorf("three more tries took %v", took)
		}
	})
}

func TestAckWaitsAsLongAsItIsTold(t *testing.T) {
	serve := func(_ int, c net.Conn) { say(c, hi+messages(1, 3)); hold(c) }
	play(t, client.Options{}, "", serve, func(s *script) {
		done := make(chan struct{})
		s.answer = func(n int) string {
			if n == 1 {
				return refuse(503, "Retry-After: 7\r\n", "")
			}
			close(done)
			return "HTTP/1.1 204 No Content\r\n\r\n"
		}
		s.read().want("1", "2", "3")
		began := time.Now()
		<-done
		if took := time.Since(began); took < 7*time.Second || took > 8*time.Second {
			t.Errorf("it is repeated after %v, want the 7 s that the server asked for, and less than 1 s more", took)
		}
	})
}

func TestAckThatFailedWaitsWhateverArrives(t *testing.T) {
	serve := func(_ int, c net.Conn) { say(c, hi+messages(1, 50)); hold(c) }
	play(t, client.Options{}, "", serve, func(s *script) {
		s.answer = func(int) string { return refuse(503, "", "") }
		inbox := s.read()
		for n := range 50 { // all at the same instant
			inbox.want(fmt.Sprint(n + 1))
			synctest.Wait()
		}
		s.wantAcks("0000000e.2")
	})
}

func TestAckThatHangsHoldsUpNothing(t *testing.T) {
	serve := func(_ int, c net.Conn) { say(c, hi+messages(1, 8)); hold(c) }
	play(t, client.Options{}, "", serve, func(s *script) {
		s.answer = func(int) string { <-time.After(time.Hour); return "" }
		began := time.Now()
		for m := range s.box.Messages(s.ctx) {
			if string(m.Body) == "8" {
				break
			}
		}
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("reading and leaving the loop took %v", took)
		}
	})
}

func TestAckOfOneMessageALoop(t *testing.T) {
	serve := func(n int, c net.Conn) { say(c, hi+messages(n, 9)); hold(c) }
	play(t, client.Options{}, "", serve, func(s *script) {
		for range 4 {
			for range s.box.Messages(s.ctx) {
				break
			}
		}
		s.wantAcks("0000000e.2", "0000000e.4")
	})
}

// Programs that start again and again, each before a quarter was reached, must not fill the mailbox.
func TestAckOfWhatWasResumedFrom(t *testing.T) {
	serve := func(_ int, c net.Conn) {
		say(c, strings.ReplaceAll(hi, "0000000e.0", "0000000e.7")+message(8))
		hold(c)
	}
	play(t, client.Options{}, "0000000e.7", serve, func(s *script) {
		s.read().want("8")
		s.wantAcks("0000000e.7")
	})
}

func TestAckIsNoUseForAKeyThatMayOnlyRead(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, hi+messages(1, 8))
		<-time.After(30 * time.Second)
		say(c, message(9))
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.answer = func(int) string { return refuse(403, "", `{"type":"urn:gen-browser:missing-right"}`) }
		s.read().want("1", "2", "3", "4", "5", "6", "7", "8", "9")
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.acks) != 1 {
			t.Errorf("acknowledged %q, want it to give up after the first", s.acks)
		}
	})
}

func TestAckByHand(t *testing.T) {
	serve := func(_ int, c net.Conn) { say(c, hi+messages(1, 4)); hold(c) }
	play(t, client.Options{}, "", serve, func(s *script) {
		if err := s.box.Ack(s.ctx); err != nil {
			t.Error("before anything was handled:", err)
		}
		s.wantAcks()
		inbox := s.read()
		inbox.want("1", "2")
		if err := s.box.Ack(s.ctx); err != nil {
			t.Error(err)
		}
		inbox.want("3")
		s.wantAcks("0000000e.1") // a quarter counts from there
		inbox.want("4")
		s.wantAcks("0000000e.1", "0000000e.3")
		s.answer = func(int) string { return refuse(410, "", `{"type":"urn:gen-browser:gone"}`) }
		if err := s.box.Ack(s.ctx); err == nil {
			t.Error("want the server's problem")
		}
	})
}
