//go:build unix

package main

import (
	"context"
	"fmt"
	"net"
	"net/rpc"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Echo is net/rpc's.
type Echo struct{}

// Echo returns what it is given.
func (Echo) Echo(in *string, out *string) error {
	*out = *in
	return nil
}

func startNetRPC(l net.Listener, dial dialer) (do, error) {
	server := rpc.NewServer()
	if err := server.Register(Echo{}); err != nil {
		return nil, err
	}
	go server.Accept(l)
	conn, err := dial(context.Background())
	if err != nil {
		return nil, err
	}
	client := rpc.NewClient(conn)
	later(func() { client.Close() })
	return func(_ context.Context, payload string) error {
		var out string
		if err := client.Call("Echo.Echo", &payload, &out); err != nil {
			return err
		}
		return same(out, payload)
	}, nil
}

func same(got, want string) error {
	if got != want {
		return fmt.Errorf("the reply is %.100q", got)
	}
	return nil
}

// echoService is what protoc would make of a service with a unary method and a stream of strings.
var echoService = grpc.ServiceDesc{
	ServiceName: "Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.StringValue)
		return in, decode(in)
	}}},
	Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
		for in := new(wrapperspb.StringValue); ; {
			if err := s.RecvMsg(in); err != nil {
				return nil
			}
			if err := s.SendMsg(in); err != nil {
				return err
			}
		}
	}}},
}

func connectGRPC(l net.Listener, dial dialer) (*grpc.ClientConn, error) {
	server := grpc.NewServer()
	server.RegisterService(&echoService, nil)
	go server.Serve(l)
	later(server.Stop)
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }))
	if err == nil {
		later(func() { conn.Close() })
	}
	return conn, err
}

func startUnary(l net.Listener, dial dialer) (do, error) {
	conn, err := connectGRPC(l, dial)
	return func(ctx context.Context, payload string) error {
		out := new(wrapperspb.StringValue)
		if err := conn.Invoke(ctx, "/Echo/Echo", wrapperspb.String(payload), out); err != nil {
			return err
		}
		return same(out.Value, payload)
	}, err
}

// startStream gives each caller a stream of its own, kept for as long as it calls.
func startStream(l net.Listener, dial dialer) (do, error) {
	conn, err := connectGRPC(l, dial)
	streams := sync.Pool{}
	return func(ctx context.Context, payload string) error {
		s, _ := streams.Get().(grpc.ClientStream)
		if s == nil {
			var err error
			if s, err = conn.NewStream(context.Background(), &echoService.Streams[0], "/Echo/Stream"); err != nil {
				return err
			}
		}
		defer streams.Put(s)
		if err := s.SendMsg(wrapperspb.String(payload)); err != nil {
			return err
		}
		out := new(wrapperspb.StringValue)
		if err := s.RecvMsg(out); err != nil {
			return err
		}
		return same(out.Value, payload)
	}, err
}
