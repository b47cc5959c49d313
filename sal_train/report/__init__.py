"""The report after training, `report.html` in the folder of a run: is the model good, and what to do next.

measure.py   the run on its held-out categories, and its history
curves.py    losses and validation as inline SVG
page.py      all of it as one self-contained page
write.py     measure, render, write
"""
