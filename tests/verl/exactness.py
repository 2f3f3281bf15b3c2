# SPDX-License-Identifier: Apache-2.0
"""Every way in which one rank of verl's FSDP2 engine can run a forward pass, and how exact D_t and w_t are in it.

`python tests/verl/exactness.py` prints the table of docs/exactness.md; test_exactness.py holds each row to its limit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ.setdefault("VERL_PLATFORM", "cpu")

import engine_kit as kit
import torch
import transformers

from recipe.cpu_platform import torch_flash
from recipe.tw_grpo.config import TWGRPOConfig
from recipe.tw_grpo.groups import rows_by_group
from recipe.tw_grpo.token_weights import weigh_groups

# Relative, from the same hidden states (the layers are left out, runs/rounding.py has what they lose). The rest is the
# head: group_divergence computes what responses do not share, log ratios with a relative error of about sqrt(d) 2**-24
# (4e-7 for d = 48), and twice that is what D_t loses: 1e-5 is far above it on any CPU. What is rounded at full size
# (delta = 2**-22 of a log-probability) costs a D of 1e-7 in a group of 16 up to 2 delta sqrt(2 * 16 / D) = 1e-2.
FP32_LIMIT, SMALL_LIMIT, BF16_LIMIT = 1e-5, 1e-2, 1e-2  # D >= 1e-3; D down to 1e-7; bf16
BF16 = {"param_dtype": "bf16", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}
SIXTEEN = {"uids": ["p"] * 16, "lengths": [5, 9, 1, 12, 7, 7, 3, 20, 2, 6, 8, 4, 11, 10, 5, 6]}


@dataclasses.dataclass(frozen=True)
class Case:
    """One configuration: a model (its weights have standard deviation `spread`), what verl is told, how the batch is
    cut."""

    name: str
    model: str = "qwen2"
    tied: bool = False
    spread: float = 0.1
    precision: Mapping[str, str] | None = None
    attention: str = "sdpa"
    model_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    engine_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    actor_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    batch: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def build(self, folder: Path) -> tuple[Path, Any]:
        """Folder of the model, and verl's engine for it."""
        path = kit.write_model(folder / "model", kind=self.model, tied=self.tied, spread=self.spread)
        return path, kit.build_engine(
            path,
            mixed_precision=dict(self.precision) if self.precision else None,
            model_options=dict(self.model_options),
            engine_options=dict(self.engine_options),
            attention=self.attention,
            **self.actor_options,
        )


def _packed(**options: Any) -> dict[str, Any]:
    return {"model_options": {"use_remove_padding": True, **options.pop("model_options", {})}, **options}


FUSED = {"use_fused_kernels": True, "fused_kernel_options": {"impl_backend": "torch"}}
LORA = {"lora_rank": 4, "lora_alpha": 8, "target_modules": "all-linear"}
CASES = (
    Case("padded, micro-batches of 6"),
    Case("micro-batches of 1", batch={"micro": 1}),
    Case("micro-batches of 3", batch={"micro": 3}),
    Case("use_dynamic_bsz, 33 tokens", batch={"max_tokens": 33}),
    Case("rows in another order", batch={"rows": [3, 5, 0, 1, 4, 2], "micro": 2}),
    Case("temperature 0.7", batch={"temperature": 0.7}),
    Case("temperature 1.3", batch={"temperature": 1.3}),
    Case("G = 16, one response long, one of length 1", batch={**SIXTEEN, "micro": 4}),
    Case("G = 2 and 4", batch={"uids": ["p", "q", "q", "p", "q", "q"], "micro": 3}),
    Case("all responses of one length", batch={"lengths": [5] * 6, "micro": 6}),
    Case("nearly equal distributions", spread=0.004, batch={"micro": 2}),
    Case("tied embeddings", tied=True),
    Case("use_remove_padding", **_packed(batch={"packed": True})),
    Case("use_remove_padding, micro-batches of 2", **_packed(batch={"packed": True, "micro": 2})),
    Case("use_remove_padding, use_dynamic_bsz", **_packed(batch={"packed": True, "max_tokens": 33})),
    Case(
        "use_remove_padding, pad_to_length",
        **_packed(
            engine_options={"pad_to_length": True, "pad_to_length_bucket": 32}, batch={"packed": True, "micro": 2}
        ),
    ),
    # verl's fused kernels read the LM head's weight without its module, which FSDP2 gathers for tied heads only.
    Case(
        "use_fused_kernels (torch), packed, tied",
        tied=True,
        **_packed(model_options=FUSED, batch={"packed": True, "fused": True}),
    ),
    Case(
        "use_fused_kernels, temperature 0.7, tied",
        tied=True,
        **_packed(model_options=FUSED, batch={"packed": True, "fused": True, "temperature": 0.7}),
    ),
    Case("gradient checkpointing", model_options={"enable_gradient_checkpointing": True}),
    Case("parameter and optimizer offload", engine_options={"param_offload": True, "optimizer_offload": True}),
    Case("LoRA", model_options=LORA),
    Case("bf16", precision=BF16),
    Case("bf16, use_remove_padding", precision=BF16, **_packed(batch={"packed": True, "micro": 2})),
    Case("Qwen3", model="qwen3"),
    Case("Qwen3, tied", model="qwen3", tied=True),
    Case("Qwen2.5-VL with video", model="qwen2_5_vl", batch={"vl": True, "micro": 2}),
    Case("Qwen2.5-VL, tied", model="qwen2_5_vl", tied=True, batch={"vl": True, "micro": 3}),
    Case(
        "Qwen2.5-VL, frozen vision tower",
        model="qwen2_5_vl",
        actor_options={"freeze_vision_tower": True},
        batch={"vl": True, "micro": 6},
    ),
    # verl casts what goes into Qwen2.5-VL's packed attention to bf16 (models/transformers/qwen2_vl.py:210).
    Case(
        "Qwen2.5-VL, use_remove_padding, bf16",
        model="qwen2_5_vl",
        precision=BF16,
        attention=torch_flash.NAME,
        **_packed(batch={"packed": True, "vl": True, "micro": 3}),
    ),
    Case("Qwen3-VL with video", model="qwen3_vl", batch={"vl": True, "micro": 2}),
    Case(
        "Qwen3-VL, use_remove_padding",
        model="qwen3_vl",
        attention=torch_flash.NAME,
        **_packed(batch={"packed": True, "vl": True, "micro": 3}),
    ),
    Case("Qwen3-VL, tied", model="qwen3_vl", tied=True, batch={"vl": True, "micro": 6}),
)


