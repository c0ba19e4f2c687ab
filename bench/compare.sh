#!/bin/bash
# Runs the same one-to-one mailbox load against nginx+nchan, the bare net/http floor, and this project,
# server on core 0 and load on core 1, in turn, ROUNDS times, and prints each run and the ratios of medians.
#
#   compare.sh [-n streams] [-w workers] [-b batch] [-s seconds] [-r rounds] [-k "kinds"] -- SERVER COMMAND...
#
# SERVER COMMAND starts this project on 127.0.0.1:8094, for example:
#   compare.sh -- tmp/genbrowser serve --listen tcp4://127.0.0.1:8094
# Needs Go, taskset, and for nchan Debian's nginx and libnginx-mod-nchan.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
n=1000 w=64 batch=1 secs=5 rounds=3 kinds="nchan floor genbrowser"
while getopts n:w:b:s:r:k: o; do case $o in
  n) n=$OPTARG ;; w) w=$OPTARG ;; b) batch=$OPTARG ;; s) secs=$OPTARG ;; r) rounds=$OPTARG ;; k) kinds=$OPTARG ;;
  *) exit 2 ;; esac; done
shift $((OPTIND - 1))
dir=$(mktemp -d)
pid=
trap 'test -z "$pid" || kill "$pid" 2>/dev/null; rm -rf "$dir"' EXIT
(cd "$here" && go build -o "$dir/load" ./load && go build -o "$dir/floor" ./floor)
mkdir -p "$dir/nchan/tmp"
test -d /usr/lib/nginx/modules && ln -s /usr/lib/nginx/modules "$dir/nchan/modules"
cp "$here/nchan.conf" "$dir/nchan/"
ulimit -n "$(ulimit -Hn)"
for ((r = 1; r <= rounds; r++)); do
  for kind in $kinds; do
    case $kind in
      nchan) addr=127.0.0.1:8091; taskset -c 0 nginx -p "$dir/nchan" -c nchan.conf >/dev/null 2>&1 & ;;
      floor) addr=127.0.0.1:8090; GOMAXPROCS=1 taskset -c 0 "$dir/floor" -addr $addr >/dev/null 2>&1 & ;;
      genbrowser) addr=127.0.0.1:8094; GOMAXPROCS=1 taskset -c 0 "$@" >"$dir/server.log" 2>&1 & ;;
    esac
    pid=$!
    for _ in $(seq 50); do (exec 3<>"/dev/tcp/${addr%:*}/${addr#*:}") 2>/dev/null && break; sleep 0.1; done
    sleep 1
    GOMAXPROCS=1 taskset -c 1 "$dir/load" -kind "$kind" -addr "$addr" -n "$n" -w "$w" -batch "$batch" -d "${secs}s" -pid "$pid" | tee -a "$dir/out" || { tail -5 "$dir/server.log"; exit 1; }
    kill "$pid"; wait "$pid" 2>/dev/null || true
    pid=
  done
done
echo
awk '
  function med(key,   i, j, t, c, v) { c = split(seen[key], v, " "); for (i = 1; i <= c; i++) for (j = i + 1; j <= c; j++) if (v[j] + 0 < v[i] + 0) { t = v[i]; v[i] = v[j]; v[j] = t } return v[int((c + 1) / 2)] }
  { k = $1; if (!(k in at)) { at[k] = 1; order[++m] = k }
    for (i = 2; i <= NF; i++) { split($i, p, "="); if (p[1] == "idle" || p[1] == "cpu/msg" || p[1] == "delivered" || p[1] == "p99") seen[k p[1]] = seen[k p[1]] " " unit(p[2]) }
    for (i = 2; i <= NF; i++) if ($i ~ /^lost=/ && $i != "lost=0") lost[k] = lost[k] " " $i }
  function unit(x) { if (x ~ /KiB/) return x + 0; if (x ~ /[0-9]ms$/) return (x + 0) * 1000; if (x ~ /[0-9]s$/ && x !~ /(u|µ|m)s$/) return (x + 0) * 1e6; return x + 0 }
  END { printf "%-12s %14s %16s %14s %12s\n", "median", "idle KiB", "cpu/msg us", "msgs/s", "p99 us"
    for (i = 1; i <= m; i++) { k = order[i]; printf "%-12s %14.2f %16.2f %14.0f %12.0f%s\n", k, med(k "idle"), med(k "cpu/msg"), med(k "delivered"), med(k "p99"), lost[k] ? "  LOST" lost[k] : "" }
    g = "genbrowser"; if (g in at) for (i = 1; i <= m; i++) { k = order[i]; if (k != g) printf "genbrowser / %s: idle %.2f  cpu/msg %.2f  msgs/s %.2f  p99 %.2f\n", k, med(g "idle") / med(k "idle"), med(g "cpu/msg") / med(k "cpu/msg"), med(g "delivered") / med(k "delivered"), med(g "p99") / med(k "p99") } }
' "$dir/out"
