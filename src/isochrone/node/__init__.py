"""The node: claims jobs, runs batches, replies.

node        wires the rest, serves links and the services' own API
intake      what arrives becomes staged jobs, or is refused
staging     jobs that wait on the node
claimer     takes jobs from the lanes
membership  the node's place in the registry, and which lanes are safe to claim from
loop        claim, close, forward, reply
served      a model with its lane and latency
device      forward calls, one at a time
"""
