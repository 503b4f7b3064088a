/* message.h - the numbers of all messages between nodes.
 *
 * A datagram's plain text is a row of messages, each a msgpack array that begins with its number; a
 * stream's request or answer is one such message. What follows the number stands in the module
 * that speaks it. A number is never used again for something else; an unknown one is skipped. */
#pragma once

enum message {
    MSG_MEMBER_FIRST = 1,
    MSG_MEMBER_LAST = 31,
    MSG_INVENTORY_FIRST = 32,
    MSG_INVENTORY_LAST = 63,
    MSG_PURGE_FIRST = 64,
    MSG_PURGE_LAST = 71,
    MSG_SWARM_FIRST = 80,
    MSG_SWARM_LAST = 95,
    MSG_PEER = 72, /* `Dray-Peer`, never in a datagram or talk: mesh_peer.c */
};
