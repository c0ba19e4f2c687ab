//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// durable is the program with a data directory, and no secret but the one that it keeps there.
func durable(dir string, args ...string) *exec.Cmd {
	args = append([]string{"serve", "--data", dir, "--listen", "tcp4://127.0.0.1:0", "--open-rate=-1", "--log-format", "json"}, args...)
	cmd := exec.Command(programPath, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "SECRET=") || strings.HasPrefix(v, "GENBROWSER_")
	})
	return cmd
}

func startDurable(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	return startCommand(t, durable(dir, args...))
}

// kill ends the program as a crash does.
func (p *program) kill() {
	p.Process.Signal(syscall.SIGKILL)
	p.Wait()
}

// terminate ends the program as an operator does.
func (p *program) terminate(t *testing.T) {
	t.Helper()
	p.Process.Signal(syscall.SIGTERM)
	if err := p.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, p.log)
	}
}

// lines counts what the program logged with that message.
func (p *program) lines(msg string) int { return strings.Count(p.log.String(), `"msg":"`+msg+`"`) }

// account is a mailbox as its owner sees it.
type account struct{ Address, Key string }

// answer is a status, and the problem that came with it.
type answer struct {
	status     int
	problem    string
	retryAfter string
	body       []byte
}

func (a answer) String() string { return fmt.Sprintf("%d %s %s", a.status, a.problem, a.body) }

// ask sends a request, with an owner's key if there is one.
func ask(client *http.Client, method, url, key, body string, header ...string) (answer, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, retryAfter: resp.Header.Get("Retry-After")}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return answer{}, err
	}
	var p struct{ Type string }
	if json.Unmarshal(a.body, &p) == nil {
		a.problem = strings.TrimPrefix(p.Type, "urn:gen-browser:")
	}
	return a, nil
}

