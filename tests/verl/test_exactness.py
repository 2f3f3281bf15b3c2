# SPDX-License-Identifier: Apache-2.0
"""The matrix of docs/exactness.md: D_t and w_t in every way one rank can run verl's forward pass."""

import exactness
import pytest

pytestmark = pytest.mark.usefixtures("one_rank")


@pytest.mark.parametrize("case", exactness.CASES, ids=lambda case: case.name)
def test_divergence_and_weights_are_the_definition(case, tmp_path):
    errors = exactness.measure(case, tmp_path)
    limit = exactness.BF16_LIMIT if case.precision else exactness.FP32_LIMIT
    assert errors.large is not None or errors.small is not None, "responses that do not disagree would show nothing"
    assert errors.large is None or errors.large <= limit
    assert errors.small is None or errors.small <= exactness.SMALL_LIMIT
    assert errors.weight <= (limit if errors.large is not None else exactness.SMALL_LIMIT)
