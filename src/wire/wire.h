/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocol between the host and one glovebox-worker.
 *
 * Three paths: a SOCK_SEQPACKET control channel (load, cancel, self-test); a slab (sealed memfd
 * that holds job blocks and tensors); and one ring pair inside the slab, an eventfd doorbell each.
 * A small inference costs two wake-ups: submit doorbell, completion doorbell.
 *
 * Trust: the worker is hostile. The host keeps every length, offset and state of its own; what it
 * reads from shared memory is copied once, checked, then used (wire/check.c). Allocation metadata
 * never lives in the slab. The worker trusts the host.
 * Byte order and padding: both sides are one build on one machine; structs are fixed-size, all
 * fields naturally aligned, reserved fields zero. GB_WIRE_VERSION changes with any of them.
 */
#ifndef GB_WIRE_WIRE_H
#define GB_WIRE_WIRE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define GB_WIRE_VERSION 1u
#define GB_WIRE_MAGIC 0x67624231u /* "gbB1" */

/* Descriptors a worker inherits, by number. Everything else is closed. */
#define GB_WIRE_FD_CONTROL 3
#define GB_WIRE_FD_SLAB 4
#define GB_WIRE_FD_SUBMIT 5   /* eventfd, EFD_SEMAPHORE: one token per submission */
#define GB_WIRE_FD_COMPLETE 6 /* eventfd of this worker: one token per completion */

/* Bounds on what a model may have; the pre-validator and both sides enforce them. */
#define GB_WIRE_PORTS_MAX 64u /* inputs, and outputs */
#define GB_WIRE_NAME_MAX 255u /* bytes */
#define GB_WIRE_RANK_MAX 16u
#define GB_WIRE_SYMBOL_MAX 47u
#define GB_WIRE_TEXT_MAX 1023u
#define GB_WIRE_RING_SLOTS 256u /* power of two */
#define GB_WIRE_THREADS_MAX 16u

/* Element types, our own numbering (equal to wasi:nn's WIT case numbers). */
enum gb_type {
    GB_TYPE_F16 = 0,
    GB_TYPE_F32 = 1,
    GB_TYPE_F64 = 2,
    GB_TYPE_BF16 = 3,
    GB_TYPE_U8 = 4,
    GB_TYPE_I32 = 5,
    GB_TYPE_I64 = 6,
    GB_TYPE_COUNT = 7,
    GB_TYPE_OTHER = 255 /* a type wasi:nn cannot carry: such a port cannot be fed or read */
};
size_t gb_type_bytes(enum gb_type type);      /* 0 for GB_TYPE_OTHER */
const char *gb_type_text(enum gb_type type);  /* "f32"; "other" */
/* Bytes of a tensor; false on overflow or an unknown type. rank 0 is a scalar. */
bool gb_tensor_bytes(enum gb_type type, const uint64_t *dims, size_t rank, uint64_t *ret_bytes);

/* One input or output of a model. A dimension is >= 0, or -1 where it is free; a free one may have
 * a symbol ("batch"), and equal symbols have equal sizes within one inference. */
struct gb_port {
    uint32_t type; /* enum gb_type */
    uint32_t rank;
    char name[GB_WIRE_NAME_MAX + 1];
    int64_t dims[GB_WIRE_RANK_MAX];
    char symbols[GB_WIRE_RANK_MAX][GB_WIRE_SYMBOL_MAX + 1];
};

/* ---- control channel ---- */