// mustAsk fails the test unless the answer is the wanted one: a status, and the problem's code if it is one.
func mustAsk(t *testing.T, want string, method, url, key, body string, header ...string) answer {
	t.Helper()
	a, err := ask(http.DefaultClient, method, url, key, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	if got := strings.TrimSpace(strconv.Itoa(a.status) + " " + a.problem); got != want {
		t.Errorf("%s %s: %v, want %s", method, url, a, want)
	}
	return a
}

func openAccount(t *testing.T, p *program) account {
	t.Helper()
	a, err := parseAccount(mustAsk(t, "201", "POST", p.url+"/_gb/mailbox", "", "").body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func parseAccount(text []byte) (a account, err error) {
	err = json.Unmarshal(text, &a)
	return a, err
}

// sendTo expects an answer such as 202 to a message.
func (p *program) sendTo(t *testing.T, a account, want, body string, header ...string) {
	t.Helper()
	mustAsk(t, want, "POST", p.url+"/_gb/send/"+a.Address, "", body, header...)
}

// waiting returns the bodies of the messages that a mailbox holds, at most as many as one long-poll brings.
func (p *program) waiting(t *testing.T, a account) (bodies []string) {
	t.Helper()
	got := mustAsk(t, "200", "GET", p.url+"/_gb/mailbox?wait=0&ack=manual", a.Key, "", "Accept", "application/json")
	var poll struct {
		Gap      int
		Messages []struct{ Body json.RawMessage }
	}
	if err := json.Unmarshal(got.body, &poll); err != nil || poll.Gap != 0 {
		t.Errorf("long-poll: %s, %v", got.body, err)
	}
	for _, m := range poll.Messages {
		bodies = append(bodies, string(m.Body))
	}
	return bodies
}

func (p *program) expectWaiting(t *testing.T, a account, want ...string) {
	t.Helper()
	if got := p.waiting(t, a); !slices.Equal(got, want) {
		t.Errorf("the mailbox holds %q, want %q", got, want)
	}
}

// subscribe opens a stream of a mailbox, with manual acks, and reads up to init, whose gap it returns.
func (p *program) subscribe(client *http.Client, a account, cursor string) (*stream, int, io.Closer, error) {
	req, err := http.NewRequest("GET", p.url+"/_gb/mailbox?ack=manual", nil)
	if err != nil {
		return nil, 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+a.Key)
	req.Header.Set("Accept", "text/event-stream")
	if cursor != "" {
		req.Header.Set("Last-Event-ID", cursor)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, nil, err
	}
	if resp.StatusCode != 200 {
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		return nil, 0, nil, &refused{resp.StatusCode, string(text)}
	}
	s := &stream{r: bufio.NewReader(resp.Body)}
	e, err := s.event()
	var init struct{ Gap int }
	if err == nil && e.name == "init" {
		err = json.Unmarshal([]byte(e.data), &init)
	}
	if err != nil {
		resp.Body.Close()
	}
	return s, init.Gap, resp.Body, err
}

type refused struct {
	status int
	text   string
}

func (r *refused) Error() string { return fmt.Sprint(r.status, " ", r.text) }

// upload sends lines as one request and returns the answers' lines that came back.
func upload(client *http.Client, url string, lines []byte, endless bool) (answers []lineAnswer, err error) {
	var body io.Reader = bytes.NewReader(lines)
	if endless {
		body = struct{ io.Reader }{body} // of no length that could be told
	}
	resp, err := client.Post(url+"/_gb/send", "application/x-ndjson", body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return nil, &refused{status: resp.StatusCode}
	}
	for r := bufio.NewReader(resp.Body); ; {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return answers, nil
		}
		if err != nil {
			return answers, err
		}
		var a lineAnswer
		if err := json.Unmarshal(line, &a); err != nil {
			return answers, err
		}
		answers = append(answers, a)
	}
}

type lineAnswer struct {
	Status int
	Type   string
}

// readLog opens the log of a program that ended, and returns its lanes without an end, and how much it holds.
func readLog(t *testing.T, dir string) (lanes []mailbox.Entry, stats mailbox.LogStats) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	l, err := jetstream.Open(ctx, jetstream.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	lanes, err = l.Lanes(ctx)
	if err == nil {
		stats, err = l.Stats(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	return lanes, stats
}

// TestRestart holds that what lasts for a while goes on after a restart: after SIGTERM and SIGKILL, and when the log
// was rewritten in between.
func TestRestart(t *testing.T) {
	for _, how := range []string{"SIGTERM", "SIGKILL", "snapshot"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			flags := []string{"--asleep", "3s", "--name-window", "1h"}
			if how == "snapshot" {
				flags = append(flags, "--snapshot", "1")
			}
			p := startDurable(t, dir, append(flags, "--config", `{"of":"the first run"}`)...)
			asleep, expired, closed, kept := openAccount(t, p), openAccount(t, p), openAccount(t, p), openAccount(t, p)
			_, _, awake, err := p.subscribe(http.DefaultClient, kept, "")
			if err != nil {
				t.Fatal(err)
			}
			defer awake.Close()
			// a mailbox without a reader lives for 3 s of the server's time
			p.sendTo(t, expired, "202", `"it will expire"`)
			p.sendTo(t, kept, "202", `"named"`, "Idempotency-Key", "n1")
			p.sendTo(t, kept, "202", `"lives for an hour"`, "TTL", "3600")
			p.sendTo(t, kept, "202", `"lives for a second"`, "TTL", "1")
			mustAsk(t, "204", "DELETE", p.url+"/_gb/mailbox", closed.Key, "")
			within(t, 10*time.Second, "a mailbox without a reader expires", func() bool {
				a, err := ask(http.DefaultClient, "POST", p.url+"/_gb/send/"+expired.Address, "", `1`)
				return err == nil && a.status == 410
			})
			p.sendTo(t, expired, "410 expired", `2`)
			late := openAccount(t, p) // sleeps for less than 3 s until the end
			p.sendTo(t, late, "202", `"in time"`)
			if how == "snapshot" {
				n := p.lines("snapshot")
				within(t, 10*time.Second, "another snapshot", func() bool {
					gone := openAccount(t, p) // the log grows, and what is in the mailboxes does not
					p.sendTo(t, gone, "202", `"`+strings.Repeat("x", 10_000)+`"`)
					mustAsk(t, "204", "DELETE", p.url+"/_gb/mailbox", gone.Key, "")
					return p.lines("snapshot") >= n+2
				})
			}
			if how == "SIGTERM" {
				awake.Close()
				p.terminate(t)
			} else {
				p.kill()
			}

			p = startDurable(t, dir, append(flags, "--config", `{"of":"the second run"}`)...)
			p.sendTo(t, asleep, "410 expired", `3`)
			p.sendTo(t, expired, "410 expired", `3`)
			p.sendTo(t, closed, "410 closed", `3`)
			p.expectWaiting(t, kept, `"named"`, `"lives for an hour"`)
			p.sendTo(t, kept, "202", `"named, again"`, "Idempotency-Key", "n1")
			p.sendTo(t, kept, "202", `"another"`, "Idempotency-Key", "n2")
			p.expectWaiting(t, kept, `"named"`, `"lives for an hour"`, `"another"`)
			if got := string(mustAsk(t, "200", "POST", p.url+"/_gb/mailbox", kept.Key, "").body); !strings.Contains(got, `"config":{"of":"the second run"}`) {
				t.Errorf("a mailbox without a config of its own is told %s, want the server's", got)
			}
			within(t, 10*time.Second, "the mailbox that slept expires after a restart", func() bool {
				a, err := ask(http.DefaultClient, "POST", p.url+"/_gb/send/"+late.Address, "", `1`)
				return err == nil && a.problem == "expired"
			})
			p.kill()
			p = startDurable(t, dir, flags...)
			p.sendTo(t, expired, "410 expired", `3`)
			p.sendTo(t, closed, "410 closed", `3`)
			p.sendTo(t, late, "410 expired", `3`)
		})
	}
}

// TestDataInUse holds that a second program on the same directory ends with an error that says who has it.
func TestDataInUse(t *testing.T) {
	dir := t.TempDir()
	p := startDurable(t, dir)
	a := openAccount(t, p)
	expectNoStart(t, durable(dir), dir, fmt.Sprintf("in use by process %d", p.Process.Pid))
	p.sendTo(t, a, "202", `"the first goes on"`)
	p.expectWaiting(t, a, `"the first goes on"`)
	p.kill()
	p = startDurable(t, dir)
	p.expectWaiting(t, a, `"the first goes on"`)
}

// expectNoStart runs a command that must end with 1, and an error in one line with all the parts. It returns what
// it printed.
func expectNoStart(t *testing.T, cmd *exec.Cmd, parts ...string) string {
	t.Helper()
	timer := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	defer timer.Stop()
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, want exit status 1:\n%s", err, text)
	}
	last := ""
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "genbrowser: ") {
			last = line
		}
	}
	for _, part := range parts {
		if !strings.Contains(last, part) {
			t.Errorf("the error %q does not say %q:\n%s", last, part, text)
		}
	}
	return string(text)
}

// TestNoDirectory holds that what is no directory is refused.
func TestNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	expectNoStart(t, durable(file), "--data", file, "not a directory")
}
