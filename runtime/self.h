/* self.h - who this node is, kept with its store: its key, and its epochs.
 *
 *   STORE/node.key   "node:<base64 of 32 bytes>", mode 0600: the seed of the Ed25519 node key; made
 *                    on the first start. Whoever copies a store copies the node: see region.h
 *   STORE/epochs     "boot N" and "inventory N": the greatest that were used
 *
 * Guarantee: an epoch that is handed out is on the disk before, and greater than any before:
 * 1 + max(what is there, wall clock in ms). A lost or damaged `epochs` falls back to the clock; a
 * damaged key is an error, since another key would be another node. */
#pragma once

#include "proto/identity.h"
#include "runtime/conf.h"

struct self {
    u8 seed[32];
    struct node_key key;
    u64 boot_epoch, inventory_epoch;
    bool made; /* the key, just now */
};

/* Reads or makes. Blocking. `why` (CONF_WHY_MAX) says what to do. ERR_IO, ERR_INVAL. Wipe with
 * sodium_memzero. */
must_use int self_load(struct self *s, const char *dir, u64 wall_ms, char why[CONF_WHY_MAX]);
/* *Any thread*, one at a time: greater ones are to be remembered. ERR_IO. */
must_use int self_save_epochs(const char *dir, u64 boot, u64 inventory);
