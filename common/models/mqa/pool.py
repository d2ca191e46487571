"""python3 pool.py MODEL OUT: writes into the folder OUT the GPT-2 of the folder MODEL with one K/V
head: in each layer the mean of its K heads, and of its V heads, as a gpt_bigcode with multi_query
true. Weights are F16 or F32, and stay so: a mean is taken in double precision and rounded once.
MODEL has one model.safetensors, whose tensors are named as Hugging Face names GPT-2's, without a
head of its own. (Mean pooling: Ainslie et al. 2023, GQA, section 2.1.)"""
import json
import os
import shutil
import struct
import sys

FORMATS = {"F16": "e", "F32": "f"}


def read(path):
    """Yields (name, dtype, shape, numbers), in the order of the file."""
    with open(path, "rb") as f:
        file = f.read()
    begin = 8 + struct.unpack_from("<Q", file)[0]
    for name, entry in json.loads(file[8:begin]).items():
        if name == "__metadata__" or name.endswith((".attn.bias", ".masked_bias")):
            continue
        if entry["dtype"] not in FORMATS or name.startswith("lm_head"):
            sys.exit("%s: %s, %s, cannot be pooled here" % (path, name, entry["dtype"]))
        first, end = entry["data_offsets"]
        values = memoryview(file)[begin + first:begin + end]
        code = FORMATS[entry["dtype"]]
        yield name, entry["dtype"], entry["shape"], struct.unpack(
            "<%d%s" % (len(values) // struct.calcsize(code), code), values)


def write(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, dtype, shape, values in tensors:
        begin = len(data)
        data += struct.pack("<%d%s" % (len(values), FORMATS[dtype]), *values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def pool(rows, H):
    """rows (3 C, n) of q, k, v: all of q, then the mean of k's H heads, and that of v's."""
    C = len(rows) // 3
    D = C // H
    heads = [[rows[part * C + h * D:part * C + h * D + D] for h in range(H)] for part in (1, 2)]
    return rows[:C] + [[sum(numbers) / H for numbers in zip(*(head[d] for head in part))]
                       for part in heads for d in range(D)]


def convert(tensors, H):
    for name, dtype, shape, values in tensors:
        name = "transformer." + name.removeprefix("transformer.")
        if ".h." in name and (len(shape) == 2 or "c_attn" in name):
            rows = [values[j::shape[-1]] for j in range(shape[-1])]  # (in, out) becomes (out, in)
            if "c_attn" in name:
                rows = pool(rows, H)
            shape = [len(rows)] + shape[:-1]
            values = [x for row in rows for x in row]
        yield name, dtype, shape, values


def main(model, out):
    with open(os.path.join(model, "config.json")) as f:
        config = json.load(f)
    os.makedirs(out, exist_ok=True)
    weights = read(os.path.join(model, "model.safetensors"))
    write(os.path.join(out, "model.safetensors"), convert(weights, config["n_head"]))
    config.update(architectures=["GPTBigCodeForCausalLM"], model_type="gpt_bigcode",
                  multi_query=True)
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
    for name in os.listdir(model):
        if name.endswith((".txt", "vocab.json", "tokenizer.json")):
            shutil.copy(os.path.join(model, name), out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
