"""The event loop of a fleet, compiled: every iteration of every replica, at a cost that follows what changes.

From the outside in: ``clock`` owns the order of events, simultaneous ones included: iterations end, replicas come back,
replicas go down, requests arrive, iterations start. ``router`` chooses who takes a request, ``outages`` takes replicas
down and brings them back. ``stretches`` runs a replica from one change to the next, ``schedulers`` says what an
iteration holds. ``queues`` and ``records`` are what they all stand on.

A *stretch* is one iteration in which prompts are prefilled, or a run of iterations in which every running sequence
decodes one token and nothing else happens until the first of them is finished. Within such a run no sequence is
touched: the sum of contexts grows by the number of sequences, and ``phases`` counts how many of them need a new block
in which round. Only times are added up, iteration by iteration in the order of a plain loop, so that the results are
the same bits. Which sequences finish in which round is kept in a heap.

What does not fit this, because memory or the token budget runs out, is done in order, sequence by sequence. The slow
reference in the tests knows nothing of stretches.

All state is in arrays of records that the caller allocates, so a run can stop at any time and go on. Helpers get
records, which are pointers, and borrowed arrays. Events are simultaneous if their float64 times are equal.
"""

from fleetopt.simulator.kernels.clock import run_fleet, sample_replicas
from fleetopt.simulator.kernels.records import State

__all__ = ["State", "run_fleet", "sample_replicas"]
