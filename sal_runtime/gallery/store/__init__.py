"""The inside of a gallery file: tables, columns, memory.

file.py     the SQLite file: its tables, how it is opened, what its errors mean
rows.py     what is known of each image, as rows
columns.py  vectors and what filters ask for, as dense columns in blocks
changes.py  adding, updating and removing in one transaction
memory.py   the columns in memory, kept up to date block by block
checks.py   whether all of it is whole
scrub.py    overwriting what was removed
lock.py     who may write
"""
