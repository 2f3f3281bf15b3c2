# SPDX-License-Identifier: Apache-2.0
"""The matrix of docs/exactness.md: D_t and w_t in every way one rank can run verl's forward pass."""

import exactness
import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_rank(tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = tmp_path_factory.mktemp("store") / "store"
    torch.distributed.init_process_group("cpu:gloo", rank=0, world_size=1, init_method=f"file://{store}")
    yield
    torch.distributed.destroy_process_group()
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", exactness.CASES, ids=lambda case: case.name)
def test_divergence_and_weights_are_the_definition(case, tmp_path):
    errors = exactness.measure(case, tmp_path)
    assert errors.most > 1e-2, "responses that do not disagree would show nothing"
    limit = exactness.BF16_LIMIT if case.precision else exactness.FP32_LIMIT
    assert errors.large <= limit and errors.small <= exactness.SMALL_LIMIT
    assert errors.weight <= limit
