package main_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/client"
)

// Who reads a log should be able neither to read nor to send.
func TestLogsHoldNoCapability(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			cmd := command(t, []string{"SECRET=" + secret}, "playground", "--listen", "tcp4://127.0.0.1:0", "--log-format", format, "--log-level", "debug")
			p := launch(t, cmd)
			var url string
			for url == "" {
				if m := regexp.MustCompile(`http://[0-9.:]+`).FindString(p.next(p.stderr)); m != "" {
					url = m
				}
			}
			c, err := client.New(url, client.Options{})
			if err != nil {
				t.Fatal(err)
			}
			box := openBox(t, c)
			to, key := box.Address().String(), box.Key().Reveal()
			config := string(box.Config())
			logger := regexp.MustCompile(`"logger":"(gba_[^"]+)"`).FindStringSubmatch(config)
			if logger == nil {
				t.Fatalf("config = %s", config)
			}

			if err := box.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, r := range []struct{ method, path, auth, body string }{
				{"POST", "/_gb/send/" + to, "", "1"}, // to a closed mailbox
				{"POST", "/_gb/send/" + to + "x", "", "1"},
				{"POST", "/_gb/send/" + key, "", "{"},
				{"GET", "/_gb/mailbox?cursor=" + key + ".0", key, ""},
				{"GET", "/_gb/nowhere/" + key, key, ""},
				{"GET", "/_gb/mailbox", key, ""},
				{"DELETE", "/_gb/mailbox", key + "x", ""},
				{"POST", "/_gb/ack", key, "{"},
				{"POST", "/_gb/send/" + logger[1], "", `{"type":"ping","from":"` + to + `"}`}, // its pong fails
				{"POST", "/_gb/send/" + logger[1], "", `{"type":"log","message":"the end"}`},
			} {
				req, err := http.NewRequest(r.method, url+r.path, strings.NewReader(r.body))
				if err != nil {
					t.Fatal(err)
				}
				if r.auth != "" {
					req.Header.Set("Authorization", "Bearer "+r.auth)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			http.DefaultClient.CloseIdleConnections()
			p.stop()
			log := p.text()
			if !strings.Contains(log, "handler failed") || !strings.Contains(log, "the end") {
				t.Errorf("the test is void, for the log does not tell of the errors:\n%s", log)
			}
			for _, secret := range []string{"gbk_", to[len(to)-20:], key[len(key)-20:], logger[1][len(logger[1])-20:], secret} {
				if strings.Contains(log, secret) {
					t.Errorf("%q is in the log:\n%s", secret, log)
				}
			}
		})
	}
}
