package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// checkOrigins reports one that no browser sends: pages are let in by comparing texts, and it would let in none.
func checkOrigins(origins []string) error {
	for _, given := range origins {
		switch given {
		case "null": // that of a page in a sandbox
			continue
		case "*":
			return fmt.Errorf("--origin %q: leave it out for pages of any origin", given)
		}
		want := asSent(given)
		if want == "" {
			return fmt.Errorf("--origin %q: want scheme://host or scheme://host:port, such as https://example.com", given)
		}
		if given != want {
			return fmt.Errorf("--origin %q: want it as browsers send it: %s", given, want)
		}
	}
	return nil
}

// defaultPorts are those that are not in an origin.
var defaultPorts = []string{"http:80", "https:443"}

// asSent returns an origin as a browser says it in its header, of a URL; "" if it is of none.
func asSent(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Hostname() == "" || strings.ContainsFunc(u.Host, notInHost) {
		return ""
	}
	if port := u.Port(); port == "" || slices.Contains(defaultPorts, u.Scheme+":"+port) {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host)
}

// notInHost is for a wildcard, and what browsers write in another way: names in other scripts begin with xn-- there.
func notInHost(r rune) bool { return r == '*' || r > '~' }
