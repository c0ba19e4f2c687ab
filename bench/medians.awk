# Prints, of runs of the load that each begin with a name, the medians, and their ratios to the first run's of the
# same number in flight.
{ for (i = 2; i <= NF; i++) { split($i, p, "="); if (p[1] ~ /^(delivered|cpu\/msg|p50|p99)$/) seen[$1 p[1]] = seen[$1 p[1]] " " unit(p[2]) }
  for (i = 2; i <= NF; i++) if ($i ~ /^(lost|bad)=/ && $i !~ /=0$/) lost[$1] = lost[$1] " " $i }
function unit(x) { if (x ~ /[0-9]ms$/) return (x + 0) * 1000; if (x ~ /[0-9]s$/ && x !~ /(u|µ|m)s$/) return (x + 0) * 1e6; return x + 0 }
function med(key,   i, j, t, c, v) { c = split(seen[key], v, " "); for (i = 1; i <= c; i++) for (j = i + 1; j <= c; j++) if (v[j] + 0 < v[i] + 0) { t = v[i]; v[i] = v[j]; v[j] = t } return v[int((c + 1) / 2)] }
END {
  printf "\n%-14s %10s %12s %10s %10s %24s %10s\n", "median", "msgs/s", "cpu/msg us", "p50 us", "p99 us", "messages a cpu second", "p50"
  c = split(of, names, " ")
  for (i = 1; i <= c; i++) { k = names[i]; split(k, parts, "-")
    if (!(parts[2] in base)) base[parts[2]] = k
    b = base[parts[2]]
    printf "%-14s %10.0f %12.1f %10.0f %10.0f %22.2f x %8.2f x%s\n", k, med(k "delivered"), med(k "cpu/msg"), med(k "p50"), med(k "p99"), med(b "cpu/msg") / med(k "cpu/msg"), med(k "p50") / med(b "p50"), lost[k] } }
