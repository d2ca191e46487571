"""Writes model.safetensors: one layer, one head of two channels, whose keys are minus the queries
times 10^8. A row gives all its weight to rows of the other sign and +0 to those of its own, so that
scores are equal; fault 47 needs that."""
import json
import random
import struct

random.seed(2)
V, T, C, F, STEEP = 8, 128, 2, 2, 10000.0


def drawn(n, most):
    return [random.uniform(-most, most) for _ in range(n)]


tensors = {
    "wte.weight": ([V, C], drawn(V * C, 1)),
    "wpe.weight": ([T, C], drawn(T * C, 0.3)),
    "h.0.ln_1.weight": ([C], [1, 1]),
    "h.0.ln_1.bias": ([C], [0, 0]),
    "h.0.attn.c_attn.weight": ([C, 3 * C], [STEEP, 0, -STEEP, 0, 0.7, -0.2,
                                            0, STEEP, 0, -STEEP, 0.3, 0.5]),
    "h.0.attn.c_attn.bias": ([3 * C], [0, 0, 0, 0, 0.1, 0.2]),
    "h.0.attn.c_proj.weight": ([C, C], drawn(C * C, 1)),
    "h.0.attn.c_proj.bias": ([C], drawn(C, 0.1)),
    "h.0.ln_2.weight": ([C], [1, 1]),
    "h.0.ln_2.bias": ([C], [0, 0]),
    "h.0.mlp.c_fc.weight": ([C, F], drawn(C * F, 1)),
    "h.0.mlp.c_fc.bias": ([F], drawn(F, 0.1)),
    "h.0.mlp.c_proj.weight": ([F, C], drawn(F * C, 1)),
    "h.0.mlp.c_proj.bias": ([C], drawn(C, 0.1)),
    "ln_f.weight": ([C], [1, 1]),
    "ln_f.bias": ([C], [0, 0]),
}
header, data = {}, b""
for name, (shape, values) in tensors.items():
    begin = len(data)
    data += struct.pack("<%df" % len(values), *values)
    header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
text = json.dumps(header, separators=(",", ":")).encode()
text += b" " * (-len(text) % 8)
with open("model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)
