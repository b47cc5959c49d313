"""Programs that measure speed and memory; run them with `python -m benchmarks.speed.NAME`.

startup.py          a whole `sal search` process, and `import sal_runtime`
encode_memory.py    peak memory of encoding 1,000 and 10,000 images
resize_rule.py      cost and accuracy of the resize of crops
gallery_million.py  a gallery of a million items
scaling.py          the numbers that docs/scaling.md computes with
cpp_vs_python.py    the same encoders from C++ and from Python
iteration_cost.py   a training iteration of the full method against the embedding alone
freed_memory.py     time and memory that keeping freed memory costs a training
tracking.py         the tracker against another one: time, and who is taken for whom
bridging.py         whether vectors join tracks to the right people
measurement.py      rounds in turn and the result file, shared by all of them
"""
