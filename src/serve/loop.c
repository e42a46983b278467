/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A loop: one thread with its connections and its runner. After each read, and before it sleeps, it
 * turns the runner and looks at the exchanges that were posted, its own and those from the lanes:
 * so most requests are answered before the next one is read, and few are in flight at once.
 *
 * Threads: everything here runs on the loop's own, but gb_loop_post and gb_loop_command.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "serve/serve_internal.h"

#define ROUNDS_MAX 8 /* of runner and posts, before the sockets are looked at again */

/* ---- posts ---- */

void gb_loop_post(struct gb_loop *l, struct gb_exchange *x, unsigned what) {
    pthread_mutex_lock(&l->post_lock);
    /* START brings the queue's own reference; FLUSH takes one, if nothing was posted yet. */
    if (x->posted == 0) {
        gb_exchange_ref(x);
        x->posted_next = NULL;
        if (l->posted) {
            l->posted_last->posted_next = x;
        } else {
            l->posted = x;
        }
        l->posted_last = x;
    }
    x->posted |= what;
    bool own = pthread_equal(l->thread, pthread_self()) && l->in_round;
    bool wake = !l->woken && !own && !l->ending;
    l->woken = l->woken || wake;
    pthread_mutex_unlock(&l->post_lock);
    if (wake) {
        uv_async_send(&l->wake);
    }
}

static struct gb_exchange *take_post(struct gb_loop *l, unsigned *ret_what) {
    pthread_mutex_lock(&l->post_lock);
    struct gb_exchange *x = l->posted;
    if (x) {
        l->posted = x->posted_next;
        *ret_what = x->posted;
        x->posted = 0;
    }
    pthread_mutex_unlock(&l->post_lock);
    return x;
}

static bool serve_posts(struct gb_loop *l) {
    bool any = false;
    unsigned what = 0;
    for (struct gb_exchange *x; (x = take_post(l, &what)) != NULL;) {
        any = true;
        if (what & GB_POST_START) {
            gb_answer_start(x);
            gb_exchange_unref(x); /* the queue's */
        }
        if (x->conn) {
            gb_conn_pump(x->conn);
        }
        gb_exchange_unref(x);
    }
    return any;
}

/* ---- a round ---- */

void gb_loop_round(struct gb_loop *l) {
    bool again = true;
    l->in_round = true;
    if (l->runner_ready) {
        l->runner_ready = false;
        (void)gb_runner_step(l->runner, 0);
    }
    for (int i = 0; i < ROUNDS_MAX && again; i++) {
        again = gb_runner_turn(l->runner);
        again = serve_posts(l) || again;
    }
    l->in_round = false;
    pthread_mutex_lock(&l->post_lock);
    bool wake = (again || l->posted) && !l->woken && !l->ending;
    l->woken = l->woken || wake;
    pthread_mutex_unlock(&l->post_lock);
    if (wake) {
        uv_async_send(&l->wake);
    }
}

static void on_check(uv_check_t *check) {
    gb_loop_round(check->data);
}

/* Timers run right before it, and may have woken calls or posted. */
static void on_prepare(uv_prepare_t *prepare) {
    gb_loop_round(prepare->data);
}

static void on_runner(uv_poll_t *poll, int status, int events) {
    struct gb_loop *l = poll->data;
    (void)status;
    (void)events;
    l->runner_ready = true; /* the check follows */
}

static void accept_owed(struct gb_loop *l, uv_tcp_t *listener, bool *owed, bool listening) {
    if (*owed && listening) {
        *owed = false;
        gb_conn_accept(l, (uv_stream_t *)listener, listener == &l->admin_listener);
    }
}

static void on_second(uv_timer_t *timer) {
    struct gb_loop *l = timer->data;
    gb_http_date((int64_t)time(NULL), l->date);
    accept_owed(l, &l->listener, &l->owed, l->listening);
    accept_owed(l, &l->admin_listener, &l->admin_owed, l->admin_listening);
}

/* ---- commands ---- */

static void stop_listening(struct gb_loop *l) {
    if (l->listening) {
        l->listening = false;
        uv_close((uv_handle_t *)&l->listener, NULL);
    }
}

static void drain(struct gb_loop *l) {
    l->draining = true;
    stop_listening(l);
    struct gb_conn *next = NULL;
    for (struct gb_conn *c = l->conns; c; c = next) {
        next = c->next;
        if (!c->admin) {
            gb_conn_drain(c);
        }
    }
}

static void end(struct gb_loop *l) {
    if (l->ending) {
        return;
    }
    pthread_mutex_lock(&l->post_lock);
    l->ending = true;
    pthread_mutex_unlock(&l->post_lock);
    stop_listening(l);
    if (l->admin_listening) {
        l->admin_listening = false;
        uv_close((uv_handle_t *)&l->admin_listener, NULL);
    }
    while (l->conns) {
        gb_conn_close(l->conns);
    }
    uv_poll_stop(&l->runner_poll);
    uv_close((uv_handle_t *)&l->runner_poll, NULL);
    uv_close((uv_handle_t *)&l->check, NULL);
    uv_close((uv_handle_t *)&l->prepare, NULL);
    uv_close((uv_handle_t *)&l->second, NULL);
    uv_close((uv_handle_t *)&l->wake, NULL);
}

