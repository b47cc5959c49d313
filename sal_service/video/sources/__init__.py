"""Files, folders of frames and cameras as frames.

opening.py   what a place is, and the source that reads it
reading.py   the reader of a place
settings.py  how a source is read
opencv.py    video files, devices and addresses, read by OpenCV
pyav.py      the camera's clock, key frames only, hardware decoding
folder.py    a folder of frames
addresses.py addresses of cameras: allowed, shown, explained
options.py   options for FFmpeg
arrivals.py  frames that are older than they look
live.py      reading a camera for ever
recorded.py  reading a file ahead
exits.py     stopping many readers, also when the process ends
state.py     what is known about a source that is being read
"""
