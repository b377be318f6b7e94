"""The far side: what runs where the body of a call runs, in a worker process or on a cluster.

A worker process finds these files by their path, and imports neither creche nor trio for them: a worker
is there in a fraction of the time that importing those takes. So they use the standard library alone,
and cloudpickle late.

Invariant: no pickle that travels names anything in here.
"""
