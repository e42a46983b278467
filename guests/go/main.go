// SPDX-License-Identifier: Apache-2.0

// The sample agent in Go, as a preview 1 command: its arguments are the 64 pixels, its answer goes
// to stdout. It infers by the core ABI of wasi:nn, module wasi_ephemeral_nn.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"unsafe"
)

//go:wasmimport wasi_ephemeral_nn load_by_name
func loadByName(name unsafe.Pointer, nameLen uint32, retGraph unsafe.Pointer) uint32

//go:wasmimport wasi_ephemeral_nn init_execution_context
func initExecutionContext(graph uint32, retContext unsafe.Pointer) uint32

//go:wasmimport wasi_ephemeral_nn set_input
func setInput(context uint32, index uint32, tensor unsafe.Pointer) uint32

//go:wasmimport wasi_ephemeral_nn compute
func compute(context uint32) uint32

//go:wasmimport wasi_ephemeral_nn get_output
func getOutput(context, index uint32, buf unsafe.Pointer, bytes uint32,
	retBytes unsafe.Pointer) uint32

const (
	pixels      = 64
	classes     = 10
	float32Type = 1
)

// Go's pointers have 64 bits here and the ABI's 32, so addresses in a record are spelt as uint32.
// They keep nothing alive and do not follow a stack that moves: what they point to is global.
type tensor struct {
	dims, dimsLen uint32
	kind          uint32
	data, dataLen uint32
}

var (
	dims   = [2]uint32{1, pixels}
	data   [pixels]float32
	scores [classes]float32
	input  tensor
)

func address(p unsafe.Pointer) uint32 { return uint32(uintptr(p)) }

func parsePixels(text string) error {
	words := strings.Fields(strings.ReplaceAll(text, ",", " "))
	if len(words) != pixels {
		return fmt.Errorf("found %d pixels: expected 64 values (8 rows of 8)", len(words))
	}
	for i, word := range words {
		pixel, err := strconv.ParseFloat(word, 32)
		if err != nil || pixel < 0 || pixel > 16 {
			return fmt.Errorf("%q: expected a number from 0 to 16", word)
		}
		data[i] = float32(pixel)
	}
	return nil
}

func check(what string, errno uint32) error {
	if errno != 0 {
		return fmt.Errorf("%s: errno %d", what, errno)
	}
	return nil
}

func classify() error {
	name := []byte("digits")
	var graph, context, written uint32
	errno := loadByName(unsafe.Pointer(&name[0]), uint32(len(name)), unsafe.Pointer(&graph))
	if errno != 0 {
		return check("load_by_name", errno)
	}
	if errno = initExecutionContext(graph, unsafe.Pointer(&context)); errno != 0 {
		return check("init_execution_context", errno)
	}
	input = tensor{address(unsafe.Pointer(&dims)), uint32(len(dims)), float32Type,
		address(unsafe.Pointer(&data)), pixels * 4}
	if errno = setInput(context, 0, unsafe.Pointer(&input)); errno != 0 {
		return check("set_input", errno)
	}
	if errno = compute(context); errno != 0 {
		return check("compute", errno)
	}
	return check("get_output", getOutput(context, 0, unsafe.Pointer(&scores), classes*4,
		unsafe.Pointer(&written)))
}

func run(text string) error {
	if err := parsePixels(text); err != nil {
		return err
	}
	if err := classify(); err != nil {
		return err
	}
	best := 0
	shown := make([]string, len(scores))
	for i, score := range scores {
		if score > scores[best] {
			best = i
		}
		shown[i] = fmt.Sprintf("%.3f", score)
	}
	fmt.Printf("class=%d scores=[%s]\n", best, strings.Join(shown, " "))
	return nil
}

func main() {
	if err := run(strings.Join(os.Args[1:], " ")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
