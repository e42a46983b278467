/* SPDX-License-Identifier: Apache-2.0 */
/* Rings, sizes and the host's checks, with a worker that lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "wire/wire.h"

static struct gb_slab_head *new_slab(void) {
    struct gb_slab_head *slab = aligned_alloc(64, GB_SLAB_DATA_OFFSET);
    assert_non_null(slab);
    memset(slab, 0, GB_SLAB_DATA_OFFSET);
    gb_slab_init(slab, GB_SLAB_DATA_OFFSET);
    assert_true(gb_slab_check(slab, GB_SLAB_DATA_OFFSET, NULL));
    assert_false(gb_slab_check(slab, GB_SLAB_DATA_OFFSET * 2, NULL));
    return slab;
}

static void ring_keeps_order_across_many_wraps(void **state) {
    (void)state;
    struct gb_slab_head *slab = new_slab();
    /* Close to the end of the counters, which may wrap as well. */
    atomic_store(&slab->submit.head, UINT64_MAX - 300);
    atomic_store(&slab->submit.tail, UINT64_MAX - 300);
    uint64_t pushed = 0;
    uint64_t taken = 0;
    bool broken = true;
    while (taken < 5000) {
        for (unsigned i = 0; i < 1 + pushed % 200; i++) {
            struct gb_submission s = {.job_id = pushed, .job_offset = pushed * 64};
            if (!gb_ring_submit(slab, &s, &broken)) {
                break;
            }
            pushed++;
        }
        assert_false(broken);
        struct gb_submission got;
        for (unsigned i = 0; i < 1 + taken % 150 && gb_ring_take(slab, &got); i++) {
            assert_int_equal(got.job_id, taken);
            assert_int_equal(got.job_offset, taken * 64);
            taken++;
        }
    }
    free(slab);
}

static void full_ring_refuses_and_empty_ring_has_nothing(void **state) {
    (void)state;
    struct gb_slab_head *slab = new_slab();
    struct gb_submission s = {.job_id = 1};
    struct gb_completion c = {.job_id = 1};
    bool broken = true;
    assert_false(gb_ring_take(slab, &s));
    assert_false(gb_ring_reap(slab, &c, &broken));
    assert_false(broken);
    assert_false(gb_ring_has_submission(slab));
    for (unsigned i = 0; i < GB_WIRE_RING_SLOTS; i++) {
        assert_true(gb_ring_submit(slab, &s, &broken));
        assert_true(gb_ring_complete(slab, &c));
    }
    assert_true(gb_ring_has_submission(slab));
    assert_false(gb_ring_submit(slab, &s, &broken));
    assert_false(broken);
    assert_false(gb_ring_complete(slab, &c));
    assert_true(gb_ring_take(slab, &s));
    assert_true(gb_ring_submit(slab, &s, &broken));
    free(slab);
}

static void hostile_counters_break_the_ring_and_touch_nothing_else(void **state) {
    (void)state;
    struct gb_slab_head *slab = new_slab();
    const uint64_t wild[] = {GB_WIRE_RING_SLOTS + 1, 100000, UINT64_MAX, UINT64_MAX / 2,
                             UINT64_MAX - GB_WIRE_RING_SLOTS};
    struct gb_submission s = {.job_id = 7};
    struct gb_completion c = {.job_id = 7};
    for (size_t i = 0; i < GB_COUNT(wild); i++) {
        bool broken = false;
        gb_slab_init(slab, GB_SLAB_DATA_OFFSET);
        atomic_store(&slab->complete.tail, wild[i]);
        assert_false(gb_ring_reap(slab, &c, &broken));
        assert_true(broken);
        broken = false;
        /* A head ahead of the tail: fewer than none in it. */
        atomic_store(&slab->submit.head, wild[i] < UINT64_MAX / 2 ? wild[i] : 1);
        assert_false(gb_ring_submit(slab, &s, &broken));
        assert_true(broken);
        assert_false(gb_ring_take(slab, &s));
    }
    free(slab);
}

/* One producer, four consumers: nothing is lost or doubled. */
struct race {
    struct gb_slab_head *slab;
    pthread_mutex_t lock;
    _Atomic uint64_t taken;
    _Atomic uint64_t sum;
};
#define RACE_ITEMS 40000u

