"""Parts of a model that are solved instead of trained.

linear_query.py      the linear part of a query, by ridge regression on the embeddings of a trained run
linear_generator.py  encoders that are best under a linear generator of image features
attribute_head.py    C_att for embeddings on which nobody trained it
"""