enum gb_message_type {
    /* host to worker */
    GB_MSG_LOAD = 1, /* struct gb_msg_load; one fd: the sealed memfd with the model's bytes */
    GB_MSG_CANCEL,   /* struct gb_msg_cancel: soft; answered by the job's completion */
    GB_MSG_SELFTEST, /* no body */
    /* worker to host */
    GB_MSG_HELLO = 64, /* struct gb_msg_hello, after the jail's second stage, before LOAD is read */
    GB_MSG_PORT,       /* struct gb_msg_port: one per input and output, in order */
    GB_MSG_LOADED,     /* struct gb_msg_loaded */
    GB_MSG_FAILED,     /* struct gb_msg_failed; the worker then exits */
    GB_MSG_PROBE,      /* struct gb_msg_probe: one per thing the self-test tried */
    GB_MSG_SELFTEST_END
};
struct gb_msg_header {
    uint32_t magic;
    uint32_t version;
    uint32_t type;
    uint32_t bytes; /* of the body that follows in the same packet */
};
enum gb_jail_mode { GB_JAIL_STRICT = 0, GB_JAIL_BEST_EFFORT = 1 };
struct gb_msg_load {
    uint64_t model_bytes;
    uint32_t threads;        /* inferences at once, 1..GB_WIRE_THREADS_MAX */
    uint32_t optimise;       /* 0: no graph optimisation (untrusted constant folding) 1: all */
    uint64_t slab_bytes;
    uint64_t warm_up;        /* 1: run once with zeros, free dimensions as 1 */
};
struct gb_msg_cancel {
    uint64_t job_id;
};
struct gb_msg_hello {
    uint32_t pid;
    uint32_t missing_walls; /* bits of enum gb_wall; 0 under strict */
    char engine[64];        /* "onnxruntime 1.31.1" */
};
enum gb_wall {
    GB_WALL_NO_NEW_PRIVS = 1 << 0,
    GB_WALL_LANDLOCK = 1 << 1,
    GB_WALL_SECCOMP = 1 << 2,
    GB_WALL_RLIMITS = 1 << 3,
    GB_WALL_DUMPABLE = 1 << 4
};
struct gb_msg_port {
    uint32_t is_output;
    uint32_t index;
    struct gb_port port;
};
struct gb_msg_loaded {
    uint32_t inputs;
    uint32_t outputs;
    uint64_t load_us;
    uint64_t warm_us;      /* one warm inference; 0 when not measured */
    uint64_t warm_failed;  /* 1: the warm-up run failed; its text follows */
    char warm_text[GB_WIRE_TEXT_MAX + 1];
};
struct gb_msg_failed {
    uint32_t code; /* enum gb_code */
    uint32_t reserved;
    char text[GB_WIRE_TEXT_MAX + 1];
};
struct gb_msg_probe {
    char name[48];      /* "open /etc/passwd", "socket AF_INET" */
    uint32_t denied;    /* 1: refused as it must be */
    uint32_t sys_errno; /* what it got */
};

/* Sends one message (header and body as one packet), optionally with one fd. */
bool gb_wire_send(int fd, enum gb_message_type type, const void *body, size_t body_bytes,
                  int pass_fd, struct gb_error **err);
/* Receives one packet into buffer. *ret_fd is -1 or a received descriptor (caller closes).
 * Returns false with *err NULL at the end of the stream. Checks magic, version and that the body
 * length is exact for a known type; a descriptor with anything but GB_MSG_LOAD is refused (and
 * closed). Texts are terminated and ports are checked (gb_wire_port_check), so a body that was
 * received may be used as it is; it may still say any number.
 * On a non-blocking socket with nothing to read: GB_IO with sys_errno EAGAIN. */
#define GB_WIRE_PACKET_MAX 4096u
struct gb_packet {
    struct gb_msg_header header;
    _Alignas(8) unsigned char body[GB_WIRE_PACKET_MAX];
};
bool gb_wire_recv(int fd, struct gb_packet *ret_packet, int *ret_fd, struct gb_error **err);

/* Bytes of the body of a message; false for an unknown type. */
bool gb_wire_body_bytes(uint32_t type, size_t *ret_bytes);
/* A port's name and symbols are terminated, its rank, type and dimensions are possible. */
bool gb_wire_port_check(const struct gb_port *port, struct gb_error **err);

/* ---- slab ---- */

/* Start of the slab. Rings are single-producer on the host's side (under its lock) and
 * multi-consumer on the worker's side (under the worker's own lock), and the reverse. head and tail
 * count up for ever; slot = count & (GB_WIRE_RING_SLOTS - 1). */
struct gb_submission {
    uint64_t job_id;     /* unique for the life of the worker */
    uint64_t job_offset; /* of a struct gb_wire_job in the slab */
    uint32_t operation;  /* enum gb_operation */
    uint32_t reserved;
};
enum gb_operation {
    GB_OP_RUN = 1,
    GB_OP_FETCH = 2, /* copy outputs kept since RUN into the now-known blocks */
    GB_OP_FORGET = 3 /* drop outputs kept since RUN */
};
enum gb_job_status {
    GB_JOB_OK = 0,
    GB_JOB_FAILED = 1,     /* code and text in the job block */
    GB_JOB_CANCELLED = 2,
    GB_JOB_NEED_SPACE = 3  /* outputs are kept; bytes and dims are in the job block; FETCH them */
};
struct gb_completion {
    uint64_t job_id;
    uint32_t status; /* enum gb_job_status */
    uint32_t code;   /* enum gb_code when FAILED */
    uint64_t run_us; /* inside the engine */
    uint64_t queue_us; /* between submission and the engine */
};
struct gb_ring_counters {
    _Alignas(64) _Atomic uint64_t head; /* next to pop */
    _Alignas(64) _Atomic uint64_t tail; /* next to push */
};
struct gb_slab_head {
    uint32_t magic;
    uint32_t version;
    uint64_t slab_bytes;
    struct gb_ring_counters submit;
    struct gb_ring_counters complete;
    _Alignas(64) _Atomic uint32_t worker_spinning; /* no doorbell needed while > 0 */
    _Alignas(64) struct gb_submission submissions[GB_WIRE_RING_SLOTS];
    _Alignas(64) struct gb_completion completions[GB_WIRE_RING_SLOTS];
};
#define GB_SLAB_ALIGN 64u
#define GB_SLAB_DATA_OFFSET 65536u /* first byte that the allocator may hand out */
_Static_assert(sizeof(struct gb_slab_head) <= GB_SLAB_DATA_OFFSET, "the slab's head fits");

