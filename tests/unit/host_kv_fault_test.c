/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key-value stores on a disk that fails, in files that are damaged, and in a process that is
 * killed: what was answered is there, and nothing ends but the request. GLOVEBOX_TEST_LONG: the
 * host is killed five hundred times, and every fault is tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>

#include "kv_harness.h"

#define MIB ((uint64_t)1 << 20)

/* ---- faults ---- */

#define STEPS 12

/* By key: the step whose write was acknowledged last, and the last that was tried. One that failed
 * may have happened. */
struct book {
    int acknowledged[3];
    int tried[3];
};

static void steps(struct shop *s, struct book *b) {
    static char value[9000]; /* several pages */
    struct gb_error *e = NULL;
    s->kv = gb_kv_new(&s->options, &e);
    if (!s->kv) {
        assert_true(e->code == GB_IO || e->code == GB_INTERNAL);
        gb_error_free(e);
        return;
    }
    struct gb_kv_limits limits = {.bytes_max = MIB};
    struct gb_kv_tenant *t = gb_kv_tenant(s->kv, "acme", &limits, NULL);
    for (int i = 1; t && i <= STEPS; i++) {
        char key[2] = {(char)('a' + i % 3), '\0'};
        memset(value, 'a' + i, sizeof value);
        b->tried[i % 3] = i;
        enum gb_code code = set_in(t, "default", key, gb_span_make(value, sizeof value));
        if (code == GB_OK) {
            b->acknowledged[i % 3] = i;
        } else {
            assert_true(code == GB_IO || code == GB_INTERNAL);
        }
        if (i == STEPS / 2) {
            get(t, key);
        }
    }
    gb_kv_free(s->kv);
    s->kv = NULL;
}

static void check_book(struct shop *s, const struct book *b) {
    shop_open(s);
    struct gb_kv_tenant *t = tenant(s, "acme", MIB, 0);
    for (int i = 0; i < 3; i++) {
        char key[2] = {(char)('a' + i), '\0'};
        const char *now = get(t, key);
        int held = now[0] == '-' ? 0 : now[0] - 'a';
        if (held < b->acknowledged[i] || held > b->tried[i] || (held > 0 && held % 3 != i)) {
            fail_msg("\"%s\" holds %d: %d was acknowledged, %d was tried", key, held,
                     b->acknowledged[i], b->tried[i]);
        }
    }
    assert_int_equal(set(t, "after", "1"), GB_OK);
    assert_string_equal(get(t, "after"), "1");
}

/* Every n-th call fails, once and from there on, until a run has met no fault. */
static void sweep(void (*arm)(uint64_t nth, bool persistent), uint64_t (*hits)(void), bool twice) {
    for (int persistent = 0; persistent < 2; persistent++) {
        uint64_t step = getenv("GLOVEBOX_TEST_LONG") ? 1 : twice ? 3 : 2;
        for (uint64_t nth = 1;; nth += step) {
            struct shop s;
            struct book b = {0};
            shop_folder(&s);
            s.options.threads = 1;
            s.options.state_dir = s.folder;
            arm(nth, persistent);
            steps(&s, &b);
            bool hit = hits() > 0;
            arm(0, false);
            check_book(&s, &b);
            shop_free(&s);
            if (!hit) {
                assert_int_equal(b.acknowledged[0], STEPS);
                assert_true(nth > 20);
                break;
            }
        }
    }
}

static void arm_alloc(uint64_t nth, bool persistent) {
    (persistent ? gb_alloc_fail_from : gb_alloc_fail_at)(nth);
}

static void no_failing_system_call_loses_what_was_acknowledged(void **state) {
    (void)state;
    sweep(gb_fault_sys_at, gb_fault_sys_hits, true);
}

static void no_failing_allocation_loses_what_was_acknowledged(void **state) {
    (void)state;
    sweep(arm_alloc, gb_alloc_fail_hits, false);
}

