#!/bin/bash
# SPDX-License-Identifier: MIT
# The wire layer is pure: it refers to nothing but memory and string functions, assert and the text builder.
set -eu
allowed='^(mem(chr|cmp|cpy|move|set)|str(chr|cmp|len|ncmp|nlen)|__assert_fail|text_[a-z0-9_]+|wire_[a-z0-9_]+)$'
# What compilers and sanitizers add of their own.
added='^(__stack_chk_fail|_GLOBAL_OFFSET_TABLE_|__(a|ub|t|m)san_.*|__sanitizer_.*|__tsan_.*|__gcov_.*|__llvm_.*|bcmp|(__)?mem[a-z]+_chk)$'
foreign=$(nm -u "$1" | awk '$1 == "U" { print $2 }' | sort -u | grep -Ev "$allowed|$added" || true)
if [ -n "$foreign" ]; then
    echo "the wire layer refers to: $foreign" >&2
    exit 1
fi
# An archive that could not be read would look pure as well.
nm -u "$1" | grep -q 'text_init'
