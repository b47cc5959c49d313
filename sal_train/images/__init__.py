"""Training images: decoded once, augmented in batches on the device.

cache.py          decoded images as one memory-mapped array
mirrored.py       what a fixed network gives for images and their mirror images
augment.py        augmentation of whole batches
device_copies.py  small tensors on their way to the device
"""
