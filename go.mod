module github.com/genbrowser/genbrowser

go 1.26.0

require (
	github.com/alecthomas/kong v1.17.0
	github.com/google/uuid v1.6.0
	github.com/gorilla/mux v1.8.1
	github.com/r3labs/sse/v2 v2.10.0
	github.com/rs/cors v1.11.1
	go.uber.org/goleak v1.3.0
	golang.org/x/crypto v0.58.0
	golang.org/x/net v0.62.0
	golang.org/x/time v0.16.0
	golang.org/x/tools v0.52.0
	gopkg.in/cenkalti/backoff.v1 v1.1.0
)

require golang.org/x/text v0.43.0 // indirect
