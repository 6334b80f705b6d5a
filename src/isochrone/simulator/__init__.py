"""The mesh on a virtual clock: the real planner and batch policy, beside what others do, under any load.

`scenario` says what is simulated, `world` puts it together, `report` says how it went.
"""
