"""The worker: a supervisor, its tick, and a crash-only cluster of Django-Q2 processes.

Django-Q2 alone is not crash-proof: killing an idle worker or its monitor leaves the cluster alive
and dead-locked for ever. So ours dies as a whole at the first unplanned death, and the supervisor
starts a new one; the rows say what is due, so nothing is lost by it.
"""
