package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// storage says where mailboxes outlive the process.
type storage struct {
	Data      string        `help:"Directory where mailboxes are kept. Without it, and without --nats, they end with the process." placeholder:"DIR"`
	Sync      string        `help:"When a message counts as stored: always: once it is on the disk; interval: before, and a power cut may take what came since." enum:"always,interval" default:"always" needs:"data"`
	SyncEvery time.Duration `help:"How often --sync=interval writes to the disk." default:"1s" needs:"sync=interval"`
	Snapshot  int64         `help:"Bytes that the log may grow by, at least, until it is written anew and trimmed." default:"67108864" needs:"data,nats"`

	Restored bool `help:"What is there was put back from a copy, which may be older than what clients have read: they are told of a gap. For the first start after that." needs:"data,nats"`

	Nats     []string `help:"NATS with JetStream that keeps the mailboxes instead, for several nodes together, such as nats://10.0.0.1:4222. May be repeated." placeholder:"URL"`
	Replicas int      `help:"Nodes, or NATS servers, that keep each message; 0: 3 in a cluster (2 if it is of two), else 1. It counts when the log is made; later it must be the same, or 0." default:"0" needs:"data,nats"`

	ClusterName      string   `help:"Name of the cluster that this node and those of --join make, each with its own --data and --cluster-node." placeholder:"NAME" needs:"data"`
	ClusterNode      string   `help:"Name of this node in it: another for each, the same after a restart. 1 to 64 letters, digits, _ and -." placeholder:"NAME" needs:"cluster-name,nats"`
	ClusterListen    string   `help:"Where the other nodes connect to; default: 127.0.0.1:6222, which only those on this machine can." default:"127.0.0.1:6222" placeholder:"HOST:PORT" needs:"cluster-name"`
	ClusterAdvertise string   `help:"How they find it, if not by --cluster-listen." placeholder:"HOST:PORT" needs:"cluster-name"`
	Join             []string `help:"Where another node of the cluster listens. May be repeated." placeholder:"HOST:PORT" needs:"cluster-name"`
	ClusterCert      string   `help:"Certificate that nodes show each other, a PEM file." placeholder:"FILE" needs:"cluster-name"`
	ClusterKey       string   `help:"Its key, a PEM file." placeholder:"FILE" needs:"cluster-name"`
	ClusterCA        string   `help:"Authorities that the nodes' certificates must be of, a PEM file." placeholder:"FILE" needs:"cluster-name"`
}

// lasting reports whether mailboxes outlive the process.
func (s *storage) lasting() bool { return s.Data != "" || len(s.Nats) > 0 }

// shared reports whether other nodes use the same mailboxes.
func (s *storage) shared() bool { return len(s.Nats) > 0 || s.ClusterName != "" }

// open opens the log, which is nil if mailboxes end with the process.
func (s *storage) open(ctx context.Context, secrets secrets, log *slog.Logger) (*jetstream.Log, error) {
	if !s.lasting() {
		return nil, nil
	}
	o := jetstream.Options{Dir: s.Data, URLs: s.Nats, Replicas: s.Replicas, Restored: s.Restored, Logger: log}
	if s.Sync == "interval" {
		o.SyncEvery = s.SyncEvery
	}
	if s.ClusterName != "" {
		config, err := s.clusterTLS()
		if err != nil {
			return nil, err
		}
		password, err := secrets.clusterPassword()
		if err != nil {
			return nil, err
		}
		o.Cluster = &jetstream.Cluster{
			Name: s.ClusterName, Node: s.ClusterNode, Listen: s.ClusterListen, Advertise: s.ClusterAdvertise,
			Join: s.Join, User: "genbrowser", Password: password, TLS: config,
		}
	}
	return jetstream.Open(ctx, o)
}

// node is this node's name, for people.
func (s *storage) node() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return cmp.Or(s.ClusterNode, host)
}

func (s *storage) clusterTLS() (*tls.Config, error) {
	switch { // of a variable that is not set, maybe: that must not turn encryption off
	case s.ClusterCert == "" && s.ClusterKey == "" && s.ClusterCA == "":
		return nil, nil
	case s.ClusterCert == "" || s.ClusterKey == "" || s.ClusterCA == "":
		return nil, errors.New("--cluster-cert, --cluster-key, --cluster-ca: want all of them, or none")
	}
	return mutualTLS(s.ClusterCert, s.ClusterKey, s.ClusterCA)
}
