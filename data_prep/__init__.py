# SPDX-License-Identifier: Apache-2.0
"""Scripts that turn published video question sets into parquet files for verl, and the small library they share."""
