"""What every request passes on its way in, and its answer on the way out.

http_protocol.py deadlines of a connection
headers.py     headers of every answer, and which names of hosts are answered to
access.py      who is asking, and whether they may
limits.py      how often, how large, how long, how many at once
windows.py     how often something happened lately
json_bodies.py JSON that is read strictly
"""
