"""A person detector in an ONNX file.

description.py what must be known of a detector besides its graph, and the conventions of the published families
sidecar.py     the TOML file beside the .onnx file that says so
network.py     the graph: its inputs, outputs and metadata, and a session that runs it
recognise.py   a family by names, shapes and metadata, where no sidecar says it
pixels.py      frames onto the canvas of the network, and boxes back
decoders.py    the outputs of each family as boxes and scores
detector.py    frames in, people out
nobody.py      the watch on a detector that finds nobody
draw.py        what a detector sees, drawn
"""
