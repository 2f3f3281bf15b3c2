# SPDX-License-Identifier: Apache-2.0
"""What a training run leaves on disk: its folder (folder.py), its rollout lines, and their recomputation."""
