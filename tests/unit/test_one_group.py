# SPDX-License-Identifier: Apache-2.0
"""The method on one screen is the method."""

import pytest
import torch

from examples import one_group
from recipe.tw_grpo.divergence import group_divergence_reference


def test_the_example_is_the_method(capsys):
    one_group.main()
    printed = capsys.readouterr().out
    found = one_group.one_update()
    assert found["R"].tolist() == [2.0, 1.5, 1.0, 2.0]  # soft accuracy 1, 0.5, 0, 1 and the format
    assert found["A"].sum().item() == pytest.approx(0, abs=1e-5) and found["A"].std().item() == pytest.approx(
        1, abs=1e-4
    )
    first = next(t for t in range(99) if len({text[t] for text in one_group.RESPONSES}) > 1)
    assert (found["D"][: first + 1] == 0).all(), "what predicts the first different token has read the same"
    assert found["D"][first + 1] > 0
    w, D = found["w"], found["D"]
    torch.testing.assert_close(w, 1 + 0.7 * (D - D.min()) / (D.max() - D.min()))
    assert found["gradient"].norm() > 0
    assert all(f"{d:8.4f}" in printed for d in D.tolist())


def test_its_divergence_is_the_definition(monkeypatch):
    dense = []

    def checked(states, weight, lengths, **options):
        logits = torch.nn.utils.rnn.pad_sequence(list((states @ weight.T).split(lengths.tolist())), batch_first=True)
        dense.append(group_divergence_reference(logits, lengths))
        return original(states, weight, lengths, **options)

    original = one_group.group_divergence
    monkeypatch.setattr(one_group, "group_divergence", checked)
    found = one_group.one_update(seed=1)
    torch.testing.assert_close(found["D"].double(), dense[0], rtol=1e-4, atol=1e-7)
