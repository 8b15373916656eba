"""What each layer is in ONNX, a module for each family, both ways beside each other: importing it fills the tables."""
