#!/bin/bash
# Runs NATS, and a node for each --listen=URL, until it is terminated: one server for bench/compare.
#
#   cluster.sh PROGRAM NATS_SERVER DIR --listen=URL...      go build github.com/nats-io/nats-server/v2 makes NATS_SERVER
set -eu
program=$1 nats=$2 dir=$3
shift 3
trap 'kill $(jobs -p); wait' EXIT
trap exit TERM
"$nats" -js -sd "$dir/nats" -a 127.0.0.1 -p 4094 >/dev/null 2>&1 &
sleep 1
for listen in "$@"; do
  "$program" serve "$listen" --nats nats://127.0.0.1:4094 --cluster-node "n${listen##*:}" &
done
wait
