"""The systems that SAL is compared with in Table 1 of its paper, each as networks, phases and losses.

system.py        what a system is, and the training images that a fit sees
table.py         the systems by name
fitting.py       what of a system is computed instead of trained, and when
squared_error.py the error of decoders, and the distance of channels
features.py      the image branch on a frozen trunk: its pooled features, standardised
deepmar.py       attribute recognition, ranked by likelihood
cca.py           deep CCA, and its autoencoders: outputs that correlate
two_way_net.py   2WayNet: one stack of weights in two directions
cmce.py          CMCE-like: a softmax over categories across modalities
revise.py        ReViSE-like: autoencoders whose codes are distributed alike
mmcc.py          MMCC: a Wasserstein GAN with a cycle
aaipr.py         AAIPR-like: image concepts and an adversary, of SAL's own parts
aihm.py          AIHM-like: a network compares pairs; it cannot be exported
"""
