# SPDX-License-Identifier: Apache-2.0
"""Videos: where they lie, whether they are whole, which frames of them a model is given."""
