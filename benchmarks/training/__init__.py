"""Trainings whose metrics are documented; run them with `python -m benchmarks.training.campaign`.

campaign.py    trains and evaluates every run of a plan, and resumes
ranked_run.py  a finished run, searched with the full description of every category
plans/         the plans: the rows of the paper's tables, the recipes, and single changes of a setting
"""
