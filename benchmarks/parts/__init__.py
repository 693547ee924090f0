"""What several benchmarks share: models and requests, servers, and those who ask."""
