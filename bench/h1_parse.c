/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec's part of a request: parse a head of 400 bytes, find its route among 1,000, write the
 * head of the answer and a body of 13 bytes. Usage: h1_parse [ROUNDS]. Prints nanoseconds of each
 * part, the best and the median of 15 runs, and what a parser holds while idle.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/num.h"
#include "http/h1_parse.h"
#include "http/h1_write.h"
#include "http/problem.h"
#include "http/route.h"

#define RUNS 15

static const char request[] =
    "GET /users/1234/posts/recent?limit=20&order=desc HTTP/1.1\r\n"
    "Host: api.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/json;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=0123456789abcdef\r\n"
    "\r\n";

struct bench {
    struct gb_h1 *parser;
    struct gb_routes *routes;
    struct gb_http_head head;
    struct gb_buf out;
    struct gb_request_ids ids;
    char date[GB_HTTP_DATE_BYTES];
};

static int die(const char *what) {
    fprintf(stderr, "error: %s\n", what);
    exit(1);
}

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static enum gb_h1_action on_head(void *user, const struct gb_http_head *head) {
    ((struct bench *)user)->head = *head;
    return GB_H1_GO;
}
static const struct gb_h1_events events = {.head = on_head};

static void parse(struct bench *b) {
    size_t used;
    if (gb_h1_feed(b->parser, gb_span_make(request, sizeof request - 1), &used, NULL) !=
        GB_H1_END) {
        die("the request is refused");
    }
}

static void route(struct bench *b) {
    struct gb_route_match m;
    if (gb_routes_match(b->routes, b->head.method, b->head.path, &m) != GB_ROUTE_FOUND) {
        die("no route");
    }
}

static void answer(struct bench *b) {
    static const struct gb_http_field fields[] = {
        {{(const uint8_t *)"content-type", 12}, {(const uint8_t *)"application/json", 16}},
        {{(const uint8_t *)"cache-control", 13}, {(const uint8_t *)"no-store", 8}},
    };
    char id[GB_REQUEST_ID_MADE_BYTES + 1];
    if (!gb_request_id_make(&b->ids, id, NULL)) {
        die("no request id");
    }
    struct gb_http_field ours[] = {
        {gb_span_make("x-request-id", 12), gb_span_make(id, GB_REQUEST_ID_MADE_BYTES)}};
    struct gb_h1_response r = {.status = 200,
                               .fields = fields,
                               .fields_len = GB_COUNT(fields),
                               .host_fields = ours,
                               .host_fields_len = 1,
                               .date = b->date,
                               .body = GB_H1_BODY_KNOWN,
                               .body_bytes = 13,
                               .keep_alive = true};
    struct gb_h1_writer w;
    b->out.len = 0;
    gb_h1_writer_init(&w, &b->head);
    if (!gb_h1_write_head(&w, &r, &b->out, NULL) ||
        !gb_h1_write_body(&w, gb_span_make("{\"ok\": true}\n", 13), &b->out, NULL) ||
        !gb_h1_write_end(&w, NULL, 0, &b->out, NULL)) {
        die("no answer");
    }
}

static void next(struct bench *b) {
    if (!gb_h1_next(b->parser)) {
        die("no next request");
    }
}

static void do_parse(struct bench *b) {
    parse(b);
    next(b);
}
static void do_all(struct bench *b) {
    parse(b);
    route(b);
    answer(b);
    next(b);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void measure(const char *name, void (*what)(struct bench *), struct bench *b, long rounds) {
    double runs[RUNS];
    for (int r = 0; r < RUNS; r++) {
        double start = now_ns();
        for (long i = 0; i < rounds; i++) {
            what(b);
        }
        runs[r] = (now_ns() - start) / (double)rounds;
    }
    qsort(runs, RUNS, sizeof runs[0], by_value);
    printf("%-22s %7.0f ns best %7.0f ns median\n", name, runs[0], runs[RUNS / 2]);
}

int main(int argc, char **argv) {
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 100000;
    struct bench b = {0};
    struct gb_h1_limits limits = gb_h1_limits_default();
    b.parser = gb_h1_new(&limits, &events, &b, NULL);
    b.routes = gb_routes_new(NULL);
    gb_buf_init(&b.out, 1 << 16);
    gb_http_date(1700000000, b.date);
    if (!b.parser || !b.routes || rounds < 1) {
        return die("could not begin");
    }
    for (int i = 0; i < 1000; i++) {
        char pattern[64];
        snprintf(pattern, sizeof pattern, i == 500 ? "/users/:id/posts/..." : "/c/%d/...", i);
        if (!gb_routes_add(b.routes, pattern, 0, &b, NULL)) {
            return die("could not add a route");
        }
    }
    size_t fresh = gb_h1_memory_bytes(b.parser);
    printf("request of %zu bytes, %ld rounds\n", sizeof request - 1, rounds);
    measure("parse", do_parse, &b, rounds);
    parse(&b);
    measure("route (1,000)", route, &b, rounds);
    measure("write", answer, &b, rounds);
    next(&b);
    measure("parse, route, write", do_all, &b, rounds);
    printf("parser: %zu bytes new, %zu idle, ", fresh, gb_h1_memory_bytes(b.parser));
    gb_h1_shrink(b.parser);
    printf("%zu shrunk\n", gb_h1_memory_bytes(b.parser));
    gb_buf_fini(&b.out);
    gb_routes_free(b.routes);
    gb_h1_free(b.parser);
    return 0;
}
