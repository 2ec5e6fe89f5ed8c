"""Steps of supervised fine-tuning, of direct preference optimization and of group relative policy optimization in plain PyTorch.

A model of Llama's shape with the weights of a folder in the Hugging Face layout, written as one would by hand: RMSNorm, rotary
attention with an explicit softmax where PyTorch has no fused one, SwiGLU. The data are those of the other side: packed rows with the
lengths of their documents, the same conversations padded to the longest, pairs with log-probabilities of the reference, prompts.
Everything in f32 on the CPU; AdamW, gradients clipped to norm 1. The first line says what runs; then each line
"NAME N" on standard input runs N steps and answers {"ms": [...], "cpuMs": .., "loss": first}.
"""

import argparse
import json
import os
import pathlib
import struct
import sys
import time

for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

FUSED = hasattr(F, "scaled_dot_product_attention")


def read_weights(path):
    """Tensors of a safetensors file in f32."""
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        assert entry["dtype"] == "F32", entry
        start, end = entry["data_offsets"]
        flat = torch.frombuffer(data, dtype=torch.float32, count=(end - start) // 4, offset=8 + length + start)
        tensors[key] = flat.reshape(entry["shape"]).clone()
    return tensors


class RMSNorm(nn.Module):
    def __init__(self, width, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon))


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin


def attend(q, k, v, mask):
    if FUSED:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1) @ v


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, self.heads = config["hidden_size"], config["num_attention_heads"]
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(width, width, bias=False))

    def forward(self, x, rope, mask, cache):
        batch, length, width = x.shape

        def split(y):
            return y.view(batch, length, self.heads, -1).transpose(1, 2)

        q, k, v = rotate(split(self.q_proj(x)), *rope), rotate(split(self.k_proj(x)), *rope), split(self.v_proj(x))
        if cache is not None:
            if "k" in cache:
                k, v = torch.cat((cache["k"], k), 2), torch.cat((cache["v"], v), 2)
            cache["k"], cache["v"] = k, v
        return self.o_proj(attend(q, k, v, mask).transpose(1, 2).reshape(batch, length, width))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.down_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, epsilon = config["hidden_size"], config["rms_norm_eps"]
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(width, epsilon), RMSNorm(width, epsilon)
        self.self_attn, self.mlp = Attention(config), MLP(config)

    def forward(self, x, rope, mask, cache):
        x = x + self.self_attn(self.input_layernorm(x), rope, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.model.layers = nn.ModuleList(Block(config) for _ in range(config["num_hidden_layers"]))
        self.model.norm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        dim = config["hidden_size"] // config["num_attention_heads"]
        frequencies = config["rope_theta"] ** (-torch.arange(0, dim, 2).float() / dim)
        angles = torch.arange(config["max_position_embeddings"]).float()[:, None] * frequencies
        self.tables = tuple(torch.cat((f, f), -1) for f in (angles.cos(), angles.sin()))

    def hidden(self, ids, mask=None, caches=None, start=0):
        length = ids.shape[1]
        if mask is None:
            mask = torch.ones(length, start + length, dtype=torch.bool).tril(start)
        rope = tuple(table[start : start + length] for table in self.tables)
        x = self.model.embed_tokens(ids)
        for i, layer in enumerate(self.model.layers):
            x = layer(x, rope, mask, None if caches is None else caches[i])
        return self.model.norm(x)

    def forward(self, ids, mask=None):
        return self.lm_head(self.hidden(ids, mask))


def padded(rows, fill):
    longest = max(map(len, rows))
    return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])


def sums_of(model, prompts, answers):
    """Log-probabilities of the tokens of answers, and which of them are not padding: [N, longest - 1] each."""
    ids = padded([p + a for p, a in zip(prompts, answers)], 0)
    hidden = model.hidden(ids)[:, :-1]
    marks = torch.zeros(ids.shape, dtype=torch.bool)
    for i, (p, a) in enumerate(zip(prompts, answers)):
        marks[i, len(p) : len(p) + len(a)] = True
    marks = marks[:, 1:]
    # Logits of answers alone.
    chosen = F.log_softmax(model.lm_head(hidden[marks]), -1).gather(-1, ids[:, 1:][marks][:, None])[:, 0]
    return torch.zeros(marks.shape).masked_scatter(marks, chosen), marks


