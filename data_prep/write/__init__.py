# SPDX-License-Identifier: Apache-2.0
"""What is written: the prompt, the schema, the report beside it."""
