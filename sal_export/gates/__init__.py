"""What an encoder must fulfil before it is published.

inputs.py     the crops and attribute vectors it is run on
parity.py     it gives what its source gives
retrieval.py  in reduced precision, it still finds what fp32 finds
"""
