"""The service: REST over galleries, cameras and watches.

models.py what requests and answers look like
"""
