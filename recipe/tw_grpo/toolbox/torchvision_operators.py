# SPDX-License-Identifier: Apache-2.0
"""torchvision's wheel of the package index beside a CPU build of torch: mended so that it can be imported.

Whoever imports transformers' video processors or qwen-vl-utils on such a machine needs it: data_prep and cpu_platform.
"""

from __future__ import annotations

from types import ModuleType

from recipe.tw_grpo.toolbox.after_import import after_import
from recipe.tw_grpo.toolbox.repair import Repair

_declared: list[object] = []  # torch forgets a library's declarations when the library object dies


def _declare_operators(extension: ModuleType) -> None:
    """The package index's wheel cannot load its C++ part, and torchvision then stops at the operators it would define.

    Declaring the two schemas is enough: Qwen2-VL's processors resize with torch and run none of them. Where the part
    loads (a CPU build of torchvision, or a CUDA torch) nothing is declared.
    """
    if extension._has_ops() or _declared:
        return
    library = extension.torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)


def _operator_is_unknown(extension: ModuleType) -> bool:
    return not hasattr(extension.torch.ops.torchvision, "nms")


REPAIR = Repair(
    "torchvision-operators",
    "torchvision.extension",
    "torchvision 0.28.0 _meta_registrations.py:163 needs operators of a library that a CPU torch cannot load",
    _declare_operators,
    _operator_is_unknown,
)


def install() -> None:
    """Apply REPAIR when torchvision arrives; nothing is imported now, and twice is once."""
    after_import(REPAIR.module)(REPAIR.apply)
