// Pins the Go module that carries the MIT-licensed C headers of ONNX Runtime; no Go is compiled.
module pin

go 1.19

require github.com/yalue/onnxruntime_go v1.27.0
