# SPDX-License-Identifier: Apache-2.0
"""Looking at a parquet file of data_prep before training on it: `python -m data_prep.check FILE.parquet`."""
