# SPDX-License-Identifier: Apache-2.0
"""What the weights add to a step on an H100, by arithmetic: operations and bytes from a model's configuration.

One prompt a GPU, as in the published run. Bytes of the element-wise work are counted by running it: every operation of
`group_divergence` on a small group reports the tensors it reads and writes. The rates below are assumptions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recipe.tw_grpo.divergence import group_divergence
from recipe.tw_grpo.doctor.model_sizes import published

TITLE = "A step of 7B on paper"
MODEL = "Qwen/Qwen2.5-VL-7B-Instruct"
RESPONSES = 8
PROMPT = 1136  # tokens: 936 of sixteen frames of 224 x 364, and some 200 of text
LENGTHS = (400, 4096)
PEAK, TRAINED, MULTIPLIED = 989e12, 0.4, 0.6  # bf16 operations a second; shares reached by training, by plain products
MEMORY, STREAMED = 3.35e12, 0.7  # bytes a second; share reached
LINK = 100e9  # bytes a second between GPUs, a conservative NVLink
NOTE = (
    f"Assumed: {PEAK / 1e12:.0f} bf16 TFLOP/s, of which training reaches {TRAINED:.0%} and plain products "
    f"{MULTIPLIED:.0%}; {MEMORY / 1e12} TB/s, of which {STREAMED:.0%} are reached; {LINK / 1e9:.0f} GB/s between GPUs; "
    f"one prompt of {PROMPT:,} tokens a GPU with {RESPONSES} responses; no fusion of the element-wise work."
)
_MOVED = ("mm", "bmm", "addmm")  # products: counted as operations


class _Bytes(TorchDispatchMode):
    """Sums the bytes that operations read and write, views and products left out."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if not function.is_view and name not in _MOVED and not name.startswith(("empty", "new_empty")):
            tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
            # An output that is also an argument (out=, in place) is read and written.
            self.total += sum(t.numel() * t.element_size() for t in tensors)
        return result


def bytes_a_logit() -> float:
    """Bytes the element-wise work moves for each of the G x T x V logits, without fusion."""
    generator = torch.Generator().manual_seed(0)
    tokens, vocabulary, width = 16, 32_768, 8
    states = torch.randn(RESPONSES * tokens, width, generator=generator)
    head = torch.randn(vocabulary, width, generator=generator)
    with _Bytes() as counted:
        group_divergence(states, head, torch.tensor([tokens] * RESPONSES), impl="streaming")
    return counted.total / (RESPONSES * tokens * vocabulary)


def run() -> list[dict[str, Any]]:
    """One record for each length of the responses."""
    model = published()[MODEL]
    text = model["text_config"]
    d, layers, V = text["hidden_size"], text["num_hidden_layers"], text["vocab_size"]
    kv = d * text["num_key_value_heads"] // text["num_attention_heads"]
    weights = layers * (2 * d * d + 2 * d * kv + 3 * d * text["intermediate_size"]) + V * d
    parameters = model["parameters"]
    moved = bytes_a_logit()
    records = []
    for T in LENGTHS:
        tokens = PROMPT + T
        forward = (2 * weights + 2 * d * tokens * layers) * tokens * RESPONSES  # a token attends to half the others
        # The log-probability pass, and an update that recomputes activations: 1 + 4 forward passes.
        trained = 5 * forward / (TRAINED * PEAK)
        sampled = T * 2 * parameters / (STREAMED * MEMORY)  # every token of a response reads the weights once
        logits = RESPONSES * T * V
        products, elements = 2 * logits * d / (MULTIPLIED * PEAK), logits * moved / (STREAMED * MEMORY)
        gather = 2 * V * d / LINK
        added = products + elements + gather
        records.append(
            {
                "T": T,
                "operations": 2 * logits * d,
                "operations_of_step": 5 * forward,
                "bytes": logits * moved,
                "bytes_a_logit": moved,
                "gathered": 2 * V * d,
                "gathered_by_fsdp": 3 * RESPONSES * 2 * parameters,  # micro-batches of one: 3 gathers each
                "states": RESPONSES * T * d * 2,
                "seconds": {"products": products, "elements": elements, "gather": gather},
                "seconds_of_step": {"training": trained, "rollout": sampled},
                "share_of_training": added / trained,
                "share": added / (trained + sampled),
            }
        )
    return records


def rows(records: list[dict[str, Any]]) -> list[list[str]]:
    """The table of `run`'s records."""
    columns = [["", *(f"T = {r['T']:,}" for r in records)]]
    for name, form in {
        "products of D_t, operations": lambda r: f"{r['operations']:.1e}",
        "log-probability pass and update, operations": lambda r: f"{r['operations_of_step']:.1e}",
        "element-wise work of D_t, GB": lambda r: f"{r['bytes'] / 1e9:.0f} ({r['bytes_a_logit']:.0f} bytes a logit)",
        "LM head gathered once, GB": lambda r: f"{r['gathered'] / 1e9:.2f}",
        "gathered by FSDP itself, GB": lambda r: f"{r['gathered_by_fsdp'] / 1e9:.0f}",
        "hidden states kept, MB": lambda r: f"{r['states'] / 1e6:.0f}",
        "ms: products, elements, gather": lambda r: ", ".join(f"{1e3 * s:.0f}" for s in r["seconds"].values()),
        "s: training, rollout": lambda r: ", ".join(f"{s:.1f}" for s in r["seconds_of_step"].values()),
        "added to log-probability pass and update": lambda r: f"{r['share_of_training']:.1%}",
        "added to the step": lambda r: f"{r['share']:.1%}",
    }.items():
        columns.append([name, *map(form, records)])
    return columns