static void a_full_disk_is_an_error_and_passes(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    assert_int_equal(set(t, "k", "1"), GB_OK);
    gb_fault_sys_kind_at(GB_SYS_WRITE, 1, true);
    struct gb_kv_entry e = {gb_span_of("k"), gb_span_of("2")};
    enum gb_code code;
    struct gb_kv_request *r = ask(
        t, (struct gb_kv_spec){.verb = GB_KV_SET, .entries = &e, .entries_len = 1}, &code);
    assert_int_equal(code, GB_IO);
    assert_int_equal(gb_kv_request_error(r)->sys_errno, ENOSPC);
    assert_non_null(strstr(gb_kv_request_error(r)->message, "no space left"));
    assert_null(strstr(gb_kv_request_error(r)->message, s.folder));
    gb_kv_request_drop(r);
    assert_string_equal(get(t, "k"), "1");
    gb_fault_sys_at(0, false);
    assert_int_equal(set(t, "k", "3"), GB_OK);
    assert_string_equal(get(t, "k"), "3");
    shop_free(&s);
}

static void after_a_failed_sync_nothing_more_is_written(void **state) {
    (void)state;
    struct shop s;
    shop_new(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    assert_int_equal(set(t, "k", "1"), GB_OK);
    gb_fault_sys_kind_at(GB_SYS_SYNC, 1, false);
    assert_int_equal(set(t, "k", "2"), GB_IO);
    assert_int_equal(gb_fault_sys_hits(), 1);
    gb_fault_sys_at(0, false);
    assert_string_equal(get(t, "k"), "1");
    assert_int_equal(set(t, "k", "3"), GB_IO);
    assert_int_equal(del(t, "k"), GB_IO);
    assert_string_equal(get(t, "k"), "1");
    assert_int_equal(set(tenant(&s, "other", MIB, 0), "k", "1"), GB_OK);
    shop_again(&s);
    t = tenant(&s, "acme", MIB, 0);
    assert_int_not_equal(get(t, "k")[0], '-'); /* 1, or the 2 that was not acknowledged */
    assert_int_equal(set(t, "k", "4"), GB_OK);
    assert_string_equal(get(t, "k"), "4");
    shop_free(&s);
}

/* ---- damaged files ---- */

struct damage {
    unsigned seed;
    void (*how)(int fd, off_t len, unsigned seed);
};

static void damage_file(const char *path, void *user) {
    struct damage *d = user;
    int fd = open(path, O_RDWR);
    struct stat st;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    d->how(fd, st.st_size, d->seed);
    close(fd);
}

static void spoil(int fd, off_t at, const void *bytes, size_t len) {
    assert_int_equal(pwrite(fd, bytes, len, at), len);
}

static void no_database(int fd, off_t len, unsigned seed) {
    (void)len;
    (void)seed;
    spoil(fd, 0, "these are not the bytes of a database", 37);
}

static void cut(int fd, off_t len, unsigned seed) {
    assert_int_equal(ftruncate(fd, len * (off_t)(seed % 16) / 16), 0);
}

static void overwrite_some(int fd, off_t len, unsigned seed) {
    uint64_t random = seed * 2654435761u + 1;
    for (int i = 0; i < 40; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint8_t byte = (uint8_t)(random >> 56);
        spoil(fd, (off_t)((random >> 20) % (uint64_t)len), &byte, 1);
    }
}

static void overwrite_pages(int fd, off_t len, unsigned seed) {
    char page[4096];
    memset(page, (int)(seed * 85), sizeof page);
    off_t pages = len / (off_t)sizeof page;
    spoil(fd, (off_t)(seed % (unsigned)pages) * (off_t)sizeof page, page, sizeof page);
}

static void grow_zeroes(int fd, off_t len, unsigned seed) {
    (void)seed;
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(ftruncate(fd, len), 0);
}

static void use_all(struct gb_kv_tenant *t) {
    int64_t n;
    enum gb_code code;
    char key[16];
    for (int i = 0; i < 200; i += 13) {
        snprintf(key, sizeof key, "key %d", i);
        get(t, key);
        set(t, key, "another");
        increment(t, key, 1, &n);
        del(t, key);
    }
    gb_kv_request_drop(ask(t, (struct gb_kv_spec){.verb = GB_KV_KEYS}, &code));
    assert_true(code == GB_OK || code == GB_IO || code == GB_UNSUPPORTED ||
                code == GB_PERMISSION_DENIED);
}

static void what_is_damaged_is_an_error(void **state) {
    (void)state;
    static const struct {
        void (*how)(int fd, off_t len, unsigned seed);
        unsigned seeds;
        bool always; /* an error: no part of it can be used */
    } kinds[] = {{no_database, 1, true},
                 {cut, 16, false},
                 {overwrite_some, 30, false},
                 {overwrite_pages, 30, false},
                 {grow_zeroes, 1, true}};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (unsigned seed = 0; seed < kinds[k].seeds; seed++) {
            struct shop s;
            shop_new(&s);
            struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
            static char names[200][16];
            static struct gb_kv_entry entries[200];
            for (int i = 0; i < 200; i++) {
                snprintf(names[i], sizeof names[i], "key %d", i);
                entries[i] = (struct gb_kv_entry){gb_span_of(names[i]),
                                                  gb_span_make(names, (size_t)(i * 10))};
            }
            assert_int_equal(tell(t, (struct gb_kv_spec){.verb = GB_KV_SET,
                                                         .entries = entries,
                                                         .entries_len = 200}),
                             GB_OK);
            gb_kv_free(s.kv);
            struct damage d = {.seed = seed, .how = kinds[k].how};
            shop_files(&s, damage_file, &d);
            shop_open(&s);
            t = tenant(&s, "acme", MIB, 0);
            if (kinds[k].always) {
                assert_string_equal(get(t, "key 1"), "!io");
            }
            use_all(t);
            assert_int_equal(set(tenant(&s, "other", MIB, 0), "k", "v"), GB_OK);
            shop_free(&s);
        }
    }
}

