# SPDX-License-Identifier: Apache-2.0
"""The functions of terms.py, fused by torch.compile: whether that pays here, and the compiled functions.

Inductor needs a compiler (Triton on a GPU, a C++ compiler on a CPU) and seconds to minutes once; its own cache on disk
makes that seconds in later processes. Whatever goes wrong, the result is computed without it.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import torch

from recipe.tw_grpo.kernels import terms

logger = logging.getLogger(__name__)

# Compiling takes about as long as 20 to 100 groups of this many logits without it, on a CPU; later processes find it in
# the cache. Below, a model is so small that a whole run would not earn it back.
_LEAST_LOGITS = 1 << 26
_AGREEMENT = {torch.float32: 1e-3, torch.float64: 1e-9}


def pays(logits: int, device: torch.device, dtype: torch.dtype) -> bool:
    """What `impl="auto"` decides.

    Args:
        logits: tokens of the group times vocabulary.
        device: where they are computed.
        dtype: what they are computed in.
    """
    if device.type != "cpu":  # not yet shown right and faster on a GPU: impl="compiled" asks for it
        return False
    return logits >= _LEAST_LOGITS and dtype == torch.float32 and is_available(device.type)


@functools.cache
def is_available(device_type: str) -> bool:
    """Whether torch.compile is allowed and has what it needs; says the reason once at level INFO if not."""
    import torch._dynamo  # 1 s, so only when it is needed

    if torch._dynamo.config.disable or os.environ.get("TORCHDYNAMO_DISABLE") == "1":  # two variables of torch's
        reason = "TORCH_COMPILE_DISABLE or TORCHDYNAMO_DISABLE is set"
    elif device_type == "cuda":
        from torch.utils._triton import has_triton

        reason = "" if has_triton() else "there is no Triton for this GPU"
    elif device_type == "cpu":
        import torch._inductor.config as inductor

        names = inductor.cpp.cxx if isinstance(inductor.cpp.cxx, tuple) else (inductor.cpp.cxx,)
        reason = "" if any(name and shutil.which(name) for name in (*names, "g++")) else "there is no C++ compiler"
    else:
        reason = f"it is not tried on {device_type}"
    if reason:
        logger.info("tw_grpo: token weights are computed without torch.compile: %s", reason)
    return not reason


_failed: set[Callable[..., Any]] = set()
_agreed: set[tuple[Any, ...]] = set()


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True, fullgraph=True)


def call(function: Callable[..., torch.Tensor], *arguments: Any) -> torch.Tensor:
    """function(*arguments), a function of terms.py, compiled; by itself where that fails or disagrees."""
    tensors = [a for a in arguments if isinstance(a, torch.Tensor) and a.dim() > 1]
    # torch compiles a size of 1 anew, and that costs more than it saves.
    if function in _failed or any(1 in tensor.shape[:-1] for tensor in tensors[:1]):
        return function(*arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = _compiled(function)(*arguments)
    except Exception as error:  # whatever a compiler can raise; without it the result is the same
        logger.warning("tw_grpo: torch.compile failed, token weights are computed without it: %s", _first_line(error))
        _failed.add(function)
        return function(*arguments)
    key = (function, tensors[0].device, tensors[0].dtype)
    if key not in _agreed:
        expected = function(*arguments)
        pairs = zip(_tuple(result), _tuple(expected), strict=True)
        tolerance = _AGREEMENT[tensors[0].dtype]
        if not all(torch.allclose(a, b, rtol=tolerance, atol=tolerance**2, equal_nan=True) for a, b in pairs):
            logger.warning("tw_grpo: torch.compile gives other numbers, token weights are computed without it")
            _failed.add(function)
            return expected
        _agreed.add(key)
    return result


def _tuple(value: Any) -> tuple[torch.Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


log_sum_exp = functools.partial(call, terms.log_sum_exp)
kl = functools.partial(call, terms.kl)
logspace_k3 = functools.partial(call, terms.logspace_k3)