static void *race_consumer(void *argument) {
    struct race *race = argument;
    while (atomic_load(&race->taken) < RACE_ITEMS) {
        struct gb_submission s;
        pthread_mutex_lock(&race->lock);
        bool got = gb_ring_take(race->slab, &s);
        pthread_mutex_unlock(&race->lock);
        if (got) {
            atomic_fetch_add(&race->sum, s.job_id);
            atomic_fetch_add(&race->taken, 1);
        } else {
            sched_yield();
        }
    }
    return NULL;
}

static void four_consumers_take_every_submission_once(void **state) {
    (void)state;
    struct race race = {.slab = new_slab(), .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[4];
    for (size_t i = 0; i < GB_COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, race_consumer, &race), 0);
    }
    for (uint64_t i = 1; i <= RACE_ITEMS;) {
        struct gb_submission s = {.job_id = i};
        bool broken = false;
        if (gb_ring_submit(race.slab, &s, &broken)) {
            i++;
        } else {
            assert_false(broken);
            sched_yield();
        }
    }
    for (size_t i = 0; i < GB_COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&race.taken), RACE_ITEMS);
    assert_int_equal(atomic_load(&race.sum), (uint64_t)RACE_ITEMS * (RACE_ITEMS + 1) / 2);
    free(race.slab);
}

static void tensor_bytes_are_exact_and_never_wrap(void **state) {
    (void)state;
    uint64_t bytes = 99;
    assert_true(gb_tensor_bytes(GB_TYPE_F32, NULL, 0, &bytes));
    assert_int_equal(bytes, 4);
    const uint64_t image[] = {1, 3, 224, 224};
    assert_true(gb_tensor_bytes(GB_TYPE_F32, image, 4, &bytes));
    assert_int_equal(bytes, 602112);
    const uint64_t none[] = {5, 0, 7};
    assert_true(gb_tensor_bytes(GB_TYPE_I64, none, 3, &bytes));
    assert_int_equal(bytes, 0);
    bytes = 99;
    const uint64_t wraps[][3] = {{UINT64_C(1) << 32, UINT64_C(1) << 32, 1},
                                 {UINT64_MAX, 1, 1},
                                 {0, UINT64_C(1) << 40, UINT64_C(1) << 40},
                                 {INT64_MAX, 1, 1}};
    for (size_t i = 0; i < GB_COUNT(wraps); i++) {
        assert_false(gb_tensor_bytes(GB_TYPE_F32, wraps[i], 3, &bytes));
    }
    assert_false(gb_tensor_bytes(GB_TYPE_OTHER, image, 4, &bytes));
    const uint64_t many[GB_WIRE_RANK_MAX + 1] = {0};
    assert_false(gb_tensor_bytes(GB_TYPE_U8, many, GB_WIRE_RANK_MAX + 1, &bytes));
    assert_int_equal(bytes, 99);
    assert_string_equal(gb_type_text(GB_TYPE_BF16), "bf16");
    assert_string_equal(gb_type_text(GB_TYPE_OTHER), "other");
    assert_int_equal(gb_type_bytes((enum gb_type)200), 0);
}

static void completion_check_wants_the_right_job_status_and_code(void **state) {
    (void)state;
    struct gb_completion c = {.job_id = 4, .status = GB_JOB_OK};
    assert_true(gb_wire_completion_check(&c, 4, NULL));
    assert_false(gb_wire_completion_check(&c, 5, NULL));
    c.status = GB_JOB_NEED_SPACE + 1;
    assert_false(gb_wire_completion_check(&c, 4, NULL));
    c.status = GB_JOB_FAILED;
    assert_false(gb_wire_completion_check(&c, 4, NULL));
    c.code = GB_CODE_COUNT;
    assert_false(gb_wire_completion_check(&c, 4, NULL));
    c.code = GB_BACKEND_FAILED;
    assert_true(gb_wire_completion_check(&c, 4, NULL));
    c.status = GB_JOB_OK;
    assert_false(gb_wire_completion_check(&c, 4, NULL));
}

/* A model f32[n] -> f32[n,2], other, and an honest answer for n = 3. */
struct answer {
    struct gb_port outputs[2];
    struct gb_wire_block blocks[2];
    struct gb_wire_job *job;
};

