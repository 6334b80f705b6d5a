"""The one long-lived stream between a router process and a node, seen from either end.

NodeLink    the router's end: dials, submits, hears of claims and answers
RouterLink  the node's end: serves the stream, claims, answers
"""
