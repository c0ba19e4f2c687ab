package lab

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Request is a request of HTTP/1.1 as it goes over the wire. Each header ends with CR and LF; nil is no body.
func Request(method, path, headers string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\n%s", method, path, headers)
	if body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

// ReadAnswer reads a response and returns its status. It does less than net/http, for who sends shares a core with thousands
// of readers.
func ReadAnswer(br *bufio.Reader) (int, error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	code, _ := strconv.Atoi(string(line[9:12]))
	length, chunked := 0, false
	for {
		l, err := br.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(l) <= 2 {
			break
		}
		if len(l) > 16 && bytes.EqualFold(l[:15], []byte("content-length:")) {
			length, _ = strconv.Atoi(strings.TrimSpace(string(l[15:])))
		}
		if len(l) > 18 && bytes.EqualFold(l[:18], []byte("transfer-encoding:")) {
			chunked = true
		}
	}
	if chunked {
		for {
			l, err := br.ReadSlice('\n')
			if err != nil {
				return 0, err
			}
			k, _ := strconv.ParseInt(strings.TrimSpace(string(l)), 16, 64)
			if _, err := io.CopyN(io.Discard, br, k+2); err != nil {
				return 0, err
			}
			if k == 0 {
				return code, nil
			}
		}
	}
	_, err = io.CopyN(io.Discard, br, int64(length))
	return code, err
}
