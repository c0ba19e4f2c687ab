package web

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// TestSendManyBrief: where there is nothing to say but that all lines were accepted, nothing is said if that is asked for.
func TestSendManyBrief(t *testing.T) {
	for _, kind := range connections {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind, server: server.Options{Limits: mailbox.Limits{Backlog: 10_000}}})
			o := s.open()
			line := func(body string) string { return fmt.Sprintf(`{"to":%q,"body":%s}`+"\n", o.Address, body) }
			long := strings.Repeat("\n"+line("0"), maxAnswers/len(`{"status":202}`))
			for _, tt := range []struct {
				query, lines string
				status       int
				answers      string
			}{
				{"?brief", line("1") + line("2"), 204, ""},
				{"?brief", "", 204, ""},
				{"?brief", line("3") + line("oh") + line("4"), 200, "202 400 202"},
				{"", line("5"), 200, "202"},
				{"?long", line("6"), 200, "202"},
				{"?brief", long, 200, strings.TrimSpace(strings.Repeat("202 ", strings.Count(long, "{")))},
			} {
				a := s.do("POST", "/_gb/send"+tt.query, tt.lines, "Content-Type", "text/plain")
				statuses := regexp.MustCompile(`"status":(\d+)`).FindAllStringSubmatch(a.body, -1)
				var got []string
				for _, m := range statuses {
					got = append(got, m[1])
				}
				if a.status != tt.status || strings.Join(got, " ") != tt.answers || a.status == 204 && a.header.Get("Content-Type") != "" {
					t.Errorf("%s %.80q: %d %.100q", tt.query, tt.lines, a.status, a.body)
				}
			}
			e := s.stream("/_gb/mailbox", "Authorization", "Bearer "+o.Key)
			e.init()
			for _, want := range []string{"1", "2", "3", "4", "5", "6"} {
				if got := e.next().data; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
		})
	}
	s := serve(t, setup{})
	r, err := http.NewRequest("POST", s.srv.URL+"/_gb/send?brief", io.MultiReader(strings.NewReader("\n"))) // of no length
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/plain")
	resp, err := s.srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 200 {
		t.Errorf("an upload without a length: %s", resp.Status)
	}
}
