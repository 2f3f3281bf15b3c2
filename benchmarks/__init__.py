# SPDX-License-Identifier: Apache-2.0
"""What the method costs, measured side by side: `python -m benchmarks [kind …] --json FILE`."""