class Side:
    """Weights, an optimizer and batches that come again and again."""

    def __init__(self, config, weights, batches):
        self.model = Llama(config)
        self.model.load_state_dict(weights)
        groups = [
            {"params": [p for p in self.model.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in self.model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-5, betas=(0.9, 0.95), eps=1e-8)
        self.batches, self.taken = batches, 0

    def step(self):
        batch = self.batches[self.taken % len(self.batches)]
        self.taken += 1
        loss = self.loss(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


class Packed(Side):
    def loss(self, batch):
        ids, targets = torch.tensor(batch["ids"]), torch.tensor(batch["targets"])
        rows, length = ids.shape
        numbers = torch.repeat_interleave(torch.arange(len(batch["documents"])), torch.tensor(batch["documents"]))
        numbers = numbers.view(rows, length)
        mask = (numbers[:, :, None] == numbers[:, None, :]).tril()[:, None]
        return F.cross_entropy(self.model(ids, mask).view(rows * length, -1), targets.view(-1), ignore_index=-1)


class Padded(Side):
    def loss(self, batch):
        ids, targets = padded(batch["rows"], 0), padded(batch["rowTargets"], -1)
        logits = self.model(ids)
        return F.cross_entropy(logits.view(ids.numel(), -1), targets.view(-1), ignore_index=-1)


class Preference(Side):
    def loss(self, pairs):
        prompts = [p["prompt"] for p in pairs for _ in range(2)]
        answers = [a for p in pairs for a in (p["chosen"], p["rejected"])]
        logp, _ = sums_of(self.model, prompts, answers)
        reference = torch.tensor([r for p in pairs for r in (p["reference"]["chosen"], p["reference"]["rejected"])])
        difference = (logp.sum(-1) - reference).view(-1, 2)
        return -F.logsigmoid(0.1 * (difference[:, 0] - difference[:, 1])).mean()


class Policy(Side):
    """One update of a rollout: k3 penalty of 0.04, advantages by the sample deviation, mean of tokens, then of completions."""

    def __init__(self, config, weights, batches):
        super().__init__(config, weights, batches)
        self.reference = Llama(config)
        self.reference.load_state_dict(weights)

    @torch.no_grad()
    def sample(self, prompts, tokens):
        caches = [{} for _ in self.model.model.layers]
        ids, read, out = torch.tensor(prompts), 0, []
        for _ in range(tokens):
            logits = self.model.lm_head(self.model.hidden(ids, None, caches, read)[:, -1])
            read += ids.shape[1]
            ids = torch.multinomial(torch.softmax(logits, -1), 1)
            out.append(ids)
        return torch.cat(out, 1).tolist()

    def loss(self, batch):
        samples = batch["samples"]
        prompts = [p for p in batch["prompts"] for _ in range(samples)]
        completions = self.sample(prompts, batch["tokens"])
        rewards = torch.arange(samples).float().repeat(len(batch["prompts"]), 1)
        advantages = ((rewards - rewards.mean(1, keepdim=True)) / rewards.std(1, keepdim=True)).view(-1, 1)
        logp, marks = sums_of(self.model, prompts, completions)
        with torch.no_grad():
            reference, _ = sums_of(self.reference, prompts, completions)
        ratio = torch.exp(logp - logp.detach())
        gain = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
        away = reference - logp
        penalty = torch.exp(away) - away - 1
        terms = (gain - 0.04 * penalty) * marks
        return -(terms.sum(1) / marks.sum(1)).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="config.json, model.safetensors and data.json")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    config = json.loads((options.folder / "config.json").read_text())
    data = json.loads((options.folder / "data.json").read_text())
    weights = read_weights(options.folder / "model.safetensors")
    kinds = {"sft": (Packed, "sft"), "sft-padded": (Padded, "sft"), "dpo": (Preference, "dpo"), "grpo": (Policy, "grpo")}
    sides = {name: kind(config, weights, data[key]) for name, (kind, key) in kinds.items() if key in data}

    def say(line):
        print(json.dumps(line), flush=True)

    say(
        {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "parameters": sum(p.numel() for p in next(iter(sides.values())).model.parameters()),
            "attention": "fused" if FUSED else "explicit softmax",
        }
    )
    for line in sys.stdin:
        name, count = line.split()
        before, ms, losses = time.process_time(), [], []
        for _ in range(int(count)):
            start = time.perf_counter()
            losses.append(sides[name].step())
            ms.append(1000 * (time.perf_counter() - start))
        say({"ms": ms, "cpuMs": 1000 * (time.process_time() - before), "losses": losses})


if __name__ == "__main__":
    main()
