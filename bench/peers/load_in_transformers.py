"""Loads folders that this package saved with transformers and compares what it computes with what we computed.

    python load_in_transformers.py FOLDER [FOLDER ...] [--ids 1,2,3] [--expected logits.json]

Each folder is loaded with AutoModelForCausalLM, which must find the native class that `architectures` names, and
AutoTokenizer. --expected names a file inside each folder with any of
    {"ids": [..], "logits": [[..] per position], "mtpLogits": [[..] per position but the last],
     "greedy": [..], "texts": [{"text", "ids", "decoded"}], "bos": id, "eos": id}
and --ids stands in for its "ids". One JSON line per folder; the exit code is 1 where a key is missing, an unexpected
key is not of an MTP module, a logit differs by more than --tolerance, or tokens or texts differ.
"""

import argparse
import json
import os
import pathlib
import re
import sys

# Settings for other libraries' products must not slow this program down.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # noqa: E402

# A peer for tiny models shares the machine.
torch.set_num_threads(1)
transformers.logging.set_verbosity_error()


def is_mtp(key, config):
    """Whether `key` belongs to a layer after the main ones, which the native class does not have."""
    found = re.match(r"model\.layers\.(\d+)\.", key)
    modules = getattr(config, "num_nextn_predict_layers", 0) or 0
    return found is not None and 0 <= int(found[1]) - config.num_hidden_layers < modules


def mtp_logits(model, ids):
    """Logits of the first MTP module for all positions but the last, or None where this transformers has no such class."""
    try:
        from transformers.modeling_layers import MtpModel
    except ImportError:
        return None
    first = model.config.num_hidden_layers
    # transformers finds MTP layers by this list, which for V3 names only the layer of the released model.
    model._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{first}\..*"]
    mtp = MtpModel.from_pretrained(model).eval()
    positions = torch.arange(1, len(ids))[None]
    with torch.no_grad():
        hidden = model.model(input_ids=torch.tensor([ids[:-1]]), use_cache=False).last_hidden_state
        embedded = mtp.embed_tokens(torch.tensor([ids[1:]]))
        masks = mtp.create_masks_for_mtp_layer(0, embedded, None, positions)
        rotary = mtp.rotary_emb(embedded, position_ids=positions)
        out = mtp.layers[0](
            embedded, hidden, position_embeddings=rotary, position_ids=positions, past_key_values=None, **masks
        )
        return mtp._project_to_logits(out)[0]


def check_model(folder, ids, expected, tolerance):
    stored = json.loads((folder / "config.json").read_text())
    config = AutoConfig.from_pretrained(folder)
    model, loading = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    model.eval()
    keys = {name: sorted(loading.get(name) or []) for name in ("missing_keys", "mismatched_keys")}
    unexpected = sorted(loading.get("unexpected_keys") or [])
    mtp = [key for key in unexpected if is_mtp(key, config)]
    report = {
        "class": type(model).__name__,
        "dtype": str(config.dtype).removeprefix("torch."),
        "missing": [str(key) for key in keys["missing_keys"]],
        "mismatched": [str(key) for key in keys["mismatched_keys"]],
        "unexpected": [key for key in unexpected if key not in mtp],
        "mtpKeys": len(mtp),
    }
    faults = [name for name in ("missing", "mismatched", "unexpected") if report[name]]
    if report["class"] not in stored.get("architectures", [report["class"]]):
        faults.append("class")
    if report["dtype"] != stored.get("torch_dtype", stored.get("dtype", report["dtype"])):
        faults.append("dtype")
    if ids:
        batch = torch.tensor([ids])
        with torch.no_grad():
            logits = model(input_ids=batch, use_cache=False).logits[0]
        if "logits" in expected:
            ours = torch.tensor(expected["logits"])
            difference = (logits - ours).abs().max().item()
            report["logitDifference"] = difference
            report["largestLogit"] = ours.abs().max().item()
            # Not `>`: a NaN must fail.
            if not difference <= tolerance:
                faults.append("logits")
        else:
            report["lastLogits"] = logits[-1].tolist()
        if "mtpLogits" in expected:
            theirs = mtp_logits(model, ids)
            if theirs is None:
                report["mtpLogitDifference"] = None
            else:
                report["mtpLogitDifference"] = (theirs - torch.tensor(expected["mtpLogits"])).abs().max().item()
                if not report["mtpLogitDifference"] <= tolerance:
                    faults.append("mtpLogits")
        if "greedy" in expected:
            count = len(expected["greedy"])
            with torch.no_grad():
                out = model.generate(
                    batch,
                    attention_mask=torch.ones_like(batch),
                    do_sample=False,
                    max_new_tokens=count,
                    pad_token_id=0,
                )
            greedy = out[0, len(ids) :].tolist()
            report["greedyTokens"] = len(greedy)
            if greedy != expected["greedy"]:
                report["greedy"] = greedy
                faults.append("greedy")
    return report, faults


def check_tokenizer(folder, expected):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = expected.get("texts", [])
    different = []
    for case in texts:
        ids = tokenizer(case["text"])["input_ids"]
        # Cleaning up spaces is a choice of the caller's, not of the file's tokens.
        decoded = tokenizer.decode(case["ids"], skip_special_tokens=False)
        if ids != case["ids"] or decoded != case["decoded"]:
            different.append({"text": case["text"], "ids": ids, "decoded": decoded})
    report = {"tokenizerClass": type(tokenizer).__name__, "texts": len(texts), "differentTexts": different}
    report["bos"], report["eos"] = tokenizer.bos_token_id, tokenizer.eos_token_id
    report["inputs"] = sorted(tokenizer("a").keys())
    faults = ["texts"] if different else []
    # Causal models take nothing else.
    if report["inputs"] != ["attention_mask", "input_ids"]:
        faults.append("inputs")
    for name in ("bos", "eos"):
        if name in expected and expected[name] != report[name]:
            faults.append(name)
    return report, faults


def check(folder, options):
    expected = json.loads((folder / options.expected).read_text()) if options.expected else {}
    ids = options.ids or expected.get("ids")
    report = {"folder": str(folder)}
    found, faults = check_model(folder, ids, expected, options.tolerance)
    report.update(found)
    if (folder / "tokenizer.json").exists():
        found, more = check_tokenizer(folder, expected)
        report.update(found)
        faults += more
    report["faults"] = faults
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--ids", type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--expected", help="file inside each folder")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    options = parser.parse_args()
    failed = False
    for folder in options.folders:
        try:
            report = check(folder, options)
        except Exception as error:  # noqa: BLE001 - whatever keeps one folder from loading is the finding
            report = {"folder": str(folder), "faults": ["load"], "error": f"{type(error).__name__}: {error}"}
        failed = failed or bool(report["faults"])
        report["torch"], report["transformers"] = torch.__version__, transformers.__version__
        print(json.dumps(report), flush=True)
    sys.exit(1 if failed else 0)


main()
