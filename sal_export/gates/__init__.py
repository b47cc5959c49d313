"""Tests that an encoder must pass before it is published.

inputs.py     the crops and attribute vectors of the tests
parity.py     an encoder gives the embeddings of its source
on_box.py     the comparison of parity.py on the machine that runs a bundle
retrieval.py  an encoder of reduced precision finds what the fp32 encoder finds
"""
