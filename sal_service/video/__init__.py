"""From video to a gallery of people.

frame.py      one picture of a camera, and what gives such pictures
detections.py where people are in a frame
sources/      files, folders of frames and cameras as frames
detector/     the user's ONNX file as people in frames
tracker.py    people in frames as tracks
assignment.py the pairs with the greatest total gain
"""
