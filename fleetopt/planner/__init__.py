"""The cheapest fleet for a workload and a target: mixture per pool, sizing of a pool, search, proof.

In the order of the argument:

* what is asked: `problem`; made from what people have by `ask`, from the pipeline's tables by `situation`;
* one pool: `mixture` (the requests that it gets), `engine` (how it is run), `sizing` (its least replicas by the
  queueing model), `provision` (what is bought for them); `fleet` puts pools together, `plan` is what comes of it;
* the search: `moments` and `bounds` (what no fleet can go below), `cells` and `three_pools` (every fleet with its
  bound), `spacing` (which of very many boundaries come first), `best_first` (the cheapest of them), `search` (the
  answer); `surface` does the same without bounds, as a check and for figures;
* what stands beside a plan: `baselines`, `certificate`, `frontier`, `infeasible`, `whatif`, and in `published` the
  accounting of arXiv 2603.16514; `answer` holds all of it together;
* proof: `peak` (the planned stream), `trials` (one pool in the simulator), `verification` (the replicas that it
  confirms), `undercut` (what to simulate next), `proof` (evidence on the fleet), `work_floor` (the least that any fleet
  needs), `recommend` (all of it).
"""
