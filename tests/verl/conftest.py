# SPDX-License-Identifier: Apache-2.0
"""These tests run real pieces of verl; on a machine without CUDA they choose the CPU platform as a user would.

The choice has to stand before anything imports verl. Helpers beside the tests are importable by their bare names.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

if not any(Path("/dev").glob("nvidia[0-9]*")):
    os.environ.setdefault("VERL_PLATFORM", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    """One gloo process, as verl's worker makes it, with one thread: the models are tiny."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    store = tmp_path_factory.mktemp("store") / "store"
    torch.distributed.init_process_group("cpu:gloo", rank=0, world_size=1, init_method=f"file://{store}")
    yield
    torch.distributed.destroy_process_group()
    torch.set_num_threads(threads)
