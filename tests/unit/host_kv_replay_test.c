/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store does to its files is recorded: every write, truncation, sync and deletion, and
 * between them what was answered. Then the power fails after each of these: with all before it on
 * the disk, with the last write torn, and with nothing on the disk that was not synced. What had
 * been answered must be there each time.
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>

#include "kv_harness.h"

#define MIB ((uint64_t)1 << 20)
#define EVENTS_MAX 4096
#define FILES 3 /* the database, its log, and the journal that is there before there is a log */

enum what { WRITE, TRUNCATE, SYNC, DELETE, ANSWERED };
struct event {
    enum what what;
    int file;
    int64_t at; /* TRUNCATE: the size; ANSWERED: the number */
    size_t len;
    uint8_t *bytes;
};

static struct {
    bool on;
    size_t len;
    struct event events[EVENTS_MAX];
} tape;

static void note(struct event e, const void *bytes) {
    if (!tape.on) {
        return;
    }
    assert_true(tape.len < EVENTS_MAX);
    if (e.len > 0) {
        e.bytes = gb_alloc(e.len, NULL);
        assert_non_null(e.bytes);
        memcpy(e.bytes, bytes, e.len);
    }
    tape.events[tape.len++] = e;
}

/* ---- the recording file system ---- */

struct file {
    sqlite3_file base;
    sqlite3_file *real;
    int number;
};

static sqlite3_vfs *unix_vfs;

static const char *const endings[FILES] = {".db", ".db-wal", ".db-journal"};

static int number_of(const char *name) {
    for (int i = 1; i < FILES; i++) {
        if (strstr(name, endings[i])) {
            return i;
        }
    }
    return 0;
}

static int rec_close(sqlite3_file *f) {
    sqlite3_file *real = ((struct file *)f)->real;
    return real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
}

static int rec_read(sqlite3_file *f, void *to, int len, sqlite3_int64 at) {
    sqlite3_file *real = ((struct file *)f)->real;
    return real->pMethods->xRead(real, to, len, at);
}

static int rec_write(sqlite3_file *f, const void *from, int len, sqlite3_int64 at) {
    sqlite3_file *real = ((struct file *)f)->real;
    note((struct event){WRITE, ((struct file *)f)->number, at, (size_t)len, NULL}, from);
    return real->pMethods->xWrite(real, from, len, at);
}

static int rec_truncate(sqlite3_file *f, sqlite3_int64 size) {
    sqlite3_file *real = ((struct file *)f)->real;
    note((struct event){TRUNCATE, ((struct file *)f)->number, size, 0, NULL}, NULL);
    return real->pMethods->xTruncate(real, size);
}

static int rec_sync(sqlite3_file *f, int flags) {
    sqlite3_file *real = ((struct file *)f)->real;
    note((struct event){SYNC, ((struct file *)f)->number, 0, 0, NULL}, NULL);
    return real->pMethods->xSync(real, flags);
}

static int rec_size(sqlite3_file *f, sqlite3_int64 *ret) {
    sqlite3_file *real = ((struct file *)f)->real;
    return real->pMethods->xFileSize(real, ret);
}

static int rec_lock(sqlite3_file *f, int level) {
    sqlite3_file *real = ((struct file *)f)->real;
    return real->pMethods->xLock(real, level);
}

static int rec_unlock(sqlite3_file *f, int level) {
    sqlite3_file *real = ((struct file *)f)->real;
    return real->pMethods->xUnlock(real, level);
}

static int rec_reserved(sqlite3_file *f, int *ret) {
    sqlite3_file *real = ((struct file *)f)->real;
    return real->pMethods->xCheckReservedLock(real, ret);
}

static int rec_control(sqlite3_file *f, int op, void *arg) {
    sqlite3_file *real = ((struct file *)f)->real;
    return real->pMethods->xFileControl(real, op, arg);
}

static int rec_sector(sqlite3_file *f) {
    sqlite3_file *real = ((struct file *)f)->real;
    return real->pMethods->xSectorSize(real);
}

