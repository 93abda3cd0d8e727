"""Times of workers so short that a lost one is missed within a second or two."""

TIMES = {"OPTML_BEAT_S": "0.3", "OPTML_LEASE_S": "1.2", "OPTML_VISIBILITY_S": "1.5", "OPTML_GRACE_S": "2"}
