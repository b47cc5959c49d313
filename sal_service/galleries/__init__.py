"""Galleries that a service holds: asked, filled and taken over by another bundle, all at once.

served.py     a gallery with its encoders and cameras, and the swap of its bundle
answers.py    questions and their answers, in pages
remembered.py descriptions that are asked again
feedback.py   searches that learn from marks
"""
