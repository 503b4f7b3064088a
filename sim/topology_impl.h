/* topology_impl.h - what topology.c and topology_yaml.c share. */
#pragma once

#include "sim/topology.h"

void topology_begin(struct topology *t); /* no office yet; paths and rates as built in */
struct topology_office *topology_add_office(struct topology *t);
u32 topology_region(struct topology *t, const char *name); /* finds or adds */
must_use int topology_deal(struct topology *t, u32 nodes, char why[TOPOLOGY_WHY_MAX]);