static int rec_device(sqlite3_file *f) {
    sqlite3_file *real = ((struct file *)f)->real;
    return real->pMethods->xDeviceCharacteristics(real);
}

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = rec_close,
    .xRead = rec_read,
    .xWrite = rec_write,
    .xTruncate = rec_truncate,
    .xSync = rec_sync,
    .xFileSize = rec_size,
    .xLock = rec_lock,
    .xUnlock = rec_unlock,
    .xCheckReservedLock = rec_reserved,
    .xFileControl = rec_control,
    .xSectorSize = rec_sector,
    .xDeviceCharacteristics = rec_device,
};

static int rec_open(sqlite3_vfs *self, sqlite3_filename name, sqlite3_file *f, int flags,
                    int *ret_flags) {
    struct file *file = (struct file *)f;
    (void)self;
    *file = (struct file){.real = (sqlite3_file *)(file + 1), .number = number_of(name)};
    file->real->pMethods = NULL;
    int rc = unix_vfs->xOpen(unix_vfs, name, file->real, flags, ret_flags);
    f->pMethods = file->real->pMethods ? &methods : NULL;
    return rc;
}

static int rec_delete(sqlite3_vfs *self, const char *name, int sync_folder) {
    (void)self;
    note((struct event){DELETE, number_of(name), 0, 0, NULL}, NULL);
    return unix_vfs->xDelete(unix_vfs, name, sync_folder);
}

static const char *recorder(void) {
    static sqlite3_vfs vfs;
    unix_vfs = sqlite3_vfs_find("unix");
    vfs = *unix_vfs;
    vfs.iVersion = 1;
    vfs.szOsFile += (int)sizeof(struct file);
    vfs.pNext = NULL;
    vfs.zName = "recorder";
    vfs.xOpen = rec_open;
    vfs.xDelete = rec_delete;
    assert_int_equal(sqlite3_vfs_register(&vfs, 0), SQLITE_OK);
    return vfs.zName;
}

/* ---- what is recorded ---- */

#define KEYS 5
#define WRITES_EACH 25

/* A value says its number and its length, so that half of one is known for what it is. */
static struct gb_span value_of(int number) {
    static char value[16384];
    int len = snprintf(value, sizeof value, "%d:", number);
    size_t more = (size_t)(number * 1237 % 9000);
    memset(value + len, 'a' + number % 26, more);
    return gb_span_make(value, (size_t)len + more);
}

static void record(void) {
    struct shop s;
    shop_folder(&s);
    s.options.threads = 1;
    s.options.vfs = recorder();
    tape.on = true;
    int number = 0;
    for (int session = 0; session < 3; session++) {
        shop_open(&s);
        struct gb_kv_tenant *t = tenant(&s, "acme", MIB, 0);
        for (int i = 0; i < WRITES_EACH; i++) {
            char key[2] = {(char)('a' + ++number % KEYS), '\0'};
            assert_int_equal(set_in(t, "default", key, value_of(number)), GB_OK);
            note((struct event){ANSWERED, 0, number, 0, NULL}, NULL);
        }
        if (session == 2) {
            tape.on = false; /* the power fails before the last one is closed */
        }
        gb_kv_free(s.kv);
        s.kv = NULL;
    }
    s.options.vfs = NULL;
    shop_free(&s);
}

/* ---- what is on the disk ---- */

enum model { ALL, TORN, SYNCED, MODELS };

struct disk {
    struct image {
        bool is_there;
        size_t len;
        uint8_t bytes[2 << 20];
    } files[FILES];
};

static struct disk disk;

static void image_write(struct image *i, size_t at, const uint8_t *bytes, size_t len) {
    assert_true(at + len <= sizeof i->bytes);
    if (at > i->len) {
        memset(i->bytes + i->len, 0, at - i->len);
    }
    memcpy(i->bytes + at, bytes, len);
    i->len = at + len > i->len ? at + len : i->len;
    i->is_there = true;
}

/* Whether an event of a file is on the disk when the power fails before `end`. */
static bool is_synced(size_t event, size_t end) {
    for (size_t i = event + 1; i < end; i++) {
        if (tape.events[i].what == SYNC && tape.events[i].file == tape.events[event].file) {
            return true;
        }
    }
    return false;
}

