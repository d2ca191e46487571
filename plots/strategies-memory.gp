# Keys and values against the context, under each spec.
metric = "kv_bytes"
shown(v) = v / 2**20
headline = "Keys and values in memory, by what is kept and how"
detail = ", scales included"
unit = "keys and values (MiB)"
load "plots/strategies-curve.gp"