static struct answer honest(void) {
    struct answer a = {.outputs = {{.type = GB_TYPE_F32, .rank = 2, .dims = {-1, 2}},
                                   {.type = GB_TYPE_OTHER, .rank = 1, .dims = {-1}}},
                       .blocks = {{.offset = 65536, .capacity = 24}}};
    a.job = calloc(1, gb_wire_job_bytes(1, 2));
    assert_non_null(a.job);
    a.job->job_id = 9;
    a.job->inputs = 1;
    a.job->outputs = 2;
    a.job->tensors[1] = (struct gb_wire_tensor){
        .port = 0, .rank = 2, .dims = {3, 2}, .offset = 65536, .bytes = 24};
    a.job->tensors[2] = (struct gb_wire_tensor){.port = 1, .rank = 1};
    return a;
}

static enum gb_code check(struct answer *a, bool need_space, uint64_t bytes_max) {
    struct gb_error *err = NULL;
    bool ok = gb_wire_job_check(a->job, 9, 1, a->outputs, 2, a->blocks, need_space, bytes_max,
                                &err);
    enum gb_code code = ok ? GB_OK : err->code;
    assert_int_equal(ok, err == NULL);
    gb_error_free(err);
    return code;
}

static void job_check_believes_an_honest_answer(void **state) {
    (void)state;
    struct answer a = honest();
    memset(a.job->text, 'T', sizeof a.job->text);
    assert_int_equal(check(&a, false, 24), GB_OK);
    assert_int_equal(strlen(a.job->text), GB_WIRE_TEXT_MAX);
    a.job->tensors[1].dims[0] = 0; /* empty: a place is not needed */
    a.job->tensors[1].bytes = 0;
    a.job->tensors[1].offset = 0;
    assert_int_equal(check(&a, false, 24), GB_OK);
    free(a.job);
}

static void job_check_refuses_every_lie(void **state) {
    (void)state;
    for (int lie = 0;; lie++) {
        struct answer a = honest();
        struct gb_wire_tensor *t = &a.job->tensors[1];
        uint64_t bytes_max = 1000;
        enum gb_code expected = GB_BACKEND_FAILED;
        switch (lie) {
        case 0: a.job->job_id = 8; break;
        case 1: a.job->inputs = 2; break;
        case 2: a.job->outputs = 60000; break;
        case 3: t->port = 1; break;
        case 4: t->rank = 3; break;
        case 5: t->rank = 4000000000u; break;
        case 6: t->dims[1] = 3; break;
        case 7: t->bytes = 28; break;
        case 8: t->dims[0] = UINT64_MAX / 4; t->bytes = 0; break;
        case 9: t->offset += 64; break;
        case 10: t->offset = UINT64_MAX - 7; break;
        case 11: t->dims[0] = 4; t->bytes = 32; break; /* past its block */
        case 12: a.job->tensors[2].bytes = 1; break;
        case 13: bytes_max = 23; expected = GB_BUDGET_EXCEEDED; break;
        case 14: a.outputs[0].rank = GB_WIRE_RANK_MAX + 1; t->rank = GB_WIRE_RANK_MAX + 1; break;
        default: free(a.job); return;
        }
        if (check(&a, false, bytes_max) != expected) {
            fail_msg("lie %d was believed", lie);
        }
        free(a.job);
    }
}

static void need_space_is_bounded_by_the_limit_and_needs_no_place(void **state) {
    (void)state;
    struct answer a = honest();
    a.job->tensors[1].offset = 0;
    a.job->tensors[1].dims[0] = 100;
    a.job->tensors[1].bytes = 800;
    assert_int_equal(check(&a, true, 800), GB_OK);
    assert_int_equal(check(&a, true, 799), GB_BUDGET_EXCEEDED);
    assert_int_equal(check(&a, false, 800), GB_BACKEND_FAILED);
    free(a.job);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_keeps_order_across_many_wraps),
        cmocka_unit_test(full_ring_refuses_and_empty_ring_has_nothing),
        cmocka_unit_test(hostile_counters_break_the_ring_and_touch_nothing_else),
        cmocka_unit_test(four_consumers_take_every_submission_once),
        cmocka_unit_test(tensor_bytes_are_exact_and_never_wrap),
        cmocka_unit_test(completion_check_wants_the_right_job_status_and_code),
        cmocka_unit_test(job_check_believes_an_honest_answer),
        cmocka_unit_test(job_check_refuses_every_lie),
        cmocka_unit_test(need_space_is_bounded_by_the_limit_and_needs_no_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
