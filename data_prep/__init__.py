# SPDX-License-Identifier: Apache-2.0
"""Scripts that turn published video question sets into parquet files for verl.

clevrer_counterfactual.py, qai_nextgqa.py, qai_star.py (both: qai.py) and benchmarks.py are the commands. Below them the
stages a Question passes: read/ -> invert/ -> videos/ -> write/, and check/, which looks at a finished file.
"""
