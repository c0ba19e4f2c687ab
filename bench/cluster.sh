#!/bin/bash
# Runs the same load against one node and three nodes over the same kind of NATS, in turn, ROUNDS times. Streams and
# senders are spread over the nodes, so that most messages go from one node to another. The processor time is that
# of all nodes and of NATS.
#
#   cluster.sh PROGRAM NATS_SERVER [ROUNDS] [SECONDS]       go build github.com/nats-io/nats-server/v2 makes NATS_SERVER
set -eu
program=$1 nats=$2 rounds=${3:-3} secs=${4:-4}
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/cluster.XXXX")
pids=
trap 'test -z "$pids" || kill $pids 2>/dev/null; rm -rf "$dir"' EXIT
(cd "$here" && go build -o "$dir/load" ./load)
export SECRET=${SECRET:-a-secret-for-measurements-only-0123456789}
for ((r = 1; r <= rounds; r++)); do
  for w in 64 256; do
    for nodes in 1 3; do
      rm -rf "$dir/nats"
      "$nats" -js -sd "$dir/nats" -a 127.0.0.1 -p 4094 >/dev/null 2>&1 &
      pids=$! addrs=
      sleep 1
      for ((i = 1; i <= nodes; i++)); do
        "$program" serve --listen "tcp4://127.0.0.1:809$i" --nats nats://127.0.0.1:4094 --cluster-node "n$i" >"$dir/n$i.log" 2>&1 &
        pids="$pids $!" addrs="$addrs${addrs:+,}127.0.0.1:809$i"
      done
      sleep 4 # until each node has its shards
      for ((i = 1; i <= nodes; i++)); do "$program" healthcheck "http://127.0.0.1:809$i"; done
      echo "nodes$nodes-$w $("$dir/load" -kind genbrowser -addr "$addrs" -n 1000 -w "$w" -d "${secs}s" -idle 0.5s -pid "${pids// /,}")" | tee -a "$dir/out"
      # shellcheck disable=SC2086
      kill $pids; wait $pids 2>/dev/null || true
      pids=
    done
  done
done
awk -f "$here/medians.awk" -v of="nodes1-64 nodes3-64 nodes1-256 nodes3-256" "$dir/out"
