"""The service: REST over galleries, cameras and watches.

models.py        what requests and answers look like
problems.py      requests that fail, as answers and in openapi.json
json_bodies.py   JSON bodies, read strictly
windows.py       how often something may happen in a window of time
access.py        who is asking, and whether they may
limits.py        how often, how large, how long, how many at once
headers.py       headers of every answer, and names of hosts
http_protocol.py HTTP/1.1 with deadlines for slow clients
events.py        what happens now, to many clients
logs.py          one JSON line a request
metrics.py       what Prometheus reads
"""
