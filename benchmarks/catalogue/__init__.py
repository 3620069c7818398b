"""Large catalogues beside what people score them with; see docs/performance.md."""
