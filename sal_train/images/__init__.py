"""Training images: decoded once, augmented in batches on the device.

cache.py          decoded images as one memory-mapped array
views.py          outputs of a fixed network for images and their mirror images
augment.py        augmentation of whole batches
device_copies.py  copies of small tensors to the device, without waiting
"""
