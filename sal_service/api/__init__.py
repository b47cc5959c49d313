"""The service over HTTP.

serve.py    one process on the network, until it is stopped
app.py      all routes behind what checks every request
gate/       what every request passes
routes/     the routes, by what they are about
models.py   what requests and answers look like: the contract
values.py   the values that these are made of
present.py  what the service knows, in the words of the contract
service.py  all that a service holds
cameras.py  its cameras
held.py     what routes share
problems.py what a request that fails is answered with
events.py   what happens now, to many clients
metrics.py  figures for Prometheus
gauges.py   what is read of the service for them
logs.py     a line of JSON for each request
notify.py   telling systemd
"""
