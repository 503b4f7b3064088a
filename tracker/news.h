/* news.h - what follows when something begins to count in the ledger, of ours or another tracker's:
 * who is revoked loses tickets, kept logins and remembered decisions, here and at the nodes; of
 * what was changed here the other trackers hear at once. */
#pragma once

struct tracker;

/* Once users, grants, revocations and circle are there. */
void news_begin(struct tracker *t);
