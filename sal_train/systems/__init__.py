"""The systems that SAL is compared with in Table 1 of its paper, each as networks, phases and losses.

system.py      what a system is, and the training images that a fit sees
table.py       the systems by name
fitting.py     what of a system is computed instead of trained, and when
features.py    the image branch on a frozen trunk: its pooled features, standardised
"""
