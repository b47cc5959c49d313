"""A trained model as one directory: manifest, encoders, heads, golden vectors.

bundle.py       opening and checking a bundle
calibration.py  from scores to the likelihood that a hit matches
golden.py       whether an encoder computes the embeddings that are known for the golden inputs
shipped.py      the bundle that is shipped with sal
"""
