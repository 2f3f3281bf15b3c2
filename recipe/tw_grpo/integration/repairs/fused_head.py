# SPDX-License-Identifier: Apache-2.0
"""Fused kernels with an LM head of its own (untied embeddings) under FSDP2.

The fused forward reads `lm_head.weight` without calling the head, so FSDP2 never gathers a head that it wraps alone.
"""

from __future__ import annotations

import functools
from types import ModuleType

from recipe.tw_grpo.toolbox.repair import Repair


def _head_in_the_root(fsdp_utils: ModuleType) -> None:
    """Where fused kernels read the head's weight, leave the head to FSDP2's root, gathered for the whole forward pass.

    A tied head lives there already. Models without fused kernels are sharded as before.
    """
    original = fsdp_utils._select_fsdp2_wrap_targets

    @functools.wraps(original)
    def _select_fsdp2_wrap_targets(model, *args, **kwargs):
        targets = original(model, *args, **kwargs)
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # PEFT
        if getattr(inner, "_verl_fused_kernels_backend", None) is None:
            return targets
        head = inner.get_output_embeddings()
        return [module for module in targets if module is not head]

    fsdp_utils._select_fsdp2_wrap_targets = _select_fsdp2_wrap_targets


def _head_is_not_gathered(fsdp_utils: ModuleType) -> bool:
    import tempfile

    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from verl.models.transformers.monkey_patch import patch_forward_with_backends

    shape = dict(vocab_size=64, hidden_size=24, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
    model = Qwen2ForCausalLM(Qwen2Config(**shape, num_key_value_heads=1, tie_word_embeddings=False))
    patch_forward_with_backends(model, use_fused_kernels=True, fused_kernels_backend="torch")
    with tempfile.TemporaryDirectory() as folder:
        started = not torch.distributed.is_initialized()
        if started:
            store = f"file://{folder}/store"
            torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
        try:
            mesh = init_device_mesh("cpu", (torch.distributed.get_world_size(),))
            fsdp_utils.apply_fsdp2(model, {"mesh": mesh, "reshard_after_forward": True}, {})
            model(input_ids=torch.tensor([[1, 2, 3]]), return_dict=True).log_probs.sum().backward()
        except RuntimeError as error:
            if "mixed torch.Tensor and DTensor" in str(error):
                return True
            raise
        finally:
            if started:
                torch.distributed.destroy_process_group()
    return model.lm_head.weight.grad is None


REPAIR = Repair(
    "fused-head",
    "verl.utils.fsdp_utils",
    "verl 0.9.1 utils/fsdp_utils.py:558 wraps lm_head by itself, models/transformers/dense_common.py:123 reads its "
    "weight without calling it",
    _head_in_the_root,
    _head_is_not_gathered,
    ("0.9.1", "0.9.1"),
)
