"""Who may do what, for how long images are kept, and the log of it.

audit.py       the audit log: appending, and verifying that nobody changed it
audit_line.py  the form of its lines
tokens.py      who is asking: tokens, as hashes in a file
policy.py      what may be asked for, how long images are kept, where alarms may go
retention.py   removes what is older than the policy allows
private.py     files that only their owner may read
"""