static void on_wake(uv_async_t *wake) {
    struct gb_loop *l = wake->data;
    pthread_mutex_lock(&l->post_lock);
    l->woken = false;
    unsigned command = l->command;
    struct gb_app *app = l->next_app;
    l->command = 0;
    l->next_app = NULL;
    pthread_mutex_unlock(&l->post_lock);
    if (command & GB_LOOP_SWAP) {
        gb_app_unref(l->app);
        l->app = app;
    }
    if (command & GB_LOOP_DRAIN) {
        drain(l);
    }
    if (command & GB_LOOP_END) {
        end(l);
    }
}

void gb_loop_command(struct gb_loop *l, unsigned commands, struct gb_app *app) {
    pthread_mutex_lock(&l->post_lock);
    l->command |= commands;
    if (app) {
        gb_app_unref(l->next_app);
        l->next_app = gb_app_ref(app);
    }
    pthread_mutex_unlock(&l->post_lock);
    uv_async_send(&l->wake);
}

/* ---- listening ---- */

static void on_connection(uv_stream_t *listener, int status) {
    struct gb_loop *l = listener->data;
    l->in_round = true; /* the check follows */
    if (status == 0) {
        gb_conn_accept(l, listener, listener == (uv_stream_t *)&l->admin_listener);
    }
}

bool gb_loop_listen(struct gb_loop *l, int fd, bool admin, struct gb_error **err) {
    uv_tcp_t *t = admin ? &l->admin_listener : &l->listener;
    t->data = l;
    int eno = uv_tcp_init(&l->uv, t);
    eno = eno == 0 ? uv_tcp_open(t, fd) : eno;
    eno = eno == 0 ? uv_listen((uv_stream_t *)t, 1024, on_connection) : eno;
    *(admin ? &l->admin_listening : &l->listening) = eno == 0;
    return eno == 0 || gb_fail(err, GB_IO, "could not listen: %s", uv_strerror(eno));
}

/* ---- life ---- */

bool gb_loop_init(struct gb_loop *l, struct gb_server *s, struct gb_error **err) {
    *l = (struct gb_loop){.server = s};
    pthread_mutex_init(&l->post_lock, NULL);
    l->read_buffer = gb_alloc(GB_SERVE_READ_BYTES, err);
    l->plain_buffer = l->read_buffer ? gb_alloc(GB_SERVE_READ_BYTES, err) : NULL;
    l->runner = l->plain_buffer ? gb_runner_new(s->sandbox, s->registry, err) : NULL;
    if (!l->runner) {
        return false;
    }
    gb_runner_use_lanes(l->runner, s->lanes);
    l->app = gb_app_ref(s->app);
    int eno = uv_loop_init(&l->uv);
    if (eno != 0) {
        return gb_fail(err, GB_IO, "could not make an event loop: %s", uv_strerror(eno));
    }
    l->has_uv = true;
    l->wake.data = l->check.data = l->prepare.data = l->second.data = l->runner_poll.data = l;
    eno = uv_async_init(&l->uv, &l->wake, on_wake);
    eno = eno == 0 ? uv_poll_init(&l->uv, &l->runner_poll, gb_runner_fd(l->runner)) : eno;
    eno = eno == 0 ? uv_poll_start(&l->runner_poll, UV_READABLE, on_runner) : eno;
    if (eno != 0) {
        return gb_fail(err, GB_IO, "could not make an event loop: %s", uv_strerror(eno));
    }
    uv_check_init(&l->uv, &l->check);
    uv_check_start(&l->check, on_check);
    uv_prepare_init(&l->uv, &l->prepare);
    uv_prepare_start(&l->prepare, on_prepare);
    uv_timer_init(&l->uv, &l->second);
    uv_timer_start(&l->second, on_second, 0, 1000);
    gb_http_date((int64_t)time(NULL), l->date);
    return true;
}

static void *loop_main(void *user) {
    struct gb_loop *l = user;
    gb_runner_hold(l->runner);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    return NULL;
}

bool gb_loop_start(struct gb_loop *l, struct gb_error **err) {
    int eno = pthread_create(&l->thread, NULL, loop_main, l);
    if (eno != 0) {
        return gb_fail_errno(err, GB_INTERNAL, eno, "could not start a loop's thread: %s",
                             strerror(eno));
    }
    pthread_setname_np(l->thread, "gb-loop");
    l->started = true;
    return true;
}

void gb_loop_join(struct gb_loop *l) {
    if (l->started) {
        pthread_join(l->thread, NULL);
        l->started = false;
    }
}

/* After its thread, or without it ever having run. */
void gb_loop_fini(struct gb_loop *l) {
    if (l->has_uv) {
        end(l);
        uv_run(&l->uv, UV_RUN_DEFAULT);
        if (l->runner) {
            gb_runner_free(l->runner); /* ends what runs; done is called */
            l->runner = NULL;
        }
        unsigned what;
        for (struct gb_exchange *x; (x = take_post(l, &what)) != NULL;) {
            if (what & GB_POST_START) {
                gb_exchange_unref(x);
            }
            gb_exchange_unref(x);
        }
        (void)uv_loop_close(&l->uv);
    } else if (l->runner) {
        gb_runner_free(l->runner);
    }
    gb_app_unref(l->app);
    gb_app_unref(l->next_app);
    gb_free(l->read_buffer);
    gb_free(l->plain_buffer);
    pthread_mutex_destroy(&l->post_lock);
}
