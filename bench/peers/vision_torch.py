"""SigLIP and SAM-B with DeepSeek-VL's necks in plain PyTorch, on weights in timm's and SAM's names from a safetensors file.

Attention is `scaled_dot_product_attention` where PyTorch has it; SAM's windows are partitioned and padded and its relative positions are an additive
mask, as in deepseek-ai/DeepSeek-VL `sam.py`, or are added to the scores in place: what is faster on this machine. Each line on standard input is a JSON command, answered by one line:
{"load": path, "config": {...}, "dtype": "float32", "pixels": path} -> {"parameters": n, "attention": form}, {"run": n} -> {"ms": [...], "cpuMs": t},
{"output": path} writes the result as f32, {"export": path} an ONNX file. Threads: --threads.
"""

import os
import time

from torch_peer import attention, load_file, serve, timed  # first: it clears the environment

import numpy
import torch
import torch.nn as nn
import torch.nn.functional as F

EPSILON = 1e-6


class Attention(nn.Module):
    def __init__(self, width, heads, size=None):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        if size is not None:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * size - 1, width // heads))
        self.size = size

    def positions(self, q):
        """Scores of relative positions by row and by column of keys, [B H, size, size, size] each, to be added."""
        size = self.size
        at = torch.arange(size)[:, None] - torch.arange(size)[None, :] + size - 1
        grid = q.reshape(-1, size, size, q.shape[-1])
        rows = torch.einsum("bhwc,hkc->bhwk", grid, self.rel_pos_h[at])
        columns = torch.einsum("bhwc,wkc->bhwk", grid, self.rel_pos_w[at])
        return rows[..., :, None], columns[..., None, :]

    def attend(self, q, k, v):
        b, h, n, d = q.shape
        if self.size is None:
            return attention(q, k, v)
        rows, columns = self.positions(q)
        if Attention.form == "sdpa":
            return attention(q, k, v, attn_mask=(rows + columns).reshape(b, h, n, n))
        scores = (q * d**-0.5) @ k.transpose(-2, -1)
        scores.view(-1, self.size, self.size, self.size, self.size).add_(rows).add_(columns)
        return scores.softmax(-1) @ v

    # How attention with relative positions is computed; the faster of both is kept.
    form = "sdpa"

    def forward(self, x):
        b, n, width = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(self.attend(q, k, v).transpose(1, 2).reshape(b, n, width))


class Siglip(nn.Module):
    class Block(nn.Module):
        def __init__(self, width, heads, inner, tanh):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
            self.attn = Attention(width, heads)
            self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})
            self.tanh = tanh

        def forward(self, x):
            x = x + self.attn(self.norm1(x))
            y = F.gelu(self.mlp["fc1"](self.norm2(x)), approximate="tanh" if self.tanh else "none")
            return x + self.mlp["fc2"](y)

    def __init__(self, c):
        super().__init__()
        width, patch = c["width"], c["patchSize"]
        side = c["imageSize"] // patch
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, side * side, width))
        tanh = c["activation"] == "gelu_tanh"
        self.blocks = nn.ModuleList(Siglip.Block(width, c["heads"], c["mlpWidth"], tanh) for _ in range(c["layers"]))
        self.norm = nn.LayerNorm(width, EPSILON)

    def forward(self, x):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class ChannelNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        spread = (x - mean).pow(2).mean(1, keepdim=True)
        return self.weight[:, None, None] * ((x - mean) / torch.sqrt(spread + EPSILON)) + self.bias[:, None, None]


