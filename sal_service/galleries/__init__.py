"""Galleries that a service holds: asked, filled and taken over by another bundle, all at once.

served.py     a gallery with its encoders and cameras, and the swap of its bundle
answers.py    questions and their answers, in pages
remembered.py descriptions that are asked again
feedback.py   searches that learn from marks
"""Galleries as a service holds them.
copying.py   a gallery and its pictures, copied as they were at one moment
backup.py    backups, taken while others read and write the gallery
restore.py   a gallery from a backup
"""