static void run_sql(const char *path, void *user) {
    sqlite3 *sql;
    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sql, user, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(sql);
}

/* What a file says after somebody else has written it. */
static const char *after_sql(const char *text) {
    static char sql[256];
    struct shop s;
    shop_new(&s);
    snprintf(sql, sizeof sql, "%s", text);
    assert_int_equal(set(tenant(&s, "acme", MIB, 0), "k", "v"), GB_OK);
    gb_kv_free(s.kv);
    shop_files(&s, run_sql, sql);
    shop_open(&s);
    const char *answer = get(tenant(&s, "acme", MIB, 0), "k");
    shop_free(&s);
    return answer;
}

static void files_of_others_are_refused(void **state) {
    (void)state;
    assert_string_equal(after_sql("SELECT 1"), "v");
    assert_string_equal(after_sql("PRAGMA application_id=7"), "!io");
    assert_string_equal(after_sql("PRAGMA user_version=2"), "!unsupported");
    assert_string_equal(after_sql("UPDATE tenant SET name='other'"), "!io");
    assert_string_equal(after_sql("DELETE FROM tenant"), "!io");
    assert_string_equal(after_sql("DROP TABLE entries"), "!io");
    assert_string_equal(after_sql("UPDATE stores SET id=-1"), "!io");
    assert_string_equal(after_sql("UPDATE stores SET bytes=-1"), "!io");
    assert_string_equal(after_sql("UPDATE stores SET next=0"), "!io");
    assert_string_equal(after_sql("UPDATE stores SET label=''"), "!io");
    assert_string_equal(after_sql("UPDATE stores SET label='other'"), "-");
    assert_string_equal(after_sql("UPDATE stores SET keys=0, bytes=0"), "v");
    /* A trigger in a file is no program of ours. */
    assert_string_equal(after_sql("CREATE TRIGGER evil AFTER UPDATE ON stores BEGIN "
                                  "DELETE FROM entries; END"),
                        "v");
}

/* Locks are a process's, so the second host is another; it is made before there are threads. */
static void a_database_has_one_host(void **state) {
    (void)state;
    struct shop s;
    int fds[2];
    char go = 0;
    shop_folder(&s);
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        bool told = read(fds[0], &go, 1) == 1;
        shop_open(&s);
        const char *answer = get(tenant(&s, "acme", MIB, 0), "k");
        _exit(told && strcmp(answer, "!io") == 0 ? 0 : 1);
    }
    shop_open(&s);
    struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
    assert_int_equal(set(t, "k", "1"), GB_OK);
    assert_int_equal(write(fds[1], &go, 1), 1);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(set(t, "k", "2"), GB_OK);
    shop_free(&s);
}

/* ---- kill -9 ---- */

struct ack {
    uint32_t writer, number;
};

struct stream {
    int fd;
    uint32_t writer, number;
    struct gb_kv_tenant *t;
};

