"""What Janus-1.3B and JanusFlow-1.3B draw with, in plain PyTorch: the decoders of both autoencoders on weights in official names
from a safetensors file, one guided step of Janus and one guided velocity of JanusFlow on weights that are drawn here (nothing
depends on their values).

Each line on standard input is a JSON command, answered by one line:
{"load": "vq" or "vae", "weights": path, "input": path, "dtype": "float32"} decoders of 24 x 24 codes and of 48 x 48 latents,
{"load": "step" or "velocity", "positions": n, "dtype": ..} two rows behind n cached positions,
{"run": n} -> {"ms": [...], "cpuMs": t, "peakMb": most memory since the last load}, {"output": path} the last result as f32.
Threads: --threads.
"""

import time

from torch_peer import attention, load_file, serve, timed  # first: it clears the environment

import numpy
import torch
import torch.nn.functional as F

GROUPS, EPSILON = 32, 1e-6
WIDTH, INNER, LAYERS, HEADS, CODES = 2048, 5632, 24, 16, 16384


# What both autoencoders call the parts of their decoders.
NAMES = {
    "vq": {
        "levels": 5, "middle": ("mid.0", "mid.1", "mid.2"), "block": "conv_blocks.{}.res.{}", "attention": "conv_blocks.{}.attn.{}",
        "upsample": "conv_blocks.{}.upsample.conv", "norm": "norm_out", "shortcut": "nin_shortcut",
        "parts": ("norm", "q", "k", "v", "proj_out"),
    },
    "vae": {
        "levels": 4, "middle": ("mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"),
        "block": "up_blocks.{}.resnets.{}", "attention": "up_blocks.{}.attentions.{}", "upsample": "up_blocks.{}.upsamplers.0.conv",
        "norm": "conv_norm_out", "shortcut": "conv_shortcut", "parts": ("group_norm", "to_q", "to_k", "to_v", "to_out.0"),
    },
}


