"""Galleries that a service holds: asked, filled and taken over by another bundle, all at once; backed up meanwhile.

served.py     a gallery with its encoders and cameras, and the swap of its bundle
answers.py    questions and their answers, in pages
remembered.py descriptions that are asked again
feedback.py   searches that learn from marks
backup.py     a copy of one moment of a gallery, with its pictures
restore.py    a gallery again from its backup
copying.py    copies of files, which other copies share where they can
"""
