"""Measuring a run or a bundle: protocols, metrics, calibration, the report of `sal eval`.

evaluate.py               the report
report.py                 the report as tables for people
protocol.py               which images are searched, and for which categories
held_out.py               training categories that training does not see, to choose settings on
subject.py                a run or a bundle behind one face
metrics.py                average precision, rank-k, standard errors
full_queries.py           one query per category, as in the paper
partial_queries.py        queries that leave attributes open
attribute_recognition.py  error rates of the attribute head
calibrate.py              fitting the likelihood of match
operating_points.py       what is shown and missed above a likelihood
"""
