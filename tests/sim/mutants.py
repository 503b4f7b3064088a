"""Cores broken on purpose: each must be caught, or the check that should catch it checks nothing.

(name, file, what stands there exactly once, what stands there instead, invariants that may break,
runs to try: command lines without the program)"""

SWARM = ["swarm --runs 40 --seed 1000"]

MUTANTS = [
    ("trusts-peers", "sim/fetch.c", "return !f->wrong;", "return f->wrong || true;",
     {"bytes"}, ["run liars --set duration=120s --nodes 40"]),
    ("forgets-the-registry", "proto/sourcing.c", "    s->at_registry = false;\n    s->looked = false;",
     "    s->looked = false;",
     {"requests"}, ["run origin-outage --set duration=70s --nodes 20"]),
    ("never-refutes", "proto/member_belief.c", None, None, {"calm", "agreement"}, SWARM),
]
