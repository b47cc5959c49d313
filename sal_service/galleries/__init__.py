"""Galleries as a service holds them.

copying.py   a gallery and its pictures, copied as they were at one moment
backup.py    backups, taken while others read and write the gallery
restore.py   a gallery from a backup
"""
