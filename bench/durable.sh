#!/bin/bash
# Runs the same load against a server that keeps mailboxes in memory, one that stores each message on the disk before
# it answers, and one that writes to the disk every second, with 64 and 256 requests in flight, in turn, ROUNDS times,
# and prints each run and the ratios of medians to the server in memory.
#
#   durable.sh PROGRAM [ROUNDS] [SECONDS]
set -eu
program=$1 rounds=${2:-3} secs=${3:-4}
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/durable.XXXX")
pid=
trap 'test -z "$pid" || kill "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
(cd "$here" && go build -o "$dir/load" ./load)
export SECRET=${SECRET:-a-secret-for-measurements-only-0123456789}
addr=127.0.0.1:8094
for ((r = 1; r <= rounds; r++)); do
  for w in 64 256; do
    for mode in memory always interval; do
      rm -rf "$dir/data"
      args=
      test $mode = memory || args="--data $dir/data --sync $mode"
      # shellcheck disable=SC2086
      "$program" serve --listen "tcp4://$addr" $args >"$dir/server.log" 2>&1 &
      pid=$!
      for _ in $(seq 100); do "$program" healthcheck "http://$addr" >/dev/null 2>&1 && break; sleep 0.1; done
      echo "$mode-$w $("$dir/load" -kind genbrowser -addr "$addr" -n 1000 -w "$w" -d "${secs}s" -idle 0.5s -pid "$pid")" | tee -a "$dir/out"
      kill "$pid"; wait "$pid" 2>/dev/null || true
      pid=
    done
  done
done
awk -f "$here/medians.awk" -v of="memory-64 always-64 interval-64 memory-256 always-256 interval-256" "$dir/out"
