# SPDX-License-Identifier: Apache-2.0
"""Small tensors and busy machines: one thread (a second one only waits, 5 times slower), and no time limit a case.

Generated cases are the same in every run, so that a run that passed passes again.
"""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))  # helpers beside the tests are importable by their bare names

settings.register_profile("unit", deadline=None, derandomize=True)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def one_thread():
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
