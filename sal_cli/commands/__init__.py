"""The commands: each parses options, calls one function and prints what it returns.

search.py     sal search
train.py      sal train
evaluate.py   sal eval
export.py     sal export
doctor.py     sal doctor
gallery.py    sal gallery add, status, remove, purge, reindex, verify, index, export, import, encode
data.py       sal data check, stats, synth
bundle.py     sal bundle show, sign, verify, engine, triton, deepstream
bench.py      sal bench engine, encode, search
"""
