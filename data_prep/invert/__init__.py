# SPDX-License-Identifier: Apache-2.0
"""Question-Answer Inversion: ask for what is NOT so, and the wrong options become the right ones.

Where a new line belongs:

* words.py: English words and their forms; clauses.py: where a question's subject ends.
* negation.py: what a style hands back; negation_paper.py, negation_grammatical.py, exclusion.py: one style each, a
  function from question to question. clevrer.py: will / will not, for questions with several right options.
* overlap.py: options that repeat or imply the truth; invert.py: what becomes of one record; draw.py: its chance.
* review.py, speed.py: commands that show and time the result.
"""
