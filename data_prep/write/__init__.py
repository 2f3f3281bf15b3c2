# SPDX-License-Identifier: Apache-2.0
"""Writing: options.py and run.py are what the five commands share; prompts, schema, provenance what is written."""
