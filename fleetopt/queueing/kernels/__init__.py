"""The model of a pool, compiled: from the lengths of its requests to the probability of a late first token.

In the order of the argument: ``lengths`` measures and condenses a mixture; ``replica`` says how fast a replica works by
what it holds, ``response`` how its requests excite each other; ``routing`` how many requests a replica of a pool
holds; ``equilibrium`` puts these together; ``found`` says what an arrival finds, ``transforms`` add times up, ``gate``
and ``ttft`` are the time to first token. ``records`` is what they all stand on.

Entries are the ``compiled`` functions. A slow model of the same formulas, in plain NumPy, is in the tests.
"""
