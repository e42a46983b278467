// SPDX-License-Identifier: Apache-2.0
//! The sample agent in Rust: names the handwritten digit in an 8x8 picture.

wit_bindgen::generate!({
    path: "../../wit/agent-nn",
    world: "agent-nn",
    generate_all,
});

use wasi::nn::graph::load_by_name;
use wasi::nn::tensor::{Tensor, TensorType};

const PIXELS: usize = 64;

fn parse_pixels(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(PIXELS * 4);
    for word in text.split(|c: char| c.is_whitespace() || c == ',').filter(|w| !w.is_empty()) {
        match word.parse::<f32>() {
            Ok(pixel) if (0.0..=16.0).contains(&pixel) => {
                bytes.extend_from_slice(&pixel.to_le_bytes());
            }
            _ => return Err(format!("\"{word}\": expected a number from 0 to 16")),
        }
    }
    if bytes.len() != PIXELS * 4 {
        let found = bytes.len() / 4;
        return Err(format!("found {found} pixels: expected 64 values (8 rows of 8)"));
    }
    Ok(bytes)
}

struct Agent;

impl Guest for Agent {
    fn run(arg: String) -> Result<String, String> {
        let data = parse_pixels(&arg)?;
        let graph = load_by_name("digits").map_err(|e| e.data())?;
        let context = graph.init_execution_context().map_err(|e| e.data())?;
        let input = Tensor::new(&[1, PIXELS as u32], TensorType::Fp32, &data);
        let outputs = context.compute(vec![("input".to_string(), input)]).map_err(|e| e.data())?;
        let (_, output) = outputs
            .iter()
            .find(|(name, _)| name == "probabilities")
            .ok_or("the model has no output \"probabilities\"")?;
        let scores: Vec<f32> = output
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let best = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let shown: Vec<String> = scores.iter().map(|s| format!("{s:.3}")).collect();
        Ok(format!("class={} scores=[{}]", best.unwrap_or(0), shown.join(" ")))
    }
}

export!(Agent);
