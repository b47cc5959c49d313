"""Measures for `sal bench`: functions here return data, `sal_cli.show` prints and draws it.

statistics.py         percentiles and variation of latencies
timing.py             several contenders in turn, in short slices
record.py             what a result says about its origin
engine.py             encoders of a bundle on every device
eager.py              PyTorch's eager mode as a contender
encode.py             images to embeddings
drawn.py              drawn images to encode
search.py             exact ranking
search_contenders.py  what exact ranking is compared with
"""
