"""Tests that an encoder must pass before it is published.

inputs.py     the crops and attribute vectors of the tests
parity.py     an encoder gives the embeddings of its source
retrieval.py  an encoder of reduced precision finds what the fp32 encoder finds
"""
