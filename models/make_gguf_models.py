#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes small GGUF files into a directory, sound ones and ones that must be refused.

One line per file: `NAME<TAB>CODE<TAB>TEXT`, where CODE is
  ok              sound: refused only because no engine of this build loads it
  model-invalid   it contradicts the format or itself
  model-rejected  well-formed, but we refuse it
and TEXT is a part of the message. The bytes are put together here, because libraries refuse to
write most of this; so the script needs nothing but Python. No random numbers: the same files every
time. `--suffix ''` leaves the names bare. Nobody could talk to the sound ones: all weights are 0.
"""
import argparse
import pathlib
import struct

OK, INVALID, REJECTED = "ok", "model-invalid", "model-rejected"
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q",
           I64: "q", F64: "d"}
# Types of tensors: number, elements and bytes of a block.
T_F32, T_Q4_0, T_Q8_0, T_Q4_K = (0, 1, 4), (2, 32, 18), (8, 32, 34), (12, 256, 144)
NAN, INF = float("nan"), float("inf")


# --- writing ------------------------------------------------------------------------------------


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def element(kind, value):
    return text(value) if kind == STRING else struct.pack("<" + FORMATS[kind], value)


def one(kind, value):
    return struct.pack("<I", kind) + element(kind, value)


def many(kind, values, count=None):
    body = b"".join(element(kind, v) for v in values)
    return struct.pack("<IIQ", ARRAY, kind, len(values) if count is None else count) + body


class Tensor:
    def __init__(self, name, dims, kind=T_F32, offset=None, rank=None):
        self.name, self.dims, self.kind, self.offset, self.rank = name, dims, kind, offset, rank

    def size(self):
        blocks = 1
        for i, dim in enumerate(self.dims):
            blocks *= dim // self.kind[1] if i == 0 else dim
        return max(0, blocks * self.kind[2])

    def info(self, offset):
        rank = len(self.dims) if self.rank is None else self.rank
        return (text(self.name) + struct.pack("<I", rank)
                + b"".join(struct.pack("<Q", d & (1 << 64) - 1) for d in self.dims)
                + struct.pack("<IQ", self.kind[0], offset))


class File:
    """A sound model of two blocks; what is to be wrong with it is changed afterwards."""

    def __init__(self):
        self.magic, self.version, self.align = b"GGUF", 3, 32
        self.tensor_count = self.key_count = None
        self.cut = self.tail = b""
        self.keys = {
            "general.architecture": one(STRING, "llama"),
            "general.name": one(STRING, "Nobody 0.02M"),
            "general.file_type": one(U32, 7),
            "general.quantization_version": one(U32, 2),
            "llama.context_length": one(U32, 128),
            "llama.embedding_length": one(U32, 32),
            "llama.block_count": one(U32, 2),
            "llama.feed_forward_length": one(U32, 64),
            "llama.attention.head_count": one(U32, 4),
            "llama.attention.head_count_kv": one(U32, 2),
            "llama.attention.layer_norm_rms_epsilon": one(F32, 1e-5),
            "llama.rope.freq_base": one(F32, 10000.0),
            "llama.vocab_size": one(U32, 8),
            "tokenizer.ggml.model": one(STRING, "llama"),
            "tokenizer.ggml.tokens": many(STRING, ["<unk>", "<s>", "</s>", "<0x0A>", "a", "b", "c",
                                                   "ab"]),
            "tokenizer.ggml.scores": many(F32, [0, 0, 0, 0, -1, -2, -3, -4]),
            "tokenizer.ggml.token_type": many(I32, [2, 3, 3, 6, 1, 1, 1, 1]),
            "tokenizer.ggml.bos_token_id": one(U32, 1),
            "tokenizer.ggml.eos_token_id": one(U32, 2),
            "tokenizer.ggml.add_bos_token": one(BOOL, 1),
            "tokenizer.chat_template": one(STRING, "{% for m in messages %}{{ m.content }}"
                                                   "{% endfor %}"),
        }
        self.more = []  # further keys, of the same name perhaps
        self.tensors = [Tensor("token_embd.weight", [32, 8], T_Q8_0)]
        for block in range(2):
            self.tensors += [
                Tensor(f"blk.{block}.attn_norm.weight", [32]),
                Tensor(f"blk.{block}.attn_q.weight", [32, 4], T_Q8_0),
            ]
        self.tensors += [Tensor("output.weight", [32, 8], T_Q8_0),
                         Tensor("output_norm.weight", [32])]  # ends without padding

    def set(self, key, value):
        self.keys[key] = value
        return self

    def drop(self, *keys):
        for key in keys:
            del self.keys[key]
        return self

    def add(self, key, value):
        self.more.append((key, value))
        return self

    def tensor(self, *args, **named):
        """A further tensor."""
        self.tensors.append(Tensor(*args, **named))
        return self

    def having(self, **named):
        for name, value in named.items():
            assert hasattr(self, name)
            setattr(self, name, value)
        return self

    def header(self):
        pairs = list(self.keys.items()) + self.more
        out = bytearray(self.magic) + struct.pack(
            "<IQQ", self.version,
            len(self.tensors) if self.tensor_count is None else self.tensor_count,
            len(pairs) if self.key_count is None else self.key_count)
        for key, value in pairs:
            out += text(key) + value
        offset = 0
        for t in self.tensors:
            out += t.info(offset if t.offset is None else t.offset)
            size = t.size()
            offset += -(-size // self.align) * self.align if size < 1 << 20 else 0
        return bytes(out), offset

    def bytes(self):
        out, size = self.header()
        return out + bytes(-len(out) % self.align + size) + self.tail


def good():
    return File()


# --- sound files --------------------------------------------------------------------------------


def sound():
    yield "llama", good()
    yield "version2", good().having(version=2)
    yield "no_template", good().drop("tokenizer.chat_template")
    yield "align4096", good().set("general.alignment", one(U32, 4096)).having(align=4096)
    yield "merged", good().add("split.no", one(U16, 0)).add("split.count", one(U16, 0))
    yield "tail", good().having(tail=b"signature" * 9)
    yield "heads_per_block", (
        good().set("llama.attention.head_count", many(U32, [4, 0]))
        .set("llama.attention.head_count_kv", many(I32, [2, 0]))
        .set("llama.feed_forward_length", many(I32, [64, 64])))
    yield "wide_heads", (good().set("llama.attention.head_count", one(U32, 6))
                         .add("llama.attention.key_length", one(U32, 8)))
    bpe = good().set("tokenizer.ggml.model", one(STRING, "gpt2")).drop("tokenizer.ggml.scores")
    yield "merges", bpe.add("tokenizer.ggml.merges", many(STRING, ["a b", "ab c", "Ġ a"]))
    yield "experts", (good().add("llama.expert_count", one(U32, 8))
                      .add("llama.expert_used_count", one(U32, 2)))
    yield "empty_tokens", good().set("tokenizer.ggml.tokens", many(
        STRING, ["<unk>", "<s>", "</s>", "<0x0A>", "", "", "c", "ab"]))
    every = good()
    for kind in FORMATS:
        every.add(f"x.one.{kind}", one(kind, 1)).add(f"x.list.{kind}", many(kind, [1, 0, 1]))
    every.add("x.text", one(STRING, b"\xff\x00 any bytes")).add("x.none", many(U8, []))
    yield "every_type", every
    mamba = good()
    mamba.keys = {k.replace("llama.", "mamba.") if k.startswith("llama.") else k: v
                  for k, v in mamba.keys.items()}
    mamba.set("general.architecture", one(STRING, "mamba")).set(
        "mamba.attention.head_count", one(U32, 0)).set("mamba.attention.head_count_kv", one(U32, 0))
    yield "mamba", mamba.add("mamba.ssm.state_size", one(U32, 16))


# --- files to be refused ------------------------------------------------------------------------


def of_the_head():
    whole = good().bytes()
    yield "magic", INVALID, "GGUF", good().having(magic=b"GGML")
    yield "only_magic", INVALID, "ends within its version", b"GGUF"
    yield "half_head", INVALID, "ends within the number of keys", whole[:20]
    yield "version0", REJECTED, "version 0", good().having(version=0)
    yield "version1", REJECTED, "version 1", good().having(version=1)
    yield "version4", REJECTED, "version 4", good().having(version=4)
    yield "big_endian", REJECTED, "big-endian", good().having(version=3 << 24)
    yield "no_tensors", REJECTED, "no tensors", good().having(tensors=[])
    yield "tensor_count_huge", INVALID, "more than it has room", good().having(tensor_count=1 << 63)
    yield "tensor_count_wraps", INVALID, "more than it has room", good().having(
        tensor_count=(1 << 64) // 400 + 1)
    yield "tensor_count_one_more", INVALID, "", good().having(tensor_count=22)
    yield "key_count_huge", INVALID, "more than it has room", good().having(key_count=(1 << 64) - 1)
    yield "key_count_wraps", INVALID, "more than it has room", good().having(
        key_count=(1 << 64) // 64 + 1)
    yield "key_count_one_more", INVALID, "", good().having(key_count=22)
    yield "key_count_zero", INVALID, "architecture", good().having(key_count=0)
    many_keys = good()
    for i in range(4096):
        many_keys.add(f"x.{i}", one(U8, 0))
    yield "too_many_keys", REJECTED, "at most 4096", many_keys
    many_tensors = good()
    many_tensors.tensors += [Tensor(f"t.{i}", [1]) for i in range(65536)]
    yield "too_many_tensors", REJECTED, "at most 65536", many_tensors


def of_the_keys():
    yield "key_empty", INVALID, "is no key", good().add("", one(U8, 0))
    yield "key_spaces", INVALID, "is no key", good().add("a key", one(U8, 0))
    yield "key_escape", INVALID, "is no key", good().add("a\x1b[2Jb", one(U8, 0))
    yield "key_nul", INVALID, "is no key", good().add("a\0b", one(U8, 0))
    yield "key_dots", INVALID, "is no key", good().add("a..b", one(U8, 0))
    yield "key_last_dot", INVALID, "is no key", good().add("a.", one(U8, 0))
    yield "key_not_utf8", INVALID, "is no key", good().add(b"\xff\xfe", one(U8, 0))
    yield "key_long", REJECTED, "at most 255", good().add("k" * 256, one(U8, 0))
    yield "key_twice", INVALID, "is there twice", good().add("llama.block_count", one(U32, 3))
    yield "key_length_huge", INVALID, "is said to have", good().having(
        key_count=22, tensors=[Tensor("x", [1])], tail=b"").add("y", b"")
    yield "type_unknown", INVALID, "does not exist", good().add("x", struct.pack("<IQ", 13, 0))
    yield "bool_two", INVALID, "is a bool", good().add("x", one(BOOL, 2))
    yield "bools_two", INVALID, "is a bool", good().add("x", many(BOOL, [0, 1, 255]))
    yield "array_nested", REJECTED, "array of arrays", good().add(
        "x", struct.pack("<IIQ", ARRAY, ARRAY, 1) + struct.pack("<IQ", U8, 0))
    yield "array_unknown", INVALID, "does not exist", good().add(
        "x", struct.pack("<IIQ", ARRAY, 99, 1) + b"\0" * 8)
    yield "array_huge", INVALID, "more than the file has room", good().add(
        "x", many(U64, [], 1 << 61))
    yield "array_wraps", INVALID, "more than the file has room", good().add(
        "x", many(U64, [1, 2], (1 << 61) + 1))
    yield "strings_huge", INVALID, "more than the file has room", good().add(
        "x", many(STRING, [], 1 << 60))
    yield "string_huge", INVALID, "is said to have", good().add(
        "x", struct.pack("<IQ", STRING, (1 << 64) - 1))
    yield "string_negative", INVALID, "is said to have", good().add(
        "x", struct.pack("<IQ", STRING, 1 << 63))
    yield "string_in_array_huge", INVALID, "is said to have", good().add(
        "x", many(STRING, ["a"], 2)[:-1] + struct.pack("<Q", 1 << 40))
    yield "string_long", REJECTED, "at most 16777216", good().add(
        "x", one(STRING, "a" * (16 << 20) + "b"))
    yield "strings_many", REJECTED, "all texts of a model", good().add(
        "x", struct.pack("<IIQ", ARRAY, STRING, (1 << 22) + 1) + bytes(8 * ((1 << 22) + 1)))
    yield "array_long", REJECTED, "other lists 16777216", good().add(
        "x", struct.pack("<IIQ", ARRAY, U8, (1 << 24) + 1) + bytes((1 << 24) + 1))


def of_the_rules():
    llama = "llama."
    yield "no_architecture", INVALID, "architecture", good().drop("general.architecture")
    for name, value in (("empty", ""), ("upper", "LLaMA"), ("path", "../../x"), ("long", "a" * 64),
                        ("format", "%s%n"), ("dash", "-llama")):
        yield f"architecture_{name}", INVALID, "is no architecture", good().set(
            "general.architecture", one(STRING, value))
    yield "architecture_number", INVALID, "architecture", good().set(
        "general.architecture", one(U32, 1))
    yield "projector", REJECTED, "no language model", good().set(
        "general.architecture", one(STRING, "clip"))
    yield "adapter", REJECTED, "of the kind \"adapter\"", good().add(
        "general.type", one(STRING, "adapter"))
    yield "split_first", REJECTED, "part 1 of a model that is split into 3", good().add(
        "split.no", one(U16, 0)).add("split.count", one(U16, 3))
    yield "split_second", REJECTED, "part 2", good().add("split.no", one(U16, 1))
    yield "split_type", INVALID, "\"split.count\" is u32 and must be u16", good().add(
        "split.count", one(U32, 3))
    yield "file_type_type", INVALID, "must be u32", good().set("general.file_type", one(U64, 7))
    for value, code in ((0, INVALID), (48, INVALID), (4, REJECTED), (1 << 17, REJECTED),
                        (1 << 31, REJECTED)):
        yield f"alignment_{value}", code, f"{value}", good().set(
            "general.alignment", one(U32, value))
    yield "alignment_type", INVALID, "must be u32", good().set("general.alignment", one(U64, 32))
    for key in ("context_length", "embedding_length", "block_count"):
        yield f"no_{key}", INVALID, f"has no \"llama.{key}\"", good().drop(llama + key)
        yield f"zero_{key}", INVALID, "is 0", good().set(llama + key, one(U32, 0))
        yield f"huge_{key}", REJECTED, "at most", good().set(llama + key, one(U32, 0xffffffff))
        yield f"type_{key}", INVALID, "must be u32", good().set(llama + key, one(I32, 8))
    yield "blocks_513", REJECTED, "at most 512", good().set("llama.block_count", one(U32, 513))
    heads, kv = "llama.attention.head_count", "llama.attention.head_count_kv"
    yield "no_heads", INVALID, "has no \"llama.attention.head_count\"", good().drop(heads)
    yield "zero_heads", INVALID, "no heads", good().set(heads, one(U32, 0))
    yield "zero_kv_heads", INVALID, "keys and values", good().set(kv, one(U32, 0))
    yield "heads_uneven", INVALID, "does not divide", good().set(heads, one(U32, 6))
    yield "kv_heads_uneven", INVALID, "do not divide", good().set(kv, one(U32, 3))
    yield "kv_heads_more", INVALID, "do not divide", good().set(kv, one(U32, 8))
    yield "heads_huge", INVALID, "heads of attention", good().set(heads, one(U32, 1 << 31))
    yield "heads_negative", INVALID, "heads of attention", good().set(heads, many(I32, [4, -4]))
    yield "heads_short", INVALID, "for 2 blocks", good().set(heads, many(U32, [4]))
    yield "heads_none", INVALID, "no heads", good().set(heads, many(U32, [0, 0]))
    yield "heads_text", INVALID, "must be u32 or a list", good().set(heads, one(STRING, "4"))
    yield "ffn_long", INVALID, "for 2 blocks", good().set(
        "llama.feed_forward_length", many(U32, [64] * 3))
    yield "key_length_zero", INVALID, "is 0", good().add(
        "llama.attention.key_length", one(U32, 0))
    yield "experts_many", REJECTED, "at most 1024", good().add("llama.expert_count", one(U32, 1025))
    yield "experts_used_more", INVALID, "uses 9 of its 8", good().add(
        "llama.expert_count", one(U32, 8)).add("llama.expert_used_count", one(U32, 9))
    yield "experts_unused", INVALID, "uses 0 of its 8", good().add(
        "llama.expert_count", one(U32, 8))
    yield "epsilon_nan", INVALID, "nan", good().set(
        "llama.attention.layer_norm_rms_epsilon", one(F32, NAN))
    yield "freq_base_infinite", INVALID, "inf", good().set("llama.rope.freq_base", one(F32, INF))


def of_the_tensors():
    def last(*args, **named):
        return good().tensor(*args, **named)
    yield "tensor_twice", INVALID, "two tensors have the name", last("output_norm.weight", [32])
    yield "tensor_no_name", INVALID, "is no name of a tensor", last("", [32])
    yield "tensor_name_nul", INVALID, "is no name of a tensor", last("a\0b", [32])
    yield "tensor_name_long", REJECTED, "at most 63", last("t" * 64, [32])
    yield "rank0", INVALID, "has 0 dimensions", last("t", [])
    yield "rank5", INVALID, "has 5 dimensions", last("t", [1, 1, 1, 1, 1])
    yield "rank_huge", INVALID, "dimensions", last("t", [1], rank=0xffffffff)
    yield "dim_zero", INVALID, "is 0", last("t", [32, 0])
    yield "dim_negative", INVALID, "is -1", last("t", [32, -1])
    yield "dim_huge", REJECTED, "at most 2147483647", last("t", [32, 1 << 31])
    yield "dims_overflow", INVALID, "can be counted", last("t", [0x7fffffff] * 3)
    yield "dims_wrap_to_small", REJECTED, "at most", last("t", [1 << 32, 1 << 32])
    yield "bytes_overflow", INVALID, "does not fit", last("t", [0x7fffffff, 0x7fffffff])
    yield "tensor_exabyte", INVALID, "does not fit", last("t", [1 << 30, 1 << 30, 2])
    yield "tensor_type_unknown", REJECTED, "which is unknown", last("t", [32], (43, 1, 1))
    yield "tensor_type_negative", REJECTED, "which is unknown", last("t", [32], (0xffffffff, 1, 1))
    for number, name in ((4, "Q4_2"), (9, "Q8_1"), (15, "Q8_K"), (31, "Q4_0_4_4")):
        yield f"tensor_type_{name.lower()}", REJECTED, f"type {name}", last(
            "t", [256], (number, 1, 1))
    yield "block_uneven", INVALID, "no multiple of the 32", last("t", [33, 1], T_Q4_0)
    yield "block_uneven_k", INVALID, "no multiple of the 256", last("t", [32, 256], T_Q4_K)
    yield "offset_unaligned", INVALID, "no multiple of the alignment", last("t", [32], offset=8)
    yield "offset_zero_again", INVALID, "those before it end", last("t", [32], offset=0)
    yield "offset_gap", INVALID, "must follow those before it", last("t", [32], offset=1600)
    yield "offset_beyond", INVALID, "ends outside the file", last("t", [32], offset=1 << 40)
    yield "offset_wraps", INVALID, "ends outside the file", last("t", [32], offset=(1 << 64) - 32)
    whole = good().bytes()
    yield "cut_data", INVALID, "is not whole", whole[:-64]
    yield "cut_all_data", INVALID, "file", good().header()[0]
    yield "cut_in_tensors", INVALID, "ends within", good().having(
        tensors=[Tensor("token_embd.weight", [1])]).header()[0][:-5]


def of_the_vocabulary():
    prefix = "tokenizer.ggml."
    tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "a", "b", "c", "ab"]
    yield "no_tokenizer", REJECTED, "no tokenizer", good().drop(prefix + "model")
    yield "tokenizer_none", REJECTED, "no tokenizer", good().set(prefix + "model",
                                                                 one(STRING, "none"))
    yield "tokenizer_name", INVALID, "no name of a tokenizer", good().set(
        prefix + "model", one(STRING, "\x1b]0;x"))
    yield "no_tokens", INVALID, "has no tokens", good().drop(prefix + "tokens")
    yield "tokens_empty", INVALID, "has no tokens", good().set(prefix + "tokens", many(STRING, []))
    yield "tokens_numbers", INVALID, "must be a list of string", good().set(
        prefix + "tokens", many(U32, range(8)))
    yield "tokens_one", INVALID, "must be a list of string", good().set(
        prefix + "tokens", one(STRING, "a"))
    yield "tokens_fewer", INVALID, "entries for 7 tokens", good().set(
        prefix + "tokens", many(STRING, tokens[:7]))
    yield "token_twice", INVALID, "as one before it", good().set(
        prefix + "tokens", many(STRING, tokens[:7] + ["a"]))
    yield "token_long", REJECTED, "at most 4096", good().set(
        prefix + "tokens", many(STRING, tokens[:7] + ["x" * 4097]))
    yield "tokens_many", REJECTED, "at most 1048576", good().set(prefix + "tokens", struct.pack(
        "<IIQ", ARRAY, STRING, (1 << 20) + 1) + bytes(8 * ((1 << 20) + 1)))
    for name, value in (("negative", "<0x-1>"), ("short", "<0x>"), ("word", "newline"),
                        ("long", "<0x000A>")):
        yield f"byte_token_{name}", INVALID, "stands for a byte", good().set(
            prefix + "tokens", many(STRING, tokens[:3] + [value] + tokens[4:]))
    yield "scores_short", INVALID, "\"tokenizer.ggml.scores\" has 7 entries", good().set(
        prefix + "scores", many(F32, [0] * 7))
    yield "scores_long", INVALID, "has 9 entries", good().set(prefix + "scores", many(F32, [0] * 9))
    yield "scores_bytes", INVALID, "must be a list of f32", good().set(
        prefix + "scores", many(U8, [0] * 8))
    yield "scores_nan", INVALID, "is no number", good().set(prefix + "scores",
                                                           many(F32, [0] * 7 + [NAN]))
    yield "types_short", INVALID, "\"tokenizer.ggml.token_type\" has 3", good().set(
        prefix + "token_type", many(I32, [1] * 3))
    yield "types_bytes", INVALID, "must be a list of i32", good().set(
        prefix + "token_type", many(U8, [1] * 8))
    yield "types_seven", INVALID, "does not exist", good().set(
        prefix + "token_type", many(I32, [1] * 7 + [7]))
    yield "types_negative", INVALID, "of the type -1", good().set(
        prefix + "token_type", many(I32, [1] * 7 + [-1]))
    for name, value in (("empty", ""), ("single", "abc"), ("space", "a "), ("first", " ab")):
        yield f"merge_{name}", INVALID, "not two tokens", good().add(
            prefix + "merges", many(STRING, ["a b", value]))
    yield "id_out_of_range", INVALID, "there are 8 tokens", good().set(
        prefix + "eos_token_id", one(U32, 8))
    yield "id_minus_one", INVALID, "there are 8 tokens", good().add(
        prefix + "padding_token_id", one(U32, 0xffffffff))
    yield "id_signed", INVALID, "must be u32", good().add(prefix + "eot_token_id", one(I32, -1))
    yield "id_list", INVALID, "must be u32", good().add(prefix + "fim_pre_token_id",
                                                        many(U32, [1, 2]))
    yield "template_long", REJECTED, "at most 131072", good().set(
        "tokenizer.chat_template", one(STRING, "x" * ((128 << 10) + 1)))
    yield "template_bytes", INVALID, "is not UTF-8", good().set(
        "tokenizer.chat_template", one(STRING, b"\xc0\x80"))
    yield "template_nul", INVALID, "is not UTF-8", good().set(
        "tokenizer.chat_template", one(STRING, "a\0b"))
    yield "template_named_long", REJECTED, "at most 131072", good().add(
        "tokenizer.chat_template.tool_use", one(STRING, "x" * (1 << 20)))
    yield "template_number", INVALID, "is no text", good().add(
        "tokenizer.chat_templates", many(U32, [1]))
    rest = good().tensors[1:]
    yield "no_embeddings", INVALID, "no tensor \"token_embd.weight\"", good().having(tensors=rest)
    yield "embeddings_rows", INVALID, "has 9 rows for 8 tokens", good().having(
        tensors=[Tensor("token_embd.weight", [32, 9], T_Q8_0)] + rest)
    yield "embeddings_columns", INVALID, "has rows of 64", good().having(
        tensors=[Tensor("token_embd.weight", [64, 8], T_Q8_0)] + rest)


def cases():
    for name, file in sound():
        yield f"good_{name}", OK, "no language-model engine", file.bytes()
    for group in (of_the_head, of_the_keys, of_the_rules, of_the_tensors, of_the_vocabulary):
        for name, code, part, content in group():
            content = content if isinstance(content, bytes) else content.bytes()
            yield f"bad_{name}", code, part, content


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--suffix", default=".gguf")
    parser.add_argument("--bytes-max", type=int, default=1 << 40, help="leave out larger files")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, code, part, content in cases():
        if len(content) <= options.bytes_max:
            (options.directory / (name + options.suffix)).write_bytes(content)
            print(name, code, part, sep="\t")


if __name__ == "__main__":
    main()
