"""Training of SAL: data sets, networks, losses, symbiotic training, evaluation. Needs PyTorch (`sal[train]`)."""
