# SPDX-License-Identifier: Apache-2.0
"""These tests run real pieces of verl; on a machine without CUDA they choose the CPU platform as a user would.

The choice has to stand before anything imports verl. Helpers beside the tests are importable by their bare names.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

if not any(Path("/dev").glob("nvidia[0-9]*")):
    os.environ.setdefault("VERL_PLATFORM", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
