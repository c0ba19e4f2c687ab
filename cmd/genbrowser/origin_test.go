package main_test

import (
	"net/http"
	"testing"
)

// TestOrigins: what is taken is what browsers send, and lets their pages in.
func TestOrigins(t *testing.T) {
	flags := []string{"--listen", "tcp4://127.0.0.1:0"}
	sent := []string{"https://example.com", "http://example.com:8080", "https://xn--bcher-kva.example", "http://127.0.0.1", "http://[::1]:443", "capacitor://localhost", "null"}
	for _, origin := range sent {
		flags = append(flags, "--origin", origin)
	}
	s := serve(t, 1, nil, flags...)
	for _, origin := range sent {
		req, err := http.NewRequest(http.MethodGet, s.urls[0]+"/.well-known/gen-browser", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK || resp.Header.Get("Access-Control-Allow-Origin") != origin {
			t.Errorf("a page of %s gets %s and %v", origin, resp.Status, resp.Header)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	s.stop()

	for wrong, right := range map[string]string{
		"https://example.com/":            "https://example.com",
		"https://example.com/shop?a=b#c":  "https://example.com",
		"https://example.com#":            "https://example.com",
		"HTTPS://Example.COM":             "https://example.com",
		"https://user@example.com":        "https://example.com",
		"https://example.com:":            "https://example.com",
		"https://example.com:443":         "https://example.com",
		"http://[::1]:80":                 "http://[::1]",
		"example.com":                     "",
		"example.com:8080":                "",
		"//example.com":                   "",
		"https://":                        "",
		"https://:443":                    "",
		"https://*.example.com":           "",
		"https://bücher.example":          "",
		" https://example.com":            "",
		"https://a.example https://b.c/d": "",
	} {
		want := "it as browsers send it: " + right + "\n"
		if right == "" {
			want = "scheme://host or"
		}
		fails(t, run(t, "", "serve", "--listen", "none://", "--origin", "https://ok.example", "--origin", wrong), "--origin \""+wrong+`": want `+want)
	}
	fails(t, run(t, "", "serve", "--listen", "none://", "--origin", "*"), "leave it out for pages of any origin")
}