static void disk_make(size_t end, enum model model) {
    for (int i = 0; i < FILES; i++) {
        disk.files[i].len = 0;
        disk.files[i].is_there = i == 0;
    }
    for (size_t i = 0; i < end; i++) {
        const struct event *e = &tape.events[i];
        struct image *f = &disk.files[e->file];
        /* A deletion that a folder's sync follows is at once; SQLite asks for that one. */
        bool kept = model != SYNCED || e->what == DELETE || is_synced(i, end);
        if (!kept) {
            continue;
        }
        if (e->what == WRITE) {
            bool torn = model == TORN && i + 1 == end;
            image_write(f, (size_t)e->at, e->bytes, torn ? e->len / 2 : e->len);
        } else if (e->what == TRUNCATE) {
            f->len = (size_t)e->at < f->len ? (size_t)e->at : f->len;
        } else if (e->what == DELETE) {
            f->is_there = false;
            f->len = 0;
        }
    }
}

static void file_put(const char *path, const struct image *f) {
    unlink(path);
    if (f->is_there) {
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, f->bytes, f->len), f->len);
        close(fd);
    }
}

static void path_note(const char *path, void *user) {
    snprintf(user, 512, "%.*s", (int)(strstr(path, endings[0]) - path), path);
}

/* `answered`: the last number of each key that was answered. */
static void check(struct shop *s, size_t end, enum model model, const int *answered) {
    shop_open(s);
    struct gb_kv_tenant *t = tenant(s, "acme", MIB, 0);
    for (int k = 0; k < KEYS; k++) {
        char key[2] = {(char)('a' + k), '\0'};
        struct gb_kv_entry e = {.key = gb_span_of(key)};
        enum gb_code code;
        struct gb_kv_request *r = ask(
            t, (struct gb_kv_spec){.verb = GB_KV_GET, .entries = &e, .entries_len = 1}, &code);
        const struct gb_kv_item *item = &gb_kv_request_answer(r)->items[0];
        int held = code == GB_OK && item->found ? (int)strtol((char *)item->block, NULL, 10) : 0;
        if (code != GB_OK || held < answered[k] || held > answered[k] + KEYS ||
            (held > 0 && (held % KEYS != k || !gb_span_eq(item->value, value_of(held))))) {
            fail_msg("event %zu, model %d: \"%s\" holds %d, %d was answered (%s)", end, (int)model,
                     key, held, answered[k], gb_code_text(code));
        }
        gb_kv_request_drop(r);
    }
    gb_kv_free(s->kv);
    s->kv = NULL;
}

static void no_failure_of_power_loses_an_answer(void **state) {
    (void)state;
    struct shop s;
    char path[512] = "";
    char file[540];
    record();
    assert_true(tape.len > 500);
    shop_new(&s); /* for the name of the file */
    assert_int_equal(set(tenant(&s, "acme", MIB, 0), "k", "v"), GB_OK);
    gb_kv_free(s.kv);
    shop_files(&s, path_note, path);
    int answered[KEYS] = {0};
    int counts[ANSWERED + 1] = {0};
    size_t step = getenv("GLOVEBOX_TEST_LONG") ? 1 : 3;
    for (size_t end = 0; end <= tape.len; end++) {
        for (int model = 0; model < MODELS && end % step == 0; model++) {
            disk_make(end, (enum model)model);
            for (int i = 0; i < FILES; i++) {
                snprintf(file, sizeof file, "%s%s", path, endings[i]);
                file_put(file, &disk.files[i]);
            }
            check(&s, end, (enum model)model, answered);
        }
        if (end < tape.len) {
            const struct event *e = &tape.events[end];
            counts[e->what]++;
            if (e->what == ANSWERED) {
                answered[e->at % KEYS] = (int)e->at;
            }
        }
    }
    assert_true(counts[WRITE] > 100 && counts[SYNC] > 3 * WRITES_EACH && counts[DELETE] > 0);
    assert_int_equal(counts[ANSWERED], 3 * WRITES_EACH);
    for (size_t i = 0; i < tape.len; i++) {
        gb_free(tape.events[i].bytes);
    }
    shop_open(&s);
    shop_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_failure_of_power_loses_an_answer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
