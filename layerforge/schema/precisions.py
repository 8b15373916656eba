"""The words of the keys `precision` and `matmul_precision`: Lightning's and torch's."""

FULL, BF16_MIXED, FP16_MIXED = "float32", "bf16-mixed", "16-mixed"
PRECISIONS = (FULL, BF16_MIXED, FP16_MIXED)
HIGHEST, MEDIUM = "highest", "medium"
MATMUL_PRECISIONS = (HIGHEST, MEDIUM)
