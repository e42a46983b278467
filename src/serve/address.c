/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many connections each address has open: a hash table with chains, keyed so that nobody can
 * choose addresses that share a chain. An IPv6 client is counted by its /64, which is what one
 * customer has.
 *
 * Threads: any, one lock. Limits: one entry for each address with a connection.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>

#include "serve/serve_internal.h"

#define CHAINS 4096u /* a power of two */

struct gb_address {
    struct gb_address *next;
    uint8_t bytes[16];
    uint32_t connections;
};

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:0:0/96: IPv4 */

void gb_address_bytes(const struct sockaddr *peer, uint8_t ret[16]) {
    memset(ret, 0, 16);
    if (peer->sa_family == AF_INET) {
        memcpy(ret, mapped, sizeof mapped);
        memcpy(ret + 12, &((const struct sockaddr_in *)(const void *)peer)->sin_addr, 4);
    } else if (peer->sa_family == AF_INET6) {
        memcpy(ret, &((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr, 16);
    }
}

/* What is counted as one: an IPv4 address, also one that came over IPv6; an IPv6 client's /64. */
static void bytes_of(const struct sockaddr_storage *peer, uint8_t ret[16]) {
    gb_address_bytes((const struct sockaddr *)peer, ret);
    if (memcmp(ret, mapped, sizeof mapped) != 0) {
        memset(ret + 8, 0, 8);
    }
}

static struct gb_address **chain_of(struct gb_addresses *a, const uint8_t bytes[16]) {
    uint64_t low;
    uint64_t high;
    memcpy(&low, bytes, 8);
    memcpy(&high, bytes + 8, 8);
    uint64_t hash = (low ^ a->key[0]) * 0x9e3779b97f4a7c15u;
    hash = ((hash ^ (hash >> 29)) + high + a->key[1]) * 0xbf58476d1ce4e5b9u;
    return &a->chains[(hash >> 40) & (CHAINS - 1)];
}

bool gb_addresses_init(struct gb_addresses *a, struct gb_error **err) {
    a->chains = gb_calloc(CHAINS, sizeof(struct gb_address *), err);
    pthread_mutex_init(&a->lock, NULL);
    return a->chains && (getrandom(a->key, sizeof a->key, 0) == (ssize_t)sizeof a->key ||
                         gb_fail(err, GB_INTERNAL, "there is no randomness"));
}

void gb_addresses_fini(struct gb_addresses *a) {
    for (size_t i = 0; a->chains && i < CHAINS; i++) {
        while (a->chains[i]) {
            struct gb_address *gone = a->chains[i];
            a->chains[i] = gone->next;
            gb_free(gone);
        }
    }
    gb_free(a->chains);
    pthread_mutex_destroy(&a->lock);
}

bool gb_addresses_enter(struct gb_addresses *a, const struct sockaddr_storage *peer,
                        uint64_t connections_max) {
    uint8_t bytes[16];
    bytes_of(peer, bytes);
    pthread_mutex_lock(&a->lock);
    struct gb_address **chain = chain_of(a, bytes);
    struct gb_address *found = *chain;
    while (found && memcmp(found->bytes, bytes, sizeof bytes) != 0) {
        found = found->next;
    }
    if (!found) {
        found = gb_calloc(1, sizeof *found, NULL);
        if (found) {
            memcpy(found->bytes, bytes, sizeof bytes);
            found->next = *chain;
            *chain = found;
        }
    }
    bool ok = found && found->connections < connections_max;
    if (ok) {
        found->connections++;
    }
    pthread_mutex_unlock(&a->lock);
    return ok;
}

void gb_addresses_leave(struct gb_addresses *a, const struct sockaddr_storage *peer) {
    uint8_t bytes[16];
    bytes_of(peer, bytes);
    pthread_mutex_lock(&a->lock);
    struct gb_address **at = chain_of(a, bytes);
    while (*at && memcmp((*at)->bytes, bytes, sizeof bytes) != 0) {
        at = &(*at)->next;
    }
    struct gb_address *found = *at;
    if (found && --found->connections == 0) {
        *at = found->next;
        gb_free(found);
    }
    pthread_mutex_unlock(&a->lock);
}