class Decoder:
    """The decoder of one of both: pixels of codes or of latents."""

    def __init__(self, kind, weights, dtype, values):
        self.w = {name: each.to(dtype) for name, each in weights.items()}
        self.names = NAMES[kind]
        # Convolutions of channels-last pictures are faster than of planar ones, or not: both are tried.
        self.last = False
        if kind == "vq":
            book = F.normalize(weights["quantize.embedding.weight"], dim=-1)
            codes = torch.from_numpy(values.view(numpy.int32).astype(numpy.int64))
            latents = book[codes].reshape(1, 24, 24, -1)
        else:
            latents = torch.from_numpy(values).reshape(1, 48, 48, 4)
        self.latents = latents.permute(0, 3, 1, 2).contiguous().to(dtype)

    def conv(self, x, name):
        weight = self.w[f"{name}.weight"]
        if weight.dim() == 2:
            weight = weight[:, :, None, None]
        return F.conv2d(x, weight, self.w[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def norm(self, x, name):
        return F.group_norm(x, GROUPS, self.w[f"{name}.weight"], self.w[f"{name}.bias"], EPSILON)

    def block(self, x, name):
        y = self.conv(F.silu(self.norm(x, f"{name}.norm1")), f"{name}.conv1")
        y = self.conv(F.silu(self.norm(y, f"{name}.norm2")), f"{name}.conv2")
        shortcut = f"{name}.{self.names['shortcut']}"
        return y + (self.conv(x, shortcut) if f"{shortcut}.weight" in self.w else x)

    def attend(self, x, name):
        norm, q, k, v, out = (f"{name}.{part}" for part in self.names["parts"])
        y = self.norm(x, norm)
        b, c, h, w = x.shape
        rows = lambda part: self.conv(y, part).flatten(2).transpose(1, 2)[:, None]  # noqa: E731
        z = attention(rows(q), rows(k), rows(v))[:, 0].transpose(1, 2).reshape(b, c, h, w)
        return x + self.conv(z, out)

    def __call__(self):
        names = self.names
        first, middle, second = (f"decoder.{name}" for name in names["middle"])
        x = self.latents
        if self.last:
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.conv(self.conv(x, "post_quant_conv"), "decoder.conv_in")
        x = self.block(self.attend(self.block(x, first), middle), second)
        for level in range(names["levels"]):
            for i in range(3):
                x = self.block(x, "decoder." + names["block"].format(level, i))
                name = "decoder." + names["attention"].format(level, i)
                if f"{name}.{names['parts'][0]}.weight" in self.w:
                    x = self.attend(x, name)
            name = "decoder." + names["upsample"].format(level)
            if f"{name}.weight" in self.w:
                x = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"), name)
        x = F.silu(self.norm(x, f"decoder.{names['norm']}"))
        return self.conv(x, "decoder.conv_out").permute(0, 2, 3, 1)


class Drawn:
    """Weights of any values, drawn as they are asked for."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.pool = torch.randn(1 << 20)

    def __call__(self, *shape):
        size = 1
        for n in shape:
            size *= n
        values = torch.empty(size, dtype=self.dtype)
        scale = shape[-1] ** -0.5
        for begin in range(0, size, len(self.pool)):
            part = values[begin : begin + len(self.pool)]
            part.copy_(self.pool[: len(part)] * scale)
        return values.reshape(shape)


def rms(x, weight):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + EPSILON)).to(x.dtype) * weight


class Language:
    """The blocks of LLaMA behind a cache of `positions` for each of two rows, which keeps its length."""

    def __init__(self, drawn, positions):
        make = lambda: {  # noqa: E731
            "n1": torch.ones(WIDTH, dtype=drawn.dtype), "n2": torch.ones(WIDTH, dtype=drawn.dtype),
            "qkv": [drawn(WIDTH, WIDTH) for _ in range(3)], "o": drawn(WIDTH, WIDTH),
            "gate": drawn(INNER, WIDTH), "up": drawn(INNER, WIDTH), "down": drawn(WIDTH, INNER),
            "k": drawn(2, HEADS, positions, WIDTH // HEADS), "v": drawn(2, HEADS, positions, WIDTH // HEADS),
        }
        self.layers = [make() for _ in range(LAYERS)]
        self.norm = torch.ones(WIDTH, dtype=drawn.dtype)
        self.positions = positions

    def turned(self, x, cos, sin):
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def __call__(self, x):
        b, n, _ = x.shape
        each = WIDTH // HEADS
        angles = torch.arange(self.positions, self.positions + n)[:, None] * 1e4 ** (-torch.arange(0, each, 2) / each)
        angles = torch.cat([angles, angles], -1)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        mask = None
        if n > 1:
            causal = torch.full((n, n), float("-inf")).triu(1)
            mask = torch.cat([torch.zeros(n, self.positions), causal], -1).to(x.dtype)
        for layer in self.layers:
            y = rms(x, layer["n1"])
            q, k, v = (F.linear(y, w).reshape(b, n, HEADS, each).transpose(1, 2) for w in layer["qkv"])
            q, k = self.turned(q, cos, sin), self.turned(k, cos, sin)
            k, v = torch.cat([layer["k"], k], 2), torch.cat([layer["v"], v], 2)
            x = x + F.linear(attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(b, n, WIDTH), layer["o"])
            y = rms(x, layer["n2"])
            x = x + F.linear(F.silu(F.linear(y, layer["gate"])) * F.linear(y, layer["up"]), layer["down"])
        return rms(x, self.norm)


class Step:
    """A code of an image under guidance: its embedding, the language model, the head, the choice."""

    def __init__(self, drawn, positions):
        self.language = Language(drawn, positions)
        self.embed, self.a, self.b = drawn(CODES, 8), drawn(WIDTH, 8), drawn(WIDTH, WIDTH)
        self.c, self.d = drawn(WIDTH, WIDTH), drawn(CODES, WIDTH)

    def __call__(self):
        x = F.linear(F.gelu(F.linear(self.embed[torch.tensor([[7], [7]])], self.a)), self.b)
        x = self.language(x)[:, -1]
        with_prompt, without = F.linear(F.gelu(F.linear(x, self.c)), self.d).float()
        torch.multinomial((without + 5 * (with_prompt - without)).softmax(-1), 1)
        return with_prompt


class Velocity:
    """ConvNeXt encoder, language model and ConvNeXt decoder on two rows of 576 latent places and the time."""

    class Block:
        def __init__(self, drawn, c):
            self.depth, self.norm = drawn(c, 1, 7, 7), torch.ones(c, dtype=drawn.dtype)
            self.a, self.b, self.m = drawn(4 * c, c), drawn(c, 4 * c), drawn(2 * c, WIDTH)
            self.scale, self.shift = drawn(1, 1, 1, 4 * c), drawn(1, 1, 1, 4 * c)

        def __call__(self, x, t):
            c = x.shape[1]
            y = F.conv2d(x, self.depth, padding=3, groups=c).permute(0, 2, 3, 1)
            y = F.gelu(F.linear(rms(y, self.norm), self.a))
            g = y.norm(p=2, dim=(1, 2), keepdim=True)
            y = self.scale * (y * (g / (g.mean(-1, keepdim=True) + EPSILON))) + self.shift + y
            y = F.linear(y, self.b).permute(0, 3, 1, 2) + x
            k, h = F.linear(F.silu(t), self.m)[:, :, None, None].chunk(2, 1)
            return y * (1 + k) + h

    def __init__(self, drawn, positions):
        self.language = Language(drawn, positions)
        self.t1, self.t2, self.first = drawn(WIDTH, 768), drawn(WIDTH, WIDTH), drawn(768, 4, 2, 2)
        self.down = [Velocity.Block(drawn, 768) for _ in range(2)]
        self.up = [Velocity.Block(drawn, 1536) for _ in range(2)]
        self.into, self.out_of, self.last = drawn(WIDTH, 768), drawn(768, WIDTH), drawn(16, 1536, 1, 1)
        ones = lambda n: torch.ones(n, dtype=drawn.dtype)  # noqa: E731
        self.norms = [ones(WIDTH), ones(768), ones(1536)]
        self.latents = drawn(1, 4, 48, 48)

    def __call__(self):
        dtype = self.latents.dtype
        angles = 500 * torch.exp(-torch.arange(384) / 384 * torch.log(torch.tensor(1e4)))
        t = torch.cat([angles.cos(), angles.sin()])[None].to(dtype)
        t = F.linear(F.silu(F.linear(t, self.t1)), self.t2)
        # Both rows have the same latents: the encoder sees them once.
        x = F.conv2d(self.latents, self.first, stride=2)
        for block in self.down:
            x = block(x, t)
        tokens = F.linear(x.flatten(2).transpose(1, 2), self.into)
        row = torch.cat([t[:, None], tokens], 1)
        h = self.language(torch.cat([row, row]))[:, 1:]
        y = F.linear(rms(h, self.norms[0]), self.out_of)
        y = rms(y, self.norms[1]).reshape(2, 24, 24, 768).permute(0, 3, 1, 2)
        y = torch.cat([y, x.expand(2, -1, -1, -1)], 1)
        for block in self.up:
            y = block(y, t.expand(2, -1))
        y = rms(y.permute(0, 2, 3, 1), self.norms[2]).permute(0, 3, 1, 2)
        v = F.pixel_shuffle(F.conv2d(y, self.last), 2)
        return 2 * v[:1] - v[1:]


def forget_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def memory(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key))


def load(command):
    dtype = getattr(torch, command["dtype"])
    kind = command["load"]
    if kind in ("step", "velocity"):
        return (Step if kind == "step" else Velocity)(Drawn(dtype), command["positions"])
    values = numpy.fromfile(command["input"], dtype=numpy.float32)
    return Decoder(kind, load_file(command["weights"]), dtype, values)


class Peer:
    model = result = None
    before = 0

    def load(self, command):
        self.model = self.result = None
        self.model = load(command)
        forget_peak()
        self.before = memory("VmRSS")
        trials = {}
        for last in [False, True] if isinstance(self.model, Decoder) else []:
            self.model.last = last
            self.model()
            start = time.process_time()
            self.model()
            trials["channels last" if last else "planar"] = round(1000 * (time.process_time() - start))
        if trials:
            self.model.last = trials["channels last"] < trials["planar"]
        return {"trials": trials}

    def __call__(self, command):
        if "load" in command:
            return self.load(command)
        if "run" in command:
            self.result, times = timed(self.model, command["run"])
            return {**times, "peakMb": memory("VmHWM") - self.before}
        self.result.float().contiguous().numpy().tofile(command["output"])
        return {"shape": list(self.result.shape)}


if __name__ == "__main__":
    serve(Peer())
