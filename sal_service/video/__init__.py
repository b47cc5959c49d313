"""From video to a gallery of people.

frame.py      one picture of a camera, and what gives such pictures
detections.py where people are in a frame
sources/      files, folders of frames and cameras as frames
detector/     the user's ONNX file as people in frames
tracker.py    people in frames as tracks
assignment.py the pairs with the greatest total gain
bridge.py     tracks of the same person, by the vectors of its crops
best_crops.py a few good crops of each track
quality.py    how well a crop shows a person
still.py      where still objects are that look like people
cameras.py    cameras as people write them: source, rate, masks, lines
lines.py      who crosses the lines of a camera
intake.py     crops of people into a gallery, whoever cut them out
people.py     the people of one camera: detections as tracks, tracks as pictures
ingest.py     cameras into a gallery
report.py     what became of all frames and people
"""