/* Writes, and says so on the pipe, until it is killed. */
static void *write_for_ever(void *user) {
    struct stream *s = user;
    char key[32];
    char value[600];
    for (;;) {
        uint32_t number = ++s->number;
        int len = snprintf(value, sizeof value, "%u", number);
        memset(value + len, '.', sizeof value - (size_t)len);
        snprintf(key, sizeof key, "w%u-%u", s->writer, number % 7);
        struct gb_span v = gb_span_make(value, (size_t)len + number * 131 % 500);
        struct ack ack = {s->writer, number};
        if (set_in(s->t, s->writer % 2 ? "odd" : "even", key, v) == GB_OK &&
            write(s->fd, &ack, sizeof ack) != (ssize_t)sizeof ack) {
            _exit(1);
        }
    }
    return NULL;
}

#define WRITERS 4u

static void child_main(struct shop *s, int fd, const uint32_t *last) {
    struct stream streams[WRITERS];
    pthread_t thread;
    alarm(60);
    shop_open(s);
    for (uint32_t i = 0; i < WRITERS; i++) {
        streams[i] = (struct stream){
            .fd = fd, .writer = i, .number = last[i], .t = tenant(s, "acme", 16 * MIB, 0)};
        if (pthread_create(&thread, NULL, write_for_ever, &streams[i]) != 0) {
            _exit(1);
        }
    }
    pause();
    _exit(1);
}

/* Each key holds what was last acknowledged for it, or one later. */
static void check_acknowledged(struct shop *s, uint32_t acknowledged[WRITERS][7]) {
    shop_open(s);
    struct gb_kv_tenant *t = tenant(s, "acme", 16 * MIB, 0);
    for (uint32_t i = 0; i < WRITERS; i++) {
        for (uint32_t k = 0; k < 7; k++) {
            char key[32];
            snprintf(key, sizeof key, "w%u-%u", i, k);
            const char *now = get_in(t, i % 2 ? "odd" : "even", key);
            unsigned long held = strtoul(now, NULL, 10);
            assert_true(now[0] != '!');
            assert_true(held >= acknowledged[i][k]);
            assert_true(held == 0 || held % 7 == k);
            assert_true(held == 0 || strspn(now, "0123456789.") == strlen(now));
        }
    }
    gb_kv_free(s->kv);
    s->kv = NULL;
}

static void kill_9_loses_nothing_that_was_acknowledged(void **state) {
    (void)state;
    struct shop s;
    uint32_t acknowledged[WRITERS][7] = {{0}};
    uint32_t last[WRITERS] = {0};
    uint64_t acks = 0;
    int rounds = getenv("GLOVEBOX_TEST_LONG") ? 500 : 20;
    shop_folder(&s);
    for (int round = 0; round < rounds; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            close(fds[0]);
            child_main(&s, fds[1], last);
        }
        close(fds[1]);
        struct ack ack;
        int wanted = round * 37 % 90;
        while (wanted-- > 0 && read(fds[0], &ack, sizeof ack) == (ssize_t)sizeof ack) {
            acknowledged[ack.writer][ack.number % 7] = last[ack.writer] = ack.number;
            acks++;
        }
        usleep((unsigned)(round * 7919 % 3000));
        kill(child, SIGKILL);
        while (read(fds[0], &ack, sizeof ack) == (ssize_t)sizeof ack) {
            acknowledged[ack.writer][ack.number % 7] = last[ack.writer] = ack.number;
            acks++;
        }
        close(fds[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        for (uint32_t i = 0; i < WRITERS; i++) {
            last[i] += 1; /* that one may have been written without an answer */
        }
        check_acknowledged(&s, acknowledged);
    }
    assert_true(acks > 100);
    shop_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kill_9_loses_nothing_that_was_acknowledged),
        cmocka_unit_test(a_database_has_one_host),
        cmocka_unit_test(a_full_disk_is_an_error_and_passes),
        cmocka_unit_test(after_a_failed_sync_nothing_more_is_written),
        cmocka_unit_test(files_of_others_are_refused),
        cmocka_unit_test(what_is_damaged_is_an_error),
        cmocka_unit_test(no_failing_allocation_loses_what_was_acknowledged),
        cmocka_unit_test(no_failing_system_call_loses_what_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
