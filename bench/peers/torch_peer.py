"""What the PyTorch peers share: lines of commands and answers, safetensors without a package of its own, and attention where PyTorch
is older than 2.0.

Debian's python3-torch comes alone; with numpy, which it brings along, these peers need nothing else.
"""

import argparse
import json
import os
import sys
import time

# Settings for other libraries' products must not slow these programs down.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

import numpy  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

TYPES = {"F32": numpy.float32, "BF16": numpy.int16, "F16": numpy.float16, "I32": numpy.int32}


def load_file(path):
    """All tensors of a safetensors file by their names."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        begin = file.tell()
    data = numpy.memmap(path, dtype=numpy.uint8, mode="r", offset=begin)
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, end = entry["data_offsets"]
        values = torch.from_numpy(numpy.array(data[first:end]).view(TYPES[entry["dtype"]]))
        tensors[name] = (values.view(torch.bfloat16) if entry["dtype"] == "BF16" else values).reshape(entry["shape"])
    return tensors


def plain_attention(q, k, v, attn_mask=None, is_causal=False):
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if attn_mask is not None:
        scores += attn_mask
    if is_causal:
        rows, columns = scores.shape[-2:]
        scores.masked_fill_(torch.ones(rows, columns, dtype=torch.bool).triu(1 + columns - rows), float("-inf"))
    return scores.softmax(-1) @ v


attention = getattr(F, "scaled_dot_product_attention", plain_attention)


def timed(work, count):
    """The last result of `count` runs, and their times as benchmarks read them."""
    ms = []
    cpu = time.process_time()
    for _ in range(count):
        start = time.perf_counter()
        result = work()
        ms.append(1000 * (time.perf_counter() - start))
    return result, {"ms": ms, "cpuMs": 1000 * (time.process_time() - cpu)}


def serve(answer):
    """Says what this peer is, then `answer(command)` to each line on standard input, a JSON object, in one line."""
    options = argparse.ArgumentParser()
    options.add_argument("--threads", type=int, default=2)
    threads = options.parse_args().threads
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    output = sys.stdout
    # What libraries print is no answer.
    sys.stdout = sys.stderr
    say = lambda value: print(json.dumps(value), file=output, flush=True)  # noqa: E731
    capability = torch.__config__.show().split("CPU capability usage: ")[-1].split()[0]
    say({"torch": torch.__version__, "threads": threads, "capability": capability})
    for line in sys.stdin:
        say(answer(json.loads(line)))
