"""Image trunks and their published weights.

resnet.py             ResNet-50
efficientnet_lite.py  EfficientNet-Lite0
pretrained.py         a trunk by its name; its ImageNet weights
"""
