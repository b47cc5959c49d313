"""Standing queries: tell when somebody comes who fits a description.

watch.py     a watch, what it tells, and where to
question.py  a description that is asked of each new image
following.py which images a gallery was given since somebody looked last
store.py     what survives a crash: watches, tracks that fit, an outbox
board.py     evaluates watches on each new image
deliver.py   delivers what watches tell, at least once
webhook.py   posts to listed hosts, and to nothing else
mqtt.py      publishes to the broker that is named
alarms.py    what a choice of likelihood would have meant in the last day
"""
