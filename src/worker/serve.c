/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread. It only listens: loading and inference have threads of their own, so the end
 * of the host is seen within microseconds whatever the engine does, and ends the process.
 */
#include "worker/serve.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/num.h"

#define STACK_BYTES (8u * 1024 * 1024) /* engines recurse over nested graphs */

enum { EXIT_HOST_GONE = 0, EXIT_REFUSED = 1, EXIT_PROTOCOL = 3 };

void gb_serve_send(struct gb_serve *s, enum gb_message_type type, const void *body, size_t bytes) {
    pthread_mutex_lock(&s->send_lock);
    bool sent = gb_wire_send(GB_WIRE_FD_CONTROL, type, body, bytes, -1, NULL);
    pthread_mutex_unlock(&s->send_lock);
    if (!sent) {
        _exit(EXIT_HOST_GONE);
    }
}

void gb_serve_fail(struct gb_serve *s, struct gb_error *e) {
    struct gb_msg_failed failed = {.code = GB_INTERNAL};
    if (e != NULL) {
        failed.code = (uint32_t)e->code;
        const char *text = e->message != NULL ? e->message : "";
        memcpy(failed.text, text, GB_MIN(strlen(text), sizeof failed.text - 1));
    }
    gb_serve_send(s, GB_MSG_FAILED, &failed, sizeof failed);
    _exit(EXIT_REFUSED);
}

bool gb_serve_thread(void *(*body)(void *), void *argument, struct gb_error **err) {
    pthread_attr_t attr;
    pthread_t thread;
    int rc = pthread_attr_init(&attr);
    if (rc == 0) {
        rc = pthread_attr_setstacksize(&attr, STACK_BYTES);
        rc = rc != 0 ? rc : pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        rc = rc != 0 ? rc
                     : gb_sys(GB_SYS_THREAD, errno, pthread_create(&thread, &attr, body, argument));
        pthread_attr_destroy(&attr);
    }
    return rc == 0 || gb_fail_errno(err, GB_BACKEND_FAILED, rc,
                                    "the worker could not start a thread: %s", strerror(rc));
}

bool gb_serve_no_more_threads(struct gb_serve *s, struct gb_error **err) {
    pthread_mutex_lock(&s->jail_lock);
    bool ok = s->no_more_threads || gb_jail_stage_3(&s->jail, err);
    s->no_more_threads = ok;
    pthread_mutex_unlock(&s->jail_lock);
    return ok;
}

static void report_probe(const struct gb_msg_probe *probe, void *user) {
    gb_serve_send(user, GB_MSG_PROBE, probe, sizeof *probe);
}

static void start_load(struct gb_serve *s, const struct gb_packet *packet, int fd) {
    struct gb_error *err = NULL;
    if (fd < 0 || s->model_fd >= 0) {
        _exit(EXIT_PROTOCOL); /* no bytes, or a second model */
    }
    memcpy(&s->load, packet->body, sizeof s->load);
    s->model_fd = fd;
    if (!gb_serve_thread(gb_load_thread, s, &err)) {
        gb_serve_fail(s, err);
    }
}

/* With the last stage closed, as it is around a model; this worker loads none any more. */
static void selftest(struct gb_serve *s) {
    struct gb_error *err = NULL;
    if (!gb_serve_no_more_threads(s, &err)) {
        gb_serve_fail(s, err);
    }
    gb_jail_selftest(report_probe, s);
    gb_serve_send(s, GB_MSG_SELFTEST_END, NULL, 0);
}

void gb_serve_run(struct gb_serve *s) {
    static struct gb_packet packet;
    for (;;) {
        int fd = -1;
        struct gb_error *err = NULL;
        if (!gb_wire_recv(GB_WIRE_FD_CONTROL, &packet, &fd, &err)) {
            _exit(err == NULL ? EXIT_HOST_GONE : EXIT_PROTOCOL);
        }
        switch (packet.header.type) {
        case GB_MSG_LOAD:
            start_load(s, &packet, fd);
            break;
        case GB_MSG_CANCEL: {
            struct gb_msg_cancel cancel;
            memcpy(&cancel, packet.body, sizeof cancel);
            if (s->head != NULL) {
                gb_jobs_cancel(s, cancel.job_id);
            }
            break;
        }
        case GB_MSG_SELFTEST:
            selftest(s);
            break;
        default:
            _exit(EXIT_PROTOCOL);
        }
    }
}