class Sam(nn.Module):
    class Block(nn.Module):
        def __init__(self, c, window, side):
            super().__init__()
            width = c["width"]
            self.norm1, self.norm2 = nn.LayerNorm(width, EPSILON), nn.LayerNorm(width, EPSILON)
            self.attn = Attention(width, c["heads"], window or side)
            self.mlp = nn.ModuleDict({"lin1": nn.Linear(width, c["mlpWidth"]), "lin2": nn.Linear(c["mlpWidth"], width)})
            self.window = window

        def attend(self, x):
            b, h, w, c = x.shape
            s = self.window
            if not s:
                return self.attn(x.reshape(b, h * w, c)).reshape(b, h, w, c)
            down, right = -h % s, -w % s
            p = F.pad(x, (0, 0, 0, right, 0, down))
            rows, columns = (h + down) // s, (w + right) // s
            p = p.reshape(b, rows, s, columns, s, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)
            y = self.attn(p).reshape(b, rows, columns, s, s, c).permute(0, 1, 3, 2, 4, 5)
            return y.reshape(b, h + down, w + right, c)[:, :h, :w]

        def forward(self, x):
            x = x + self.attend(self.norm1(x))
            return x + self.mlp["lin2"](F.gelu(self.mlp["lin1"](self.norm2(x))))

    def __init__(self, c):
        super().__init__()
        width, patch, neck = c["width"], c["patchSize"], c["neckWidth"]
        side = c["imageSize"] // patch
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, width))
        self.seen = c["globalLayers"]
        self.blocks = nn.ModuleList(
            Sam.Block(c, 0 if i in self.seen else c["windowSize"], side) for i in range(c["layers"])
        )

        def make():
            return nn.Sequential(
                nn.Conv2d(width, neck, 1, bias=False),
                ChannelNorm(neck),
                nn.Conv2d(neck, neck, 3, padding=1, bias=False),
                ChannelNorm(neck),
            )

        self.neck, self.neck_hd = make(), make()
        widths = [neck, *c["outputWidths"]]
        self.downsamples = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False) for a, b in zip(widths, widths[1:])
        )
        self.hd_alpha_downsamples = nn.Parameter(torch.zeros(1))

    def finish(self, neck, x):
        x = neck(x.permute(0, 3, 1, 2))
        x = F.interpolate(x.float(), size=(96, 96), mode="bilinear", align_corners=False).to(x.dtype)
        for each in self.downsamples:
            x = each(x)
        return x.permute(0, 2, 3, 1).flatten(1, 2)

    def forward(self, x):
        x = self.patch_embed["proj"](x).permute(0, 2, 3, 1) + self.pos_embed
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == self.seen[0]:
                detail = x
        return self.finish(self.neck, x) + self.finish(self.neck_hd, detail) * self.hd_alpha_downsamples


class Peer:
    model = pixels = result = None

    def load(self, command):
        self.model = self.result = None
        config = command["config"]
        model = (Siglip if "activation" in config else Sam)(config).eval()
        weights = load_file(command["load"])
        model.load_state_dict({name: weights[name].reshape(p.shape) for name, p in model.state_dict().items()})
        dtype = getattr(torch, command["dtype"])
        self.model = model = model.to(dtype)
        size = config["imageSize"]
        values = torch.from_numpy(numpy.fromfile(command["pixels"], dtype=numpy.float32))
        self.pixels = values.reshape(-1, size, size, 3).permute(0, 3, 1, 2).contiguous().to(dtype)
        trials = {}
        for form in ["sdpa", "in place"] if isinstance(model, Sam) else []:
            Attention.form = form
            for _ in range(2):
                start = time.perf_counter()
                model(self.pixels)
                trials[form] = round(1000 * (time.perf_counter() - start))
        Attention.form = min(trials, key=trials.get, default="sdpa")
        parameters = sum(p.numel() for p in model.parameters())
        return {"parameters": parameters, "attention": Attention.form, "trials": trials}

    def __call__(self, command):
        if "load" in command:
            return self.load(command)
        if "run" in command:
            self.result, times = timed(lambda: self.model(self.pixels), command["run"])
            return times
        if "output" in command:
            self.result.float().numpy().tofile(command["output"])
            return {"shape": list(self.result.shape)}
        torch.onnx.export(
            *(self.model, (self.pixels,), command["export"]),
            input_names=["x"], output_names=["y"], **exporter(),
        )
        return {"bytes": os.path.getsize(command["export"])}


def exporter():
    """Torch 1.x has only the exporter by TorchScript, which needs no further package; later ones have both and prefer the other."""
    if torch.__version__.startswith("1."):
        return {"opset_version": 16}
    return {"opset_version": 18, "external_data": False, "dynamo": True}


if __name__ == "__main__":
    serve(Peer())
