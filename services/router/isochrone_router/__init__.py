"""The router: one gRPC address that keeps the latency promises of a mesh.

servicer   a request in, an answer out a margin before its deadline
planner    pure: where a request goes
dispatch   owns requests until they are answered: lane, link, claim, answer, second attempt
lane_gate  Redis, in or out, and jobs on their way to the lanes
links      the links to all nodes, and which lanes are safe to use
chronicle  is told of every request that is over: counts, learns, traces
admin      health, readiness, metrics and status over HTTP
tally      what the console wants to know of requests, besides what is counted anyway
history    a quarter of an hour of it, in steps
console    a page on the admin port that shows how the whole router is doing
"""
