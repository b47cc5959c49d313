"""Trainings whose metrics are documented; run them with `python -m benchmarks.training.campaign`.

campaign.py    trains and evaluates every run of a plan, and resumes
ranked_run.py  a finished run, searched with the full description of every category
paired_tests.py  is one row of a plan better than another, seed by seed and query by query
error_budget.py  where the errors of unseen descriptions come from
symbiosis_diagnostics.py  what the generator of a run makes, beside real features
plans/         the plans: the rows of the paper's tables, the recipes, and single changes of a setting
"""
