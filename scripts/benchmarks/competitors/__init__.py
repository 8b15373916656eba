"""The competitors, one module each: `build(job)` makes a net of the benchmark as that library does it best."""
