# SPDX-License-Identifier: Apache-2.0
"""One small reader for each form in which a benchmark is published; all give `common.Question`."""
