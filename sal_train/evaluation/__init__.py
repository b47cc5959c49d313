"""Evaluation of a run or a bundle: protocols, metrics, calibration, the report of `sal eval`.

evaluate.py               the report
report.py                 the report as tables for people
verdict.py                the report in one sentence
protocol.py               the images to search, and the categories to search for
held_out.py               training categories that training does not see, to choose settings on
subject.py                one interface for runs and bundles
metrics.py                average precision, rank-k, standard errors
full_queries.py           one query per category, as in the paper
partial_queries.py        queries that leave attributes open
attribute_recognition.py  error rates of the attribute head
calibrate.py              fitting the likelihood of match
operating_points.py       precision and recall of the hits above a likelihood
"""
