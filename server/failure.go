package server

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Failure is why a call came to nothing, as its caller is told: the members of an RFC 9457 problem. It is an error.
type Failure struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`

	err error
}

// What a call fails with, beside the errors that a message is refused with.
var (
	ErrCallFailed  = errors.New("the callee failed to handle the call")
	ErrCallTimeout = errors.New("no reply came in time")
	ErrReplied     = errors.New("the call has its answer already")
)

// failures are those that a callee's end or refusal can lead to; types, titles and statuses are those of package
// problem, which a test compares.
var failures = []Failure{
	{"urn:gen-browser:closed", "The mailbox was closed", 410, "", ErrClosed},
	{"urn:gen-browser:closed", "The mailbox was closed", 410, "", ErrExited},
	{"urn:gen-browser:expired", "The mailbox expired", 410, "", ErrExpired},
	{"urn:gen-browser:gone", "No such mailbox or process, any more", 410, "", ErrGone},
	{"urn:gen-browser:refused", "The process refused the message", 422, "", ErrRefused},
	{"urn:gen-browser:call-failed", "The callee failed to handle the call", 502, "", ErrCallFailed},
	{"urn:gen-browser:call-timeout", "No reply came in time", 504, "", ErrCallTimeout},
}

// FailureOf returns what the caller is told of err: [ErrCallFailed] and err's text, if it is none of the known ones.
func FailureOf(err error) *Failure {
	var known *Failure
	if errors.As(err, &known) {
		return known
	}
	for _, f := range failures {
		if errors.Is(err, f.err) {
			if err != f.err {
				f.Detail = err.Error()
			}
			return &f
		}
	}
	f := failures[len(failures)-2]
	f.Detail = fmt.Sprint(err)
	return &f
}

// parseFailure reads the body of a message of kind failure.
func parseFailure(body []byte) *Failure {
	f := Failure{err: ErrCallFailed}
	if json.Unmarshal(body, &f) != nil || f.Type == "" {
		return FailureOf(fmt.Errorf("%w: %.200s", ErrCallFailed, body))
	}
	for _, known := range failures {
		if known.Type == f.Type {
			f.err = known.err
			break
		}
	}
	return &f
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Detail == "" {
		return f.Title
	}
	return f.Title + ": " + f.Detail
}

// Unwrap returns the error that the failure stands for, [ErrCallFailed] for one that is not known.
func (f *Failure) Unwrap() error { return f.err }
