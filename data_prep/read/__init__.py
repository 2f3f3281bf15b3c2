# SPDX-License-Identifier: Apache-2.0
"""One reader a form: `read(path)` gives a Reading of Questions, or one line that names file, record and field.

* question.py: what a question is; records.py: files to records, fields of the right type; answers.py: which option an
  answer means.
* video_r1.py: the derived JSON forms, for any data set; nextgqa.py, star.py, clevrer.py, mmvu.py, mvbench.py,
  tempcompass.py, videomme.py: each data set's own form; own.py: a user's own questions.
* lettering.py: letters before options, options inside questions; data_sets.py: which data set a record is from.

A new form is a new file here with such a `read`, and a line in the command that uses it: a data set to invert in a
script like ../qai_star.py, a benchmark in the table of ../benchmarks.py.
"""
