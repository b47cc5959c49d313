"""Image trunks and their published weights.

resnet.py             ResNet-50
efficientnet_lite.py  EfficientNet-Lite0
pretrained.py         ImageNet weights: found, checked, loaded
"""
