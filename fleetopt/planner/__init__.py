"""The cheapest fleet for a workload and a target: mixture per pool, sizing of a pool, search, proof."""
