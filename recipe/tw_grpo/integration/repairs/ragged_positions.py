# SPDX-License-Identifier: Apache-2.0
"""Position ids of a multimodal batch whose sequences all have one length: verl names the wrong ragged dimension.

A group whose answers have collapsed to one length meets it on any device; verl PR 7901 (open) is about the same line.
"""

from __future__ import annotations

import functools
from types import ModuleType

from recipe.tw_grpo.toolbox.repair import Repair


def _ragged_position_ids(tensordict_utils: ModuleType) -> None:
    """The ragged dimension of [batch, 4, L] position ids is set to 2 without looking.

    When all sequences of a batch have one length L, torch has packed the [4, L] rows along their first dimension
    (values [4 * batch, L], offsets in steps of 4); then the tensor has to be rebuilt. Tiny models, whose responses all
    run to the limit, meet it constantly.
    """
    original = tensordict_utils.maybe_fix_3d_position_ids

    @functools.wraps(original)
    def maybe_fix_3d_position_ids(data):
        import torch

        ids = data["position_ids"] if "position_ids" in data.keys() else None
        if isinstance(ids, torch.Tensor) and ids.is_nested and ids.dim() == 3:
            values, offsets = ids.values(), ids.offsets()
            packed, batch = int(offsets[-1]), len(offsets) - 1
            # A square [4 * batch, L] with L = 4 * batch is packed that way too, unless the batch is a single sequence.
            if values.shape[0] == packed and (values.shape[1] != packed or batch > 1):
                rows = list(torch.split(values, offsets.diff().tolist(), dim=0))
                data["position_ids"] = tensordict_utils.nested_tensor_from_tensor_list(rows, ragged_idx=2)
                return
        original(data)

    tensordict_utils.maybe_fix_3d_position_ids = maybe_fix_3d_position_ids


def _equal_lengths_break(tensordict_utils: ModuleType) -> bool:
    import torch

    for length in (3, 8, 10):  # two sequences of one length; 8 = 4 * 2 is the length that splits without an error
        rows = [torch.arange(4 * length).reshape(4, length) + 100 * i for i in range(2)]
        ids = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
        data = tensordict_utils.get_tensordict({"position_ids": ids})
        tensordict_utils.maybe_fix_3d_position_ids(data)
        try:
            unpacked = data["position_ids"].unbind()
        except RuntimeError:
            return True
        if not all(torch.equal(a, b) for a, b in zip(unpacked, rows, strict=True)):
            return True
    return False


REPAIR = Repair(
    "position-ids",
    "verl.utils.tensordict_utils",
    "verl 0.9.1 utils/tensordict_utils.py:915 sets _ragged_idx = 2 on a tensor that may be ragged in dimension 1",
    _ragged_position_ids,
    _equal_lengths_break,
    ("0.9.1", "0.9.1"),
)
