"""The inside of a gallery file: tables, columns, memory.

file.py     the SQLite file: how it is opened, what its errors mean, the names of files beside it
whole.py    making, copying and deleting it: its tables, and all that is beside it
rows.py     what is known of each image, as rows
columns.py  vectors and what filters ask for, as dense columns in blocks
changes.py  adding, updating and removing in one transaction
memory.py   the columns in memory, kept up to date block by block
recorded.py what is recorded of the images, counted
checks.py   finding damage
tombstones.py  hashes of what was removed, so that it does not come back
scrub.py    overwriting what was removed
crops.py    pictures that the gallery keeps itself, in a folder beside it
lock.py     who may write
connect.py  connections that show the present state: of old formats, and of files that others write

Words that all of these files use:

id             names an item for programs: int64, counts up from 1. No id is used twice, and an item that is replaced
               keeps its own.
row            what is known of an item, in table `item`: its uri, id, slot, and all that a `GalleryItem` says.
slot           the place of an item in every column. N items have slots 0..N-1 without a hole: a removed slot is filled
               with one from the end. So removing one item may move another, whose id stays the same.
column         one value for each slot: ids, vectors, what filters ask for. A column has a number; 16 and higher belong
               to metadata keys (table `metadata_key`).
block          1,024 slots of one column, a row of table `block` with id `column << 20 | number`. SQLite writes inside a
               block in place. A block that holds nothing but nulls need not exist.
part           32 blocks of a column in memory.
change number  counts the transactions that changed the file. Table `block_change` keeps the last one of each block, so
               that a reader reads only changed blocks again.
text hash      64 bits of BLAKE2b in place of a text that filters ask for; 0 is no text. Two different texts agree with
               a probability of 5e-20.
captured_at    seconds since 1970 in a column of float64; NaN if not known. A comparison with NaN is false, so such an
               item is in no time window.
generation     a second gallery file, in which `reindex` collects embeddings of another bundle before they replace all.
"""
