# SPDX-License-Identifier: Apache-2.0
"""Tools every part of this project uses; they import neither torch nor verl nor anything else of ours."""