struct gb_wire_tensor {
    uint32_t port; /* index of the model's input or output */
    uint32_t rank;
    uint64_t dims[GB_WIRE_RANK_MAX];
    uint64_t offset; /* in the slab; outputs of unknown shape: 0 */
    uint64_t bytes;
};
/* A job block: written by the host before submission, answered in place by the worker. */
struct gb_wire_job {
    uint64_t job_id;
    uint64_t submitted_us; /* gb_now_us of the host: one machine, one clock */
    uint32_t inputs;
    uint32_t outputs; /* all of the model's, in order */
    char text[GB_WIRE_TEXT_MAX + 1]; /* the worker's message when FAILED */
    struct gb_wire_tensor tensors[]; /* inputs, then outputs */
};
static inline size_t gb_wire_job_bytes(uint32_t inputs, uint32_t outputs) {
    return sizeof(struct gb_wire_job) +
           ((size_t)inputs + (size_t)outputs) * sizeof(struct gb_wire_tensor);
}

/* Every submission is answered by exactly one completion, FETCH and FORGET too, so the host keeps
 * at most GB_WIRE_RING_SLOTS of them unanswered. RUN ends in OK (all outputs are in their blocks;
 * their dims, rank and bytes are in the job block), NEED_SPACE, FAILED or CANCELLED. FETCH ends in
 * OK or FAILED and drops what was kept, whichever it is. FORGET ends in OK, also when nothing was
 * kept. A NEED_SPACE must be answered by FETCH or FORGET, also when nobody wants it any more.
 * For FETCH the host writes offset and bytes of every output into the same job block first.
 *
 * Push and pop by either side; the caller holds that side's lock. A ring is full or empty when they
 * return false. Pop and push read the other side's counter once and refuse nonsense (a distance
 * above the slot count): the ring is then broken for ever (*ret_broken). */
bool gb_ring_submit(struct gb_slab_head *slab, const struct gb_submission *s, bool *ret_broken);
bool gb_ring_take(struct gb_slab_head *slab, struct gb_submission *ret_s);
bool gb_ring_complete(struct gb_slab_head *slab, const struct gb_completion *c);
bool gb_ring_reap(struct gb_slab_head *slab, struct gb_completion *ret_c, bool *ret_broken);
/* After gb_ring_submit, which ends in a full fence: must SUBMIT be rung? The worker rings it for
 * itself when it stops spinning and finds more than one submission. */
static inline bool gb_ring_needs_doorbell(struct gb_slab_head *slab) {
    return atomic_load_explicit(&slab->worker_spinning, memory_order_seq_cst) == 0;
}
/* Is there a submission to take? Without the lock: a hint. */
bool gb_ring_has_submission(struct gb_slab_head *slab);
/* Fills in the head of a fresh, zeroed slab. */
void gb_slab_init(struct gb_slab_head *slab, uint64_t slab_bytes);
/* Worker: is this the head of a slab of that size, in our version? */
bool gb_slab_check(const struct gb_slab_head *slab, uint64_t slab_bytes, struct gb_error **err);

/* ---- checks of what a worker answered (wire/check.c) ---- */

/* What the host remembers of one tensor of a job; never read from the slab. */
struct gb_wire_block {
    uint64_t offset;   /* 0: no block yet */
    uint64_t capacity; /* bytes of the block */
};
/* A completion's numbers are possible and belong to job_id. */
bool gb_wire_completion_check(const struct gb_completion *c, uint64_t job_id,
                              struct gb_error **err);
/* Checks the outputs that a job block claims, on the host's private copy of it (gb_wire_job_bytes),
 * against the model's ports and the host's own blocks (one per output). Every dims must have the
 * port's rank and its fixed dimensions, bytes must be exactly their product, and with need_space
 * false each output must lie in its block; with need_space true only the sizes are checked, each
 * against output_bytes_max. Also terminates copy->text. */
bool gb_wire_job_check(struct gb_wire_job *copy, uint64_t job_id, uint32_t inputs,
                       const struct gb_port *outputs, uint32_t outputs_len,
                       const struct gb_wire_block *blocks, bool need_space,
                       uint64_t output_bytes_max, struct gb_error **err);

#endif
