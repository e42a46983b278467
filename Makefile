# SPDX-License-Identifier: Apache-2.0
#
# For developers. Users need ./demo and ./test only; both set up what is missing. The build itself
# is CMake's (CMakePresets.json); this file gives its common uses short names.

PRESET ?= release
SECONDS_PER_TARGET ?= 60

.PHONY: all setup build dev guests guests-all bench bench-http fuzz check soak examples install format clean help
.DEFAULT_GOAL := all

all: build guests

help:
	@echo 'make           build glovebox, glovebox-worker, libglovebox.a and the guests'
	@echo 'make setup     fetch and check what the build needs (./demo and ./test do it too)'
	@echo 'make dev       the same with ASan, UBSan and the unit tests, in build/dev'
	@echo 'make guests-all  sample agents in Rust, JavaScript, Python and Go (450 MB of toolchains)'
	@echo 'make check     ./test: every test in its short form, warnings are errors'
	@echo 'make soak      ./test --long: full counts'
	@echo 'make bench     the measurements of bench/'
	@echo 'make bench-http  what a request costs (wrk; nginx and wasmtime beside it if installed)'
	@echo 'make fuzz      each fuzz target for SECONDS_PER_TARGET (60) seconds'
	@echo 'make examples  the programs of examples/, against libglovebox.so'
	@echo 'make install   into DESTDIR and PREFIX (/usr/local)'
	@echo 'make format    clang-format 14 over our C files'

setup:
	@tools/setup.sh

build:
	@tools/build.sh $(PRESET)

dev:
	@$(MAKE) --no-print-directory build PRESET=dev

guests:
	@tools/build-guests.sh

guests-all:
	@tools/build-guests-all.sh

check:
	@./test

soak:
	@./test --long

EXAMPLES = embed custom_interface epoll_1000 over_budget
examples: all
	@mkdir -p build/examples
	@for x in $(EXAMPLES); do \
		$(CC) -std=c11 -D_DEFAULT_SOURCE -Wall -Wextra -Werror -O2 -Iinclude examples/$$x.c \
			-o build/examples/$$x -Lbuild/lib -lglovebox -Wl,-rpath,'$(CURDIR)/build/lib' || exit 1; \
	done
	@echo 'examples: build/examples/{embed,custom_interface,epoll_1000,over_budget}'

bench: all
	@test -x bench/run || { echo 'bench/run is missing: there is nothing to measure yet' >&2; exit 1; }
	@bench/run

bench-http: all
	@bench/http.py

fuzz:
	@$(MAKE) --no-print-directory build PRESET=fuzz
	@tools/run-fuzz.sh $(SECONDS_PER_TARGET)

PREFIX ?= /usr/local
install:
	@tools/build.sh release -DCMAKE_INSTALL_PREFIX="$(PREFIX)"
	cmake --install build/release --prefix "$(PREFIX)"

format:
	@clang-format-14 -i $$(git ls-files 'src/*.[ch]' 'include/*.h' 'tests/*.[ch]' 'guests/*.[ch]' \
		| grep -v '^guests/bindings/')

clean:
	@for p in release dev fuzz; do test ! -d build/$$p || cmake --build build/$$p --target clean; done
