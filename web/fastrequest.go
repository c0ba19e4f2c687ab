package web

import (
	"bytes"

	"github.com/genbrowser/genbrowser/address"
)

// fastParser recognises the sends that the fast lane serves. What it recognises, net/http would read in the same way;
// that is all that it has to know of HTTP (RFC 9112).
type fastParser struct {
	begin   string // "POST /_gb/send/"
	maxBody int
}

// fastRequest is a send that was recognised; its parts are parts of what was parsed.
type fastRequest struct {
	to, contentType, name, ttl, trace []byte
	body                              []byte
	size                              int // of all of it
}

// maxFastHead is how long the head of a request may be.
const maxFastHead = 4 << 10

type verdict int

const (
	isForeign verdict = iota // net/http's
	partial                  // more is to come before it can be told, or served
	complete                 // one to be served, which may be followed by others
)

// parse looks at what begins with a request. Of a partial one it says how many bytes are needed, if that is known; else 0.
func (p *fastParser) parse(r *fastRequest, b []byte) (v verdict, need int) {
	*r = fastRequest{}
	if n := min(len(b), len(p.begin)); string(b[:n]) != p.begin[:n] {
		return isForeign, 0
	}
	line, at, v := fastLine(b, 0)
	if v != complete {
		return v, 0
	}
	if r.to = bytes.TrimSuffix(line[len(p.begin):], []byte(" HTTP/1.1")); len(r.to)+len(p.begin) == len(line) || !isAddress(r.to) {
		return isForeign, 0
	}
	var seen uint
	length := -1
	for {
		if line, at, v = fastLine(b, at); v != complete {
			return v, 0
		}
		if len(line) == 0 {
			break
		}
		header, value := fastHeader(line)
		if header == unknownHeader || seen&(1<<header) != 0 {
			return isForeign, 0
		}
		seen |= 1 << header
		ok := true
		switch header {
		case hostHeader:
			ok = isHost(value)
		case lengthHeader:
			length, ok = parseLength(value, p.maxBody)
		case connectionHeader:
			ok = bytes.EqualFold(value, []byte("keep-alive"))
		case typeHeader:
			r.contentType = value
		case nameHeader:
			r.name = value
		case ttlHeader:
			r.ttl = value
		case traceHeader:
			r.trace = value
		}
		if !ok {
			return isForeign, 0
		}
	}
	if seen&(1<<hostHeader) == 0 || length < 0 {
		return isForeign, 0
	}
	r.size = at + length
	if len(b) < r.size {
		return partial, r.size
	}
	r.body = b[at:r.size]
	return complete, 0
}

// fastLine returns the line at an offset, without its end, and where the next one begins. It has visible characters and
// spaces, and ends with CR LF.
func fastLine(b []byte, at int) (line []byte, next int, v verdict) {
	for i := at; i < len(b); i++ {
		switch c := b[i]; {
		case i >= maxFastHead:
			return nil, 0, isForeign
		case c >= 0x20 && c < 0x7f:
		case c == '\r' && i+1 == len(b):
			return nil, 0, partial
		case c == '\r' && b[i+1] == '\n':
			return b[at:i], i + 2, complete
		default:
			return nil, 0, isForeign
		}
	}
	return nil, 0, partial
}

// The headers that the fast lane knows. Of the last ones it need not know what they say.
const (
	unknownHeader uint = iota
	hostHeader
	lengthHeader
	connectionHeader
	typeHeader
	nameHeader
	ttlHeader
	traceHeader
	userAgentHeader
	acceptHeader
	acceptEncodingHeader
	acceptLanguageHeader
	fetchModeHeader
)

var fastHeaders = map[string]uint{
	"host": hostHeader, "content-length": lengthHeader, "connection": connectionHeader, "content-type": typeHeader,
	"idempotency-key": nameHeader, "ttl": ttlHeader, "traceparent": traceHeader, "user-agent": userAgentHeader,
	"accept": acceptHeader, "accept-encoding": acceptEncodingHeader, "accept-language": acceptLanguageHeader,
	"sec-fetch-mode": fetchModeHeader,
}

// fastHeader takes a line apart: a known name in any case, a colon, one space, and a value that neither begins nor ends
// with another.
func fastHeader(line []byte) (header uint, value []byte) {
	var room [16]byte
	n := bytes.IndexByte(line, ':')
	if n < 0 || n > len(room) || len(line) < n+3 || line[n+1] != ' ' || line[n+2] == ' ' || line[len(line)-1] == ' ' {
		return unknownHeader, nil
	}
	for i, c := range line[:n] {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		room[i] = c
	}
	return fastHeaders[string(room[:n])], line[n+2:]
}

// isAddress reports whether text can be an address, and means the same when it is unescaped.
func isAddress(text []byte) bool {
	for _, c := range text {
		if !isAlphanumeric(c) && c != '_' && c != '-' {
			return false
		}
	}
	return len(text) > 0 && len(text) <= address.MaxText
}

func isHost(text []byte) bool {
	for _, c := range text {
		if !isAlphanumeric(c) && c != '.' && c != ':' && c != '-' && c != '[' && c != ']' {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func parseLength(text []byte, most int) (length int, ok bool) {
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		if length = 10*length + int(c-'0'); length > most {
			return 0, false
		}
	}
	return length, true
}
