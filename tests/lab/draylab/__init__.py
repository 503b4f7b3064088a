"""The lab: whole regions on one machine, with a network that can be broken.

    netns      network namespaces of our own, and their certain end
    network    hosts in offices around a core; rates, cuts, unplugged cables
    rack       a host with a node on it: its life, its view of the region, its counters
    lab        a region: racks, a registry far away, desks with clients; what can be done to it
    load       clients that pull over and over while something happens
    scenario   how a test becomes a scenario: a fresh lab, a story, a table, logs when it fails

Standard library only; clients, registry and node come from tests/e2e/dray_e2e.
"""
