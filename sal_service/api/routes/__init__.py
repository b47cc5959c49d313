"""The routes of the service, by what they are about.

searches.py  whom to look for
images.py    the pictures of a gallery: seen, added, removed; its bundle
cameras.py   cameras: added, started, stopped, forgotten
watches.py   standing queries
sessions.py  who is asking
state.py     health, version, metrics, audit log, events
pages.py     the page
"""