@dataclasses.dataclass
class Errors:
    """Largest relative errors of D_t where D >= 1e-3 and where 1e-7 <= D < 1e-3 (None: no such D), largest
    absolute error of w_t, and the largest D_t."""

    large: float | None
    small: float | None
    weight: float
    most: float


@contextlib.contextmanager
def restored_forward():
    """verl exchanges methods of the models' classes for some of its settings, for good; the next case has to lose
    that."""
    modules = [transformers.models.qwen2.modeling_qwen2, transformers.models.qwen2_5_vl.modeling_qwen2_5_vl]
    modules += [transformers.models.qwen3_vl.modeling_qwen3_vl]
    classes = {c for m in modules for c in vars(m).values() if isinstance(c, type) and issubclass(c, torch.nn.Module)}
    kept = [(c, c.forward) for c in classes if "forward" in vars(c)]
    try:
        yield
    finally:
        for c, forward in kept:
            c.forward = forward


@restored_forward()
def measure(case: Case, folder: Path) -> Errors:
    """Run the case in this process's group and compare with the dense float64 definition from the very hidden states
    the engine computed, and w_t with Eq. 5 on that definition."""
    _, engine = case.build(folder)
    batch = kit.make_batch(**{"micro": 6, **case.batch})
    found, expected = kit.infer_and_define(engine, batch)
    found = [row.double() for row in found["token_divergence"].unbind()]
    groups = rows_by_group(kit.uids_of(batch))
    weights, _ = weigh_groups(groups, [row.float() for row in found], TWGRPOConfig())
    defined, _ = weigh_groups(groups, expected, TWGRPOConfig())
    d, e = torch.cat(found), torch.cat(expected)
    relative = (d - e).abs() / e.clamp(min=1e-30)
    large, small = e >= 1e-3, (e >= 1e-7) & (e < 1e-3)
    return Errors(
        large=float(relative[large].max()) if large.any() else None,
        small=float(relative[small].max()) if small.any() else None,
        weight=float((torch.cat(weights).double() - torch.cat(defined)).abs().max()),
        most=float(e.max()),
    )


def main() -> None:
    """Print the table."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        torch.distributed.init_process_group("cpu:gloo", rank=0, world_size=1, init_method=f"file://{folder}/store")
        print("| configuration | D ≥ 1e-3, relative | 1e-7 ≤ D < 1e-3, relative | w_t, absolute | largest D_t |")
        print("|---|---|---|---|---|")
        for case in CASES:
            errors = measure(case, Path(folder))
            numbers = [errors.large, errors.small, errors.weight, errors.most]
            print("|", case.name, "|", " | ".join("none" if n is None else f"{n:.1e}" for n in numbers), "|")
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
