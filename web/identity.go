package web

import (
	"fmt"
	"net/http"
	"strings"
)

// byIdentity tells clients apart by what their connection proves, and those that prove nothing by their address.
func byIdentity(address func(*http.Request) string) func(*http.Request) string {
	return func(r *http.Request) string {
		switch s := senderOf(r); {
		case len(s.Names) > 0:
			return "mtls:" + strings.Join(s.Names, " ")
		case s.Credentials != nil:
			return fmt.Sprint("uid:", s.Credentials.UID)
		}
		return address(r)
	}
}
