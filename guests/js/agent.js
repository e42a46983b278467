// SPDX-License-Identifier: Apache-2.0
// The sample agent in JavaScript: names the handwritten digit in an 8x8 picture.
import { loadByName } from 'wasi:nn/graph@0.2.0-rc-2024-10-28';
import { Tensor } from 'wasi:nn/tensor@0.2.0-rc-2024-10-28';

const PIXELS = 64;

function parsePixels(text) {
    const pixels = text.trim().split(/[\s,]+/).map(Number);
    if (pixels.length !== PIXELS || pixels.some((p) => !(p >= 0 && p <= 16))) {
        throw `found ${pixels.length} pixels: expected 64 values from 0 to 16 (8 rows of 8)`;
    }
    return new Float32Array(pixels);
}

// What is thrown becomes the err of the result. A call of the host that failed throws an Error
// whose payload is wasi:nn's error.
function failed(error) {
    if (typeof error === 'string') {
        return error;
    }
    return error?.payload?.data ? error.payload.data() : String(error);
}

export function run(arg) {
    try {
        const pixels = parsePixels(arg);
        const context = loadByName('digits').initExecutionContext();
        const bytes = new Uint8Array(pixels.buffer);
        const input = new Tensor(new Uint32Array([1, PIXELS]), 'FP32', bytes);
        const outputs = new Map(context.compute([['input', input]]));
        const data = outputs.get('probabilities').data();
        const scores = new Float32Array(data.slice().buffer);
        const shown = [...scores].map((s) => s.toFixed(3)).join(' ');
        return `class=${scores.indexOf(Math.max(...scores))} scores=[${shown}]`;
    } catch (error) {
        throw failed(error);
    }
}
