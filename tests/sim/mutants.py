"""Cores broken on purpose: each must be caught, or the check that should catch it checks nothing.

`from` stands in `file` exactly once and is replaced by `to`; `breaks` are the invariants that may
notice; `runs` are tried until one does. A crash counts when "crash" is among them."""

PAUSED = ["run flash-crowd --nodes 12 --set offices=12 --set image_layers=1 --set image_bytes=200MB "
          "--set settled=1 --set warm=5s --set wan=3MB --set pauses=60 --set pause_part=.5 "
          "--set pause_for=4s --set duration=100s --seed %d" % s for s in range(1, 13)]
SWARM = ["run swarm --seed %d" % s for s in range(1000, 1030)]

MUTANTS = [
    {"name": "trusts-peers", "file": "sim/fetch.c",
     "from": "    if (f->content != CONTENT_RIGHT) {\n        disprove", "to": "    if (false) {\n        disprove",
     "breaks": {"bytes"}, "runs": ["run liars --set spoilers=60% --nodes 20 --set duration=60s"]},
    {"name": "everybody-its-own-home", "file": "proto/swarm_rank.c",
     "from": "            rank_one(l, scores, &v.record->key);", "to": "            (void)v;",
     "breaks": {"fetchers"}, "runs": ["run flash-crowd --nodes 20 --set image_bytes=200MB"]},
    {"name": "never-yields", "file": "proto/swarm_join.c",
     "from": "    if (!is_fetching(l))\n        return;\n    l->lease.state = why;",
     "to": "    if (!is_fetching(l) || why == LEASE_YIELDED)\n        return;\n    l->lease.state = why;",
     "breaks": {"copies"}, "runs": PAUSED},
    {"name": "fetches-what-is-held", "file": "proto/swarm_home.c",
     "from": "    size_t n = inventory_holders(s->inventory, &l->digest, holders, countof(holders));\n",
     "to": "    size_t n = 0;\n    if (h)\n        return false;\n",
     "breaks": {"copies"},
     "runs": ["run steady --nodes 20 --set node_up=20MB --set duration=40s --seed %d" % s
              for s in range(1, 5)]},
    {"name": "never-refutes", "file": "proto/member_belief.c",
     "from": "    refute(m, a);\n    return 0;", "to": "    return 0;",
     "breaks": {"calm", "agreement"}, "runs": SWARM},
    {"name": "takes-old-records", "file": "proto/member_belief.c",
     "from": "a->epoch > b->epoch || (a->epoch == b->epoch && a->incarnation > b->incarnation);",
     "to": "a->epoch != b->epoch || a->incarnation != b->incarnation;",
     "breaks": {"growth", "agreement"}, "runs": SWARM},
    {"name": "never-dies", "file": "proto/member_belief.c",
     "from": "    if (m->suspects_due_ns > m->own_ns)\n        return;",
     "to": "    if (m->suspects_due_ns != 0)\n        return;",
     "breaks": {"detection", "timer"},
     "runs": ["run churn --nodes 30 --set down_for=300s --set duration=200s"]},
    {"name": "keeps-what-went", "file": "proto/inventory_own.c",
     "from": "    int err = stage(v, hash, false, now_ns);", "to": "    int err = 0;",
     "breaks": {"agreement"}, "runs": SWARM},
    {"name": "never-compares", "file": "proto/inventory_entropy.c",
     "from": "    v->entropy_due_ns = now_ns + v->entropy_ns;",
     "to": "    v->entropy_due_ns = UINT64_MAX;",
     "breaks": {"agreement"}, "runs": SWARM},
    {"name": "leaves-users-alone", "file": "sim/tracker.c",
     "from": "        out->word = TRACKER_STREAMS;", "to": "        out->word = TRACKER_AWAY;",
     "breaks": {"stranded"},
     "runs": ["run offices --nodes 3 --set offices=1 --set crashes=600 --set down_for=200s "
              "--set duration=400s"]},
    {"name": "timer-of-the-past", "file": "proto/mesh.c",
     "from": "    return soonest;", "to": "    return soonest > 1 ? 1 : soonest;",
     "breaks": {"timer"}, "runs": ["run idle --nodes 5"]},
]
