"""Prints and draws what was found or measured; nothing is measured or searched here.

terminal.py       tables, JSON, files and progress: what all others share
search.py         hits as a table
html.py           hits as a page for a browser
grid.py           hits as one JPEG
thumbnails.py     small pictures of hits
gallery.py        what `sal gallery` did
bundle.py         a bundle in short
engines.py        TensorRT engines
doctor.py         what works on this machine
bench_report.py   what all benchmarks share
bench_engine.py   the result of `sal bench engine`
bench_encode.py   the result of `sal bench encode`
bench_search.py   the result of `sal bench search`
plots.py          results as SVG
service/          the audit log and the tokens of a service
"""
