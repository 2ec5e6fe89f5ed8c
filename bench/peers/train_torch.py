"""One training step of a DeepSeek-V3-shaped model in PyTorch with transformers, as a user would write it.

The model is the one of bench/train-config.json; it is trained on random tokens: forward with labels, backward,
clip_grad_norm_, AdamW. Everything in f32 on the CPU. The first line says what runs; then either --steps steps are
timed, one JSON line each, or, with --serve, each line "N" on standard input runs N steps and answers
{"ms": [...], ...}.

`auto` times each choice of attention, experts and optimizer for a few steps and keeps the fastest.
"""

import argparse
import json
import os
import pathlib
import resource
import sys
import time

# Settings for other libraries' products must not slow this program down.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM  # noqa: E402

CONFIG = pathlib.Path(__file__).parent.parent / "train-config.json"


class Run:
    def __init__(self, config, options, attention, experts, optimizer):
        torch.manual_seed(1)
        self.choice = {"attention": attention, "experts": experts, "optimizer": optimizer}
        settings = {key: value for key, value in config.items() if key != "model_type"}
        self.model = DeepseekV3ForCausalLM._from_config(
            DeepseekV3Config(**settings),
            attn_implementation=attention,
            experts_implementation=experts,
            dtype=torch.float32,
        )
        self.model.train()
        groups = [
            {"params": [p for p in self.model.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in self.model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        fused = {"fused": True} if optimizer == "fused" else {}
        self.optimizer = torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), eps=1e-8, **fused)
        self.generator = torch.Generator().manual_seed(2)
        self.shape = (options.batch, options.length)
        self.vocabulary = config["vocab_size"]
        self.loss = None

    def step(self):
        ids = torch.randint(0, self.vocabulary, self.shape, generator=self.generator)
        start = time.perf_counter()
        loss = self.model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.loss = loss.item()
        return 1000 * (time.perf_counter() - start)


def fastest(config, options, choices):
    """Times each choice in turn, the others fixed; returns the fastest run and what every trial took."""
    best = {name: values[0] for name, values in choices.items()}
    run, trials = None, []
    best_ms = float("inf")
    for name, values in choices.items():
        for value in values:
            trial = {**best, name: value}
            if any(known["choice"] == trial for known in trials):
                continue
            candidate = Run(config, options, **trial)
            try:
                first = candidate.step()
                if first > 4 * best_ms:
                    trials.append({"choice": trial, "ms": round(first, 1), "given up": "after its first step"})
                    continue
                candidate.step()
                ms = min(candidate.step(), candidate.step())
            except (RuntimeError, ValueError, NotImplementedError) as error:
                trials.append({"choice": trial, "error": str(error)[:120]})
                continue
            trials.append({"choice": trial, "ms": round(ms, 1)})
            if ms < best_ms:
                best_ms, run = ms, candidate
                best = trial
    return run, trials


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=CONFIG, help="config.json of the model; default: bench/train-config.json")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--attention", default="auto", choices=["auto", "eager", "sdpa"])
    parser.add_argument("--experts", default="auto", choices=["auto", "eager", "batched_mm", "grouped_mm"])
    parser.add_argument("--optimizer", default="auto", choices=["auto", "default", "fused"])
    parser.add_argument("--serve", action="store_true", help="run steps on command")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with open(options.config, encoding="utf-8") as file:
        config = json.load(file)

    def either(value, known):
        return known if value == "auto" else [value]

    run, trials = fastest(
        config,
        options,
        {
            "attention": either(options.attention, ["sdpa", "eager"]),
            # grouped_mm is what transformers chooses by itself, eager its loop over experts in Python. batched_mm
            # gathers the weights of every routed token, gigabytes at this size: ask for it by name.
            "experts": either(options.experts, ["grouped_mm", "eager"]),
            "optimizer": either(options.optimizer, ["default", "fused"]),
        },
    )
    if run is None:
        sys.exit(f"no variant runs: {trials}")

    def say(line):
        print(json.dumps(line), flush=True)

    for _ in range(options.warmup):
        run.step()
    say(
        {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
            "parameters": sum(p.numel() for p in run.model.parameters()),
            **run.choice,
            "trials": trials,
        }
    )
    # Kilobytes on Linux; the largest so far, discarded trials included.
    resident = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # noqa: E731
    if options.serve:
        for line in sys.stdin:
            before = time.process_time()
            ms = [run.step() for _ in range(int(line))]
            cpu = 1000 * (time.process_time() - before)
            say({"ms": ms, "cpuMs": cpu, "loss": run.loss, "residentKb": resident()})
        return
    for _ in range(options.steps):
        ms = run.step()
        say({"ms": round(ms, 2), "loss": run.loss, "residentKb": resident()})


if __name__ == "__main__":
    main()
