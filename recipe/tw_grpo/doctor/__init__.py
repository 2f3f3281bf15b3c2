# SPDX-License-Identifier: Apache-2.0
"""The checks before Ray starts: `tw-grpo check` (check.py) collects what settings, files and machine say."""
